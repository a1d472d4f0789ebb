package ui

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/tuitest"
	"capstan/ui/views"
)

// still makes a root with its data read and no program around it.
func still(t testing.TB, d *desk, w, h int) *root {
	t.Helper()
	d.slow = 0
	o := d.options()
	at := d.began
	o.Now = func() time.Time { return at }
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r := newRoot(o.env(ctx), views.ScreenBoard, "")
	r.update(tea.WindowSizeMsg{Width: w, Height: h})
	for _, s := range append(views.Tabs(), views.ScreenSetup, views.ScreenChannel) {
		visit(r, s)
	}
	visit(r, views.ScreenBoard)
	return r
}

// visit shows a screen and runs its reads to their end.
func visit(r *root, s views.Screen) {
	arg := ""
	if s == views.ScreenChannel {
		arg = "production"
	}
	pump(r, r.navigate(views.GoMsg{To: s, Arg: arg}))
}

// pump runs a command and what follows from it, except ticks and jobs.
func pump(r *root, cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch m := cmd().(type) {
	case tea.BatchMsg:
		for _, c := range m {
			pump(r, c)
		}
	case nil:
	default:
		pump(r, r.update(m))
	}
}

// shape fails the test unless the frame is exactly w×h cells.
func shape(t testing.TB, r *root, w, h int) {
	t.Helper()
	frame := r.draw()
	if w <= 0 || h <= 0 {
		return
	}
	lines := strings.Split(frame, "\n")
	if len(lines) != h {
		t.Fatalf("%s at %d×%d draws %d lines", r.screen(), w, h, len(lines))
	}
	for i, l := range lines {
		if n := ansi.StringWidth(l); n != w {
			t.Fatalf("%s at %d×%d: line %d has %d cells: %q", r.screen(), w, h, i, n, ansi.Strip(l))
		}
	}
}

var allScreens = append(views.Tabs(), views.ScreenSetup, views.ScreenChannel)

func TestEverySizeIsExact(t *testing.T) {
	widths, heights := []int{0, 1, 2, 7, 20, 59, 60, 61, 64, 80, 99, 110, 120, 133, 200, 500}, []int{0, 1, 2, 5, 15, 16, 17, 24, 40, 60, 200}
	if racing {
		widths, heights = []int{1, 60, 120}, []int{1, 24}
	}
	for _, d := range []*desk{newDesk(), busyDesk()} {
		r := still(t, d, 80, 24)
		for _, s := range allScreens {
			visit(r, s)
			for _, w := range widths {
				for _, h := range heights {
					r.update(tea.WindowSizeMsg{Width: w, Height: h})
					shape(t, r, w, h)
				}
			}
		}
	}
}

func TestDialogsAreExactAtEverySize(t *testing.T) {
	r := still(t, busyDesk(), 80, 24)
	open := []func(){
		func() { r.help = &helpPage{top: 7} },
		func() { r.palette = newPalette() },
		func() { visit(r, views.ScreenChannel); pump(r, must(r.act("P"))) },
		func() { visit(r, views.ScreenChannel); pump(r, must(r.act("B"))) },
		func() { visit(r, views.ScreenChannel); pump(r, must(r.act("t"))) },
	}
	for _, f := range open {
		r.help, r.palette, r.confirm, r.choose, r.message = nil, nil, nil, nil, nil
		r.update(tea.WindowSizeMsg{Width: 80, Height: 24})
		f()
		if !r.covered() {
			t.Fatal("no dialog opened")
		}
		for _, w := range []int{1, 60, 72, 80, 133, 300} {
			for _, h := range []int{1, 16, 20, 24, 50} {
				r.update(tea.WindowSizeMsg{Width: w, Height: h})
				shape(t, r, w, h)
			}
		}
	}
}

func must(cmd tea.Cmd, ok bool) tea.Cmd {
	if !ok {
		panic("no such action")
	}
	return cmd
}

