package store_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/internal/servertest/postgres"
	"capstan/server/decide"
	"capstan/server/store"
)

const app = "com.example.tides"

// An opener makes a fresh, empty place and gives its target and a raw
// connection for tampering.
type opener func(t *testing.T) (target string, raw *sql.DB)

func sqlite(t *testing.T) (string, *sql.DB) {
	path := filepath.Join(t.TempDir(), "capstan.db")
	raw, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return path, raw
}

// The same suite on both engines: what one promises, the other keeps.
func TestConformance(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { conform(t, sqlite) })
	t.Run("postgres", func(t *testing.T) {
		server := postgres.Start(t)
		conform(t, func(t *testing.T) (string, *sql.DB) {
			target := server.Database(t)
			raw, err := sql.Open("pgx", target)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { raw.Close() })
			return target, raw
		})
	})
}

func conform(t *testing.T, open opener) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, opener)
	}{
		{"apps", testApps}, {"bundle names are used once", testBundleNames}, {"channels", testChannels}, {"rollout", testRollout}, {"rollout as given", testRolloutAsGiven},
		{"compare and set", testCompareAndSet}, {"racing operators", testRace}, {"overrides and choices", testOverrides}, {"keyed apps", testKeyed},
		{"edited rows are not served", testTampering}, {"events", testEvents}, {"caps", testCaps}, {"shares", testShares}, {"polls", testPolls}, {"devices by page", testDevicePages}, {"devices by fragment", testDeviceSearch},
		{"audit", testAudit}, {"tokens", testTokens}, {"objects", testObjects}, {"reopen", testReopen}, {"two processes", testTwoProcesses},
		{"auto-pause", testAutoPause}, {"retention", testRetention}, {"kept answers", testAnswers}, {"deleted is never served", testDeletedNeverServed},
		{"ledger", testLedger}, {"repeated polls", testRepeatedPolls}, {"failed downloads", testDownloadFail}, {"bundles of platforms", testPlatforms},
		{"planned releases", testPlans}, {"a plan and the operators", testPlansByHand}, {"a move is made once", testPlansRace}, {"freezes", testFreezes}, {"odd text", testOddText}, {"fleet", testFleet}, {"delta files", testDeltaFiles}, {"two keys", testTwoKeys},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 10, 12, 30, 0, 0, time.UTC)} }

