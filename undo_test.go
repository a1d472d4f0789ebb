//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"capstan/core/keys"
	"capstan/core/release"
	"capstan/examples"
	"capstan/internal/servertest"
)

// TestUndo stops releases on purpose at places where something has changed, runs
// the commands that they print with a shell, and finds everything as it was.
func TestUndo(t *testing.T) {
	server := servertest.Start(t)
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	binary := program(t)
	stops := []struct {
		name, method, path string
		passes             bool // the call arrives, and its answer is held
		channel            string
		leaves             []string
	}{
		{"the object was sent", http.MethodPut, "/capstan/v1/objects/", true, "production", []string{"left_journal", "left_object"}},
		{"the object is proven", http.MethodPost, "/bundle", false, "production", []string{"left_journal", "left_object"}},
		{"registered, the answer lost", http.MethodPost, "/bundle", true, "production", []string{"left_journal", "left_bundle", "left_object"}},
		{"registered", http.MethodPost, "/channel", false, "production", []string{"left_journal", "left_bundle", "left_object"}},
		{"promoted, the answer lost", http.MethodPost, "/channel", true, "production", []string{"left_journal", "left_channel", "left_bundle", "left_object"}},
		{"promoted", http.MethodPost, "/updates", false, "production", []string{"left_journal", "left_channel", "left_bundle", "left_object"}},
		{"promoted to a new channel", http.MethodPost, "/updates", false, "brand new's", []string{"left_journal", "left_channel", "left_bundle", "left_object"}},
		{"promoted to a channel without a bundle", http.MethodPost, "/updates", false, "empty", []string{"left_journal", "left_channel", "left_bundle", "left_object"}},
	}
	for i, stop := range stops {
		for _, asJSON := range []bool{false, true} {
			if asJSON != (i%2 == 1) && os.Getenv("CAPSTAN_LONG") != "1" {
				continue
			}
			name := stop.name
			if asJSON {
				name += ", in JSON"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				app := "com.example.undo" + string(rune('a'+i)) + map[bool]string{true: "json", false: "text"}[asJSON]
				p := person{binary: binary, dir: t.TempDir(), app: app, server: server.BaseURL, token: server.Token, key: string(keys.EncodePrivate(private))}
				if err := examples.Unpack(p.dir); err != nil {
					t.Fatal(err)
				}
				p.rename(t)
				p.runs(t, "release", "--channel", "production", "--create-app")
				p.runs(t, "channel", "create", "empty")
				before := p.world(t, server.DataDir)

				h := newHold(t, server.BaseURL, stop.method, stop.path, stop.passes)
				p.server = h.url
				args := []string{"release", "--bundle", "1.1.0", "--channel", stop.channel}
				if asJSON {
					args = append(args, "--json")
				}
				out, said := p.interrupted(t, h, args...)
				if during := p.world(t, server.DataDir); len(stop.leaves) > 1 && during == before {
					t.Fatal("nothing was left behind: there is nothing to test")
				}

				codes, script := printedUndo(t, asJSON, out, said)
				if asJSON && strings.Join(codes, " ") != strings.Join(stop.leaves, " ") {
					t.Errorf("left behind are %v, want %v", codes, stop.leaves)
				}
				if n := strings.Count(script, "\n"); n != len(stop.leaves) {
					t.Errorf("%d commands, want %d:\n%s\n%s", n, len(stop.leaves), script, said)
				}
				p.shell(t, script)
				if after := p.world(t, server.DataDir); after != before {
					t.Errorf("afterwards there is\n%s\nbefore there was\n%s\nthe commands were\n%s", after, before, script)
				}
				journals, err := release.OpenJournals(filepath.Join(p.dir, "home", "state", "releases"))
				if err != nil {
					t.Fatal(err)
				}
				if state, err := journals.Read(""); err == nil {
					t.Errorf("release %s still waits to be continued", state.ID)
				}
			})
		}
	}
	t.Logf("count: undo: %d stops, in text and in JSON", len(stops))
}

