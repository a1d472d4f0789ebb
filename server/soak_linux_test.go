package server_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capstan/internal/peers"
)

// soak is a steady load: update checks, events and promotions at fixed rates.
type soak struct {
	t          *testing.T
	child      *child
	client     *http.Client
	promoted   atomic.Int64 // number of the newest promotion that was acknowledged
	checks     atomic.Int64
	events     atomic.Int64 // acknowledged
	promotions atomic.Int64
	wrong      atomic.Int64
	first      atomic.Pointer[string] // what was wrong first
}

func (s *soak) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.first.CompareAndSwap(nil, &text)
	s.wrong.Add(1)
}

func (s *soak) post(path, body string) (int, []byte) {
	r, err := http.NewRequest("POST", s.child.base+path, strings.NewReader(body))
	if err != nil {
		s.fail("%v", err)
		return 0, nil
	}
	r.Header.Set("capgkey", s.child.token)
	answer, err := s.client.Do(r)
	if err != nil {
		s.fail("%s: %v", path, err)
		return 0, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.fail("%s: %d %s %v", path, answer.StatusCode, text, err)
	}
	return answer.StatusCode, text
}

const soakDevices = 5000

func soakDevice(n int64) string {
	return fmt.Sprintf(`"app_id":%q,"device_id":"00000000-0000-4000-8000-%012d","platform":"ios","version_os":"18","version_build":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false`, mine, n%soakDevices)
}

// check is an update check: an answer is wrong that is older than a promotion
// which was acknowledged before the question.
func (s *soak) check(n int64) {
	newest := s.promoted.Load()
	status, text := s.post("/updates", `{`+soakDevice(n)+`,"version_name":"1.0.0"}`)
	s.checks.Add(1)
	var answer struct{ Version string }
	if err := json.Unmarshal(text, &answer); status != http.StatusOK || err != nil {
		return
	}
	_, number, _ := strings.Cut(answer.Version, "2.0.")
	if got, err := strconv.ParseInt(number, 10, 64); err != nil || got < newest {
		s.fail("a device hears %s after promotion %d", text, newest)
	}
}

func (s *soak) report(n int64) {
	event := func(action string) string {
		return fmt.Sprintf(`{%s,"version_name":"1.0.0","action":%q,"timestamp":%d}`, soakDevice(n), action, n+1)
	}
	if status, _ := s.post("/stats", "["+event("app_moved_to_foreground")+","+event("app_moved_to_background")+"]"); status == http.StatusOK {
		s.events.Add(2)
	}
}

func (s *soak) promote(n int64) {
	s.post("/bundle", fmt.Sprintf(`{"app_id":%q,"version":"2.0.%d","external_url":"https://cdn.example.com/x.zip","checksum":"00"}`, mine, n))
	if status, _ := s.post("/channel", fmt.Sprintf(`{"app_id":%q,"channel":"production","public":true,"version":"2.0.%d","disableAutoUpdate":"none"}`, mine, n)); status == http.StatusOK {
		s.promoted.Store(n)
		s.promotions.Add(1)
	}
}

// every calls do with 0, 1, 2, … at a rate, from several goroutines, until stop
// closes. A pause of the machine is not made up for.
func every(stop chan struct{}, wait *sync.WaitGroup, interval time.Duration, workers int, do func(n int64)) {
	var next atomic.Int64
	for range workers {
		wait.Go(func() {
			tick := time.NewTicker(interval * time.Duration(workers))
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					do(next.Add(1) - 1)
				}
			}
		})
	}
}

// usage is what a process holds.
type usage struct{ memory, files, goroutines int } // memory in KiB

var (
	residentSet   = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
	goroutinesNow = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)
)

func usageOf(t *testing.T, c *child) (u usage) {
	t.Helper()
	number := func(text []byte, pattern *regexp.Regexp) int {
		m := pattern.FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %s in %.200q", pattern, text)
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	proc := fmt.Sprintf("/proc/%d/", c.command.Process.Pid)
	text, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	u.memory = number(text, residentSet)
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	u.files = len(open)
	answer, err := http.Get(c.metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var all bytes.Buffer
	if _, err := all.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	u.goroutines = number(all.Bytes(), goroutinesNow)
	return u
}

// median of what was held over some samples.
func median(list []usage) usage {
	of := func(get func(usage) int) int {
		var values []int
		for _, u := range list {
			values = append(values, get(u))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return usage{of(func(u usage) int { return u.memory }), of(func(u usage) int { return u.files }), of(func(u usage) int { return u.goroutines })}
}

// A server under a steady load of 500 checks and 50 reports a second, with
// promotions, holds at the end what it held after its warm-up; no answer is
// wrong, and every event that was acknowledged is there once. CAPSTAN_SOAK gives
// another length.
func TestSoak(t *testing.T) {
	length, promotions := 6*time.Second, 500*time.Millisecond
	switch {
	case os.Getenv("CAPSTAN_SOAK") != "":
		given, err := time.ParseDuration(os.Getenv("CAPSTAN_SOAK"))
		if err != nil {
			t.Fatal(err)
		}
		length, promotions = given, 10*time.Second
	case os.Getenv("CAPSTAN_LONG") == "1":
		length, promotions = 2*time.Hour, time.Minute
	case peers.Required():
		length = 20 * time.Second
	}
	dir := t.TempDir()
	s := &soak{t: t, child: spawn(t, dir), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}}
	defer s.client.CloseIdleConnections()
	s.post("/app", `{"app_id":"`+mine+`"}`)
	s.post("/bundle", `{"app_id":"`+mine+`","version":"1.0.0","external_url":"https://cdn.example.com/x.zip","checksum":"00"}`)
	s.promote(0)
	stop := make(chan struct{})
	var load sync.WaitGroup
	every(stop, &load, 2*time.Millisecond, 8, s.check)
	every(stop, &load, 20*time.Millisecond, 4, s.report)
	every(stop, &load, promotions, 1, func(n int64) { s.promote(n + 1) })

	const samples = 40
	var held []usage
	for range samples {
		time.Sleep(length / samples)
		held = append(held, usageOf(t, s.child))
	}
	close(stop)
	load.Wait()
	if n := s.wrong.Load(); n > 0 {
		t.Errorf("%d of %d requests went wrong; the first: %s", n, s.checks.Load()+s.events.Load()/2, *s.first.Load())
	}
	begin, end := median(held[samples/4:samples/2]), median(held[samples*3/4:])
	if end.memory > begin.memory*5/4+16<<10 || end.files > begin.files+8 || end.goroutines > begin.goroutines+16 {
		t.Errorf("after the warm-up %+v, at the end %+v", begin, end)
	}
	s.child.stdin.Close()
	if err := <-s.child.exited; err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "capstan.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var kept, distinct, devices int64
	if err := db.QueryRow(`SELECT COUNT(*), COUNT(DISTINCT device_id || action || device_time), (SELECT COUNT(*) FROM devices) FROM events`).Scan(&kept, &distinct, &devices); err != nil {
		t.Fatal(err)
	}
	if kept != s.events.Load() || distinct != kept {
		t.Errorf("%d events were acknowledged, %d are kept, %d of them different", s.events.Load(), kept, distinct)
	}
	if want := min(s.checks.Load(), soakDevices); devices < want {
		t.Errorf("%d devices are known, %d asked", devices, want)
	}
	t.Logf("count: %s: %d checks, %d events, %d promotions; memory %d to %d MiB, files %d to %d, goroutines %d to %d", length,
		s.checks.Load(), kept, s.promotions.Load(), begin.memory>>10, end.memory>>10, begin.files, end.files, begin.goroutines, end.goroutines)
}