func start(t *testing.T, target string, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), target, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fresh gives a store with one app without a key.
func fresh(t *testing.T, open opener, o store.Options) *store.Store {
	t.Helper()
	target, _ := open(t)
	s := start(t, target, o)
	_, err := s.CreateApp(t.Context(), "test", capgo.App{AppID: app, Name: "Tides"})
	ok(t, err)
	return s
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(t *testing.T, err error, want string) {
	t.Helper()
	if failure.CodeOf(err) != want || err == nil {
		t.Fatalf("code %q (%v), want %q", failure.CodeOf(err), err, want)
	}
}

func addBundle(t *testing.T, s *store.Store, name string) store.Bundle {
	t.Helper()
	b, err := s.AddBundle(t.Context(), "test", store.Bundle{Bundle: capgo.Bundle{AppID: app, Name: name, Checksum: strings.Repeat("0", 64), ExternalURL: "https://cdn.example.com/" + name + ".zip"}})
	ok(t, err)
	return b
}

func change(channel string, edit func(*store.ChannelChange)) store.ChannelChange {
	c := store.ChannelChange{}
	c.AppID, c.Channel = app, channel
	if edit != nil {
		edit(&c)
	}
	return c
}

func point(t *testing.T, s *store.Store, channel, version string) store.Channel {
	t.Helper()
	public, policy, under := true, capgo.PolicyNone, false
	c, _, err := s.ChangeChannel(t.Context(), "test", change(channel, func(c *store.ChannelChange) {
		c.Version, c.Public, c.DisableAutoUpdate, c.DisableAutoUpdateUnderNative = &version, &public, &policy, &under
	}))
	ok(t, err)
	return c
}

// ask gives the verdict that a device hears.
func ask(t *testing.T, s *store.Store, device string) decide.Verdict {
	t.Helper()
	snapshot, err := s.Snapshot(t.Context(), app)
	ok(t, err)
	return decide.Update(snapshot, request(device))
}

func request(device string) capgo.UpdateRequest {
	return capgo.UpdateRequest{AppID: app, DeviceID: device, Platform: "android", VersionName: "1.0.0", VersionBuild: "1.0.0", PluginVersion: "8.51.23", IsProd: true}
}

func device(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func testApps(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	_, err := s.CreateApp(ctx, "test", capgo.App{AppID: app})
	code(t, err, "app_id_already_exists")
	_, err = s.App(ctx, "com.example.none")
	code(t, err, "cannot_find_app")
	for i := range 60 {
		_, err := s.CreateApp(ctx, "test", capgo.App{AppID: fmt.Sprintf("com.many.a%02d", i)})
		ok(t, err)
	}
	first, err := s.Apps(ctx, nil, 0, 50)
	ok(t, err)
	second, err := s.Apps(ctx, nil, 50, 50)
	ok(t, err)
	if len(first) != 50 || len(second) != 11 {
		t.Fatalf("pages of %d and %d", len(first), len(second))
	}
	only, err := s.Apps(ctx, []string{app, "com.example.none"}, 0, 50)
	ok(t, err)
	none, err := s.Apps(ctx, []string{}, 0, 50)
	ok(t, err)
	if len(only) != 1 || len(none) != 0 {
		t.Fatalf("limited lists have %d and %d apps", len(only), len(none))
	}
	// A wildcard of SQL is a letter like any other.
	for _, id := range []string{"com_example_tides", "com.example.tide_", "com.example.%", `com.example.\`} {
		_, err := s.App(ctx, id)
		code(t, err, "cannot_find_app")
	}
	ok(t, s.DeleteApp(ctx, "test", app))
	if snapshot, err := s.Snapshot(ctx, app); err != nil || snapshot != nil {
		t.Fatalf("a deleted app is still answered: %v %v", snapshot, err)
	}
	_, err = s.CreateApp(ctx, "test", capgo.App{AppID: app})
	ok(t, err)
	if snapshot, _ := s.Snapshot(ctx, app); snapshot == nil || len(snapshot.Bundles) != 0 {
		t.Fatal("an app made again is not empty")
	}
}

func testBundleNames(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	addBundle(t, s, "1.1.0")
	_, err := s.AddBundle(ctx, "test", store.Bundle{Bundle: capgo.Bundle{AppID: app, Name: "1.1.0", Checksum: "x"}})
	code(t, err, "version_already_exists")
	ok(t, s.DeleteBundle(ctx, "test", app, "1.1.0"))
	_, err = s.AddBundle(ctx, "test", store.Bundle{Bundle: capgo.Bundle{AppID: app, Name: "1.1.0", Checksum: "x"}})
	code(t, err, "version_already_exists")
	code(t, s.DeleteBundle(ctx, "test", app, "1.1.0"), "cannot_find_version")
	_, err = s.AddBundle(ctx, "test", store.Bundle{Bundle: capgo.Bundle{AppID: "com.example.none", Name: "1.0.0"}})
	code(t, err, "cannot_find_app")
	for i := range 55 {
		addBundle(t, s, fmt.Sprintf("2.0.%d", i))
	}
	page, err := s.Bundles(ctx, store.BundleFilter{AppID: app, Offset: 50})
	ok(t, err)
	if len(page) != 5 || page[4].Name != "2.0.0" {
		t.Fatalf("the second page has %d bundles and ends with %s", len(page), page[len(page)-1].Name)
	}
	b := page[0]
	link := "https://example.com/notes"
	ok(t, s.SetBundleMetadata(ctx, "test", app, b.ID, &link, nil))
	list, err := s.Bundles(ctx, store.BundleFilter{AppID: app, ID: b.ID})
	ok(t, err)
	if list[0].Link != link {
		t.Fatalf("link %q", list[0].Link)
	}
	point(t, s, "production", "2.0.7")
	code(t, s.DeleteBundle(ctx, "test", app, "2.0.7"), "cannot_delete_linked_version")
	n, err := s.DeleteUnlinkedBundles(ctx, "test", app)
	ok(t, err)
	left, err := s.Bundles(ctx, store.BundleFilter{AppID: app})
	ok(t, err)
	if n != 54 || len(left) != 1 || left[0].Name != "2.0.7" {
		t.Fatalf("deleted %d, left %d", n, len(left))
	}
}

func testChannels(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	addBundle(t, s, "1.1.0")
	c := point(t, s, "production", "1.1.0")
	if c.Revision != 1 || c.Version.Name != "1.1.0" || !*c.Android {
		t.Fatalf("%+v", c)
	}
	if v := ask(t, s, device(1)); v.Reason != decide.ReasonOffered || v.Answer.Version != "1.1.0" {
		t.Fatalf("%+v", v)
	}
	builtin := capgo.Builtin
	_, _, err := s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.Version = &builtin }))
	ok(t, err)
	if v := ask(t, s, device(1)); v.Bundle != nil {
		t.Fatalf("an unlinked bundle is offered: %+v", v)
	}
	wrong := "9.9.9"
	_, _, err = s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.Version = &wrong }))
	code(t, err, "cannot_find_version")
	_, _, err = s.ChangeChannel(ctx, "test", change("none", func(c *store.ChannelChange) { c.MustExist = true }))
	code(t, err, "channel_not_found")
	// A refused change leaves nothing behind, not even the channel it would have made.
	_, _, err = s.ChangeChannel(ctx, "test", change("beta", func(c *store.ChannelChange) { c.Version = &wrong }))
	code(t, err, "cannot_find_version")
	_, err = s.Channel(ctx, app, "beta")
	code(t, err, "channel_not_found")
	// One public channel a platform: the newest wins.
	yes, no := true, false
	_, _, err = s.ChangeChannel(ctx, "test", change("ios-only", func(c *store.ChannelChange) { c.Public, c.Android, c.Electron = &yes, &no, &no }))
	ok(t, err)
	production, err := s.Channel(ctx, app, "production")
	ok(t, err)
	if production.Public {
		t.Fatal("two channels are public for ios")
	}
	code(t, s.DeleteChannel(ctx, "test", app, "none"), "channel_not_found")
	ok(t, s.DeleteChannel(ctx, "test", app, "production"))
	list, err := s.Channels(ctx, app, 0, 0)
	ok(t, err)
	if len(list) != 1 {
		t.Fatalf("%d channels", len(list))
	}
}

func testPlatforms(t *testing.T, open opener) {
	s, _, raw := keyed(t, open)
	ctx := t.Context()
	for _, name := range []string{"1.1.0", "1.2.0", "1.3.0", "1.4.0"} {
		_, err := s.AddBundle(ctx, "test", sealed(t, signer(), name))
		ok(t, err)
	}
	point(t, s, "production", "1.1.0")
	pin := func(platform string, name *string) (store.Channel, error) {
		c, _, err := s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.PlatformVersions = map[string]*string{platform: name} }))
		return c, err
	}
	hears := func(platform string) decide.Verdict {
		t.Helper()
		snapshot, err := s.Snapshot(ctx, app)
		ok(t, err)
		r := request(device(1))
		r.Platform = platform
		return decide.Update(snapshot, r)
	}
	second, third, wrong, builtin := "1.2.0", "1.3.0", "9.9.9", capgo.Builtin
	_, err := pin("windows", &second)
	code(t, err, "invalid_platform")
	_, err = pin("ios", &wrong)
	code(t, err, "cannot_find_version")
	c, err := pin("ios", &second)
	ok(t, err)
	if c.PlatformVersions["ios"].Name != second || len(c.PlatformVersions) != 1 || c.Version.Name != "1.1.0" {
		t.Fatalf("%+v", c)
	}
	if hears("ios").Answer.Version != second || hears("android").Answer.Version != "1.1.0" {
		t.Fatal("the platform's bundle is not what it hears")
	}
	code(t, s.DeleteBundle(ctx, "test", app, second), "cannot_delete_linked_version")
	// Neither a rollout nor its promotion nor another bundle of the channel moves it.
	all, yes := 10000, true
	for _, edit := range []func(*store.ChannelChange){
		func(c *store.ChannelChange) { c.RolloutVersion, c.RolloutPercentageBps = &third, &all },
		func(c *store.ChannelChange) { c.PromoteToStable = &yes },
	} {
		_, _, err := s.ChangeChannel(ctx, "test", change("production", edit))
		ok(t, err)
		if hears("ios").Answer.Version != second || hears("android").Answer.Version != third {
			t.Fatal("a rollout reached the platform that has its own bundle")
		}
	}
	_, err = pin("android", &builtin)
	ok(t, err)
	if v := hears("android"); v.Bundle != nil {
		t.Fatalf("%+v", v)
	}
	c, err = pin("android", nil)
	ok(t, err)
	if _, own := c.PlatformVersions["android"]; own || hears("android").Answer.Version != third {
		t.Fatalf("%+v", c)
	}
	// Only 1.1.0 and 1.4.0 are on no channel.
	n, err := s.DeleteUnlinkedBundles(ctx, "test", app)
	ok(t, err)
	if n != 2 {
		t.Fatalf("%d bundles were deleted", n)
	}
	list, err := s.Changes(ctx, store.ChangeFilter{AppID: app, Channel: "production"})
	ok(t, err)
	var said []string
	for _, c := range list {
		if c.Action == "channel.platform" {
			said = append(said, c.From+" "+c.To)
		}
	}
	if got := strings.Join(said, ", "); got != "android=builtin android=channel, android=channel android=builtin, ios=channel ios=1.2.0" {
		t.Errorf("the audit says %s", got)
	}
	// A bundle of a platform is in use: what was done to its row is seen.
	if _, err := raw.ExecContext(ctx, `UPDATE bundles SET checksum = checksum_v2, checksum_v3 = (SELECT checksum_v3 FROM bundles WHERE name = '1.3.0') WHERE name = '1.2.0'`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a tampered bundle of a platform is offered", func() bool { return hears("ios").Answer.URL == "" })
	if s.Refused() != 1 {
		t.Errorf("%d bundles are refused", s.Refused())
	}
}

// testRolloutAsGiven: a change in Capgo's way says what it changes and no more.
func testRolloutAsGiven(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	addBundle(t, s, "1.1.0")
	addBundle(t, s, "1.2.0")
	point(t, s, "production", "1.1.0")
	live, next, tenth, all, on, yes := "1.1.0", "1.2.0", 1000, 10000, true, true
	given := func(edit func(*store.ChannelChange)) store.Channel {
		t.Helper()
		c, _, err := s.ChangeChannel(t.Context(), "test", change("production", func(c *store.ChannelChange) { c.AsGiven = true; edit(c) }))
		ok(t, err)
		return c
	}
	given(func(c *store.ChannelChange) { c.Rollback = &yes }) // of nothing
	given(func(c *store.ChannelChange) { c.RolloutPercentageBps = &tenth })
	if c := given(func(c *store.ChannelChange) { c.RolloutVersion = &next }); c.RolloutEnabled || c.RolloutPercentageBps != tenth {
		t.Errorf("a target alone: %t %d", c.RolloutEnabled, c.RolloutPercentageBps)
	}
	if c := given(func(c *store.ChannelChange) { c.RolloutEnabled, c.RolloutPercentageBps = &on, &all }); !c.RolloutEnabled || c.RolloutPercentageBps != all {
		t.Errorf("switched on: %t %d", c.RolloutEnabled, c.RolloutPercentageBps)
	}
	if c := given(func(c *store.ChannelChange) { c.RolloutVersion = &live }); !c.RolloutEnabled || c.RolloutPercentageBps != 0 {
		t.Errorf("another target takes the share over: %t %d", c.RolloutEnabled, c.RolloutPercentageBps)
	}
}

func testRollout(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	addBundle(t, s, "1.1.0")
	addBundle(t, s, "1.2.0")
	next, half, yes, no := "1.2.0", 5000, true, false
	rollout := func(edit func(*store.ChannelChange)) (store.Channel, error) {
		c, _, err := s.ChangeChannel(ctx, "test", change("production", edit))
		return c, err
	}
	_, err := rollout(func(c *store.ChannelChange) { c.RolloutVersion = &next })
	code(t, err, "channel_not_found")
	point(t, s, "production", "builtin")
	_, err = rollout(func(c *store.ChannelChange) { c.RolloutVersion = &next })
	code(t, err, "missing_stable_version")
	point(t, s, "production", "1.1.0")
	_, err = rollout(func(c *store.ChannelChange) { c.Rollback = &yes })
	code(t, err, "missing_rollout_version")
	_, err = rollout(func(c *store.ChannelChange) { c.Rollback, c.PromoteToStable = &yes, &yes })
	code(t, err, "invalid_rollout_config")
	c, err := rollout(func(c *store.ChannelChange) { c.RolloutVersion, c.RolloutPercentageBps = &next, &half })
	ok(t, err)
	first := c.RolloutID
	if !c.RolloutEnabled || c.RolloutPercentageBps != half || c.RolloutVersionInfo.Name != next {
		t.Fatalf("%+v", c)
	}
	got := map[string]int{}
	for i := range 200 {
		got[ask(t, s, device(i)).Answer.Version]++
	}
	if got["1.1.0"] < 60 || got["1.2.0"] < 60 {
		t.Fatalf("a rollout at half gives %v", got)
	}
	c, err = rollout(func(c *store.ChannelChange) { c.RolloutPaused = &yes })
	ok(t, err)
	if c.RolloutPausedAt == nil {
		t.Fatal("not paused")
	}
	c, err = rollout(func(c *store.ChannelChange) { c.RolloutPaused = &no })
	ok(t, err)
	if c.RolloutPausedAt != nil || c.RolloutID != first {
		t.Fatal("resuming drew the devices anew")
	}
	c, err = rollout(func(c *store.ChannelChange) { c.PromoteToStable = &yes })
	ok(t, err)
	if c.Version.Name != next || c.RolloutVersion != nil || c.RolloutEnabled || c.RolloutID == first {
		t.Fatalf("%+v", c)
	}
	actions := []string{}
	list, err := s.Changes(ctx, store.ChangeFilter{AppID: app, Channel: "production"})
	ok(t, err)
	for _, e := range list {
		actions = append(actions, e.Action)
	}
	want := "rollout.promote rollout.resume rollout.pause rollout.percentage rollout.start channel.promote channel.settings channel.create"
	if strings.Join(actions, " ") != want {
		t.Fatalf("the audit says %v", actions)
	}
}

func testCompareAndSet(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	addBundle(t, s, "1.1.0")
	addBundle(t, s, "1.2.0")
	c := point(t, s, "production", "1.1.0")
	next := "1.2.0"
	set := func(seen int64) error {
		_, _, err := s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.Version, c.ExpectedRevision = &next, &seen }))
		return err
	}
	code(t, set(c.Revision-1), "channel_moved")
	code(t, set(c.Revision+1), "channel_moved")
	ok(t, set(c.Revision))
	code(t, set(c.Revision), "channel_moved")
	zero, seven := int64(0), int64(7)
	_, _, err := s.ChangeChannel(ctx, "test", change("new", func(c *store.ChannelChange) { c.ExpectedRevision = &seven }))
	code(t, err, "channel_moved")
	_, created, err := s.ChangeChannel(ctx, "test", change("new", func(c *store.ChannelChange) { c.ExpectedRevision = &zero }))
	ok(t, err)
	if !created {
		t.Fatal("not created")
	}
}

// Of many operators who saw the same revision, one gets through.
func testRace(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	c := point(t, s, "production", "builtin")
	var won, lost int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 12 {
		name := fmt.Sprintf("1.0.%d", i)
		addBundle(t, s, name)
		all.Add(1)
		go func() {
			defer all.Done()
			_, _, err := s.ChangeChannel(context.Background(), "test", change("production", func(x *store.ChannelChange) { x.Version, x.ExpectedRevision = &name, &c.Revision }))
			mu.Lock()
			defer mu.Unlock()
			switch failure.CodeOf(err) {
			case "channel_moved":
				lost++
			default:
				if err == nil {
					won++
				} else {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	if won != 1 || lost != 11 {
		t.Fatalf("%d changes went through, %d were refused", won, lost)
	}
	if n, _, err := s.VerifyAudit(t.Context()); err != nil || n == 0 {
		t.Fatalf("the audit of a race: %d, %v", n, err)
	}
}

func testOverrides(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	addBundle(t, s, "1.1.0")
	addBundle(t, s, "1.2.0-beta.1")
	point(t, s, "production", "1.1.0")
	beta := "1.2.0-beta.1"
	policy := capgo.PolicyNone
	_, _, err := s.ChangeChannel(ctx, "test", change("beta", func(c *store.ChannelChange) { c.Version, c.DisableAutoUpdate = &beta, &policy }))
	ok(t, err)
	code(t, s.SetOverride(ctx, "test", app, device(1), "none"), "channel_not_found")
	code(t, s.SetOverride(ctx, "test", app, device(1), "production"), "public_channel_override")
	code(t, s.SetOverride(ctx, "test", "com.example.none", device(1), "beta"), "cannot_find_app")
	ok(t, s.SetOverride(ctx, "test", app, strings.ToUpper(device(1)), "beta"))
	if v := ask(t, s, device(1)); v.Answer.Version != beta || v.ChannelSource != decide.SourceOverride {
		t.Fatalf("%+v", v)
	}
	if v := ask(t, s, device(2)); v.Answer.Version != "1.1.0" {
		t.Fatalf("another device is moved too: %+v", v)
	}
	ok(t, s.ClearOverride(ctx, "test", app, device(1)))
	ok(t, s.ClearOverride(ctx, "test", app, device(1)))
	if v := ask(t, s, device(1)); v.Answer.Version != "1.1.0" {
		t.Fatalf("%+v", v)
	}
	channel, err := s.Channel(ctx, app, "beta")
	ok(t, err)
	ok(t, s.ChooseChannel(ctx, app, device(3), channel.ID))
	code(t, s.ChooseChannel(ctx, app, device(3), channel.ID+1000), "channel_not_found")
	snapshot, err := s.Snapshot(ctx, app)
	ok(t, err)
	if snapshot.SelfSet[device(3)] != channel.ID {
		t.Fatalf("%v", snapshot.SelfSet)
	}
	ok(t, s.ForgetChannel(ctx, app, device(3)))
	ok(t, s.ForgetChannel(ctx, app, device(3)))
	ok(t, s.SetOverride(ctx, "test", app, device(1), "beta"))
	ok(t, s.DeleteChannel(ctx, "test", app, "beta"))
	if v := ask(t, s, device(1)); v.Answer.Version != "1.1.0" {
		t.Fatalf("a channel that is gone still holds a device: %+v", v)
	}
}

var (
	signer      = sync.OnceValue(func() *rsa.PrivateKey { return generate() })
	otherSigner = sync.OnceValue(func() *rsa.PrivateKey { return generate() })
)

func generate() *rsa.PrivateKey {
	key, err := keys.Generate()
	if err != nil {
		panic(err)
	}
	return key
}

// sealed gives a bundle that was really sealed with a key.
func sealed(t *testing.T, key *rsa.PrivateKey, name string) store.Bundle {
	t.Helper()
	var out bytes.Buffer
	s, err := bundle.Seal(t.Context(), strings.NewReader("the archive of "+name), &out, key, nil)
	ok(t, err)
	return store.Bundle{Bundle: capgo.Bundle{
		AppID: app, Name: name, Checksum: s.ChecksumV3, ChecksumV2: s.ChecksumV2, ChecksumV3: s.ChecksumV3, PlainChecksum: s.PlainChecksum,
		SessionKey: s.SessionKey, KeyID: s.KeyID, ExternalURL: "https://cdn.example.com/" + name + ".zip", ObjectSHA256: s.ObjectSHA256, ObjectSize: s.ObjectSize,
	}}
}

func publicPEM(key *rsa.PrivateKey) string { return string(keys.EncodePublic(&key.PublicKey)) }

// keyed gives a store whose app has a public key on record.
func keyed(t *testing.T, open opener) (*store.Store, string, *sql.DB) {
	t.Helper()
	target, raw := open(t)
	s := start(t, target, store.Options{Refresh: 20 * time.Millisecond})
	_, err := s.CreateApp(t.Context(), "test", capgo.App{AppID: app, PublicKey: publicPEM(signer())})
	ok(t, err)
	return s, target, raw
}

func testKeyed(t *testing.T, open opener) {
	s, _, _ := keyed(t, open)
	ctx := t.Context()
	plain := store.Bundle{Bundle: capgo.Bundle{AppID: app, Name: "1.0.1", Checksum: strings.Repeat("0", 64), ExternalURL: "https://cdn.example.com/x.zip"}}
	_, err := s.AddBundle(ctx, "test", plain)
	code(t, err, "encryption_required")
	foreign := sealed(t, otherSigner(), "1.0.1")
	_, err = s.AddBundle(ctx, "test", foreign)
	code(t, err, "encryption_key_mismatch")
	foreign.KeyID = ""
	_, err = s.AddBundle(ctx, "test", foreign)
	code(t, err, "bundle_unverified")
	for name, spoil := range map[string]func(*store.Bundle){
		"unsigned checksum":      func(b *store.Bundle) { b.Checksum = b.PlainChecksum },
		"other plain checksum":   func(b *store.Bundle) { b.PlainChecksum = strings.Repeat("0", 64) },
		"another one's checksum": func(b *store.Bundle) { b.ChecksumV2 = sealed(t, signer(), "9.9.9").ChecksumV2 },
		"no signed checksum":     func(b *store.Bundle) { b.Checksum, b.ChecksumV2, b.ChecksumV3 = "", "", "" },
		"half a session key":     func(b *store.Bundle) { b.SessionKey = b.SessionKey[:100] },
	} {
		b := sealed(t, signer(), "1.0.1")
		spoil(&b)
		_, err := s.AddBundle(ctx, "test", b)
		if code := failure.CodeOf(err); code != "bundle_unverified" {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := sealed(t, signer(), "1.0.1")
	good.KeyID, good.PlainChecksum = "", ""
	row, err := s.AddBundle(ctx, "test", good)
	ok(t, err)
	if row.KeyID != keys.KeyID(&signer().PublicKey) || row.PlainChecksum == "" {
		t.Fatalf("what follows from the signatures is not filled in: %+v", row)
	}
	point(t, s, "production", "1.0.1")
	if v := ask(t, s, device(1)); v.Answer.SessionKey == "" || v.Answer.Checksum != row.ChecksumV3 {
		t.Fatalf("%+v", v)
	}
	empty := ""
	_, err = s.ChangeApp(ctx, "test", app, store.AppChange{PublicKey: &empty})
	code(t, err, "public_key_on_record")
	// With another key on record the old bundle is neither served nor promoted.
	other := publicPEM(otherSigner())
	_, err = s.ChangeApp(ctx, "test", app, store.AppChange{PublicKey: &other})
	ok(t, err)
	if v := ask(t, s, device(1)); v.Reason == decide.ReasonOffered || s.Refused() != 1 {
		t.Fatalf("%+v, refused %d", v, s.Refused())
	}
	version := "1.0.1"
	_, _, err = s.ChangeChannel(ctx, "test", change("beta", func(c *store.ChannelChange) { c.Version = &version }))
	code(t, err, "cannot_promote_bundle")
}

// A row that is edited behind the server's back is not served: every column
// that the signatures cover, on a running server and on one that starts.
func testTampering(t *testing.T, open opener) {
	s, target, raw := keyed(t, open)
	ctx := t.Context()
	_, err := s.AddBundle(ctx, "test", sealed(t, signer(), "1.0.1"))
	ok(t, err)
	_, err = s.AddBundle(ctx, "test", sealed(t, signer(), "1.0.2"))
	ok(t, err)
	point(t, s, "production", "1.0.1")
	foreign := sealed(t, otherSigner(), "1.0.1")
	registered, err := s.Bundles(ctx, store.BundleFilter{AppID: app, Name: "1.0.1"})
	ok(t, err)
	digit := "0"
	if registered[0].ChecksumV3[0] == '0' {
		digit = "1"
	}
	for _, edit := range []struct{ name, statement string }{
		{"session key removed", `UPDATE bundles SET session_key = '' WHERE name = '1.0.1'`},
		{"foreign session key", `UPDATE bundles SET session_key = '` + foreign.SessionKey + `' WHERE name = '1.0.1'`},
		{"checksum of nothing", `UPDATE bundles SET checksum = '', checksum_v2 = '', checksum_v3 = '' WHERE name = '1.0.1'`},
		{"plain checksum", `UPDATE bundles SET checksum = plain_checksum WHERE name = '1.0.1'`},
		{"foreign v3", `UPDATE bundles SET checksum_v3 = '` + foreign.ChecksumV3 + `' WHERE name = '1.0.1'`},
		{"foreign v2", `UPDATE bundles SET checksum_v2 = '` + foreign.ChecksumV2 + `' WHERE name = '1.0.1'`},
		{"v2 of another bundle", `UPDATE bundles SET checksum_v2 = (SELECT checksum_v2 FROM bundles WHERE name = '1.0.2') WHERE name = '1.0.1'`},
		{"v3 of another bundle", `UPDATE bundles SET checksum_v3 = (SELECT checksum_v3 FROM bundles WHERE name = '1.0.2') WHERE name = '1.0.1'`},
		{"plain of another bundle", `UPDATE bundles SET plain_checksum = (SELECT plain_checksum FROM bundles WHERE name = '1.0.2') WHERE name = '1.0.1'`},
		{"checksum of another bundle", `UPDATE bundles SET checksum = (SELECT checksum FROM bundles WHERE name = '1.0.2') WHERE name = '1.0.1'`},
		{"whole seal of another key", `UPDATE bundles SET session_key = '` + foreign.SessionKey + `', checksum = '` + foreign.Checksum + `', checksum_v2 = '` + foreign.ChecksumV2 +
			`', checksum_v3 = '` + foreign.ChecksumV3 + `', plain_checksum = '` + foreign.PlainChecksum + `', key_id = '` + foreign.KeyID + `' WHERE name = '1.0.1'`},
		{"a digit of v3", `UPDATE bundles SET checksum_v3 = '` + digit + `' || substr(checksum_v3, 2) WHERE name = '1.0.1'`},
		{"forms exchanged", `UPDATE bundles SET checksum_v2 = checksum_v3, checksum_v3 = checksum_v2 WHERE name = '1.0.1'`},
		{"half a session key", `UPDATE bundles SET session_key = substr(session_key, 1, 100) WHERE name = '1.0.1'`},
		{"foreign key id", `UPDATE bundles SET key_id = '` + foreign.KeyID + `' WHERE name = '1.0.1'`},
		{"unsigned manifest", `UPDATE bundles SET manifest = '[{"FileName":"a.js","FileHash":"` + strings.Repeat("0", 64) + `"}]' WHERE name = '1.0.1'`},
	} {
		t.Run(edit.name, func(t *testing.T) {
			var keep [8]string
			ok(t, raw.QueryRowContext(ctx, `SELECT checksum, checksum_v2, checksum_v3, plain_checksum, session_key, key_id, manifest FROM bundles WHERE name = '1.0.1'`).
				Scan(&keep[0], &keep[1], &keep[2], &keep[3], &keep[4], &keep[5], &keep[6]))
			_, err := raw.ExecContext(ctx, edit.statement)
			ok(t, err)
			eventually(t, "the edited row is served", func() bool { return ask(t, s, device(1)).Alarm != "" })
			v := ask(t, s, device(1))
			if v.Answer.Kind != capgo.KindUpToDate || v.Answer.URL != "" {
				t.Fatalf("%+v", v.Answer)
			}
			again := start(t, target, store.Options{})
			if v := ask(t, again, device(1)); v.Alarm == "" || again.Refused() != 1 {
				t.Fatalf("a server that starts serves the edited row: %+v", v.Answer)
			}
			ok(t, again.Close())
			_, err = raw.ExecContext(ctx, `UPDATE bundles SET checksum = $1, checksum_v2 = $2, checksum_v3 = $3, plain_checksum = $4, session_key = $5, key_id = $6, manifest = $7 WHERE name = '1.0.1'`,
				keep[0], keep[1], keep[2], keep[3], keep[4], keep[5], keep[6])
			ok(t, err)
			eventually(t, "the restored row is not served", func() bool { return ask(t, s, device(1)).Reason == decide.ReasonOffered })
		})
	}
	t.Run("unsigned row put in and pointed at", func(t *testing.T) {
		for _, statement := range []string{
			`INSERT INTO bundles (app_id, name, checksum, external_url, storage_provider, created_at, updated_at) VALUES ('` + app + `', '6.6.6', '` + strings.Repeat("0", 64) + `', 'https://cdn.example.com/x.zip', 'external', 0, 0)`,
			`UPDATE channels SET bundle_id = (SELECT id FROM bundles WHERE name = '6.6.6') WHERE name = 'production'`,
		} {
			_, err := raw.ExecContext(ctx, statement)
			ok(t, err)
		}
		eventually(t, "the row is served", func() bool { return ask(t, s, device(1)).Alarm != "" })
		if v := ask(t, s, device(1)); v.Answer.Kind != capgo.KindUpToDate || v.Answer.URL != "" {
			t.Fatalf("%+v", v.Answer)
		}
		again := start(t, target, store.Options{})
		if v := ask(t, again, device(1)); v.Alarm == "" || v.Answer.URL != "" {
			t.Fatalf("a server that starts serves the row: %+v", v.Answer)
		}
		ok(t, again.Close())
		_, err := raw.ExecContext(ctx, `UPDATE channels SET bundle_id = (SELECT id FROM bundles WHERE name = '1.0.1') WHERE name = 'production'`)
		ok(t, err)
		eventually(t, "the channel's own bundle is not served", func() bool { return ask(t, s, device(1)).Reason == decide.ReasonOffered })
	})
	ok(t, s.Flush(ctx))
	list, err := s.Changes(ctx, store.ChangeFilter{AppID: app, Limit: 1000})
	ok(t, err)
	refused := 0
	for _, e := range list {
		if e.Action == "bundle.refused" {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("the audit says nothing of the refused bundle")
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatal(what)
}

func event(n int, action string, at int64) capgo.StatsEvent {
	return capgo.StatsEvent{UpdateRequest: capgo.UpdateRequest{AppID: app, DeviceID: device(n), Platform: "ios", VersionName: "1.1.0", PluginVersion: "8.51.23", IsProd: true}, Action: action, Timestamp: at}
}

func testEvents(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	first := event(1, "set", 1000)
	first.OldVersionName, first.Metadata = "1.0.0", map[string]string{"k": "v"}
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{first, event(1, "download_complete", 1001), first}))
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{first})) // the plugin sends again what it heard no answer to
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(1, "old", 0), event(1, "old", 0)}))
	ok(t, s.Record(ctx, "com.example.none", []capgo.StatsEvent{first}))
	list, err := s.Events(ctx, app, device(1), 0, 0)
	ok(t, err)
	if len(list) != 4 {
		t.Fatalf("%d events: %+v", len(list), list)
	}
	oldest := list[3]
	if oldest.Action != "set" || oldest.OldVersion != "1.0.0" || oldest.Metadata["k"] != "v" || oldest.At.IsZero() {
		t.Fatalf("%+v", oldest)
	}
	other, err := s.Events(ctx, app, device(2), 0, 0)
	ok(t, err)
	if len(other) != 0 {
		t.Fatalf("another device's log: %+v", other)
	}
}