// A key means one thing at a time.
func TestKeysDoNotClash(t *testing.T) {
	for name, d := range map[string]*desk{"fresh": newDesk(), "busy": busyDesk()} {
		for _, lang := range []string{"en", "es"} {
			r := still(t, d, 120, 40)
			r.speak(lang)
			for _, s := range allScreens {
				visit(r, s)
				taken := map[string]string{}
				for _, a := range r.globals() {
					for _, k := range a.Keys {
						if other, ok := taken[k]; ok {
							t.Errorf("everywhere: %s means %s and %s", k, other, a.ID)
						}
						taken[k] = a.ID
					}
				}
				ids := map[string]bool{}
				for _, a := range r.actions() {
					if ids[a.ID] {
						t.Errorf("%s, %s: two actions are called %s", name, s, a.ID)
					}
					ids[a.ID] = true
					if a.Help == "" || a.Long == "" {
						t.Errorf("%s, %s: action %s has no words", name, s, a.ID)
					}
					if a.Disabled == "" && a.Run == nil {
						t.Errorf("%s, %s: action %s does nothing", name, s, a.ID)
					}
					for _, k := range a.Keys {
						if slices.Contains([]string{"up", "down", "j", "k", "g", "G", "home", "end", "pgup", "pgdown", "ctrl+u", "ctrl+d", "tab", "shift+tab"}, k) {
							t.Errorf("%s, %s: %s moves, and cannot be %s", name, s, k, a.ID)
						}
						if other, ok := taken[k]; ok {
							t.Errorf("%s, %s: %s means %s and %s", name, s, k, other, a.ID)
						}
						taken[k] = a.ID
					}
				}
			}
		}
	}
}

// The table of keys for the documentation comes from the declarations.
func TestKeyTable(t *testing.T) {
	tuitest.Golden(t, "../../docs/keys.md", keysIntro+KeyTable("en"))
	tuitest.Golden(t, "keys-es.md", KeyTable("es"))
}

// In read-only mode nothing that others see can be done, and every such action
// says why.
func TestReadOnlyTakesDangerousActionsAway(t *testing.T) {
	r := still(t, busyDesk(), 120, 40)
	r.e.ReadOnly = true
	dangerous := 0
	for _, s := range allScreens {
		visit(r, s)
		for _, a := range r.actions() {
			if !a.Dangerous {
				continue
			}
			dangerous++
			if a.Run != nil || a.Disabled == "" {
				t.Errorf("%s: %s can be run", s, a.ID)
			}
			for _, k := range a.Keys {
				pump(r, must(r.act(k)))
				if r.covered() || r.jobs.running() {
					t.Errorf("%s: %s opened something", s, k)
				}
			}
		}
	}
	if dangerous < 15 {
		t.Errorf("only %d dangerous actions: the mark is missing somewhere", dangerous)
	}
}

// hostile is text from outside that tries to get out of its slot.
const hostile = "\x1b]52;c;ZXZpbA==\x07\x1b]0;owned\x07\x1b[2J\x1b[31m1.0\u202e.0\r\nnew\u200b line\x9b31m版本\x00"

