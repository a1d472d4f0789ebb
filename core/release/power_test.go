//go:build linux

package release_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"capstan/internal/fault/power"
	"capstan/internal/peers"
	"capstan/internal/servertest"
	"capstan/server"
)

// moments stands before a server, at an address that stays when the server is
// exchanged, and keeps a copy of its data after every call that changes it: what
// it had when the power failed on another machine.
type moments struct {
	url, dir string
	mu       sync.Mutex
	to       *servertest.Server
	kept     int // copies so far: 0 is the server before the release
	keeping  bool
}

func newMoments(t *testing.T) *moments {
	m := &moments{dir: t.TempDir()}
	m.url = newLoopback(t, func(w http.ResponseWriter, r *http.Request) {
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead && r.URL.Path != "/updates" && r.URL.Path != "/stats"
		if changes { // one at a time, so that a copy is of one moment
			m.mu.Lock()
			defer m.mu.Unlock()
		}
		proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			to, _ := url.Parse(m.to.BaseURL)
			p.SetURL(to)
		}}
		proxy.ModifyResponse = func(answer *http.Response) error {
			if changes && m.keeping {
				if err := m.keep(); err != nil {
					return err
				}
			}
			if changes {
				answer.Header.Set(momentHeader, strconv.Itoa(m.kept))
			}
			return nil
		}
		proxy.ServeHTTP(w, r)
	})
	return m
}

func (m *moments) copy(n int) string { return filepath.Join(m.dir, strconv.Itoa(n)) }

// keep copies the server's data. Nothing else writes meanwhile but the flush of
// device rows, and a database that is cut in the middle of that starts as well.
func (m *moments) keep() error {
	m.kept++
	return os.CopyFS(m.copy(m.kept), os.DirFS(m.to.DataDir))
}

// start puts a server behind the address.
func (m *moments) start(t *testing.T, dir string) {
	m.to = servertest.Start(t, func(c *server.Config) { c.DataDir, c.PublicURL = dir, m.url })
}

// TestReleasePowerLoss cuts the power of the machine that releases at the moments
// of a recorded release: with what was not synced there in full, in part, torn or
// not at all. The server is another machine and has what it had then, and where a
// call was on its way, with that call done and not done. The release is continued
// from each image, and the world has to be as if nothing had happened.
func TestReleasePowerLoss(t *testing.T) {
	strace := peers.Program(t, "strace", "apt-get install strace")
	for _, delta := range []bool{false, true} {
		t.Run(map[bool]string{false: "whole", true: "delta"}[delta], func(t *testing.T) { losePower(t, strace, delta) })
	}
}

func losePower(t *testing.T, strace string, delta bool) {
	m := newMoments(t)
	m.start(t, t.TempDir())
	y := newYard(t)
	v := y.victim(t, "com.example.power", "1.0.0")
	v.Server, v.Token, v.Plan.UpdateURL, v.Plan.Delta = m.url, m.to.Token, m.url+"/updates", delta
	m.kept = -1
	if err := m.keep(); err != nil {
		t.Fatal(err)
	}
	m.keeping = true
	trace := recordRelease(t, strace, v)
	m.keeping = false
	if m.kept < 3 {
		t.Fatalf("the release changed the server %d times", m.kept)
	}

	count := 15
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
		count = trace.Steps() * len(power.Kinds())
	case peers.Required():
		count = 60
	}
	const seed = 7
	kinds, on := map[string]int{}, 0
	err := trace.Images(count, seed, func(i power.Image) error {
		kinds[i.Kind]++
		moment, underWay := serverAt(i.Said)
		if underWay > 0 {
			on++
		}
		for n := moment; n <= min(moment+underWay, m.kept); n++ {
			t.Run(fmt.Sprintf("step %d, %s, server %d", i.Step, i.Kind, n), func(t *testing.T) {
				lost := v
				lost.State = t.TempDir()
				if err := i.Write(lost.State); err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(m.copy(n))); err != nil {
					t.Fatal(err)
				}
				m.start(t, dir)
				lost.goOn(t)
				lost.check(t)
			})
		}
		if t.Failed() {
			return fmt.Errorf("an image at step %d of %d, %s, seed %d", i.Step, trace.Steps(), i.Kind, seed)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("count: %d images of %d steps, %d of them with a call on its way, %d states of the server, %v", count, trace.Steps(), on, m.kept+1, kinds)
}

// recordRelease runs a release in a process of its own.
func recordRelease(t *testing.T, strace string, v victim) *power.Trace {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "victim.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	trace, err := power.Record(strace, v.State, []string{"CAPSTAN_TEST_VICTIM=" + path}, os.Args[0], "-test.run=^TestVictim$", "-test.count=1")
	if errors.Is(err, power.ErrNoTrace) {
		peers.Missing(t, err.Error(), "let processes trace their children")
	}
	if err != nil {
		t.Fatal(err)
	}
	if trace.Steps() < 40 {
		t.Fatalf("the trace has %d steps only", trace.Steps())
	}
	return trace
}

// serverAt is the last state of the server that the release had an answer from,
// and how many changes were on their way.
func serverAt(said []string) (moment, underWay int) {
	for _, line := range said {
		if line == saysChange {
			underWay++
		}
		if text, ok := strings.CutPrefix(line, saysMoment); ok {
			underWay--
			if n, err := strconv.Atoi(text); err == nil {
				moment = max(moment, n)
			}
		}
	}
	return moment, underWay
}
