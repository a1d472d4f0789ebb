package store_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/server/store"
)

// planned gives a store with two bundles, the first of them live.
func planned(t *testing.T, open opener) (*store.Store, *clock) {
	t.Helper()
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	for _, name := range []string{"1.1.0", "1.2.0", "1.3.0"} {
		addBundle(t, s, name)
	}
	point(t, s, "production", "1.1.0")
	return s, now
}

// due runs the plans and describes the channel: "1.1.0", "1.1.0 5%1.2.0".
func due(t *testing.T, s *store.Store) string {
	t.Helper()
	_, err := s.RunPlans(t.Context())
	ok(t, err)
	c, err := s.Channel(t.Context(), app, "production")
	ok(t, err)
	if c.RolloutVersionInfo == nil {
		return c.Version.Name
	}
	return fmt.Sprintf("%s %d%%%s", c.Version.Name, c.RolloutPercentageBps/100, c.RolloutVersionInfo.Name)
}

// scheduleEntries are the actions of the audit that plans made, oldest first.
func scheduleEntries(t *testing.T, s *store.Store) string {
	t.Helper()
	list, err := s.Changes(t.Context(), store.ChangeFilter{AppID: app})
	ok(t, err)
	var said []string
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Actor == "schedule" {
			said = append(said, list[i].Action)
		}
	}
	return strings.Join(said, " ")
}

func steps(shares ...int) (list []capgo.PlanStep) {
	for _, bps := range shares {
		list = append(list, capgo.PlanStep{Bps: bps, SoakSeconds: 7200})
	}
	return list
}

