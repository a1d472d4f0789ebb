//go:build linux

package server_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"capstan/internal/peers"
	"capstan/server"
)

// A server is killed at the nth call of each kind that changes its files, from
// the first migration on, by the kernel's tracer: between two writes, before an
// fsync. It starts again with everything that it
// acknowledged. Numbers are counted by thread, so that n is a place in the life
// of whichever thread gets that far first.
func TestKilledAtWrites(t *testing.T) {
	strace := tracer(t)
	cases, step := 6, 13
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
		cases, step = 500, 1
	case peers.Required():
		cases, step = 60, 2
	}
	calls := []string{"pwrite64", "fsync,fdatasync"}
	kills, early, events, bundles := 0, 0, 0, 0
	for i := range cases {
		call := calls[i%len(calls)]
		n := 1 + i/len(calls)*step
		dir := t.TempDir()
		token, err := firstStart(dir)
		if err != nil {
			t.Fatal(err)
		}
		c, started := spawnUnder(t, dir, strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n))
		acknowledged := &tally{events: map[string]bool{}, bundles: map[string]bool{}}
		if !started {
			early++
		} else {
			c.token = token
			if dieUnderLoad(c, acknowledged, i) {
				kills++
			}
		}
		events += len(acknowledged.events)
		bundles += len(acknowledged.bundles)
		acknowledged.check(t, "sqlite", filepath.Join(dir, "capstan.db"))
		if t.Failed() {
			t.Fatalf("after a kill at %s number %d", call, n)
		}
	}
	if kills+early == 0 || cases > 20 && kills < cases/5 {
		t.Errorf("of %d servers %d were killed under load and %d before", cases, kills, early)
	}
	t.Logf("count: %d kills at a write under load, %d while starting; %d events and %d bundles acknowledged", kills, early, events, bundles)
}

// tracer gives strace, where the system lets one process trace another.
func tracer(t *testing.T) string {
	t.Helper()
	strace := peers.Program(t, "strace", "apt-get install strace")
	if out, err := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync", os.Args[0], "-test.run=^$").CombinedOutput(); err != nil {
		t.Skipf("this system does not let strace trace: %v\n%s", err, out)
	}
	return strace
}

// firstStart makes a data directory and gives its token.
func firstStart(dir string) (token string, err error) {
	s, err := server.New(server.Config{DataDir: dir})
	if err != nil {
		return "", err
	}
	return s.FirstToken(), s.Close()
}

// dieUnderLoad sends releases and events until the server is gone, and reports
// whether that was the tracer's doing.
func dieUnderLoad(c *child, acknowledged *tally, round int) bool {
	token := c.token
	for _, q := range [][3]string{{"POST", "/app", `{"app_id":"` + mine + `"}`}, known, {"POST", "/channel", `{"app_id":"` + mine + `","channel":"production"}`}} {
		if status, err := c.send(token, q[0], q[1], q[2]); err != nil || status != http.StatusOK {
			break // killed meanwhile; the load finds that out
		}
	}
	var load sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 2 {
		load.Go(func() { acknowledged.load(c, token, round, worker, stop) })
	}
	died := false
	select {
	case <-c.exited:
		died = true
	case <-time.After(3 * time.Second):
	}
	close(stop)
	c.stdin.Close()
	load.Wait()
	if !died {
		<-c.exited
	}
	return died
}

// A start that is killed at any write leaves a database that the next start
// finishes: migrations are in it whole or not at all.
func TestKilledWhileMigrating(t *testing.T) {
	strace := tracer(t)
	places := []int{1, 5, 20}
	if os.Getenv("CAPSTAN_LONG") == "1" || peers.Required() {
		places = []int{1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 35, 40}
	}
	killed := 0
	for _, call := range []string{"pwrite64", "fsync,fdatasync"} {
		for _, n := range places {
			dir := t.TempDir()
			c, started := spawnUnder(t, dir, strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n))
			if started {
				c.stdin.Close()
				<-c.exited
				continue
			}
			killed++
			s, err := server.New(server.Config{DataDir: dir})
			if err != nil {
				t.Fatalf("after a kill at %s number %d: %v", call, n, err)
			}
			if _, _, err := s.Store().VerifyAudit(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			db, err := sql.Open("sqlite", filepath.Join(dir, "capstan.db"))
			if err != nil {
				t.Fatal(err)
			}
			var verdict string
			if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
				t.Errorf("after a kill at %s number %d: %s %v", call, n, verdict, err)
			}
			db.Close()
		}
	}
	if killed == 0 {
		t.Error("no start was killed")
	}
	t.Logf("count: %d starts killed at a write", killed)
}