func testCaps(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{Limits: store.Limits{DevicesPerApp: 10, SelfSetPerApp: 3, EventsPerApp: 5, QueueEvents: 100}})
	ctx := t.Context()
	for i := range 10_000 {
		s.Seen(request(device(i)), decide.Verdict{})
	}
	ok(t, s.Flush(ctx))
	page, err := s.Devices(ctx, store.DeviceFilter{AppID: app, Limit: 1000})
	ok(t, err)
	if len(page.Data) != 10 || s.Dropped() != 9_990 {
		t.Fatalf("%d rows of invented devices, %d dropped", len(page.Data), s.Dropped())
	}
	// Known devices are still kept up to date.
	r := request(page.Data[0].DeviceID)
	r.VersionName = "5.5.5"
	s.Seen(r, decide.Verdict{})
	ok(t, s.Flush(ctx))
	d, err := s.Device(ctx, app, r.DeviceID)
	ok(t, err)
	if d.VersionName != "5.5.5" {
		t.Fatalf("%+v", d)
	}
	c := point(t, s, "production", "builtin")
	for i := range 3 {
		ok(t, s.ChooseChannel(ctx, app, device(i), c.ID))
	}
	code(t, s.ChooseChannel(ctx, app, device(3), c.ID), "override_not_allowed")
	ok(t, s.ChooseChannel(ctx, app, device(2), c.ID))
	many := make([]capgo.StatsEvent, 101)
	for i := range many {
		many[i] = event(i, "set", int64(i+1))
	}
	code(t, s.Record(ctx, app, many), "stats_busy")
	ok(t, s.Record(ctx, app, many[:50]))
	ok(t, s.Prune(ctx))
	list, err := s.Events(ctx, app, "", 0, 1000)
	ok(t, err)
	if len(list) != 5 {
		t.Fatalf("%d events are kept", len(list))
	}
}