// No text from outside reaches the frame or the window title with its controls.
func TestHostileTextIsHarmless(t *testing.T) {
	d := busyDesk()
	for i := range d.channels {
		d.channels[i].Name = hostile + d.channels[i].Name
		reason := hostile
		d.channels[i].RolloutPauseReason = &reason
		if d.channels[i].Version != nil {
			d.channels[i].Version.Name = hostile
		}
		if d.channels[i].RolloutVersionInfo != nil {
			d.channels[i].RolloutVersionInfo.Name = hostile
		}
	}
	for i := range d.bundles {
		d.bundles[i].Name, d.bundles[i].Comment, d.bundles[i].KeyID, d.bundles[i].Link, d.bundles[i].ExternalURL = hostile+d.bundles[i].Name, hostile, hostile, hostile, hostile
	}
	for i := range d.history {
		d.history[i].Actor, d.history[i].Note, d.history[i].To, d.history[i].Channel = hostile, hostile, hostile, hostile
	}
	for i := range d.devices {
		d.devices[i].CustomID, d.devices[i].VersionName, d.devices[i].VersionBuild, d.devices[i].Platform, d.devices[i].PluginVersion = hostile, hostile, hostile, hostile, hostile
	}
	for _, group := range d.summary.Fleet {
		group[hostile] = 100_000
	}
	d.keys[0].Location, d.keys[0].Fingerprint, d.keys[0].PublicPEM, d.keys[0].Store, d.keys[0].ID = hostile, hostile, hostile, hostile, hostile
	d.open = []views.Unfinished{{ID: "x", Version: hostile, Stage: "upload"}}
	r := still(t, d, 120, 40)
	r.e.Facts.AppID, r.e.Facts.AppName, r.e.Facts.Root = hostile, hostile, hostile
	r.update(views.NoticeMsg{Kind: views.NoticeError, Text: "x"})
	pump(r, views.NoticeErr(failure.New(failure.Failed, "x", hostile, hostile, hostile)))
	check := func() {
		t.Helper()
		shape(t, r, 120, 40)
		frame := r.draw()
		for _, bad := range []string{"\x1b]", "\x1b[2J", "\r", "\x00", "\u202e", "\u200b", "\x07", "\u009b"} {
			if strings.Contains(frame, bad) {
				t.Errorf("%s: the frame holds %q", r.screen(), bad)
			}
			if strings.Contains(r.title(), bad) {
				t.Errorf("%s: the window title holds %q", r.screen(), bad)
			}
		}
	}
	for _, s := range allScreens {
		pump(r, r.navigate(views.GoMsg{To: s, Arg: d.channels[0].Name}))
		check()
		for _, a := range r.actions() {
			if a.Disabled != "" || a.ID == "interrupt" || a.Run == nil || s == views.ScreenRelease {
				continue
			}
			pump(r, a.Run())
			check()
			r.help, r.palette, r.confirm, r.choose, r.message = nil, nil, nil, nil, nil
			pump(r, r.navigate(views.GoMsg{To: s, Arg: d.channels[0].Name}))
		}
	}
}

// A resize storm leaves a right frame.
func TestResizeStorm(t *testing.T) {
	r := still(t, busyDesk(), 80, 24)
	storm := 2000
	if racing {
		storm = 200
	}
	for i := range storm {
		w, h := 1+(i*37)%500, 1+(i*53)%200
		r.update(tea.WindowSizeMsg{Width: w, Height: h})
		if i%20 == 0 {
			shape(t, r, w, h)
		}
		if i%97 == 0 {
			visit(r, allScreens[i%len(allScreens)])
		}
	}
	r.update(tea.WindowSizeMsg{Width: 80, Height: 24})
	shape(t, r, 80, 24)
}

// Views speak to the world through their interfaces only.
func TestViewsDoNoIO(t *testing.T) {
	for _, dir := range []string{"views", "widget", "theme", "text"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, im := range parsed.Imports {
				path, _ := strconv.Unquote(im.Path.Value)
				for _, bad := range []string{"net", "net/http", "database/sql", "os", "os/exec", "io/ioutil"} {
					if path == bad {
						t.Errorf("%s imports %s", f, path)
					}
				}
			}
		}
	}
}

func TestFilesOfViewsHaveNoLeftovers(t *testing.T) {
	// A screen that is in Tabs and not built would be a nil view.
	r := still(t, newDesk(), 80, 24)
	for _, s := range allScreens {
		if r.screens[s] == nil || r.tabName(s) == "" {
			t.Errorf("screen %s has no view or no name", s)
		}
	}
	if _, err := os.Stat("views/services.go"); err != nil {
		t.Error(err)
	}
}

