package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/colorprofile"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/tuitest"
	"capstan/ui/views"
)

// drive runs a script against the console on a desk in 80×24.
func drive(t *testing.T, d func() *desk, set func(*Options, *desk), script func(term *tuitest.Terminal, d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		desk := d()
		o := desk.options()
		if set != nil {
			set(&o, desk)
		}
		term := open(t, o, 80, 24, true)
		term.Wait(time.Second)
		script(term, desk)
		leave(t, term)
	})
}

// A newcomer gets from the first screen to a live release, proven by a
// simulated device, with Enter and one typed confirmation.
func TestFirstRelease(t *testing.T) {
	drive(t, newDesk, func(o *Options, _ *desk) { o.Demo = true }, func(term *tuitest.Terminal, d *desk) {
		shot := func(name string) { tuitest.Golden(t, "first-release/"+name+".txt", term.Screen()) }
		shot("1-welcome")
		term.Press("enter")
		term.Wait(time.Second)
		shot("2-key")
		term.Press("enter")
		term.Wait(time.Second)
		shot("3-key-made")
		term.Press("enter")
		term.Wait(7 * time.Second)
		shot("4-folder")
		term.Press("enter")
		term.Wait(time.Second)
		shot("5-plan")
		term.Press("enter")
		term.Wait(4 * time.Second)
		shot("6-upload")
		term.Until("waits for you", time.Minute)
		shot("7-promote")
		term.Press("enter")
		term.Wait(time.Second)
		term.Type("production")
		shot("8-confirm")
		term.Press("enter")
		term.Wait(3 * time.Second)
		shot("9-live")
		term.Has("1.0.0 is live on production", "took 1.0.0 at its next check")
		term.Press("enter")
		term.Wait(7 * time.Second)
		shot("10-channel")
		term.Has("you promoted 1.0.0")
		if len(d.channels) != 1 || d.channels[0].Version.Name != "1.0.0" {
			t.Errorf("the channel is %+v", d.channels)
		}
	})
}

// toRun gets the release screen of a busy app to the running pipeline.
func toRun(term *tuitest.Terminal) {
	term.Press("2")
	term.Wait(time.Second)
	term.Press("enter")
	term.Wait(time.Second)
	term.Press("enter")
	term.Wait(3 * time.Second)
	term.Has("uploading")
}

// ctrl+c while a job runs asks, with going on chosen beforehand; a second one forces.
func TestCancelDuringUpload(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		toRun(term)
		term.Press("ctrl+c")
		term.Has("Cancel the job?", "▸  Cancel")
		term.Wait(time.Second)
		term.Press("enter") // the default: it goes on
		term.HasNot("Cancel the job?")
		term.Has("uploading")
		term.Press("x")
		term.Wait(time.Second)
		term.Press("y")
		term.Wait(time.Second)
		term.Has("cancelled", "Nothing is live")
		if !term.Running() {
			t.Fatal("the console has ended")
		}
		// Enter tries again.
		term.Press("enter")
		term.Until("waits for you", time.Minute)
	})
}

// The delta is switched with the keys of the plan, and goes with the release.
func TestDeltaSwitch(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("2")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("off: devices fetch the whole bundle")
		term.Press("tab", "tab", "space")
		term.Has("● on: devices fetch only what changed", "space switch it")
		tuitest.Golden(t, "delta.txt", term.Screen())
		term.Press("enter")
		term.Until("waits for you", time.Minute)
		if !d.asked.Delta {
			t.Errorf("asked for %+v", d.asked)
		}
	})
}

func TestCtrlCTwiceForces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := busyDesk()
		term := open(t, d.options(), 80, 24, true)
		term.Wait(time.Second)
		toRun(term)
		term.Press("ctrl+c", "ctrl+c")
		term.Wait(6 * time.Second)
		if term.Running() {
			t.Fatalf("still running:\n%s", term.Screen())
		}
		if err := term.End(); err != nil {
			t.Fatal(err)
		}
		if term.AltScreen() {
			t.Error("the terminal is left on the alternate screen")
		}
	})
}