// One app that floods the queues leaves room in them for the others.
func testShares(t *testing.T, open opener) {
	const other = "com.example.other"
	// Nothing is written while the first statement of a batch waits.
	s := fresh(t, open, store.Options{Limits: store.Limits{QueueEvents: 200, QueueDevices: 1000}})
	ctx := t.Context()
	_, err := s.CreateApp(ctx, "test", capgo.App{AppID: other})
	ok(t, err)
	ok(t, s.Flush(ctx))
	release := store.HoldWriter(s)
	batch := func(id string, from, n int) []capgo.StatsEvent {
		list := make([]capgo.StatsEvent, n)
		for i := range list {
			list[i] = event(from+i, "set", int64(i+1))
			list[i].AppID = id
		}
		return list
	}
	results := make(chan error, 100)
	refused := 0
	for i := range 30 {
		go func() { results <- s.Record(ctx, app, batch(app, 1000*i, 10)) }()
	}
	// Those that are taken wait for the writer; the rest hears that the server is busy.
	for range 20 {
		code(t, <-results, "stats_busy")
		refused++
	}
	for i := range 2 { // the other app has its share: a half of what is left
		go func() { results <- s.Record(ctx, other, batch(other, 1000*i, 30)) }()
	}
	for i := range 2000 {
		s.Seen(request(device(i)), decide.Verdict{})
	}
	flood := s.Dropped()
	for i := range 100 {
		r := request(device(i))
		r.AppID = other
		s.Seen(r, decide.Verdict{})
	}
	if flood != 1500 || s.Dropped() != flood {
		t.Errorf("of 2000 polls of one app %d are dropped, of 100 of another %d", flood, s.Dropped()-flood)
	}
	for store.WaitingEvents(s) < 160 {
		time.Sleep(time.Millisecond)
	}
	release()
	for range 12 {
		ok(t, <-results)
	}
	ok(t, s.Flush(ctx))
	page, err := s.Devices(ctx, store.DeviceFilter{AppID: other, Limit: 1000})
	ok(t, err)
	if len(page.Data) < 100 {
		t.Errorf("%d devices of the other app are kept", len(page.Data))
	}
}

