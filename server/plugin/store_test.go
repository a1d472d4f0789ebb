package plugin_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/server/plugin"
	"capstan/server/store"
)

var (
	_ plugin.Apps    = (*store.Store)(nil)
	_ plugin.Devices = (*store.Store)(nil)
)

func openStore(t *testing.T, file string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), file, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func storeHandler(s *store.Store) *plugin.Handler {
	return plugin.New(plugin.Config{Apps: s, Devices: s, ObjectURL: func(key string) string { return "https://updates.example.com/files/" + key }})
}

// load puts a recorded state into the store, the way an operator would have.
func (s *recordedState) load(t testing.TB, into *store.Store) {
	t.Helper()
	const operator = "operator"
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %s: %v", s.App.ID, what, err)
		}
	}
	if !orTrue(s.App.Known) {
		return
	}
	_, err := into.CreateApp(ctx, operator, capgo.App{AppID: s.App.ID, Name: s.App.ID, ExposeMetadata: s.App.ExposeMetadata, AllowDeviceCustomID: orTrue(s.App.AllowDeviceCustomID)})
	must("create the app", err)
	if s.App.ExposeMetadata || !orTrue(s.App.AllowDeviceCustomID) {
		custom := orTrue(s.App.AllowDeviceCustomID)
		_, err := into.ChangeApp(ctx, operator, s.App.ID, store.AppChange{ExposeMetadata: &s.App.ExposeMetadata, AllowDeviceCustomID: &custom})
		must("change the app", err)
	}
	for name, b := range s.bundles() {
		row := store.Bundle{Bundle: capgo.Bundle{AppID: s.App.ID, Name: name, ExternalURL: b.ExternalURL, R2Path: b.ObjectKey, Checksum: b.Checksum,
			SessionKey: b.SessionKey, KeyID: b.KeyID, MinUpdateVersion: b.MinUpdateVersion, Link: b.Link, Comment: b.Comment}, Manifest: b.Manifest}
		_, err := into.AddBundle(ctx, operator, row)
		must("register "+name, err)
	}
	for _, c := range s.Channels {
		change := store.ChannelChange{}
		change.AppID, change.Channel, change.Version = s.App.ID, c.Name, c.Bundle
		change.Public, change.IOS, change.Android, change.Electron = &c.Public, c.IOS, c.Android, c.Electron
		change.AllowDeviceSelfSet, change.AllowDev, change.AllowProd = &c.AllowDeviceSelfSet, c.AllowDev, c.AllowProd
		change.AllowDevice, change.AllowEmulator = c.AllowDevice, c.AllowEmulator
		change.DisableAutoUpdate, change.DisableAutoUpdateUnderNative = &c.DisableAutoUpdate, &c.DisableAutoUpdateUnderNative
		_, _, err := into.ChangeChannel(ctx, operator, change)
		must("make channel "+c.Name, err)
		if c.Rollout == nil {
			continue
		}
		change = store.ChannelChange{}
		change.AppID, change.Channel, change.RolloutVersion = s.App.ID, c.Name, &c.Rollout.Bundle
		change.RolloutPercentageBps, change.RolloutEnabled, change.RolloutPaused = &c.Rollout.PercentageBps, &c.Rollout.Enabled, &c.Rollout.Paused
		_, _, err = into.ChangeChannel(ctx, operator, change)
		must("roll out on "+c.Name, err)
	}
	for _, o := range s.Overrides {
		must("override for "+o.DeviceID, into.SetOverride(ctx, operator, s.App.ID, o.DeviceID, o.Channel))
	}
}

// loadable tells whether an operator could have made the state through the
// store: it never links a channel to a deleted bundle, nor to one that is named
// like the store build, and it starts no rollout from there.
func (s *recordedState) loadable() bool {
	for _, b := range s.Bundles {
		if b.Deleted || b.Name == capgo.Builtin || b.Name == capgo.Unknown {
			return false
		}
	}
	for _, c := range s.Channels {
		if c.Rollout != nil && c.Bundle == nil {
			return false
		}
	}
	return true
}

// statesPerCategory bounds the time it takes to write states to disk: the
// policies have a hundred, which differ in nothing but version numbers.
const statesPerCategory = 10

// TestRecordedAnswersFromStore sends the recorded requests once more, with
// their states loaded into one real database.
func TestRecordedAnswersFromStore(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "capstan.db"))
	defer s.Close()
	h := storeHandler(s)
	loaded, states := map[string]bool{}, map[string]int{}
	var cases []*recordedCase
	for _, c := range recordings(t) {
		if !c.State.loadable() {
			continue
		}
		if !loaded[c.State.App.ID] {
			if states[c.Category]++; states[c.Category] > statesPerCategory {
				continue
			}
			loaded[c.State.App.ID] = true
			c.State.load(t, s)
		}
		cases = append(cases, c)
	}
	replay(t, "from the store", cases, func(*recordedCase) http.Handler { return h })
}

// TestRepeatedBatch: an acknowledgement is lost and the plugin sends the batch
// again with one event more; the server is started anew in between. Each event
// is kept once.
func TestRepeatedBatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "capstan.db")
	state := recordedState{Bundles: []recordedBundle{{Name: "1.1.0", ExternalURL: "https://cdn.example.com/1.1.0.zip"}}}
	state.App.ID = "com.example.app"
	first := openStore(t, file)
	state.load(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	batch := []string{}
	for i := range 3 {
		s := openStore(t, file)
		batch = append(batch, info(fmt.Sprintf(`"action":"set","version_name":"1.1.0","timestamp":%d`, 1769000000000+i)))
		for range 2 {
			if status, body := ask(t, storeHandler(s), "POST", "/stats", "["+strings.Join(batch, ",")+"]"); status != 200 || strings.Contains(body, "error") {
				t.Fatal(status, body)
			}
		}
		events, err := s.Events(t.Context(), "com.example.app", testDevice, 0, 100)
		if err != nil || len(events) != i+1 {
			t.Fatalf("%d events after batch %d, %v", len(events), i, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
