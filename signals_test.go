//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
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
	"time"

	"capstan/core/keys"
	"capstan/core/release"
	"capstan/examples"
	"capstan/internal/servertest"
)

// TestSignals ends a release by a signal while it waits for the server in each
// of its phases: it stops at once, with the exit status of that signal and a
// journal that continues.
func TestSignals(t *testing.T) {
	server := servertest.Start(t)
	private, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	binary := program(t)
	phases := []struct{ name, method, path string }{
		{"upload", http.MethodPut, "/capstan/v1/objects/"},
		{"prove", http.MethodGet, "/files/"},
		{"register", http.MethodPost, "/bundle"},
		{"promote", http.MethodPost, "/channel"},
	}
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		for i, phase := range phases {
			app := "com.example." + strings.ReplaceAll(signal.String(), " ", "") + string(rune('a'+i))
			t.Run(phase.name+"_"+strings.ReplaceAll(signal.String(), " ", "_"), func(t *testing.T) {
				t.Parallel()
				g := newGate(t, server.BaseURL, phase.method, phase.path)
				p := person{binary: binary, dir: t.TempDir(), app: app, server: g.url, token: server.Token, key: string(keys.EncodePrivate(private))}
				if err := examples.Unpack(p.dir); err != nil {
					t.Fatal(err)
				}
				p.rename(t)
				var said bytes.Buffer
				process := p.command(t, &said, "release", "--channel", "production", "--create-app", "--public-url", g.url+"/files")
				if err := process.Start(); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- process.Wait() }()
				select {
				case <-g.reached:
				case err := <-ended:
					t.Fatalf("it ended before the signal: %v\n%s", err, said.String())
				}
				if err := process.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				<-ended
				if got := process.ProcessState.ExitCode(); got != status {
					t.Errorf("exit status %d, want %d\n%s", got, status, said.String())
				}
				g.open()
				p.goesOn(t)
			})
		}
	}
	t.Logf("count: signals: 3 signals in %d phases", len(phases))
}

// gate is in front of the server and holds the first call of one kind.
type gate struct {
	url     string
	reached chan struct{}
	open    func()
}

func newGate(t *testing.T, server, method, path string) *gate {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{reached: make(chan struct{}, 100)}
	opened, open := context.WithCancel(context.Background())
	g.open = open
	onward := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && strings.HasPrefix(r.URL.Path, path) && opened.Err() == nil {
			g.reached <- struct{}{}
			select {
			case <-r.Context().Done():
			case <-opened.Done():
			}
			return
		}
		onward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { open(); front.Close() })
	g.url = front.URL
	return g
}

// person is somebody who calls capstan in a project.
type person struct{ binary, dir, app, server, token, key string }

func (p person) command(t *testing.T, said *bytes.Buffer, args ...string) *exec.Cmd {
	t.Helper()
	process := exec.CommandContext(t.Context(), p.binary, args...)
	process.Dir, process.Stdout, process.Stderr = p.dir, said, said
	process.Env = append(os.Environ(), "CAPSTAN_HOME="+filepath.Join(p.dir, "home"), "HOME="+p.dir, "CAPSTAN_SERVER="+p.server, "CAPSTAN_TOKEN="+p.token, "CAPSTAN_PRIVATE_KEY="+p.key, "NO_COLOR=1")
	return process
}

// rename gives the sample app its own id, so that one server holds all.
func (p person) rename(t *testing.T) {
	t.Helper()
	path := filepath.Join(p.dir, "capacitor.config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(`"com.example.harbour"`), []byte(`"`+p.app+`"`))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// goesOn continues the release and holds its journal against the outcome.
func (p person) goesOn(t *testing.T) {
	t.Helper()
	journals, err := release.OpenJournals(filepath.Join(p.dir, "home", "state", "releases"))
	if err != nil {
		t.Fatal(err)
	}
	states, err := journals.List(t.Context())
	if err != nil || len(states) != 1 || states[0].Ended || states[0].Sealed == nil {
		t.Fatalf("the journal: %+v %v", states, err)
	}
	var said bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	process := p.command(t, &said, "release", "--resume", "--json", "--public-url", p.server+"/files")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { <-ctx.Done(); _ = process.Process.Kill() }()
	if err := process.Wait(); err != nil {
		t.Fatalf("continue: %v\n%s", err, said.String())
	}
	d := json.NewDecoder(&said)
	var result release.Result
	for d.More() {
		result = release.Result{}
		if err := d.Decode(&result); err != nil {
			t.Fatal(err)
		}
	}
	if result.App != p.app || result.Channel != "production" {
		t.Errorf("the result: %+v", result)
	}
	states, err = journals.List(t.Context())
	if err != nil || len(states) != 1 || !states[0].Ended || states[0].Promoted == nil {
		t.Errorf("the journal afterwards: %+v %v", states, err)
	}
}

// TestServeSecondSignal ends a server that waits for a request on its way: the
// first TERM stops taking connections and waits, the second ends it at once, and
// the data opens again.
func TestServeSecondSignal(t *testing.T) {
	binary, data := program(t), t.TempDir()
	server, address := startServe(t, binary, data)
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	// The server has begun to read this request when it answers the next one.
	if _, err := io.WriteString(slow, "POST /updates HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(slow).ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q %v", line, err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for { // until it takes no more connections
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		c.Close()
		time.Sleep(10 * time.Millisecond)
	}
	if err := server.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("it did not wait for the request: %v", err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	if got := server.ProcessState.ExitCode(); got != 143 {
		t.Errorf("exit status %d, want 143", got)
	}
	again, _ := startServe(t, binary, data)
	_ = again.Process.Signal(syscall.SIGTERM)
	if err := again.Wait(); err != nil {
		t.Errorf("the server that was started again ended with %v", err)
	}
}

// startServe starts capstan serve and gives its address.
func startServe(t *testing.T, binary, data string) (*exec.Cmd, string) {
	t.Helper()
	c := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", data, "--json")
	c.Env = append(os.Environ(), "CAPSTAN_HOME="+t.TempDir())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	var started struct{ Listening string }
	if err := json.NewDecoder(out).Decode(&started); err != nil {
		t.Fatal(err)
	}
	return c, started.Listening
}
