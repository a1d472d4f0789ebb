package release_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/fault"
	"capstan/internal/peers"
)

// storm is what happens to one run of a release, drawn from a seed: each fault
// strikes at the n-th point, disk operation or call that the run comes to.
type storm struct {
	mu     sync.Mutex
	random *rand.Rand
	points, operations, calls,
	cancelAt, diskAt, netAt, netFor, jumpAt, moveAt int
	disk   error
	harm   string
	offset time.Duration
	stop   context.CancelFunc
	move   func() // another operator changes the channel
	struck []string
	over   bool // the run has ended, and its public address works as it should
}

// Harms of a call. A lost answer comes after the server has done it.
var callHarms = []string{"refused", "lost answer", "500", "503", "login page", "half", "flipped", "slow"}

// newStorm draws up to three faults.
func newStorm(random *rand.Rand, move func()) *storm {
	s := &storm{random: random, move: move}
	for range 1 + random.IntN(3) {
		switch random.IntN(8) {
		case 0, 1:
			s.cancelAt = 1 + random.IntN(110)
		case 2, 3:
			s.diskAt, s.disk = 1+random.IntN(40), []error{syscall.ENOSPC, syscall.EIO}[random.IntN(2)]
		case 4, 5, 6:
			s.netAt, s.netFor, s.harm = 1+random.IntN(24), 1+random.IntN(8), callHarms[random.IntN(len(callHarms))]
		case 7:
			s.jumpAt = 1 + random.IntN(60)
		}
	}
	if move != nil && random.IntN(6) == 0 {
		s.moveAt = 1 + random.IntN(90)
	}
	return s
}

func (s *storm) hit(format string, args ...any) {
	s.struck = append(s.struck, fmt.Sprintf(format, args...))
}

// point is called where a process may die: a cancelled context stands for a
// signal, a closed laptop, a terminal that went away.
func (s *storm) point(name string) {
	s.mu.Lock()
	s.points++
	cancel, jump, move := s.points == s.cancelAt, s.points == s.jumpAt, s.points == s.moveAt
	if cancel {
		s.hit("stopped at %s", name)
	}
	if jump {
		s.offset = time.Duration(s.random.Int64N(int64(20*365*24*time.Hour))) - 10*365*24*time.Hour
		s.hit("the clock jumps by %s", s.offset)
	}
	if move {
		s.hit("another operator at %s", name)
	}
	s.mu.Unlock()
	if move {
		s.move()
	}
	if cancel {
		s.stop()
	}
}

func (s *storm) fails(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operations++
	if s.operations != s.diskAt {
		return nil
	}
	s.hit("%s at %s", s.disk, name)
	return &os.PathError{Op: "write", Path: "state", Err: s.disk}
}

func (s *storm) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Round(0).Add(s.offset)
}

// RoundTrip harms the calls of registry and storage.
func (s *storm) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.calls++
	harm := ""
	if !s.over && s.netAt > 0 && s.calls >= s.netAt && s.calls < s.netAt+s.netFor {
		harm = s.harm
		if harm == "flipped" && !strings.HasPrefix(r.URL.Path, "/files/") {
			harm = "500" // TLS lets no other bytes through, but a store may hand them out
		}
		s.hit("%s for %s %s", harm, r.Method, r.URL.Path)
	}
	s.mu.Unlock()
	answer := func(status int, kind, body string) *http.Response {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		return &http.Response{StatusCode: status, Status: strconv.Itoa(status) + " " + http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}
	}
	switch harm {
	case "refused":
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, syscall.ECONNREFUSED
	case "500":
		return answer(500, "application/json", `{"error":"internal"}`), nil
	case "503":
		return answer(503, "application/json", `{}`), nil
	case "login page":
		return answer(200, "text/html", "<!doctype html><title>Log in</title>"), nil
	case "slow":
		time.Sleep(20 * time.Millisecond)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || harm == "" || harm == "slow" {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	switch {
	case harm == "lost answer":
		return nil, syscall.ECONNRESET
	case harm == "half":
		body = body[:len(body)/2]
		response.ContentLength = int64(len(body))
	case harm == "flipped" && len(body) > 0:
		body[len(body)/2] ^= 1
	}
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return response, nil
}

// through gives the public side of a server whose downloads the storm harms too:
// the proof fetches from it.
func (s *storm) through(server string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), r.Method, server+r.URL.Path, nil)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if ranges := r.Header.Get("Range"); ranges != "" {
			request.Header.Set("Range", ranges)
		}
		response, err := s.RoundTrip(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer response.Body.Close()
		for _, name := range []string{"Content-Type", "Content-Range", "ETag"} {
			if value := response.Header.Get(name); value != "" {
				w.Header().Set(name, value)
			}
		}
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}
}