// A release goes on in the background and calls for attention when it is done.
func TestReleaseInTheBackground(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		toRun(term)
		term.Press("1")
		term.Wait(time.Second)
		term.Has("release 2.5.1 · Upload")
		term.Until("2.5.1 is proven and registered; it waits for you", time.Minute)
		term.Press("2")
		term.Wait(time.Second)
		term.Has("Promote 2.5.1 to production", "310 cannot take it", "cdn.example.net")
		if d.channels[0].Version.Name == "2.5.1" {
			t.Error("it is live without a promotion")
		}
	})
}

// q at home asks while a job runs.
func TestQuitAsksWhileAJobRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := open(t, busyDesk().options(), 80, 24, true)
		term.Wait(time.Second)
		toRun(term)
		term.Press("1")
		term.Wait(time.Second)
		term.Press("q")
		term.Has("Quit while a job runs?")
		term.Wait(time.Second)
		term.Press("n")
		term.HasNot("Quit while a job runs?")
		term.Press("q")
		term.Wait(time.Second)
		term.Press("y")
		term.Wait(2 * time.Second)
		if term.Running() {
			t.Fatalf("still running:\n%s", term.Screen())
		}
		if err := term.End(); err != nil {
			t.Fatal(err)
		}
	})
}

// A failed stage shows what, why and what to do; Enter continues.
func TestReleaseFails(t *testing.T) {
	drive(t, busyDesk, func(_ *Options, d *desk) {
		d.prepare = func(ctx context.Context, emit func(release.Event)) error {
			emit(release.Event{Stage: release.StagePreflight, Kind: release.EventStarted})
			emit(release.Event{Stage: release.StagePreflight, Kind: release.EventFinished, Text: "214 files"})
			emit(release.Event{Stage: release.StageUpload, Kind: release.EventStarted})
			return failure.New(failure.Unavailable, "storage_unavailable", "upload the object", "the storage answered 503", "try again in a minute; what was sealed is kept")
		}
	}, func(term *tuitest.Terminal, d *desk) {
		term.Press("2")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("× Upload", "the storage answered 503", "try again in a minute", "storage_unavailable", "continue where it stopped")
		d.prepare = nil
		term.Press("enter")
		term.Until("waits for you", time.Minute)
	})
}

// A release that stopped in an earlier run stands on the board, and R continues it.
func TestResumeFromTheBoard(t *testing.T) {
	drive(t, busyDesk, func(_ *Options, d *desk) {
		d.open = []views.Unfinished{{ID: "20260101-1", AppID: app, Version: "2.5.1", Channel: "beta", Stage: release.StageUpload, At: d.began.Add(-time.Hour)}}
	}, func(term *tuitest.Terminal, d *desk) {
		term.Has("Release 2.5.1 stopped at “Upload” 1 h ago; R continues it")
		term.Press("R")
		term.Wait(2 * time.Second)
		term.Has("Releasing 2.5.1 for beta")
		term.Until("waits for you", time.Minute)
		if d.resumed != "20260101-1" {
			t.Errorf("the release that was resumed is %q", d.resumed)
		}
	})
}

// A folder that is no build says why, and Enter does not go on.
func TestFolderThatIsNoBuild(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("2")
		term.Wait(time.Second)
		for range 4 {
			term.Press("backspace")
		}
		term.Type("src")
		term.Wait(time.Second)
		term.Has("/home/maria/notes/src", "this folder is not a web build", "there is no index.html in it", "choose the folder that the build writes")
		term.Press("enter")
		term.HasNot("Version and channel")
		term.Press("down") // the folder released before
		term.Wait(time.Second)
		term.Press("esc")
	})
}

