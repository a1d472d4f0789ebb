package effect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/effect"
	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/internal/servertest"
)

const app = "com.example.app"

// shop is a real server with an app, three bundles and the channels production
// and beta.
type shop struct {
	*servertest.Server
	client *remote.Client
	t      *testing.T
}

func newShop(t *testing.T) shop {
	t.Helper()
	s := servertest.Start(t)
	client, err := remote.New(remote.Config{BaseURL: s.BaseURL, Token: remote.NewToken(s.Token)})
	if err != nil {
		t.Fatal(err)
	}
	h := shop{s, client, t}
	h.must(client.CreateApp(t.Context(), app, "App"))
	minimum := map[string]string{"1.5.0": "8.2.0"}
	for _, version := range []string{"1.4.1", "1.4.2", "1.5.0"} {
		_, err := client.RegisterBundle(t.Context(), capgo.NewBundle{AppID: app, Version: version, ExternalURL: "https://cdn.example.com/" + version + ".zip",
			Checksum: strings.Repeat("0", 64), MinUpdateVersion: minimum[version]})
		h.must(err)
	}
	yes, no, policy := true, false, capgo.PolicyVersionNumber
	h.change(capgo.ChannelChange{AppID: app, Channel: "production", Public: &yes, Version: ptr("1.4.1"), AllowEmulator: &no, DisableAutoUpdateUnderNative: &no})
	h.change(capgo.ChannelChange{AppID: app, Channel: "beta", Public: &no, Version: ptr("1.4.1")})
	h.change(capgo.ChannelChange{AppID: app, Channel: "production", Version: ptr("1.4.2")})
	h.change(capgo.ChannelChange{AppID: app, Channel: "production", DisableAutoUpdate: &policy})
	return h
}

func ptr[T any](v T) *T { return &v }

func (h shop) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h shop) change(c capgo.ChannelChange) {
	h.t.Helper()
	h.must(h.client.ChangeChannel(h.t.Context(), c))
}

// polls lets n devices of a kind ask; first numbers them.
func (h shop) polls(first, n int, request capgo.UpdateRequest) {
	h.t.Helper()
	for i := range n {
		request.AppID, request.DeviceID, request.PluginVersion = app, id(first+i), "8.51.23"
		if request.Platform == "" {
			request.Platform = "android"
		}
		body, err := json.Marshal(request)
		h.must(err)
		if status, text := h.Do(h.t, http.MethodPost, "/updates", bytes.NewReader(body), nil); status != http.StatusOK {
			h.t.Fatalf("%d %s", status, text)
		}
	}
	h.must(h.Store().Flush(h.t.Context()))
}

func id(n int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n) }

func (h shop) draft(action effect.Action, target string) effect.Plan {
	h.t.Helper()
	p, err := effect.Draft(h.t.Context(), h.client, app, action, effect.Change{Channel: "production", Target: target}, time.Now())
	h.must(err)
	return p
}