func testPolls(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	ctx := t.Context()
	b := addBundle(t, s, "1.1.0")
	c := point(t, s, "production", "1.1.0")
	seen := func(n int, version string) {
		r := request(device(n))
		r.VersionName = version
		s.Seen(r, decide.Verdict{Channel: "production", ChannelID: c.ID, Bundle: &decide.Bundle{ID: b.ID, Name: "1.1.0"}})
		ok(t, s.Flush(ctx))
	}
	for i := range 4 {
		seen(i, "1.0.0")
	}
	seen(0, "1.1.0") // updated within the hour
	seen(0, "1.1.0")
	now.add(time.Hour)
	for i := range 4 {
		seen(i, "1.1.0")
	}
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(0, "set", 1), event(1, "set", 2), event(2, "update_fail", 3), event(3, "app_crash", 4)}))
	emulator := event(1, "set", 9)
	emulator.IsEmulator = true
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{emulator}))
	sum, err := s.Summary(ctx, app)
	ok(t, err)
	one := sum.Channels[0]
	if sum.Devices != 4 || one.Devices != 4 || one.OnLive != 4 || one.Live != "1.1.0" || one.Installs != 2 || one.Failures != 1 || one.LastChange == nil {
		t.Fatalf("%+v", sum)
	}
	if got := one.Adoption[22:]; got[0] != 0.25 || got[1] != 1 || one.Adoption[0] != -1 || len(one.Adoption) != 24 {
		t.Fatalf("adoption %v", one.Adoption)
	}
	if sum.Fleet["platform"]["android"] != 4 || sum.Fleet["version_name"]["1.1.0"] != 4 {
		t.Fatalf("%+v", sum.Fleet)
	}
	day := now.Now().Truncate(24 * time.Hour)
	days, err := s.Days(ctx, app, day, day)
	ok(t, err)
	if len(days) != 1 || days[0].NewDevices != 4 || days[0].Installs != 2 || days[0].Failures != 1 {
		t.Fatalf("%+v", days)
	}
	usage, err := s.Usage(ctx, app, store.ByBundle, day, day)
	ok(t, err)
	if len(usage) != 1 || usage[0].Version != "1.1.0" || usage[0].Devices != 4 {
		t.Fatalf("%+v", usage)
	}
	if one.RecentInstalls != 2 || one.RecentFailures != 1 {
		t.Fatalf("the last hours: %+v", one)
	}
	now.add(7 * time.Hour)
	sum, err = s.Summary(ctx, app)
	ok(t, err)
	if one := sum.Channels[0]; one.Installs != 2 || one.Failures != 1 || one.RecentInstalls != 0 || one.RecentFailures != 0 {
		t.Fatalf("seven hours later: %+v", one)
	}
	_, err = s.Summary(ctx, "com.example.none")
	code(t, err, "cannot_find_app")
}

func testFleet(t *testing.T, open opener) {
	s, _, _ := keyed(t, open)
	ctx := t.Context()
	b := sealed(t, signer(), "1.1.0")
	b.Checksum, b.ChecksumV2 = b.ChecksumV3, "" // the older form is not on record
	_, err := s.AddBundle(ctx, "test", b)
	ok(t, err)
	c := point(t, s, "production", "1.1.0")
	empty, err := s.Fleet(ctx, app)
	ok(t, err)
	if empty.Devices != 0 || empty.Enforcing.Share != 0 || empty.KeyID != b.KeyID {
		t.Errorf("%+v", empty)
	}
	other := keys.KeyID(&otherSigner().PublicKey)
	for n, d := range []struct {
		plugin, key    string
		emulator, test bool
	}{
		{"8.51.23", b.KeyID, false, false}, {"8.52.0", b.KeyID, false, false}, {"8.50.0", other, false, false}, {"7.27.8", "MIIB", false, false}, {"7.9.0", "", false, false},
		{"8.51.23", other, true, false}, {"8.51.23", other, false, true},
	} {
		r := request(device(n))
		r.PluginVersion, r.KeyID, r.IsEmulator, r.IsProd = d.plugin, d.key, d.emulator, !d.test
		s.Seen(r, decide.Verdict{Channel: "production", ChannelID: c.ID})
	}
	ok(t, s.Flush(ctx))
	f, err := s.Fleet(ctx, app)
	ok(t, err)
	if f.Devices != 5 || f.Enforcing != (capgo.FleetShare{Devices: 2, Share: 0.4}) || f.OtherKey != (capgo.FleetShare{Devices: 1, Share: 0.2}) ||
		f.WithoutKey.Devices != 1 || f.RefuseForm != (capgo.FleetShare{Devices: 2, Share: 0.4}) {
		t.Errorf("%+v", f)
	}
	_, err = s.Fleet(ctx, "com.example.none")
	code(t, err, "cannot_find_app")
}

// An app changes keys: with two on record a bundle has a seal for each, a device
// is answered by its key, and afterwards by the new key alone.
func testTwoKeys(t *testing.T, open opener) {
	s, target, raw := keyed(t, open)
	ctx := t.Context()
	oldID, newID := keys.KeyID(&signer().PublicKey), keys.KeyID(&otherSigner().PublicKey)
	oldPEM, newPEM, empty := publicPEM(signer()), publicPEM(otherSigner()), ""
	as := func(s *store.Store, key string) decide.Verdict {
		t.Helper()
		snapshot, err := s.Snapshot(ctx, app)
		ok(t, err)
		r := request(device(1))
		r.KeyID = key
		return decide.Update(snapshot, r)
	}
	both := func(name string) store.Bundle {
		b, second := sealed(t, signer(), name), sealed(t, otherSigner(), name)
		b.Seals = []capgo.Seal{{KeyID: second.KeyID, SessionKey: second.SessionKey, ChecksumV2: second.ChecksumV2, ChecksumV3: second.ChecksumV3,
			R2Path: app + "/" + name + "/second.zip", ObjectSHA256: second.ObjectSHA256, ObjectSize: second.ObjectSize}}
		return b
	}
	_, err := s.AddBundle(ctx, "test", both("1.0.1"))
	code(t, err, "encryption_key_mismatch") // the second key is not on record
	_, err = s.ChangeApp(ctx, "test", app, store.AppChange{SecondPublicKey: &oldPEM})
	code(t, err, "public_key_on_record")
	a, err := s.ChangeApp(ctx, "test", app, store.AppChange{SecondPublicKey: &newPEM})
	ok(t, err)
	if a.PublicKey != oldPEM || a.SecondPublicKey != newPEM {
		t.Fatalf("%+v", a)
	}
	for name, spoil := range map[string]func(*store.Bundle){
		"one key twice":           func(b *store.Bundle) { b.Seals = append(b.Seals, b.Seals[0]) },
		"the bundle's own key":    func(b *store.Bundle) { b.Seals[0].KeyID = b.KeyID },
		"no key":                  func(b *store.Bundle) { b.Seals[0].KeyID = "" },
		"one form":                func(b *store.Bundle) { b.Seals[0].ChecksumV2 = "" },
		"the other's session key": func(b *store.Bundle) { b.Seals[0].SessionKey = b.SessionKey },
		"another archive":         func(b *store.Bundle) { b.Seals = both("9.9.9").Seals },
	} {
		b := both("1.0.1")
		spoil(&b)
		_, err := s.AddBundle(ctx, "test", b)
		if code := failure.CodeOf(err); code != "bundle_unverified" && code != "encryption_key_mismatch" {
			t.Errorf("%s: %v", name, err)
		}
	}
	row, err := s.AddBundle(ctx, "test", both("1.0.1"))
	ok(t, err)
	if len(row.Seals) != 1 || row.Seals[0].KeyID != newID || row.KeyID != oldID {
		t.Fatalf("%+v", row)
	}
	// The other way around, as a release under the new key registers it.
	turned := sealed(t, otherSigner(), "1.0.2")
	second := sealed(t, signer(), "1.0.2")
	turned.Seals = []capgo.Seal{{KeyID: oldID, SessionKey: second.SessionKey, ChecksumV2: second.ChecksumV2, ChecksumV3: second.ChecksumV3, ExternalURL: "https://cdn.example.com/old.zip"}}
	_, err = s.AddBundle(ctx, "test", turned)
	ok(t, err)
	_, err = s.AddBundle(ctx, "test", sealed(t, signer(), "1.0.3"))
	ok(t, err)

	point(t, s, "production", "1.0.1")
	for key, session := range map[string]string{oldID: row.SessionKey, newID: row.Seals[0].SessionKey, "": row.SessionKey} {
		if v := as(s, key); v.Answer.SessionKey != session {
			t.Errorf("key %q: %s, %+v", key, v.Reason, v.Answer)
		}
	}
	v := as(s, newID)
	v.Locate(func(name string) string { return "https://x/" + name })
	if v.Answer.URL != "https://x/"+app+"/1.0.1/second.zip" {
		t.Errorf("%+v", v.Answer)
	}
	point(t, s, "production", "1.0.2")
	for key, session := range map[string]string{oldID: second.SessionKey, newID: turned.SessionKey, "": second.SessionKey} {
		if v := as(s, key); v.Answer.SessionKey != session {
			t.Errorf("turned, key %q: %s, %+v", key, v.Reason, v.Answer)
		}
	}
	point(t, s, "production", "1.0.3")
	if v := as(s, newID); v.Reason != capgo.CodeKeyMismatch {
		t.Errorf("sealed for the old key alone: %+v", v.Answer)
	}

	// Its object stays while a seal has it.
	name := app + "/1.0.1/second.zip"
	ok(t, s.AddObject(ctx, store.Object{Name: name, SHA256: strings.Repeat("0", 64), Size: 1}))
	code(t, s.ForgetObject(ctx, name, "/files/"+name), "object_in_use")

	// A seal that somebody edited is not served; the other one is.
	point(t, s, "production", "1.0.1")
	var text string
	ok(t, raw.QueryRowContext(ctx, `SELECT seals FROM bundles WHERE name = '1.0.1'`).Scan(&text))
	_, err = raw.ExecContext(ctx, `UPDATE bundles SET seals = $1 WHERE name = '1.0.1'`, strings.Replace(text, row.Seals[0].ChecksumV3, turned.ChecksumV3, 1))
	ok(t, err)
	eventually(t, "the edited seal is served", func() bool { return as(s, newID).Answer.URL == "" && as(s, newID).Reason != decide.ReasonOffered })
	if v := as(s, oldID); v.Reason != decide.ReasonOffered {
		t.Errorf("the seal beside it: %s", v.Reason)
	}
	again := start(t, target, store.Options{})
	if v := as(again, newID); v.Reason == decide.ReasonOffered || again.Refused() != 1 {
		t.Errorf("a server that starts serves the edited seal: %s, %d", v.Reason, again.Refused())
	}
	ok(t, again.Close())
	_, err = raw.ExecContext(ctx, `UPDATE bundles SET seals = $1 WHERE name = '1.0.1'`, text)
	ok(t, err)
	eventually(t, "the restored seal is not served", func() bool { return as(s, newID).Reason == decide.ReasonOffered })

	// The count of who carries which.
	for n, key := range []string{oldID, newID, newID, ""} {
		r := request(device(n))
		r.KeyID = key
		s.Seen(r, decide.Verdict{})
	}
	ok(t, s.Flush(ctx))
	f, err := s.Fleet(ctx, app)
	ok(t, err)
	if f.SecondKeyID != newID || f.OnSecond != (capgo.FleetShare{Devices: 2, Share: 0.5}) || f.OtherKey.Devices != 0 {
		t.Errorf("%+v", f)
	}

	// Retired: one key, the new one.
	a, err = s.ChangeApp(ctx, "test", app, store.AppChange{PublicKey: &newPEM, SecondPublicKey: &empty})
	ok(t, err)
	if a.PublicKey != newPEM || a.SecondPublicKey != "" || s.Refused() != 0 {
		t.Errorf("%+v, refused %d", a, s.Refused())
	}
	if v := as(s, oldID); v.Reason != capgo.CodeKeyMismatch || v.Answer.BundleKeyID != newID {
		t.Errorf("the old key: %+v", v.Answer)
	}
	for _, key := range []string{newID, ""} {
		if v := as(s, key); v.Answer.SessionKey != row.Seals[0].SessionKey {
			t.Errorf("key %q: %s, %+v", key, v.Reason, v.Answer)
		}
	}
	point(t, s, "production", "1.0.2")
	version := "1.0.3"
	_, _, err = s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.Version = &version }))
	code(t, err, "cannot_promote_bundle") // sealed for the old key alone
	_, err = s.ChangeApp(ctx, "test", app, store.AppChange{SecondPublicKey: &oldPEM})
	ok(t, err)
	a, err = s.ChangeApp(ctx, "test", app, store.AppChange{PublicKey: &oldPEM}) // what is first is not second too
	ok(t, err)
	if a.SecondPublicKey != "" {
		t.Errorf("%+v", a)
	}
	list, err := s.Changes(ctx, store.ChangeFilter{AppID: app, Limit: 1000})
	ok(t, err)
	changes := 0
	for _, e := range list {
		if e.Action == "app.second_key" {
			changes++
		}
	}
	if changes != 4 {
		t.Errorf("the audit has %d changes of the second key", changes)
	}
	_, err = s.CreateApp(ctx, "test", capgo.App{AppID: "com.example.keyless"})
	ok(t, err)
	_, err = s.ChangeApp(ctx, "test", "com.example.keyless", store.AppChange{SecondPublicKey: &newPEM})
	code(t, err, "public_key_missing")
}