// Keys typed into a field do not act as commands.
func TestTextFieldsCaptureKeys(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("2")
		term.Wait(time.Second)
		term.Type("q?:/T1")
		term.Wait(time.Second)
		term.Has("distq?:/T1", "Choose the build folder")
		term.Paste("\x1b[31mpasted")
		term.Wait(time.Second)
		term.Has("pasted")
	})
}

// The support desk: find a device, read the verdict, copy it.
func TestSupportJourney(t *testing.T) {
	drive(t, busyDesk, func(o *Options, _ *desk) { o.ReadOnly = true }, func(term *tuitest.Terminal, d *desk) {
		term.Has("READ-ONLY")
		term.Press("4")
		term.Wait(time.Second)
		term.Press("/")
		term.Type("customer-1221")
		term.Has("1 of 240")
		term.Press("enter") // one hit: it opens
		term.Wait(time.Second)
		term.Has("This iOS device runs 2.4.3 (native 1.9.0).", "below the bundle's minimum 2.0.0", "Why, check by check", "× native version", "Last events")
		term.Press("y")
		term.Wait(time.Second)
		term.Has("verdict copied")
		if !strings.Contains(term.Raw(), "\x1b]52;c;") {
			t.Error("nothing was put on the clipboard")
		}
		term.Press("O")
		term.Has("read-only")
		term.Press("esc")
		term.Wait(time.Second)
		term.Has("1 of 240")
		term.Press("esc")
		term.HasNot("1 of 240")
		// An id that is not in the list is asked for.
		term.Press("/")
		term.Type("00000000-none")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("no device has 00000000-none in its id or custom id")
	})
}

// A customer beyond the list is found by the custom id, also with two devices.
func TestDeviceBeyondTheList(t *testing.T) {
	drive(t, func() *desk {
		d := busyDesk()
		for i, id := range []string{"00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"} {
			d.hidden = append(d.hidden, capgo.Device{DeviceID: id, AppID: app, CustomID: "far away", Platform: []string{"ios", "android"}[i], VersionName: "2.4.3", VersionBuild: "2.1.0", UpdatedAt: d.began})
		}
		return d
	}, func(o *Options, _ *desk) { o.Start = views.ScreenDevices }, func(term *tuitest.Terminal, d *desk) {
		term.Press("/")
		term.Type("far away")
		term.Has("0 of 240", "Enter asks the server for that id,")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Which device of far away?", "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b")
		term.Press("down", "enter")
		term.Wait(time.Second)
		term.Has("This Android device runs 2.4.3")
	})
}

// The log follows, stands still, is searched, and has the whole screen.
func TestLogIsWatched(t *testing.T) {
	drive(t, busyDesk, func(o *Options, _ *desk) { o.Start = views.ScreenServer }, func(term *tuitest.Terminal, d *desk) {
		say := func(lines ...string) {
			d.mu.Lock()
			d.log = append(d.log, lines...)
			d.mu.Unlock()
			term.Wait(2 * time.Second)
		}
		term.Has("● follows", "10:32:01 POST /stats 200 set 2.5.0")
		say("10:32:02 ERROR disk is full " + strings.Repeat("and what follows is long ", 6) + "to its end")
		term.Has("10:32:02 ERROR disk is full")
		term.HasNot("to its end")
		term.Press("l")
		term.Has("Log · 5 lines", "to its end")
		tuitest.Golden(t, "log.txt", term.Screen())
		term.Press("p")
		say("10:32:03 INFO one", "10:32:04 INFO two")
		term.Has("‖ paused · 2 new below")
		term.HasNot("INFO two")
		term.Press("down")
		term.Has("INFO one")
		term.Press("p")
		term.Has("● follows", "INFO two")
		term.Press("/")
		term.Type("post")
		term.Has("3 of 7")
		term.Press("enter")
		term.HasNot("INFO two", "disk is full")
		say("10:32:05 POST /updates 200 offered 2.5.0")
		term.Has("10:32:05 POST")
		term.Press("esc")
		term.Has("INFO two")
		for i := range 300 {
			d.mu.Lock()
			d.log = append(d.log, fmt.Sprintf("10:33:00 INFO line %d", i))
			d.mu.Unlock()
			if i%100 == 99 {
				term.Wait(2 * time.Second)
			}
		}
		term.Has("Log · 308 lines", "INFO line 299")
		term.Press("g")
		term.Has("10:31:58 POST /updates 200 0.8 ms up_to_date", "‖ paused")
		term.Press("G")
		term.Has("● follows", "INFO line 299")
		term.Press("esc")
		term.Has("Address")
	})
}