// TestUndoNewApp stops releases that make their app, and their commands leave a
// server that never heard of it.
func TestUndoNewApp(t *testing.T) {
	server := servertest.Start(t)
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	binary := program(t)
	for i, stop := range []struct {
		name, method, path string
		passes             bool
		leaves             []string
	}{
		{"made, the answer lost", http.MethodPost, "/app", true, []string{"left_journal", "left_app"}},
		{"the object was sent", http.MethodPut, "/capstan/v1/objects/", true, []string{"left_journal", "left_object", "left_app"}},
		{"promoted, a device asked", http.MethodPost, "/updates", true, []string{"left_journal", "left_channel", "left_bundle", "left_object", "left_app"}},
		{"not made", http.MethodPost, "/app", false, nil},
	} {
		t.Run(stop.name, func(t *testing.T) {
			t.Parallel()
			h := newHold(t, server.BaseURL, stop.method, stop.path, stop.passes)
			p := person{binary: binary, dir: t.TempDir(), app: "com.example.newapp" + string(rune('a'+i)), server: h.url, token: server.Token, key: string(keys.EncodePrivate(private))}
			if err := examples.Unpack(p.dir); err != nil {
				t.Fatal(err)
			}
			p.rename(t)
			out, said := p.interrupted(t, h, "release", "--channel", "production", "--create-app", "--json")
			codes, script := printedUndo(t, true, out, said)
			if strings.Join(codes, " ") != strings.Join(stop.leaves, " ") {
				t.Errorf("left behind are %v, want %v\n%s", codes, stop.leaves, said)
			}
			p.shell(t, script)
			if apps := p.runs(t, "app", "list", "--json"); strings.Contains(apps, p.app) {
				t.Errorf("afterwards there is %s", apps)
			}
			err := filepath.WalkDir(filepath.Join(server.DataDir, "objects", p.app), func(path string, entry os.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					t.Errorf("afterwards there is %s", path)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// interrupted runs a command until h has it, presses Ctrl+C, and gives what it printed.
func (p person) interrupted(t *testing.T, h *hold, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	process := p.command(t, &said, args...)
	process.Stdout = &out
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case <-h.reached:
	case err := <-ended:
		t.Fatalf("it ended before it was stopped: %v\n%s%s", err, out.String(), said.String())
	}
	_ = process.Process.Signal(syscall.SIGINT)
	<-ended
	if status := process.ProcessState.ExitCode(); status != 130 {
		t.Errorf("exit status %d\n%s", status, said.String())
	}
	return out.String(), said.String()
}

// shell runs commands in the project's folder, as somebody who pastes them.
func (p person) shell(t *testing.T, script string) {
	t.Helper()
	shell := exec.CommandContext(t.Context(), "sh", "-ec", script)
	shell.Dir, shell.Env = p.dir, append(p.command(t, &bytes.Buffer{}).Env, "PATH="+os.Getenv("PATH"))
	if text, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, text)
	}
}

// printedUndo gives the codes and the commands, a line each, of a release that
// was stopped.
func printedUndo(t *testing.T, asJSON bool, stdout, stderr string) (codes []string, script string) {
	t.Helper()
	if !asJSON {
		for line := range strings.Lines(stderr) {
			if command, ok := strings.CutPrefix(line, "  capstan "); ok {
				script += "capstan " + command
			}
		}
		return nil, script
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last struct{ Undo []release.Undo }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for _, u := range last.Undo {
		codes = append(codes, u.Code)
		script += u.Shell() + "\n"
	}
	return codes, script
}

// runs runs a command that has to succeed and gives its stdout.
func (p person) runs(t *testing.T, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	process := p.command(t, &said, args...)
	process.Stdout = &out
	if err := process.Run(); err != nil {
		t.Fatalf("capstan %s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
	return out.String()
}

// world is what others see of the app: the channels with what they serve, the
// bundles, and the objects in the server's folder.
func (p person) world(t *testing.T, data string) string {
	t.Helper()
	text := ""
	for _, args := range [][]string{{"channel", "list", "--json"}, {"bundle", "list", "--json"}} {
		var rows []map[string]any
		out := p.runs(t, args...)
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		for _, row := range rows {
			version, _ := row["version"].(map[string]any)
			line, err := json.Marshal([]any{row["name"], row["public"], version["name"]})
			if err != nil {
				t.Fatal(err)
			}
			text += args[0] + " " + string(line) + "\n"
		}
	}
	objects := 0
	err := filepath.WalkDir(filepath.Join(data, "objects", p.app), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			objects++
			text += "object " + filepath.Base(path) + "\n"
		}
		return err
	})
	if err != nil || objects == 0 {
		t.Fatalf("%d objects, %v", objects, err)
	}
	return text
}

// hold stands before a server and holds a call of one kind, before it arrives or
// with its answer, until the client goes away; and all later ones of that kind
// pass.
type hold struct {
	url     string
	reached chan struct{}
}

func newHold(t *testing.T, server, method, path string, passes bool) *hold {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	h := &hold{reached: make(chan struct{})}
	held, over := make(chan struct{}, 1), make(chan struct{})
	onward := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && strings.HasPrefix(r.URL.Path, path) {
			select {
			case held <- struct{}{}:
				if passes {
					onward.ServeHTTP(httptest.NewRecorder(), r)
				}
				close(h.reached)
				<-over // the client goes away by itself
				return
			default:
			}
		}
		onward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { close(over); front.Close() })
	h.url = front.URL
	return h
}

// TestQuitPrintsTheUndoPlan leaves the console while a release registers its
// bundle: the terminal then has the commands that undo it, and they do.
func TestQuitPrintsTheUndoPlan(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	server := servertest.Start(t)
	secret := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(secret, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", secret)
	p := person{binary: program(t), dir: t.TempDir(), app: "com.example.quit", server: server.BaseURL, token: server.Token}
	if err := examples.Unpack(p.dir); err != nil {
		t.Fatal(err)
	}
	p.rename(t)
	p.runs(t, "key", "create", "--store", "file")
	p.runs(t, "release", "--channel", "production", "--create-app")
	if err := examples.SetVersion(p.dir, "1.1.0"); err != nil {
		t.Fatal(err)
	}
	before := p.world(t, server.DataDir)
	h := newHold(t, server.BaseURL, http.MethodPost, "/bundle", true)
	env := []string{"HOME=" + p.dir, "CAPSTAN_HOME=" + filepath.Join(p.dir, "home"), "CAPSTAN_SERVER=" + h.url, "CAPSTAN_TOKEN=" + p.token, "LANG=en_US.UTF-8", "CAPSTAN_PASSPHRASE_FILE=" + secret, "DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent"}
	term := openTerminal(t, 160, 45, env, "cd "+quote(p.dir)+"; "+p.binary)
	term.await("● 1.0.0")
	term.keys("U")
	term.await("Choose the build folder", "notifyAppReady is called")
	term.keys("Enter")
	term.await("Version and channel", "1.1.0")
	term.keys("Enter")
	term.await("Register")
	<-h.reached
	term.keys("C-c")
	term.await("Cancel the job?")
	term.keys("C-c") // twice in a row: it is meant
	screen := term.await("to undo it, in this order", "exit 0")
	_, script := printedUndo(t, false, "", screen)
	if strings.Count(script, "\n") != 3 {
		t.Fatalf("the commands are\n%s\nof\n%s", script, screen)
	}
	var said bytes.Buffer
	shell := exec.CommandContext(t.Context(), "sh", "-ec", script)
	shell.Dir, shell.Env = p.dir, p.command(t, &said).Env
	if text, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, text)
	}
	if after := p.world(t, server.DataDir); after != before {
		t.Errorf("afterwards there is\n%s\nbefore there was\n%s", after, before)
	}
}