// What a stranger writes is kept or cleaned, and never stops what others say:
// PostgreSQL takes neither NUL nor broken UTF-8.
func testOddText(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	odd := "a\x00b\xffc\xed\xa0\x80" // NUL, a stray byte, half of a surrogate pair
	r := request(device(1))
	r.CustomID, r.VersionOS, r.InstallSource, r.DefaultChannel = odd, odd, odd, odd
	s.Seen(r, decide.Verdict{})
	ok(t, s.Flush(ctx))
	e := event(1, "set", 1)
	e.VersionName, e.OldVersionName, e.Metadata = "1.1.0"+odd, odd, map[string]string{"k": odd}
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{e, event(2, "set", 1)}))
	d, err := s.Device(ctx, app, device(1))
	ok(t, err)
	list, err := s.Events(ctx, app, device(1), 0, 0)
	ok(t, err)
	if d.CustomID != "abc" || len(list) != 1 || list[0].VersionName != "1.1.0abc" {
		t.Errorf("%+v %+v", d, list)
	}
}

// Some plugins report download_fail whenever there is nothing to download:
// what counts is a bundle that the device was offered and does not run.
func testDownloadFail(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	for _, name := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		addBundle(t, s, name)
	}
	point(t, s, "production", "1.1.0")
	next, few := "1.2.0", 100
	channel, _, err := s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.RolloutVersion, c.RolloutPercentageBps = &next, &few }))
	ok(t, err)
	for n, runs := range []string{"1.1.0", "1.0.0"} {
		r := request(device(n))
		r.VersionName = runs
		s.Seen(r, decide.Verdict{Channel: "production", ChannelID: channel.ID})
	}
	ok(t, s.Flush(ctx))
	for i, c := range []struct {
		name, version, plugin string
		device                int
		failures              int64
	}{
		{"of the bundle that runs", "1.1.0", "7.27.8", 0, 0},
		{"of a bundle that is not offered", "1.0.0", "7.27.8", 0, 0},
		{"of a device that never asked", "1.1.0", "7.27.8", 7, 0},
		{"of a plugin that does not mean it", "1.1.0", "7.16.9", 1, 0},
		{"of the bundle offered", "1.1.0", "7.27.8", 1, 1},
		{"of a file of it", "1.1.0:main.js", "8.51.23", 1, 2},
		{"of the rollout", "1.2.0", "8.51.23", 0, 3},
	} {
		e := event(c.device, "download_fail", int64(i+1))
		e.VersionName, e.PluginVersion = c.version, c.plugin
		ok(t, s.Record(ctx, app, []capgo.StatsEvent{e}))
		sum, err := s.Summary(ctx, app)
		ok(t, err)
		if got := sum.Channels[0].Failures; got != c.failures {
			t.Errorf("%s: %d failures, want %d", c.name, got, c.failures)
		}
	}
	if list, err := s.Events(ctx, app, device(0), 0, 0); err != nil || len(list) != 3 {
		t.Errorf("%d events of the device, %v: what is not counted is kept all the same", len(list), err)
	}
}

// A device that says the same again is not written again for ten minutes; what
// it says anew is.
func testRepeatedPolls(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	first := now.Now()
	seen := func(after time.Duration, version string, want time.Time) {
		t.Helper()
		now.add(after)
		r := request(device(1))
		r.VersionName = version
		s.Seen(r, decide.Verdict{})
		ok(t, s.Flush(t.Context()))
		d, err := s.Device(t.Context(), app, device(1))
		ok(t, err)
		if !d.UpdatedAt.Equal(want) || want.Equal(now.Now()) && d.VersionName != version {
			t.Errorf("%+v, want %s", d, want)
		}
	}
	seen(0, "1.0.0", first)
	seen(time.Minute, "1.0.0", first)
	seen(time.Minute, "1.1.0", first.Add(2*time.Minute))
	seen(time.Minute, "1.1.0", first.Add(2*time.Minute))
	seen(10*time.Minute, "1.1.0", first.Add(13*time.Minute))
	ok(t, s.DeleteApp(t.Context(), "test", app))
	_, err := s.CreateApp(t.Context(), "test", capgo.App{AppID: app})
	ok(t, err)
	seen(time.Minute, "1.1.0", first.Add(14*time.Minute)) // the app was made anew
}

func testDeviceSearch(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	ctx := t.Context()
	for i := range 30 {
		now.add(time.Second)
		r := request(device(i))
		if i == 7 {
			r.CustomID = "Customer 100%_x"
		}
		s.Seen(r, decide.Verdict{})
	}
	r := request("5eed0000-0000-4000-8000-0000000000ff")
	s.Seen(r, decide.Verdict{})
	ok(t, s.Flush(ctx))
	for _, c := range []struct {
		fragment string
		limit    int
		first    string
		found    int
		cut      bool
	}{
		{"5EED", 0, r.DeviceID, 1, false},               // how it starts, in either case
		{"00ff", 0, r.DeviceID, 1, false},               // how it ends
		{"0000000002", 0, device(29), 11, false},        // in the middle: the last seen first
		{"00000000-0000-4000", 10, device(0), 10, true}, // more than asked for
		{"mer 100%_x", 0, device(7), 1, false},          // signs that stand for themselves
		{"100%%x", 0, "", 0, false},
		{"nobody", 0, "", 0, false},
	} {
		got, err := s.SearchDevices(ctx, app, c.fragment, c.limit)
		ok(t, err)
		if len(got.Devices) != c.found || got.Cut != c.cut || c.found > 0 && got.Devices[0].DeviceID != c.first {
			t.Errorf("%q: %d devices, cut %t: %+v", c.fragment, len(got.Devices), got.Cut, got.Devices)
		}
	}
	if other, err := s.SearchDevices(ctx, "com.example.other", "5eed", 0); err != nil || len(other.Devices) != 0 {
		t.Errorf("another app: %+v %v", other, err)
	}
	ended, stop := context.WithCancel(ctx)
	stop()
	if _, err := s.SearchDevices(ended, app, "5eed", 0); err == nil {
		t.Error("a search that nobody waits for has an answer")
	}
}