// Back to the previous version: what will happen, the typed name, and undo.
func TestRollbackAndUndo(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("B")
		term.Wait(time.Second)
		term.Has("Take production back to 2.4.2", "live now: 2.4.3 → 2.4.2", "12,480 devices", "devices on 2.4.3 move back", "To confirm, type production")
		term.Press("enter")
		term.Has("that is not it")
		term.Paste("production")
		term.Press("enter")
		term.Has("that is not it")
		term.Type("production")
		term.Press("enter")
		term.Wait(time.Second)
		if got := d.channels[0].Version.Name; got != "2.4.2" {
			t.Fatalf("live is %s", got)
		}
		term.Has("2.4.2 is live on production")
		term.Press("z")
		term.Wait(time.Second)
		term.Has("Take production back to 2.4.3")
		term.Type("production")
		term.Press("enter")
		term.Wait(time.Second)
		if got := d.channels[0].Version.Name; got != "2.4.3" {
			t.Errorf("undo left %s live", got)
		}
	})
}

// Somebody else moved the channel: the change is refused and says so.
func TestChannelMovedMeanwhile(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("down", "enter") // beta asks with a dialog, not by name
		term.Wait(time.Second)
		term.Press("B")
		term.Wait(time.Second)
		d.mu.Lock()
		d.channels[1].Revision++
		d.mu.Unlock()
		term.Press("y")
		term.Wait(time.Second)
		term.Has("somebody changed the channel meanwhile", "look at it again")
		if got := d.channels[1].Version.Name; got != "2.5.0" {
			t.Errorf("beta moved to %s", got)
		}
	})
}

// The rollout verbs ask and act.
func TestRolloutVerbs(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("S") // resume: it is paused
		term.Wait(time.Second)
		term.Has("Devices get 2.5.0 again")
		term.Type("production")
		term.Press("enter")
		term.Wait(time.Second)
		if d.channels[0].RolloutPausedAt != nil {
			t.Fatal("still paused")
		}
		term.Press("S")
		term.Wait(time.Second)
		term.Has("No further device gets 2.5.0")
		term.Press("esc")
		term.Press("A")
		term.Wait(time.Second)
		term.Has("It had 25 % of the devices")
		term.Type("production")
		term.Press("enter")
		term.Wait(time.Second)
		if d.channels[0].Version.Name != "2.5.0" || d.channels[0].RolloutVersionInfo != nil {
			t.Errorf("the rollout was not given to everybody: %+v", d.channels[0])
		}
	})
}

func TestRulesInPlainWords(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("tab")
		term.Has("Emulators", "get nothing", "minor and patch only")
		for range 7 {
			term.Press("down")
		}
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("get nothing  →  get updates")
		term.Type("production")
		term.Press("enter")
		term.Wait(time.Second)
		if !d.channels[0].AllowEmulator {
			t.Error("emulators are still turned away")
		}
	})
}

func TestProbeShowsTheDevicesSteps(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("t")
		term.Wait(time.Second)
		term.Has("A simulated device on production", "✓ set: the app starts with 2.4.3", "it took the update (plugin 8.51.23)")
		term.Press("esc")
		term.HasNot("A simulated device")
	})
}