// Progress is thinned out, and the end of a job comes after all its events.
func TestJobEventsInOrder(t *testing.T) {
	var j jobs
	j.dead = make(chan struct{})
	cmd := j.start(context.Background(), views.JobMsg{ID: "a", Owner: views.ScreenRelease, Title: "job", Run: func(ctx context.Context, emit func(release.Event)) (any, error) {
		for i := range int64(10_000) {
			emit(release.Event{Kind: release.EventProgress, Done: i, Total: 10_000})
		}
		for i := range 300 {
			emit(release.Event{Kind: release.EventStep, Text: fmt.Sprint(i)})
		}
		return "value", nil
	}})
	batch := cmd().(tea.BatchMsg)
	go batch[0]()
	steps, progress := 0, 0
	for next := batch[1]; ; {
		switch m := next().(type) {
		case views.JobEventMsg:
			if m.Event.Kind == release.EventStep {
				if m.Event.Text != fmt.Sprint(steps) {
					t.Fatalf("step %s came at place %d", m.Event.Text, steps)
				}
				steps++
			} else {
				progress++
			}
			next = j.next("a")
			continue
		case views.JobDoneMsg:
			if m.Value != "value" || m.Err != nil {
				t.Errorf("ended with %v, %v", m.Value, m.Err)
			}
		}
		break
	}
	if steps != 300 || progress == 0 || progress > 100 {
		t.Errorf("%d steps and %d progress events came", steps, progress)
	}
	j.end("a")
	if j.running() {
		t.Error("the job still runs")
	}
	j.finish(time.Second)
}

func TestJobPanicBecomesItsError(t *testing.T) {
	var j jobs
	j.dead = make(chan struct{})
	told := make(chan any, 1)
	j.onCrash = func(value any, stack []byte) { told <- value }
	batch := j.start(context.Background(), views.JobMsg{ID: "a", Title: "job", Run: func(context.Context, func(release.Event)) (any, error) { panic("broken") }})().(tea.BatchMsg)
	go batch[0]()
	done, ok := batch[1]().(views.JobDoneMsg)
	if !ok || failure.CodeOf(done.Err) != "crash" || strings.Contains(done.Err.Error(), "goroutine") {
		t.Errorf("got %v", done.Err)
	}
	if v := <-told; v != "broken" {
		t.Errorf("told of %v", v)
	}
}

// thousands fills a desk with n bundles.
func thousands(n int) *desk {
	d := busyDesk()
	for i := range n {
		d.bundles = append(d.bundles, capgo.Bundle{ID: int64(1000 + i), AppID: app, Name: fmt.Sprintf("1.%d.%d", i/100, i%100), SessionKey: "x", KeyID: d.keys[0].ID, ObjectSize: int64(i) * 997, CreatedAt: d.began.Add(-time.Duration(i) * time.Hour), Comment: "a comment that says what changed"})
	}
	return d
}

// BenchmarkFrameBundles is a frame of 200×60 with 10,000 bundles while the
// cursor moves; the goal is under 16 ms.
func BenchmarkFrameBundles(b *testing.B) {
	r := still(b, thousands(10_000), 200, 60)
	visit(r, views.ScreenBundles)
	b.ReportAllocs()
	for b.Loop() {
		r.update(tea.KeyPressMsg{Code: tea.KeyDown})
		_ = r.draw()
	}
}

// BenchmarkFrameDevices is the same with 100,000 devices.
func BenchmarkFrameDevices(b *testing.B) {
	d := busyDesk()
	one := d.devices[0]
	for i := range 100_000 {
		one.DeviceID = fmt.Sprintf("%036d", i)
		d.devices = append(d.devices, one)
	}
	r := still(b, d, 200, 60)
	visit(r, views.ScreenDevices)
	b.ReportAllocs()
	for b.Loop() {
		r.update(tea.KeyPressMsg{Code: tea.KeyDown})
		_ = r.draw()
	}
}

// BenchmarkFrameBoard is the board at its design size.
func BenchmarkFrameBoard(b *testing.B) {
	r := still(b, busyDesk(), 120, 40)
	b.ReportAllocs()
	for b.Loop() {
		_ = r.draw()
	}
}