func testDevicePages(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	ctx := t.Context()
	for i := range 25 {
		if i%3 == 0 {
			now.add(time.Second) // some share a time
		}
		s.Seen(request(device(i)), decide.Verdict{})
	}
	ok(t, s.Flush(ctx))
	for _, oldest := range []bool{false, true} {
		var all []string
		f := store.DeviceFilter{AppID: app, Limit: 7, Oldest: oldest}
		for pages := 0; ; pages++ {
			page, err := s.Devices(ctx, f)
			ok(t, err)
			for _, d := range page.Data {
				all = append(all, d.DeviceID)
			}
			if !page.HasMore {
				break
			}
			f.Cursor = page.NextCursor
		}
		seen := map[string]bool{}
		for _, id := range all {
			seen[id] = true
		}
		if len(all) != 25 || len(seen) != 25 {
			t.Fatalf("oldest %t: %d rows, %d devices", oldest, len(all), len(seen))
		}
	}
	for _, cursor := range []string{"!", "YQ", "x"} {
		_, err := s.Devices(ctx, store.DeviceFilter{AppID: app, Cursor: cursor})
		code(t, err, "invalid_cursor")
	}
	_, err := s.Device(ctx, app, device(999))
	code(t, err, "device_not_found")
	d, err := s.Device(ctx, app, strings.ToUpper(device(3)))
	ok(t, err)
	if d.Platform != "android" {
		t.Fatalf("%+v", d)
	}
}

func testAudit(t *testing.T, open opener) {
	target, raw := open(t)
	s := start(t, target, store.Options{})
	ctx := t.Context()
	_, err := s.CreateApp(ctx, "ann", capgo.App{AppID: app, Name: "Tides"})
	ok(t, err)
	addBundle(t, s, "1.1.0")
	point(t, s, "production", "1.1.0")
	n, head, err := s.VerifyAudit(ctx)
	ok(t, err)
	list, err := s.Changes(ctx, store.ChangeFilter{Limit: 1000})
	ok(t, err)
	if int(n) != len(list) || head == "" || list[len(list)-1].Actor != "ann" {
		t.Fatalf("%d entries, head %q, %+v", n, head, list)
	}
	// A change that fails leaves no entry, a change that succeeds leaves one:
	// they share their transaction.
	wrong := "9.9.9"
	_, _, err = s.ChangeChannel(ctx, "bob", change("production", func(c *store.ChannelChange) { c.Version = &wrong }))
	code(t, err, "cannot_find_version")
	if after, _, err := s.VerifyAudit(ctx); err != nil || after != n {
		t.Fatalf("a refused change left %d entries more, %v", after-n, err)
	}
	for _, statement := range []string{`UPDATE audit SET actor = 'eve'`, `DELETE FROM audit`} {
		if _, err := raw.ExecContext(ctx, statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	// Who can drop the guard can rewrite an entry, and is found out.
	for _, statement := range []string{`DROP TRIGGER audit_no_update`, `ALTER TABLE audit DISABLE TRIGGER ALL`} {
		_, _ = raw.ExecContext(ctx, statement) // each is for one engine
	}
	_, err = raw.ExecContext(ctx, `UPDATE audit SET actor = 'eve' WHERE id = 2`)
	ok(t, err)
	_, _, err = s.VerifyAudit(ctx)
	code(t, err, "audit_broken")
}

func testTokens(t *testing.T, open opener) {
	now := newClock()
	target, raw := open(t)
	s := start(t, target, store.Options{Now: now.Now})
	ctx := t.Context()
	until := now.Now().Add(time.Hour)
	parent, err := s.CreateToken(ctx, "op", "", capgo.Token{Name: "parent", Scope: capgo.ScopeAdmin})
	ok(t, err)
	child, err := s.CreateToken(ctx, "parent", parent.ID, capgo.Token{Name: "child", Scope: capgo.ScopeRead, Apps: []string{app}, Channels: []string{"beta"}, ExpiresAt: &until})
	ok(t, err)
	got, err := s.Authenticate(ctx, child.Secret)
	ok(t, err)
	if got.Name != "child" || got.Scope != capgo.ScopeRead || len(got.Apps) != 1 || len(got.Channels) != 1 || got.Secret != "" {
		t.Fatalf("%+v", got)
	}
	// The secret is nowhere in the database.
	var rows int
	ok(t, raw.QueryRowContext(ctx, `SELECT COUNT(*) FROM tokens WHERE hash = $1 OR name LIKE '%' || $1 || '%' OR hash LIKE '%' || $2 || '%'`, child.Secret, child.Secret[len(child.Secret)-64:]).Scan(&rows))
	if rows != 0 {
		t.Fatal("a secret is kept")
	}
	for _, bad := range []string{"", "x", "capstan_", "capstan__", child.Secret + "0", child.Secret[:len(child.Secret)-1], "capstan_" + parent.ID + "_" + child.Secret[len(child.Secret)-64:], strings.Repeat("a", 10_000)} {
		_, err := s.Authenticate(ctx, bad)
		code(t, err, "invalid_apikey")
	}
	now.add(time.Hour)
	_, err = s.Authenticate(ctx, child.Secret)
	code(t, err, "invalid_apikey")
	now.add(-time.Minute)
	_, err = s.Authenticate(ctx, child.Secret)
	ok(t, err)
	ok(t, s.Flush(ctx))
	list, err := s.Tokens(ctx)
	ok(t, err)
	used := map[string]bool{}
	for _, row := range list {
		used[row.ID] = row.LastUsed != nil
	}
	if len(list) != 2 || !used[child.ID] || used[parent.ID] {
		t.Fatalf("%+v", list)
	}
	code(t, s.RevokeToken(ctx, "op", "none"), "token_not_found")
	ok(t, s.RevokeToken(ctx, "op", parent.ID)) // takes what was minted with it along
	for _, secret := range []string{parent.Secret, child.Secret} {
		_, err = s.Authenticate(ctx, secret)
		code(t, err, "invalid_apikey")
	}
}

func testObjects(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	o := store.Object{Name: app + "/1.1.0/a.zip", SHA256: strings.Repeat("a", 64), Size: 3}
	ok(t, s.AddObject(ctx, o))
	ok(t, s.AddObject(ctx, o))
	code(t, s.AddObject(ctx, store.Object{Name: o.Name, SHA256: strings.Repeat("b", 64), Size: 3}), "object_exists")
	got, err := s.Object(ctx, o.Name)
	ok(t, err)
	if got != o {
		t.Fatalf("%+v", got)
	}
	_, err = s.AddBundle(ctx, "test", store.Bundle{Bundle: capgo.Bundle{AppID: app, Name: "1.1.0", Checksum: "0", ExternalURL: "https://updates.example.com/files/" + o.Name}})
	ok(t, err)
	code(t, s.ForgetObject(ctx, o.Name, "/files/"+o.Name), "object_in_use")
	ok(t, s.DeleteBundle(ctx, "test", app, "1.1.0"))
	ok(t, s.ForgetObject(ctx, o.Name, "/files/"+o.Name))
	_, err = s.Object(ctx, o.Name)
	code(t, err, "object_not_found")
}

func testReopen(t *testing.T, open opener) {
	target, raw := open(t)
	s := start(t, target, store.Options{})
	_, err := s.CreateApp(t.Context(), "test", capgo.App{AppID: app})
	ok(t, err)
	addBundle(t, s, "1.1.0")
	point(t, s, "production", "1.1.0")
	s.Seen(request(device(1)), decide.Verdict{})
	ok(t, s.Close()) // writes what is queued
	again := start(t, target, store.Options{})
	if v := ask(t, again, device(1)); v.Answer.Version != "1.1.0" {
		t.Fatalf("%+v", v)
	}
	_, err = again.Device(t.Context(), app, device(1))
	ok(t, err)
	ok(t, again.Ping(t.Context()))
	ok(t, again.Close())
	_, err = raw.ExecContext(t.Context(), `INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (9999, 'future', 'x', 0)`)
	ok(t, err)
	_, err = store.Open(t.Context(), target, store.Options{})
	code(t, err, "schema_newer")
}

// What one process changes, another one serves soon after.
func testTwoProcesses(t *testing.T, open opener) {
	target, _ := open(t)
	a := start(t, target, store.Options{Refresh: 20 * time.Millisecond})
	b := start(t, target, store.Options{Refresh: 20 * time.Millisecond})
	_, err := a.CreateApp(t.Context(), "test", capgo.App{AppID: app})
	ok(t, err)
	addBundle(t, a, "1.1.0")
	point(t, a, "production", "1.1.0")
	offered := func(s *store.Store, version string) func() bool {
		return func() bool {
			snapshot, err := s.Snapshot(t.Context(), app)
			return err == nil && snapshot != nil && decide.Update(snapshot, request(device(1))).Answer.Version == version
		}
	}
	eventually(t, "the other process does not hear of the promotion", offered(b, "1.1.0"))
	addBundle(t, b, "1.2.0")
	point(t, b, "production", "1.2.0")
	eventually(t, "the first process does not hear of the promotion", offered(a, "1.2.0"))
	ok(t, a.DeleteApp(t.Context(), "test", app))
	eventually(t, "the other process still answers for a deleted app", func() bool {
		snapshot, err := b.Snapshot(t.Context(), app)
		return err == nil && snapshot == nil
	})
}

func testAutoPause(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	ctx := t.Context()
	addBundle(t, s, "1.0.0")
	addBundle(t, s, "1.1.0") // the version of event()
	point(t, s, "production", "1.0.0")
	next, all, yes, rate, least := "1.1.0", 10000, true, int64(1000), int64(10)
	pRate, pLeast := &rate, &least
	_, _, err := s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) {
		c.RolloutVersion, c.RolloutPercentageBps = &next, &all
		c.AutoPauseEnabled, c.AutoPauseFailureRateBps, c.AutoPauseMinAttempts = &yes, &pRate, &pLeast
	}))
	ok(t, err)
	fired := func() int {
		n, err := s.AutoPause(ctx)
		ok(t, err)
		return n
	}
	// Failures of one device many times, of emulators and of test builds do not count.
	for i := range 30 {
		e := event(1, "update_fail", int64(i+1))
		emulator := event(100+i, "update_fail", 1)
		emulator.IsEmulator = true
		dev := event(200+i, "update_fail", 1)
		dev.IsProd = false
		ok(t, s.Record(ctx, app, []capgo.StatsEvent{e, emulator, dev}))
	}
	// Nor does one device that fails in many ways, at the whole or at a file of it.
	for i, action := range []string{"download_fail", "checksum_fail", "unzip_fail", "set_fail", "checksum_required", "insufficient_disk_space", "decrypt_fail", "low_mem_fail", "manifest_path_fail", "finish_download_fail"} {
		e := event(1, action, int64(100+i))
		file := event(1, action, int64(200+i))
		file.VersionName += ":main.js"
		ok(t, s.Record(ctx, app, []capgo.StatsEvent{e, file}))
	}
	if fired() != 0 {
		t.Fatal("one device stopped a rollout")
	}
	for i := 2; i < 12; i++ {
		ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(i, "set", 1)}))
	}
	if fired() != 0 {
		t.Fatal("1 failure of 11 stopped a rollout: the sample is too small for that")
	}
	for i := 12; i < 20; i++ {
		ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(i, "update_fail", 1)}))
	}
	if fired() != 1 || fired() != 0 {
		t.Fatal("9 failures of 19 did not stop the rollout once")
	}
	c, err := s.Channel(ctx, app, "production")
	ok(t, err)
	if c.RolloutPausedAt == nil || c.RolloutPauseReason == nil || !strings.Contains(*c.RolloutPauseReason, "9 of 19") || c.AutoPause.TriggeredAt == nil {
		t.Fatalf("%+v", c)
	}
	// An alarm that only tells is raised once in its time, whoever looks.
	no, notify, cooldown := false, "notify", int64(30)
	_, _, err = s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) {
		c.RolloutPaused, c.AutoPauseAction, c.AutoPauseCooldownMinutes = &no, &notify, &cooldown
	}))
	ok(t, err)
	now.add(31 * time.Minute)
	var alarms atomic.Int64
	var looks sync.WaitGroup
	for range 4 {
		looks.Go(func() {
			n, err := s.AutoPause(ctx)
			if err != nil {
				t.Error(err)
			}
			alarms.Add(int64(n))
		})
	}
	looks.Wait()
	if alarms.Load() != 1 {
		t.Errorf("%d alarms", alarms.Load())
	}
}