func TestDeleteAndCleanUp(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press("3")
		term.Wait(time.Second)
		term.Press("D") // 2.5.0 is live on beta
		term.Has("it is live on beta")
		term.Press("C")
		term.Wait(time.Second)
		term.Has("bundles", "are deleted", "cannot be undone")
		term.Press("y")
		term.Wait(time.Second)
		if len(d.bundles) != 12 {
			t.Errorf("%d bundles left, want 12: two of the oldest four run on devices", len(d.bundles))
		}
	})
}

func TestPaletteHelpFilterThemeLanguage(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Press(":")
		term.Type("channel be")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Board › beta")
		term.Press("?")
		term.Has("On this screen: beta", "Point this channel at another version")
		term.Press("esc")
		term.Press("esc")
		term.Wait(time.Second)
		term.Press("/")
		term.Type("int")
		term.Has("1 of 3")
		term.Press("esc")
		term.HasNot("1 of 3")
		term.Press("L")
		term.Wait(time.Second)
		term.Has("Tablero", "publicar", "12.480 dispositivos")
		term.Press("L")
		term.Wait(time.Second)
		before := term.SVG(tuitest.DarkPage)
		term.Press("T", "T") // auto, dark, light
		term.Wait(8 * time.Second)
		if term.SVG(tuitest.DarkPage) == before {
			t.Error("the light theme looks like the dark one")
		}
	})
}

// Old data stays on the screen with its age when the server goes away.
func TestServerGoesAwayAndComesBack(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Has("2.4.3")
		d.mu.Lock()
		d.down = failure.New(failure.Unavailable, "unavailable", "read the channels", "the server does not answer", "is it running?")
		d.mu.Unlock()
		term.Wait(12 * time.Second)
		term.Has("offline", "the server does not answer", "2.4.3")
		d.mu.Lock()
		d.down = nil
		d.mu.Unlock()
		term.Wait(12 * time.Second)
		term.HasNot("offline")
	})
}

func TestTooSmallAndBack(t *testing.T) {
	drive(t, busyDesk, nil, func(term *tuitest.Terminal, d *desk) {
		term.Resize(35, 8)
		term.Has("terminal too small", "35×8, need 60×16")
		term.Press("q") // nothing that is not seen happens
		if !term.Running() {
			t.Fatal("q ended the console behind the message")
		}
		term.Resize(1, 1)
		term.Resize(120, 40)
		term.Wait(time.Second)
		term.Has("Adoption of 2.4.3 on production")
	})
}

// brittle is a registry that panics when it is asked.
type brittle struct{ *desk }

func (brittle) Summary(context.Context, string) (capgo.Summary, error) {
	time.Sleep(time.Second)
	panic("boom")
}

// A panic in a command, in Update or in drawing ends the console in order: the
// terminal is restored, the crash is told, and no stack is printed.
func TestPanicRestoresTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := busyDesk()
		o := d.options()
		o.Services.Registry = brittle{d}
		told := 0
		o.OnCrash = func(any, []byte) { told++ }
		term := open(t, o, 80, 24, true)
		term.Wait(2 * time.Second)
		err := term.End()
		if failure.CodeOf(err) != "crash" || failure.ExitStatus(err) != 70 {
			t.Errorf("ended with %v", err)
		}
		if told != 1 {
			t.Errorf("the crash was told %d times", told)
		}
		if term.AltScreen() || strings.Contains(term.Raw(), "goroutine ") {
			t.Error("the terminal is not restored, or a stack was printed")
		}
	})
}

// A signal ends the context: the jobs are cancelled, the terminal restored, and the cause returned.
func TestSignalRestoresTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangup := errors.New("hangup")
		d := busyDesk()
		o := d.options()
		ctx, cancel := context.WithCancelCause(t.Context())
		o.Width, o.Height = 80, 24
		profile := colorprofile.TrueColor
		o.Profile, o.Environment = &profile, []string{"TERM=xterm-256color"}
		term := tuitest.Start(t, 80, 24, true, func(in io.Reader, out io.Writer) error {
			o.Input, o.Output = in, out
			return Run(ctx, o)
		})
		term.Wait(time.Second)
		toRun(term)
		cancel(hangup)
		if err := term.End(); !errors.Is(err, hangup) {
			t.Errorf("ended with %v", err)
		}
		if term.AltScreen() {
			t.Error("the terminal is left on the alternate screen")
		}
	})
}