func TestPlanCountsAndApplies(t *testing.T) {
	h := newShop(t)
	ctx := t.Context()
	h.polls(0, 41, capgo.UpdateRequest{VersionName: "1.4.2", VersionBuild: "8.2.0", IsProd: true})
	h.polls(100, 5, capgo.UpdateRequest{VersionName: "1.5.0", VersionBuild: "9.0.0", IsProd: true})
	h.polls(200, 31, capgo.UpdateRequest{VersionName: "1.4.2", VersionBuild: "8.1.9", IsProd: true})
	h.polls(300, 7, capgo.UpdateRequest{VersionName: "builtin", VersionBuild: "8.3.0", IsProd: true, IsEmulator: true})
	h.polls(400, 3, capgo.UpdateRequest{VersionName: "1.4.1", VersionBuild: "8.3.0", IsProd: true})
	h.polls(500, 2, capgo.UpdateRequest{VersionName: "1.4.1", VersionBuild: "8.3.0", IsProd: true, DefaultChannel: "elsewhere"})
	for i := range 3 {
		h.must(h.client.SetOverride(ctx, app, id(400+i), "beta"))
	}
	p := h.draft(effect.Promote, "1.5.0")
	e := p.Effect
	if e.Devices != 89 || e.Concerned != 84 || e.Moving() != 41 || e.Already != 5 || e.Pinned != 3 || len(e.Moves) != 1 || len(e.Kept) != 2 {
		t.Fatalf("%+v", e)
	}
	if m := e.Moves[0]; m.From != "1.4.2" || m.To != "1.5.0" || m.NativeNewer != 41 {
		t.Errorf("%+v", m)
	}
	if k := e.Kept[0]; k.Devices != 31 || k.Text != "too old natively (min 8.2.0)" {
		t.Errorf("%+v", k)
	}
	if k := e.Kept[1]; k.Devices != 7 || k.Text != "emulators" {
		t.Errorf("%+v", k)
	}

	path := filepath.Join(t.TempDir(), "plan.json")
	h.must(p.Write(path))
	loaded, err := effect.Load(path)
	h.must(err)
	applied, err := loaded.Apply(ctx, h.client)
	if err != nil || applied.Existed || applied.Live != "1.5.0" {
		t.Fatalf("%+v %v", applied, err)
	}
	if applied, err = loaded.Apply(ctx, h.client); err != nil || !applied.Existed {
		t.Fatalf("again: %+v %v", applied, err)
	}

	// The way back, with what cannot go back.
	h.change(capgo.ChannelChange{AppID: app, Channel: "production", DisableAutoUpdateUnderNative: ptr(true), DisableAutoUpdate: ptr(capgo.PolicyNone)})
	back := h.draft(effect.Rollback, "")
	if back.Target != "1.4.2" || len(back.Effect.Kept) == 0 || back.Effect.Kept[0].Text != "native app newer than 1.4.2" || back.Effect.Moving() != 0 {
		t.Errorf("%s %+v", back.Target, back.Effect)
	}
}

// TestPlanOfPlatforms plans for a channel whose iOS devices have a bundle of
// their own, and then a change of that bundle alone.
func TestPlanOfPlatforms(t *testing.T) {
	h := newShop(t)
	ctx := t.Context()
	none := capgo.PolicyNone
	h.change(capgo.ChannelChange{AppID: app, Channel: "production", DisableAutoUpdate: &none, PlatformVersions: map[string]*string{"ios": ptr("1.4.1")}})
	h.polls(0, 5, capgo.UpdateRequest{VersionName: "1.4.2", VersionBuild: "1.0.0", IsProd: true})
	h.polls(100, 3, capgo.UpdateRequest{Platform: "ios", VersionName: "1.4.1", VersionBuild: "1.0.0", IsProd: true})

	p := h.draft(effect.Promote, "1.5.0")
	if e := p.Effect; e.Concerned != 8 || e.Moving() != 5 || len(e.Moves) != 1 || e.Moves[0].Platform != "android" ||
		len(e.Own) != 1 || e.Own[0] != (effect.Own{Platform: "ios", Bundle: "1.4.1", Devices: 3}) {
		t.Fatalf("%+v", e)
	}
	only, err := effect.Draft(ctx, h.client, app, effect.Promote, effect.Change{Channel: "production", Target: "1.5.0", Platforms: []string{"ios"}}, time.Now())
	h.must(err)
	if e := only.Effect; e.Concerned != 8 || e.Moving() != 3 || len(e.Moves) != 1 || e.Moves[0].Platform != "ios" ||
		len(e.Own) != 1 || e.Own[0] != (effect.Own{Platform: "android", Bundle: "1.4.2", Devices: 5}) {
		t.Fatalf("%+v", e)
	}
	if applied, err := only.Apply(ctx, h.client); err != nil || applied.Existed {
		t.Fatalf("%+v %v", applied, err)
	}
	if applied, err := only.Apply(ctx, h.client); err != nil || !applied.Existed {
		t.Fatalf("again: %+v %v", applied, err)
	}
	ch, err := h.client.Channel(ctx, app, "production")
	if err != nil || ch.Version.Name != "1.4.2" || ch.PlatformVersions["ios"].Name != "1.5.0" {
		t.Errorf("%+v %v", ch, err)
	}
	if _, err := p.Apply(ctx, h.client); failure.CodeOf(err) != "channel_moved" {
		t.Errorf("a plan made before a platform moved: %v", err)
	}
	for _, change := range []effect.Change{{Channel: "production", Target: "1.5.0", Platforms: []string{"ios"}}, {Channel: "production", Target: "1.4.1", Platforms: []string{"windows"}},
		{Channel: "production", Target: "1.4.1", Platforms: []string{"ios", "ios"}}} {
		if _, err := effect.Draft(ctx, h.client, app, effect.Promote, change, time.Now()); failure.CodeOf(err) != "already_live" && failure.CodeOf(err) != "invalid_platform" {
			t.Errorf("%+v: %v", change, err)
		}
	}
}