func TestWilsonLower(t *testing.T) {
	// Values of the closed formula at z = 1.959964.
	for _, c := range []struct {
		k, n int64
		want float64
	}{{0, 10, 0}, {1, 10, 0.017876}, {5, 10, 0.236593}, {10, 10, 0.722467}, {0, 0, 0}} {
		got := store.WilsonLower(c.k, c.n, 0.95)
		if got < c.want-1e-4 || got > c.want+1e-4 {
			t.Errorf("%d of %d: %f, want %f", c.k, c.n, got, c.want)
		}
	}
}

func testRetention(t *testing.T, open opener) {
	now := newClock()
	s := fresh(t, open, store.Options{Now: now.Now})
	ctx := t.Context()
	s.Seen(request(device(1)), decide.Verdict{})
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(1, "set", 1)}))
	now.add(91 * 24 * time.Hour)
	s.Seen(request(device(2)), decide.Verdict{})
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(2, "set", 2)}))
	ok(t, s.Prune(ctx))
	list, err := s.Events(ctx, app, "", 0, 0)
	ok(t, err)
	if len(list) != 1 || list[0].DeviceID != device(2) {
		t.Fatalf("%+v", list)
	}
	now.add(100 * 24 * time.Hour)
	ok(t, s.Prune(ctx))
	_, err = s.Device(ctx, app, device(1))
	code(t, err, "device_not_found")
	_, err = s.Device(ctx, app, device(2))
	ok(t, err)
}

// Over random histories of registering, promoting and deleting, what a device
// is offered is never deleted.
func testDeletedNeverServed(t *testing.T, open opener) {
	s := fresh(t, open, store.Options{})
	ctx := t.Context()
	point(t, s, "production", "builtin")
	deleted := map[string]bool{}
	var names []string
	seed := uint32(1)
	draw := func(n int) int { seed = seed*1664525 + 1013904223; return int(seed>>8) % n }
	for step := range 150 {
		switch draw(3) {
		case 0:
			name := fmt.Sprintf("1.0.%d", step)
			addBundle(t, s, name)
			names = append(names, name)
		case 1:
			if len(names) > 0 {
				name := names[draw(len(names))]
				_, _, err := s.ChangeChannel(ctx, "test", change("production", func(c *store.ChannelChange) { c.Version = &name }))
				if deleted[name] {
					code(t, err, "cannot_find_version")
				} else {
					ok(t, err)
				}
			}
		case 2:
			if len(names) > 0 {
				name := names[draw(len(names))]
				err := s.DeleteBundle(ctx, "test", app, name)
				if err == nil {
					deleted[name] = true
				} else if c := failure.CodeOf(err); c != "cannot_find_version" && c != "cannot_delete_linked_version" {
					t.Fatal(err)
				}
			}
		}
		if v := ask(t, s, device(1)); deleted[v.Answer.Version] {
			t.Fatalf("step %d: %s is offered and deleted", step, v.Answer.Version)
		}
	}
}

func TestFaultOfTheDatabase(t *testing.T) {
	target, _ := sqlite(t)
	s := start(t, target, store.Options{})
	_, err := s.CreateApp(t.Context(), "test", capgo.App{AppID: app})
	ok(t, err)
	ok(t, s.Close())
	err = s.Record(t.Context(), app, nil)
	ok(t, err)
	_, err = s.App(t.Context(), app)
	f, found := failure.Find(err)
	if !found || f.Class != failure.Unavailable || f.Code != "store_unavailable" {
		t.Fatalf("a closed database gives %v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Fatal("taken for a cancellation")
	}
}

// delta gives signed files of a delta update.
func delta(t *testing.T, key *rsa.PrivateKey, names ...string) (files []decide.ManifestFile) {
	t.Helper()
	for _, name := range names {
		sum := sha256.Sum256([]byte(name))
		v2, v3, err := bundle.SignChecksum(key, sum)
		ok(t, err)
		files = append(files, decide.ManifestFile{FileName: name, FileHash: hex.EncodeToString(sum[:]), FileHashV2: v2, FileHashV3: v3,
			URL: "https://cdn.example.com/files/" + name, Size: 16, Own: true})
	}
	return files
}

// Delta files are kept with their bundle, verified with the key on record, and
// held in memory only while a channel points at the bundle.
func testDeltaFiles(t *testing.T, open opener) {
	s, target, raw := keyed(t, open)
	ctx := t.Context()
	for name, files := range map[string][]decide.ManifestFile{
		"another key":     delta(t, otherSigner(), "index.html"),
		"another content": {{FileName: "index.html", FileHash: strings.Repeat("0", 64), FileHashV3: delta(t, signer(), "x")[0].FileHashV3}},
		"not signed":      {{FileName: "index.html", FileHash: strings.Repeat("0", 64)}},
	} {
		b := sealed(t, signer(), "1.0.1")
		b.Manifest = files
		if _, err := s.AddBundle(ctx, "test", b); failure.CodeOf(err) != "bundle_unverified" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, version := range []string{"1.0.1", "1.0.2"} {
		b := sealed(t, signer(), version)
		b.Manifest = delta(t, signer(), "index.html", "app.js.br", version)
		row, err := s.AddBundle(ctx, "test", b)
		ok(t, err)
		if row.ManifestCount != 3 {
			t.Fatalf("%d files", row.ManifestCount)
		}
	}
	list, err := s.Bundles(ctx, store.BundleFilter{AppID: app})
	ok(t, err)
	for _, b := range list {
		if b.ManifestCount != 3 || b.Manifest != nil {
			t.Fatalf("a list has %d files, says %d", len(b.Manifest), b.ManifestCount)
		}
	}
	offered := func(s *store.Store, want int) {
		t.Helper()
		v := ask(t, s, device(1))
		v.Locate(func(string) string { return "" })
		if v.Reason != decide.ReasonOffered || len(v.Answer.Manifest) != want {
			t.Fatalf("%s with %d files, want %d", v.Reason, len(v.Answer.Manifest), want)
		}
		for _, f := range v.Answer.Manifest {
			if len(f.FileHash) != 512 || f.DownloadURL != "https://cdn.example.com/files/"+f.FileName {
				t.Fatalf("%+v", f)
			}
		}
	}
	held := func(want int) {
		t.Helper()
		snapshot, err := s.Snapshot(ctx, app)
		ok(t, err)
		n := 0
		for _, b := range snapshot.Bundles {
			n += len(b.Manifest)
		}
		if n != want {
			t.Fatalf("%d files in memory, want %d", n, want)
		}
	}
	held(0)
	point(t, s, "production", "1.0.1")
	offered(s, 3)
	held(3)
	point(t, s, "production", "1.0.2")
	offered(s, 3)
	held(3)
	offered(start(t, target, store.Options{}), 3)
	// An edited hash withholds the bundle.
	_, err = raw.ExecContext(ctx, `UPDATE bundles SET manifest = REPLACE(manifest, '"FileHashV3":"', '"FileHashV3":"0') WHERE name = '1.0.2'`)
	ok(t, err)
	if v := ask(t, start(t, target, store.Options{}), device(1)); v.Reason == decide.ReasonOffered {
		t.Fatal("an edited manifest is served")
	}
}