// TestSimulation draws whole releases from seeds: with or without delta files,
// to a new channel or to one that has a version, under faults of the network,
// the disk, the clock, signals and other operators, run after run until the
// release is through or refused for good. After every run the invariants hold.
// CAPSTAN_SEED repeats one seed, CAPSTAN_SEEDS says how many to try.
func TestSimulation(t *testing.T) {
	seeds := 6
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
		seeds = 1500
	case peers.Required():
		seeds = 40
	case testing.Short():
		seeds = 2
	}
	if n, err := strconv.Atoi(os.Getenv("CAPSTAN_SEEDS")); err == nil {
		seeds = n
	}
	first := uint64(1) // what lands must not depend on luck: new seeds are for the long form
	if os.Getenv("CAPSTAN_LONG") == "1" {
		first = uint64(time.Now().UnixNano())
	}
	if text := os.Getenv("CAPSTAN_SEED"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		seeds = 1
	}
	y := newYard(t)
	var through, refused, runs, struck int
	for i := range seeds {
		seed := first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ended, n, faults := y.simulate(t, seed)
			runs += n
			struck += len(faults)
			if ended == "" {
				through++
			} else {
				refused++
			}
			if t.Failed() {
				t.Logf("to repeat it: CAPSTAN_SEED=%d go test -run TestSimulation ./core/release\nfaults: %s\nended with %q", seed, strings.Join(faults, "; "), ended)
			}
		})
	}
	t.Logf("count: simulation: %d seeds from %d on, %d runs, %d faults struck: %d releases went through, %d were refused because the channel moved", seeds, first, runs, struck, through, refused)
}

// simulate plays one seed and gives the code with which the release was refused
// for good, "" when it went through.
func (y yard) simulate(t *testing.T, seed uint64) (ended string, runs int, struck []string) {
	random := rand.New(rand.NewPCG(seed, 17))
	ctx := t.Context()
	app := fmt.Sprintf("com.example.seed%d", seed)
	quiet := func(release.Event) {}
	v := y.victim(t, app, "2.0.0")
	v.Plan.Delta = random.IntN(3) == 0
	var move func()
	if random.IntN(2) == 0 { // a channel with a history
		for _, version := range []string{"1.0.0", "1.1.0"} {
			before := v
			before.Plan.Version, before.Plan.Dir, before.Plan.Delta = version, build(t, version), false
			if _, err := before.pipeline(t).Run(ctx, before.Plan, quiet); err != nil {
				t.Fatal(err)
			}
		}
		back := "1.0.0"
		move = sync.OnceFunc(func() {
			other := v.pipelineOver(t, http.DefaultTransport)
			_ = other.Registry.ChangeChannel(context.WithoutCancel(ctx), capgo.ChannelChange{AppID: app, Channel: v.Plan.Channel, Version: &back})
		})
	}
	moved := false
	id := ""
	for attempt := 0; ; attempt++ {
		s := &storm{} // the last ones are calm
		if attempt < 5 {
			s = newStorm(random, move)
		}
		if attempt > 8 {
			t.Errorf("no end after %d runs", attempt)
			return "", attempt, struck
		}
		var result release.Result
		var err error
		id, result, err = y.attempt(t, v, id, s)
		runs++
		struck = append(struck, s.struck...)
		moved = moved || s.moveAt > 0 && s.points >= s.moveAt
		if err == nil {
			if result.App != app {
				t.Errorf("%+v", result)
			}
			break
		}
		if _, known := failure.Find(err); !known && !errors.Is(err, context.Canceled) {
			t.Errorf("an error without a code: %v", err)
		}
		if code := failure.CodeOf(err); code == "channel_moved" {
			if !moved {
				t.Errorf("nobody moved the channel: %v", err)
			}
			ended = code
			break
		}
		if s.cancelAt == 0 && s.diskAt == 0 && s.netAt == 0 && s.moveAt == 0 {
			t.Errorf("a calm run fails: %v", err)
		}
		v.whenever(t)
	}
	if ended == "" && !moved {
		v.checkSimulated(t)
	}
	v.whenever(t)
	return ended, runs, struck
}

// attempt runs or continues the release once, in a storm.
func (y yard) attempt(t *testing.T, v victim, id string, s *storm) (string, release.Result, error) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s.stop = stop
	v.Public = newLoopback(t, s.through(v.Server+"/files"))
	pipeline := v.pipelineOver(t, s)
	pipeline.Now = s.now
	removePoints, removeFails := fault.Set(s.point), fault.SetFails(s.fails)
	defer func() {
		removePoints()
		removeFails()
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
	}()
	if id != "" {
		result, err := pipeline.Resume(ctx, id, func(release.Event) {})
		return id, result, err
	}
	known := v.journals(t)
	result, err := pipeline.Run(ctx, v.Plan, func(release.Event) {})
	for _, name := range v.journals(t) {
		if state, read := pipeline.Journals.Read(name); read == nil && state.Plan.Version == v.Plan.Version && !slices.Contains(known, name) {
			id = name
		}
	}
	return id, result, err
}

// journals names the folders of the releases.
func (v victim) journals(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(v.State, "*", "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = filepath.Base(filepath.Dir(path))
	}
	return names
}

// whenever checks the invariants, once there is an app.
func (v victim) whenever(t *testing.T) {
	t.Helper()
	registry := v.pipeline(t).Registry
	if _, err := registry.App(t.Context(), v.Plan.AppID); failure.CodeOf(err) != "" {
		return // nothing was made yet
	}
	v.invariants(t)
}

// checkSimulated: the channel has the version, a device takes it, and its
// promotion is in the history once.
func (v victim) checkSimulated(t *testing.T) {
	t.Helper()
	channel, err := v.pipeline(t).Registry.Channel(t.Context(), v.Plan.AppID, v.Plan.Channel)
	if err != nil || channel.Version == nil || channel.Version.Name != v.Plan.Version {
		t.Errorf("the channel has %+v, %v", channel.Version, err)
	}
	v.checkDevice(t, nil, false)
	v.checkAudit(t)
}