func TestApplyRefusesWhatMoved(t *testing.T) {
	for name, test := range map[string]struct {
		code string
		move func(shop)
	}{
		"another bundle": {"channel_moved", func(h shop) { h.change(capgo.ChannelChange{AppID: app, Channel: "production", Version: ptr("1.4.1")}) }},
		"there and back": {"channel_moved", func(h shop) {
			for _, v := range []string{"1.4.1", "1.4.2"} {
				h.change(capgo.ChannelChange{AppID: app, Channel: "production", Version: ptr(v)})
			}
		}},
		"a rule": {"channel_moved", func(h shop) {
			h.change(capgo.ChannelChange{AppID: app, Channel: "production", AllowEmulator: ptr(true)})
		}},
		"a rollout": {"channel_moved", func(h shop) {
			h.change(capgo.ChannelChange{AppID: app, Channel: "production", RolloutVersion: ptr("1.4.1"), RolloutPercentageBps: ptr(100)})
		}},
		"target gone":  {"state_moved", func(h shop) { h.must(h.client.DeleteBundle(h.t.Context(), app, "1.5.0")) }},
		"channel gone": {"channel_not_found", func(h shop) { h.must(h.client.DeleteChannel(h.t.Context(), app, "production")) }},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			h := newShop(t)
			p := h.draft(effect.Promote, "1.5.0")
			test.move(h)
			before, _ := h.client.Channel(t.Context(), app, "production")
			_, err := p.Apply(t.Context(), h.client)
			if failure.CodeOf(err) != test.code {
				t.Fatalf("%v, want %s", err, test.code)
			}
			after, _ := h.client.Channel(t.Context(), app, "production")
			if before.Revision != after.Revision {
				t.Error("the channel was changed")
			}
		})
	}
}

// replaced is a registry that holds another bundle, or another key, than before.
type replaced struct {
	*remote.Client
	bundle, key string
}

func (r replaced) Bundles(ctx context.Context, appID string) ([]capgo.Bundle, error) {
	bundles, err := r.Client.Bundles(ctx, appID)
	for i := range bundles {
		if r.bundle != "" && bundles[i].Name == "1.5.0" {
			bundles[i].Checksum = r.bundle
		}
	}
	return bundles, err
}

func (r replaced) App(ctx context.Context, appID string) (capgo.App, error) {
	a, err := r.Client.App(ctx, appID)
	a.PublicKey += r.key
	return a, err
}

func TestApplyRefusesOtherContent(t *testing.T) {
	h := newShop(t)
	p := h.draft(effect.Promote, "1.5.0")
	for _, r := range []replaced{{h.client, strings.Repeat("1", 64), ""}, {h.client, "", "another key"}} {
		if _, err := p.Apply(t.Context(), r); failure.CodeOf(err) != "state_moved" {
			t.Errorf("%q %q: %v", r.bundle, r.key, err)
		}
	}
}

func TestPlanEndsARollout(t *testing.T) {
	h := newShop(t)
	h.change(capgo.ChannelChange{AppID: app, Channel: "production", DisableAutoUpdate: ptr(capgo.PolicyNone), RolloutVersion: ptr("1.4.1"), RolloutPercentageBps: ptr(10000)})
	h.polls(0, 4, capgo.UpdateRequest{VersionName: "1.4.1", VersionBuild: "1.0.0", IsProd: true})
	p := h.draft(effect.Rollback, "")
	if !p.EndRollout || p.Target != "1.4.2" || p.Effect.Moving() != 4 {
		t.Fatalf("%+v", p)
	}
	applied, err := p.Apply(t.Context(), h.client)
	if err != nil || applied.Existed {
		t.Fatalf("%+v %v", applied, err)
	}
	if applied, err = p.Apply(t.Context(), h.client); err != nil || !applied.Existed {
		t.Fatalf("again: %+v %v", applied, err)
	}
}