// The line mode takes the same way with numbers and words.
func TestLineMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		o := d.options()
		o.Accessible = true
		var out strings.Builder
		answers := []string{"1", "2", "nonsense", "1", "yes", "/home/maria/notes/src", "", "", "one", "1.0.0", "production", "1", "3", "1", "no", "6", "", "q"}
		o.Input, o.Output = strings.NewReader(strings.Join(answers, "\n")+"\n"), &out
		if err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		tuitest.Golden(t, "lines.txt", out.String())
		if strings.Contains(out.String(), "\x1b") {
			t.Error("line mode writes escapes")
		}
		if len(d.channels) != 1 || d.channels[0].Version.Name != "1.0.0" {
			t.Errorf("nothing is live: %+v", d.channels)
		}
	})
}

func TestLineModeEndsWithItsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := busyDesk().options()
		o.Accessible, o.Lang = true, "es"
		var out strings.Builder
		o.Input, o.Output = strings.NewReader("1\n4\n3faa1e9f-4b1d-4c0e-9f03-00000061ecf6\n3\n1\nnope\n"), &out
		if err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		tuitest.Golden(t, "lines-es.txt", out.String())
	})
}

var _ views.Registry = brittle{}

// The setup leads from nothing to a proven backup, sees by itself what is done
// outside, and starts where it stood after being left.
func TestSetup(t *testing.T) {
	drive(t, newDesk, func(o *Options, d *desk) { asking(o, d); o.Start = views.ScreenSetup }, func(term *tuitest.Terminal, d *desk) {
		shot := func(name string) { tuitest.Golden(t, "setup/"+name+".txt", term.Screen()) }
		shot("1-start")
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("enter") // the keyring
		term.Wait(time.Second)
		shot("2-config")
		term.Press("1", ":")
		term.Type("setup")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("+  \"publicKey\"")
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("y")
		term.Wait(time.Second)
		shot("3-sync")
		term.Has("run npx cap sync; this line notices it")
		d.mu.Lock()
		d.synced = true
		d.mu.Unlock()
		term.Wait(8 * time.Second) // somebody ran it
		shot("4-backup")
		term.Has("they carry what the configuration says", "back the key up")
		term.Press("enter")
		term.Wait(time.Second)
		term.Press("enter")
		term.Wait(time.Second)
		term.Type(spoken)
		term.Press("enter")
		term.Type(spoken)
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Prove the backup now?")
		term.Press("esc") // later
		term.Has("prove the backup: open it once")
		term.Press("enter", "enter")
		term.Wait(time.Second)
		term.Type(spoken)
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("The backup works")
		term.Press("esc")
		term.Wait(time.Second)
		shot("5-release")
		term.Press("enter")
		term.Wait(time.Second)
		term.Has("Release", "dist")
	})
}

// places is a Profiles that remembers what it was given.
type places struct {
	findings []views.Finding
	tried    views.Profile
	saved    views.Profile
	mine     bool
}

func (p *places) Drivers() []string {
	return []string{"azblob", "exec", "file", "http+put", "https+put", "s3", "sftp"}
}
func (p *places) Try(_ context.Context, profile views.Profile) ([]views.Finding, error) {
	p.tried = profile
	return p.findings, nil
}
func (p *places) Save(_ context.Context, profile views.Profile, mine bool) (string, error) {
	p.saved, p.mine = profile, mine
	return "capstan.toml", nil
}