func testPlans(t *testing.T, open opener) {
	s, now := planned(t, open)
	ctx := t.Context()
	at := now.Now().Add(time.Hour)
	plan := capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.2.0", At: &at, Steps: steps(500, 2500, 10000), Promote: true}
	ok(t, s.SetPlan(ctx, "ana", plan))
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{0, "1.1.0"}, {time.Hour, "1.1.0 5%1.2.0"}, {time.Hour, "1.1.0 5%1.2.0"}, {time.Hour, "1.1.0 25%1.2.0"},
		{48 * time.Hour, "1.1.0 100%1.2.0"}, {2 * time.Hour, "1.2.0"}, {2 * time.Hour, "1.2.0"},
	} {
		now.add(c.after)
		if got := due(t, s); got != c.want {
			t.Fatalf("at %s: %s, want %s", now.Now(), got, c.want)
		}
	}
	if got := scheduleEntries(t, s); got != "rollout.start rollout.percentage rollout.percentage rollout.percentage rollout.promote" {
		t.Errorf("the audit says %s", got)
	}
	list, err := s.Plans(ctx, app)
	ok(t, err)
	if len(list) != 0 {
		t.Errorf("a plan that is done is listed: %+v", list)
	}
	// Without steps the bundle is promoted at the time.
	at = now.Now().Add(time.Hour)
	ok(t, s.SetPlan(ctx, "ana", capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.3.0", At: &at, Promote: true}))
	list, err = s.Plans(ctx, app)
	ok(t, err)
	if len(list) != 1 || list[0].Next != "wait" || !list[0].NotBefore.Equal(at) || list[0].CreatedBy != "ana" {
		t.Errorf("%+v", list)
	}
	// Its bundle cannot be taken away from it.
	code(t, s.DeleteBundle(ctx, "test", app, "1.3.0"), "cannot_delete_linked_version")
	if n, err := s.DeleteUnlinkedBundles(ctx, "test", app); err != nil || n != 1 {
		t.Errorf("%d bundles deleted, %v", n, err)
	}
	now.add(time.Hour)
	if got := due(t, s); got != "1.3.0" {
		t.Error(got)
	}
	for _, c := range []struct {
		edit func(*capgo.ReleasePlan)
		code string
	}{
		{func(p *capgo.ReleasePlan) { p.Version = "9.9.9" }, "cannot_find_version"},
		{func(p *capgo.ReleasePlan) { p.Version = "1.3.0" }, "already_live"},
		{func(p *capgo.ReleasePlan) { p.Version = "builtin" }, "plan_invalid"},
		{func(p *capgo.ReleasePlan) { p.Steps = steps(2500, 500) }, "plan_invalid"},
		{func(p *capgo.ReleasePlan) { p.Steps = nil; p.Promote = false }, "plan_invalid"},
		{func(p *capgo.ReleasePlan) { p.Steps[0].SoakSeconds = 1 << 40 }, "plan_invalid"},
		{func(p *capgo.ReleasePlan) { p.Channel = "none" }, "channel_not_found"},
		{func(p *capgo.ReleasePlan) { p.AppID = "com.example.none" }, "cannot_find_app"},
	} {
		p := capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.2.0", Steps: steps(500), Promote: true}
		c.edit(&p)
		code(t, s.SetPlan(ctx, "ana", p), c.code)
	}
	code(t, s.ClearPlan(ctx, "ana", app, "production"), "plan_not_found")
	if _, _, err := s.VerifyAudit(ctx); err != nil {
		t.Error(err)
	}
}

// Operators are stronger than plans.
func testPlansByHand(t *testing.T, open opener) {
	s, now := planned(t, open)
	ctx := t.Context()
	edit := func(f func(*store.ChannelChange)) {
		t.Helper()
		_, _, err := s.ChangeChannel(ctx, "ana", change("production", f))
		ok(t, err)
	}
	expect := func(after time.Duration, want string) {
		t.Helper()
		now.add(after)
		if got := due(t, s); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	yes, no, tenth, other := true, false, 1000, "1.3.0"
	start := func() {
		t.Helper()
		ok(t, s.SetPlan(ctx, "ana", capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.2.0", Steps: steps(500, 10000), Promote: true}))
	}
	start()
	expect(0, "1.1.0 5%1.2.0")
	edit(func(c *store.ChannelChange) { c.RolloutPaused = &yes })
	expect(24*time.Hour, "1.1.0 5%1.2.0")
	edit(func(c *store.ChannelChange) { c.RolloutPaused = &no })
	expect(0, "1.1.0 5%1.2.0") // the share soaks again
	expect(time.Hour, "1.1.0 5%1.2.0")
	edit(func(c *store.ChannelChange) { c.RolloutPercentageBps = &tenth })
	expect(time.Hour, "1.1.0 10%1.2.0") // raised by hand: from then on
	expect(2*time.Hour, "1.1.0 100%1.2.0")
	edit(func(c *store.ChannelChange) { c.Rollback = &yes })
	expect(24*time.Hour, "1.1.0")
	if got := scheduleEntries(t, s); !strings.HasSuffix(got, " schedule.stop") {
		t.Errorf("an ended rollout is not the end of its plan: %s", got)
	}
	// A rollout of something else is not taken away.
	start()
	edit(func(c *store.ChannelChange) { c.RolloutVersion, c.RolloutPercentageBps = &other, &tenth })
	expect(0, "1.1.0 10%1.3.0")
	code(t, s.SetPlan(ctx, "ana", capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.2.0", Promote: true}), "rollout_running")
	edit(func(c *store.ChannelChange) { c.Rollback = &yes })
	// One of the same bundle that runs already is gone on with.
	next := "1.2.0"
	edit(func(c *store.ChannelChange) { c.RolloutVersion, c.RolloutPercentageBps = &next, &tenth })
	start()
	expect(0, "1.1.0 10%1.2.0")
	expect(2*time.Hour, "1.1.0 100%1.2.0")
	ok(t, s.ClearPlan(ctx, "ana", app, "production"))
	expect(24*time.Hour, "1.1.0 100%1.2.0")
	// A channel takes its plan along.
	start()
	ok(t, s.DeleteChannel(ctx, "ana", app, "production"))
	if n, err := s.RunPlans(ctx); n != 0 || err != nil {
		t.Errorf("%d moves of a channel that is gone, %v", n, err)
	}
	ok(t, s.DeleteApp(ctx, "ana", app))
}

// Many processes look for what is due, and each move is made once.
func testPlansRace(t *testing.T, open opener) {
	target, raw := "", (*sql.DB)(nil)
	now := newClock()
	s := fresh(t, func(t *testing.T) (string, *sql.DB) { target, raw = open(t); return target, raw }, store.Options{Now: now.Now})
	for _, name := range []string{"1.1.0", "1.2.0"} {
		addBundle(t, s, name)
	}
	point(t, s, "production", "1.1.0")
	stores := []*store.Store{s, start(t, target, store.Options{Now: now.Now}), start(t, target, store.Options{Now: now.Now})}
	ok(t, s.SetPlan(t.Context(), "ana", capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.2.0", Steps: steps(500, 2500, 10000), Promote: true}))
	moves := 0
	for range 4 {
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 3 {
			for _, s := range stores {
				all.Go(func() {
					n, err := s.RunPlans(t.Context())
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					moves += n
					mu.Unlock()
				})
			}
		}
		all.Wait()
		now.add(2 * time.Hour)
	}
	if got := scheduleEntries(t, s); moves != 4 || got != "rollout.start rollout.percentage rollout.percentage rollout.percentage rollout.promote" {
		t.Errorf("%d moves: %s", moves, got)
	}
}

func testFreezes(t *testing.T, open opener) {
	s, now := planned(t, open) // a Tuesday, 12:30 UTC
	ctx := t.Context()
	from, to := now.Now(), now.Now().Add(time.Hour)
	ok(t, s.SetFreeze(ctx, "ana", capgo.Freeze{AppID: app, Name: "release party", From: &from, To: &to}))
	ok(t, s.SetFreeze(ctx, "ana", capgo.Freeze{AppID: app, Name: "lunch", Days: []string{"tue", "wed"}, Start: "14:00", Minutes: 60, Zone: "Europe/Berlin"}))
	next, half, less, yes := "1.2.0", 5000, 1000, true
	edit := func(reason string, f func(*store.ChannelChange)) error {
		_, _, err := s.ChangeChannel(ctx, "ana", change("production", func(c *store.ChannelChange) { f(c); c.Note = reason }))
		return err
	}
	rollout := func(c *store.ChannelChange) { c.RolloutVersion, c.RolloutPercentageBps = &next, &half }
	code(t, edit("", func(c *store.ChannelChange) { c.Version = &next }), "channel_frozen")
	code(t, edit("", rollout), "channel_frozen")
	code(t, edit("", func(c *store.ChannelChange) { c.PlatformVersions = map[string]*string{"ios": &next} }), "channel_frozen")
	ok(t, edit("the store's build crashes", rollout))
	// What takes a bundle away from devices, or only changes rules, is free.
	ok(t, edit("", func(c *store.ChannelChange) { c.RolloutPercentageBps = &less }))
	code(t, edit("", func(c *store.ChannelChange) { c.RolloutPercentageBps = &half }), "channel_frozen")
	code(t, edit("", func(c *store.ChannelChange) { c.PromoteToStable = &yes }), "channel_frozen")
	ok(t, edit("", func(c *store.ChannelChange) { c.RolloutPaused = &yes }))
	ok(t, edit("", func(c *store.ChannelChange) { c.Rollback = &yes }))
	ok(t, edit("", func(c *store.ChannelChange) { c.AllowEmulator = &yes }))
	// A plan waits: the two freezes follow on each other (14:00 in Berlin is 13:00 here).
	ok(t, s.SetPlan(ctx, "ana", capgo.ReleasePlan{AppID: app, Channel: "production", Version: "1.2.0", Promote: true}))
	if got := due(t, s); got != "1.1.0" {
		t.Fatal(got)
	}
	all, err := s.Freezes(ctx, app)
	ok(t, err)
	end := time.Date(2026, 3, 10, 14, 0, 0, 0, time.UTC)
	if len(all.Freezes) != 2 || all.FrozenUntil == nil || !all.FrozenUntil.Equal(end) || all.Freezes[0].Start != "14:00" || all.Freezes[1].To == nil {
		t.Errorf("%+v until %v", all, all.FrozenUntil)
	}
	now.add(89 * time.Minute)
	if got := due(t, s); got != "1.1.0" {
		t.Fatal(got)
	}
	now.add(time.Minute)
	if got := due(t, s); got != "1.2.0" {
		t.Fatal(got)
	}
	ok(t, s.ClearFreeze(ctx, "ana", app, "lunch"))
	code(t, s.ClearFreeze(ctx, "ana", app, "lunch"), "freeze_not_found")
	for name, f := range map[string]capgo.Freeze{
		"no name": {From: &from, To: &to}, "nothing": {Name: "x"}, "backwards": {Name: "x", From: &to, To: &from}, "both": {Name: "x", From: &from, To: &to, Days: []string{"mon"}, Minutes: 1},
		"no such day": {Name: "x", Days: []string{"monday"}, Minutes: 1}, "no length": {Name: "x", Days: []string{"mon"}}, "too long": {Name: "x", Days: []string{"mon"}, Minutes: 7*24*60 + 1},
		"no such zone": {Name: "x", Days: []string{"mon"}, Minutes: 1, Zone: "Mars/Base"}, "no such time": {Name: "x", Days: []string{"mon"}, Minutes: 1, Start: "25:00"}, "the server's zone": {Name: "x", Days: []string{"mon"}, Minutes: 1, Zone: "Local"},
	} {
		f.AppID = app
		if err := s.SetFreeze(ctx, "ana", f); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