// lossy makes the change and loses the answer.
type lossy struct{ *remote.Client }

func (l lossy) ChangeChannel(ctx context.Context, c capgo.ChannelChange) error {
	if err := l.Client.ChangeChannel(ctx, c); err != nil {
		return err
	}
	return failure.New(failure.Unavailable, "outcome_unknown", "", "the answer was lost", "")
}

func TestApplyWithALostAnswer(t *testing.T) {
	h := newShop(t)
	p := h.draft(effect.Promote, "1.5.0")
	if applied, err := p.Apply(t.Context(), lossy{h.client}); err != nil || applied.Live != "1.5.0" {
		t.Fatalf("%+v %v", applied, err)
	}
	changes, err := h.client.History(t.Context(), app, "production")
	h.must(err)
	n := 0
	for _, c := range changes {
		if c.Action == "channel.promote" && c.To == "1.5.0" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("promoted %d times", n)
	}
}

func TestWatchSeesDevicesConfirm(t *testing.T) {
	h := newShop(t)
	ctx := t.Context()
	if err := h.client.ChangeChannel(ctx, capgo.ChannelChange{AppID: app, Channel: "production", DisableAutoUpdate: ptr(capgo.PolicyNone)}); err != nil {
		t.Fatal(err)
	}
	h.polls(0, 10, capgo.UpdateRequest{VersionName: "1.4.1", VersionBuild: "1.0.0", IsProd: true})
	h.polls(20, 2, capgo.UpdateRequest{VersionName: "1.4.1", VersionBuild: "1.0.0", IsProd: true, IsEmulator: true})
	var seen []float64
	last, err := effect.Watch(ctx, h.client, app, "production", time.Millisecond, func(o effect.Outcome) {
		seen = append(seen, o.Share())
		h.polls(0, 5*len(seen), capgo.UpdateRequest{VersionName: "1.4.2", VersionBuild: "1.0.0", IsProd: true})
	})
	if err != nil || last.On != 10 || last.Waiting != 0 || last.Kept != 2 || fmt.Sprint(seen) != "[0 0.5 1]" {
		t.Fatalf("%+v %v %v", last, seen, err)
	}

	h.polls(0, 1, capgo.UpdateRequest{VersionName: "1.4.1", VersionBuild: "1.0.0", IsProd: true})
	_, err = effect.Watch(ctx, h.client, app, "production", time.Millisecond, func(effect.Outcome) {
		h.change(capgo.ChannelChange{AppID: app, Channel: "production", Version: ptr("1.4.1")})
	})
	if failure.CodeOf(err) != "channel_moved" {
		t.Errorf("watching a channel that moves: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	h := newShop(t)
	good := h.draft(effect.Promote, "1.5.0")
	encoded, err := json.Marshal(good)
	h.must(err)
	for name, spoil := range map[string]func(string) string{
		"empty":        func(string) string { return "" },
		"not json":     func(string) string { return "{" },
		"other format": func(s string) string { return strings.Replace(s, `"capstan_plan":1`, `"capstan_plan":2`, 1) },
		"unknown field": func(s string) string {
			return strings.Replace(s, `"capstan_plan":1`, `"capstan_plan":1,"also":true`, 1)
		},
		"no channel":   func(s string) string { return strings.Replace(s, `"channel":"production"`, `"channel":""`, 1) },
		"other action": func(s string) string { return strings.Replace(s, `"action":"promote"`, `"action":"delete"`, 1) },
	} {
		path := filepath.Join(t.TempDir(), "plan.json")
		h.must(os.WriteFile(path, []byte(spoil(string(encoded))), 0o600))
		if _, err := effect.Load(path); failure.CodeOf(err) != "plan_malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := effect.Load(filepath.Join(t.TempDir(), "none")); failure.CodeOf(err) != "plan_missing" {
		t.Error(err)
	}
	other := newShop(t)
	if _, err := good.Apply(t.Context(), other.client); failure.CodeOf(err) != "plan_other_server" {
		t.Errorf("on another server: %v", err)
	}
}