// Another profile is chosen in the settings: the console ends and says which one
// it is to be opened on.
func TestSwitchProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, chosen := busyDesk(), ""
		o := d.options()
		o.Start, o.SwitchProfile = views.ScreenSettings, func(name string) { chosen = name }
		term := open(t, o, 80, 24, true)
		term.Wait(time.Second)
		term.Has("opens the console on it")
		term.Press("down", "down", "enter")
		term.Has("the console is on it already")
		term.Press("down")
		term.Has("use it")
		term.Press("enter")
		if err := term.End(); err != nil || chosen != "local" {
			t.Errorf("chosen %q, %v", chosen, err)
		}
	})
}

// A profile is set up step by step with every storage's own address form, tried
// out, and saved only when devices could use it.
func TestNewProfile(t *testing.T) {
	box := &places{findings: []views.Finding{{Level: "ok", Text: "capstan 0.3.0"}}}
	drive(t, busyDesk, func(o *Options, _ *desk) { o.Start, o.Services.Profiles = views.ScreenSettings, box }, func(term *tuitest.Terminal, d *desk) {
		answer := func(text string, clear int) {
			for range clear {
				term.Press("backspace")
			}
			term.Type(text)
			term.Press("enter")
			term.Wait(100 * time.Millisecond)
		}
		until := func() { // the driver's list
			term.Press("N")
			answer("work", 0)
			term.Has("letters, digits, dots and dashes, and none that exists")
			answer("-eu", 0)
			term.Has("Which server?")
			answer("", 0)
			term.Has("Where are the bundles kept?")
		}
		until()
		tuitest.Golden(t, "profile.txt", term.Screen())
		term.Has("not in this build") // Google, without its tag
		forms := map[int]string{1: "file:///srv/www", 2: "s3://bucket", 3: "https+put://", 4: "sftp://deploy@", 5: "azblob://", 7: "exec:///"}
		for at := range 8 {
			form, built := forms[at]
			if !built {
				continue
			}
			term.Press("home")
			for range at {
				term.Press("down")
			}
			term.Press("enter")
			term.Has("The address of the storage", form)
			answer("", 200)
			term.Has("it begins with")
			term.Press("esc")
			until()
		}
		term.Press("home", "down", "down", "enter")
		answer("", 0)
		answer("releases.example.com", 0)
		answer("", 0) // production
		term.Wait(time.Second)
		want := views.Profile{Name: "work-eu", Server: "https://updates.example.com", Storage: "s3://bucket/prefix?endpoint=s3.example.com&region=eu-central-1", PublicURL: "https://releases.example.com", Channel: "production"}
		if box.tried != want {
			t.Fatalf("tried %+v", box.tried)
		}
		term.Has("Keep work-eu where?", "capstan 0.3.0")
		term.Press("enter")
		term.Wait(time.Second)
		if box.saved != want || box.mine {
			t.Errorf("saved %+v", box.saved)
		}
		term.Has("profile work-eu is in capstan.toml")

		box.saved = views.Profile{}
		box.findings = append(box.findings, views.Finding{Level: "block", Code: "public_forbidden", Text: "the storage answers 403 without credentials", Hint: "make the objects public"})
		until()
		term.Press("enter") // the server's own
		answer("", 0)
		term.Wait(time.Second)
		term.Has("the storage answers 403", "make the objects public", "nothing was saved")
		term.Press("esc")
		if box.saved.Name != "" {
			t.Errorf("saved %+v", box.saved)
		}

		box.findings = box.findings[:1]
		until()
		term.Press("end", "enter")
		answer("", 0)
		answer("cdn.example.com", 0)
		answer("", 0)
		term.Wait(time.Second)
		term.Has("projects may not run programs")
		term.Press("enter")
		term.Wait(time.Second)
		if !box.mine || box.saved.Storage != "exec:///home/me/rclone.toml" {
			t.Errorf("saved %+v, mine %v", box.saved, box.mine)
		}
	})
}
