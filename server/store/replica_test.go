package store_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/internal/servertest/postgres"
	"capstan/server/decide"
	"capstan/server/store"
)

// heard is a log that a test reads while it is written.
type heard struct {
	mu sync.Mutex
	b  strings.Builder
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) count(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.b.String(), text)
}

// Lists and statistics come from a real streaming replica while it keeps up,
// and from the primary when it is behind, gone, or no replica at all; each
// change of mind is one line in the log. Changes and answers to devices never
// depend on it.
func TestReadReplica(t *testing.T) {
	primary := postgres.StartOwn(t)
	target := primary.Database(t)
	replica := primary.Replica(t)
	log := &heard{}
	const maxLag = 1500 * time.Millisecond
	s := start(t, target, store.Options{Replica: replica.At(t, target), ReplicaLag: maxLag, Log: slog.New(slog.NewTextHandler(log, nil))})
	ctx := t.Context()
	_, err := s.CreateApp(ctx, "test", capgo.App{AppID: app})
	ok(t, err)

	number := 0
	poll := func() { // a device that was never seen before is written
		t.Helper()
		number++
		s.Seen(capgo.UpdateRequest{AppID: app, DeviceID: device(number), Platform: "ios", VersionName: "1.0.0", VersionBuild: "1.0.0", PluginVersion: "8.51.23", IsProd: true}, decide.Verdict{})
		ok(t, s.Flush(ctx))
	}
	listed := func() int {
		t.Helper()
		page, err := s.Devices(ctx, store.DeviceFilter{AppID: app, Limit: 1000})
		ok(t, err)
		return len(page.Data)
	}
	// fromReplica reports whether a list comes from the replica: only then does a
	// read leave the count of fallbacks as it is.
	fromReplica := func() bool {
		t.Helper()
		before, there := s.Replica()
		if !there {
			t.Fatal("there is no replica")
		}
		listed()
		after, _ := s.Replica()
		return after.Fallbacks == before.Fallbacks
	}
	eventually(t, "the replica is never used", fromReplica)
	if log.count("lists are read from the replica") != 1 {
		t.Error("the log does not say that the replica is used")
	}

	// While it does not replay, it tells what it knew, and then too little.
	replica.Exec(t, `SELECT pg_wal_replay_pause()`)
	poll()
	if n := listed(); n != 0 {
		t.Errorf("a list shows %d devices that the replica cannot know: it is not read there", n)
	}
	if _, err := s.Device(ctx, app, device(1)); err != nil {
		t.Errorf("a device that has not arrived at the replica: %v", err)
	}
	eventually(t, "a replica that is behind is read for ever", func() bool { return listed() == 1 })
	if state, _ := s.Replica(); state.Used || state.Lag <= maxLag {
		t.Errorf("%+v", state)
	}
	if log.count("it is behind") != 1 {
		t.Error("the log does not say that the replica is behind")
	}
	// Every list and statistic answers meanwhile, and so do devices.
	readAll(t, s)
	point(t, s, "production", addBundle(t, s, "1.1.0").Name)
	if v := ask(t, s, device(1)); v.Answer.Version != "1.1.0" {
		t.Errorf("%+v", v.Answer)
	}
	replica.Exec(t, `SELECT pg_wal_replay_resume()`)
	eventually(t, "a replica that caught up is not used again", fromReplica)
	if listed() != 1 {
		t.Error("the replica that caught up does not know the device")
	}
	readAll(t, s)

	// Its end is noticed by the read itself, which succeeds all the same.
	replica.Stop(t)
	for range 20 {
		poll()
		if n := listed(); n != number {
			t.Fatalf("%d of %d devices are listed while the replica is gone", n, number)
		}
	}
	if log.count("lists are read from the primary") < 2 {
		t.Error("the log does not say that the replica is gone")
	}
	replica.Boot(t)
	eventually(t, "a replica that came back is not used again", fromReplica)
	eventually(t, "the replica lacks what was written while it was gone", func() bool { return listed() == number })

	// A change is seen at once by who made it.
	const note = "1.2.0"
	point(t, s, "production", addBundle(t, s, note).Name)
	list, err := s.Changes(ctx, store.ChangeFilter{AppID: app, Channel: "production", Limit: 1})
	ok(t, err)
	if len(list) != 1 || list[0].To != note {
		t.Errorf("the newest change is %+v", list)
	}
}

// readAll reads everything that may come from a replica.
func readAll(t *testing.T, s *store.Store) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	_, err := s.Events(ctx, app, "", 0, 0)
	ok(t, err)
	_, err = s.Changes(ctx, store.ChangeFilter{AppID: app})
	ok(t, err)
	_, err = s.Days(ctx, app, now.Add(-48*time.Hour), now)
	ok(t, err)
	_, err = s.Usage(ctx, app, store.ByBundle, now.Add(-48*time.Hour), now)
	ok(t, err)
	fleet, err := s.Fleet(ctx, app)
	ok(t, err)
	summary, err := s.Summary(ctx, app)
	ok(t, err)
	if fleet.Devices != 1 || summary.Devices != 1 {
		t.Errorf("%d devices in the fleet, %d in the summary", fleet.Devices, summary.Devices)
	}
}

// What is no replica is not read from: the primary itself, and a server that
// does not answer. A server starts all the same.
func TestReadReplicaRefusals(t *testing.T) {
	target := postgres.Start(t).Database(t)
	for replica, why := range map[string]string{target: "it is no streaming replica", "postgres://nobody:canary@127.0.0.1:1/none": "it does not answer"} {
		log := &heard{}
		s := start(t, target, store.Options{Replica: replica, Log: slog.New(slog.NewTextHandler(log, nil))})
		eventually(t, "the log does not say that "+why, func() bool { return log.count(why) > 0 })
		_, err := s.Devices(t.Context(), store.DeviceFilter{AppID: app})
		ok(t, err)
		if state, _ := s.Replica(); state.Used || state.Fallbacks != 1 {
			t.Errorf("%s: %+v", why, state)
		}
		if log.count("canary") != 0 {
			t.Error("the log tells the replica's password")
		}
	}
	path, _ := sqlite(t)
	_, err := store.Open(t.Context(), path, store.Options{Replica: target})
	code(t, err, "replica_of_sqlite")
	_, err = store.Open(t.Context(), target, store.Options{Replica: path})
	code(t, err, "replica_of_sqlite")
}
