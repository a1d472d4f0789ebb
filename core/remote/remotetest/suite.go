package remotetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote"
)

// Target is one server behind the client.
type Target struct {
	// Client gives a client with a token that may do everything, on an empty server.
	Client func(t *testing.T) *remote.Client
	// Stranger gives a client with a token that the server does not know, on any server.
	Stranger func(t *testing.T) *remote.Client
	// See makes a device known to the server of the client.
	See func(t *testing.T, c *remote.Client, appID string, d capgo.Device)
	// Capstan says that the server has capstan's own routes.
	Capstan bool
}

const appID = "com.example.suite"

var sum = strings.Repeat("0123456789abcdef", 4)

// NewBundle is a plain bundle that any server takes.
func NewBundle(version string) capgo.NewBundle {
	return capgo.NewBundle{AppID: appID, Version: version, ExternalURL: "https://cdn.example.com/" + appID + "/" + version + ".zip", Checksum: sum}
}

// Run runs the whole suite.
func Run(t *testing.T, target Target) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Target)
	}{
		{"apps", testApps},
		{"no bundles is an empty list", testNoBundles},
		{"bundles", testBundles},
		{"registering twice", testRegisterTwice},
		{"refused registrations", testRefusedBundles},
		{"many bundles, each once", testManyBundles},
		{"deletion", testDeletion},
		{"deletion without a version is never sent", testDeletionGuard},
		{"channels", testChannels},
		{"rollout", testRollout},
		{"devices", testDevices},
		{"what is not there", testAbsent},
		{"who may not", testStranger},
		{"cancelled", testCancelled},
		{"capabilities", testCapabilities},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, target) })
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v (%s)", what, err, failure.CodeOf(err))
	}
}

func wantClass(t *testing.T, what string, err error, class failure.Class) {
	t.Helper()
	if f, ok := failure.Find(err); !ok || f.Class != class || f.Hint == "" && class != failure.Usage {
		t.Errorf("%s gives %v, want a failure of class %d with a hint", what, err, class)
	}
}

func withApp(t *testing.T, target Target) *remote.Client {
	t.Helper()
	c := target.Client(t)
	must(t, "CreateApp", c.CreateApp(t.Context(), appID, "Suite"))
	return c
}

func register(t *testing.T, c *remote.Client, version string) capgo.Bundle {
	t.Helper()
	b, err := c.RegisterBundle(t.Context(), NewBundle(version))
	must(t, "RegisterBundle "+version, err)
	return b
}

func ptr[T any](v T) *T { return &v }

func testApps(t *testing.T, target Target) {
	c := withApp(t, target)
	app, err := c.App(t.Context(), appID)
	must(t, "App", err)
	if app.AppID != appID || app.Name != "Suite" || app.CreatedAt.IsZero() {
		t.Errorf("App gives %+v", app)
	}
	must(t, "CreateApp", c.CreateApp(t.Context(), "com.example.other", "Other"))
	apps, err := c.Apps(t.Context())
	must(t, "Apps", err)
	if len(apps) != 2 {
		t.Errorf("Apps gives %d rows, want 2", len(apps))
	}
	err = c.CreateApp(t.Context(), appID, "Again")
	wantClass(t, "creating an app twice", err, failure.Conflict)
	must(t, "DeleteApp", c.DeleteApp(t.Context(), "com.example.other"))
	_, err = c.App(t.Context(), "com.example.other")
	wantClass(t, "reading a deleted app", err, failure.NotFound)
}

func testNoBundles(t *testing.T, target Target) {
	c := withApp(t, target)
	rows, err := c.Bundles(t.Context(), appID)
	if err != nil || len(rows) != 0 {
		t.Errorf("Bundles of a new app gives %v, %v", rows, err)
	}
	channels, err := c.Channels(t.Context(), appID)
	if err != nil || len(channels) != 0 {
		t.Errorf("Channels of a new app gives %v, %v", channels, err)
	}
}

func testBundles(t *testing.T, target Target) {
	c := withApp(t, target)
	want := NewBundle("1.2.3")
	want.Link, want.Comment = "https://example.com/notes", "first — with a dash & <tag>"
	b, err := c.RegisterBundle(t.Context(), want)
	must(t, "RegisterBundle", err)
	if b.Name != "1.2.3" || b.ID == 0 || b.Link != want.Link || b.Comment != want.Comment {
		t.Errorf("RegisterBundle gives %+v", b)
	}
	b, err = c.Bundle(t.Context(), appID, "1.2.3")
	must(t, "Bundle", err)
	if b.ExternalURL != want.ExternalURL || b.Checksum != sum || b.Link != want.Link || b.Comment != want.Comment || b.CreatedAt.IsZero() {
		t.Errorf("Bundle gives %+v", b)
	}
	register(t, c, "1.2.4-beta.1+build.5")
	rows, err := c.Bundles(t.Context(), appID)
	must(t, "Bundles", err)
	if len(rows) != 2 || rows[0].Name != "1.2.4-beta.1+build.5" {
		t.Errorf("Bundles gives %+v, want two, the newest first", rows)
	}
}

func testRegisterTwice(t *testing.T, target Target) {
	c := withApp(t, target)
	first := register(t, c, "1.0.0")
	second := register(t, c, "1.0.0") // the same content: a repeated command
	if first.ID != second.ID {
		t.Errorf("registering the same content again made another row: %d and %d", first.ID, second.ID)
	}
	other := NewBundle("1.0.0")
	other.Checksum = strings.Repeat("f", 64)
	_, err := c.RegisterBundle(t.Context(), other)
	wantClass(t, "registering other content under the same version", err, failure.Conflict)
}

func testRefusedBundles(t *testing.T, target Target) {
	c := withApp(t, target)
	for what, change := range map[string]func(*capgo.NewBundle){
		"no version":      func(b *capgo.NewBundle) { b.Version = "" },
		"no checksum":     func(b *capgo.NewBundle) { b.Checksum = "" },
		"no URL":          func(b *capgo.NewBundle) { b.ExternalURL = "" },
		"no app":          func(b *capgo.NewBundle) { b.AppID = "" },
		"no semver":       func(b *capgo.NewBundle) { b.Version = "1.2" },
		"http":            func(b *capgo.NewBundle) { b.ExternalURL = "http://cdn.example.com/x.zip" },
		"credentials":     func(b *capgo.NewBundle) { b.ExternalURL = "https://a:b@cdn.example.com/x.zip" },
		"not an URL":      func(b *capgo.NewBundle) { b.ExternalURL = "cdn.example.com" },
		"a path as appID": func(b *capgo.NewBundle) { b.AppID = "../token" },
	} {
		b := NewBundle("1.0.0")
		change(&b)
		_, err := c.RegisterBundle(t.Context(), b)
		wantClass(t, what, err, failure.Usage)
	}
	rows, err := c.Bundles(t.Context(), appID)
	if err != nil || len(rows) != 0 {
		t.Errorf("after refused registrations there are %d bundles, %v", len(rows), err)
	}
}

func testManyBundles(t *testing.T, target Target) {
	c := withApp(t, target)
	const n = 55 // more than a page
	for i := range n {
		register(t, c, fmt.Sprintf("1.0.%d", i))
	}
	rows, err := c.Bundles(t.Context(), appID)
	must(t, "Bundles", err)
	if len(rows) != n {
		t.Fatalf("Bundles gives %d rows, want %d", len(rows), n)
	}
	for i, row := range rows {
		if want := fmt.Sprintf("1.0.%d", n-1-i); row.Name != want {
			t.Fatalf("row %d is %s, want %s", i, row.Name, want)
		}
	}
	if b, err := c.Bundle(t.Context(), appID, "1.0.0"); err != nil || b.Name != "1.0.0" {
		t.Errorf("the oldest bundle gives %+v, %v", b, err)
	}
}

func testDeletion(t *testing.T, target Target) {
	c := withApp(t, target)
	register(t, c, "1.0.0")
	register(t, c, "1.0.1")
	must(t, "ChangeChannel", c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "production", Version: ptr("1.0.1")}))
	wantClass(t, "deleting a bundle that is live", c.DeleteBundle(t.Context(), appID, "1.0.1"), failure.Conflict)
	must(t, "DeleteBundle", c.DeleteBundle(t.Context(), appID, "1.0.0"))
	rows, err := c.Bundles(t.Context(), appID)
	if err != nil || len(rows) != 1 || rows[0].Name != "1.0.1" {
		t.Errorf("after the deletion there is %+v, %v", rows, err)
	}
	_, err = c.Bundle(t.Context(), appID, "1.0.0")
	wantClass(t, "reading a deleted bundle", err, failure.NotFound)
	other := NewBundle("1.0.0")
	other.Checksum = strings.Repeat("e", 64)
	if _, err := c.RegisterBundle(t.Context(), other); err == nil && !c.Can(t.Context(), capgo.CapNamesReusable) {
		t.Error("the name of a deleted bundle was registered again on a server that does not announce it")
	}
}

func testDeletionGuard(t *testing.T, target Target) {
	c := withApp(t, target)
	register(t, c, "1.0.0")
	for _, version := range []string{"", " ", "\t\n"} {
		wantClass(t, "deleting without a version", c.DeleteBundle(t.Context(), appID, version), failure.Usage)
	}
	wantClass(t, "deleting without an app", c.DeleteBundle(t.Context(), "", "1.0.0"), failure.Usage)
	if rows, err := c.Bundles(t.Context(), appID); err != nil || len(rows) != 1 {
		t.Errorf("there are %d bundles, %v", len(rows), err)
	}
}

func testChannels(t *testing.T, target Target) {
	c := withApp(t, target)
	register(t, c, "1.0.0")
	register(t, c, "1.0.1")
	change := func(what string, ch capgo.ChannelChange) {
		t.Helper()
		ch.AppID, ch.Channel = appID, "production"
		must(t, what, c.ChangeChannel(t.Context(), ch))
	}
	show := func() capgo.Channel {
		t.Helper()
		ch, err := c.Channel(t.Context(), appID, "production")
		must(t, "Channel", err)
		return ch
	}
	change("create", capgo.ChannelChange{Public: ptr(true)})
	if ch := show(); ch.Version != nil && ch.Version.Name != capgo.Builtin || !ch.Public || ch.Name != "production" {
		t.Errorf("a new channel is %+v", ch)
	}
	change("promote", capgo.ChannelChange{Version: ptr("1.0.0")})
	change("settings", capgo.ChannelChange{DisableAutoUpdate: ptr(capgo.PolicyMinor), AllowEmulator: ptr(false), DisableAutoUpdateUnderNative: ptr(false)})
	ch := show()
	if ch.Version == nil || ch.Version.Name != "1.0.0" {
		t.Errorf("a change of settings moved the channel to %+v", ch.Version)
	}
	if ch.DisableAutoUpdate != capgo.PolicyMinor || ch.AllowEmulator || ch.DisableAutoUpdateUnderNative || !ch.AllowProd {
		t.Errorf("settings are %+v", ch)
	}
	if ch.IOS != nil && !c.Can(t.Context(), capgo.CapPlatformFlags) {
		t.Error("the server returns platform flags and does not announce them")
	}
	change("promote", capgo.ChannelChange{Version: ptr("1.0.1")})
	if ch := show(); ch.Version == nil || ch.Version.Name != "1.0.1" {
		t.Errorf("promote left the channel at %+v", ch.Version)
	}
	change("unlink", capgo.ChannelChange{Version: ptr(capgo.Builtin)})
	if ch := show(); ch.Version != nil && ch.Version.Name != capgo.Builtin {
		t.Errorf("unlink left the channel at %+v", ch.Version)
	}
	err := c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "production", Version: ptr("9.9.9")})
	wantClass(t, "promoting a bundle that is not there", err, failure.NotFound)
	must(t, "second channel", c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "beta"}))
	rows, err := c.Channels(t.Context(), appID)
	if err != nil || len(rows) != 2 || rows[0].Name != "production" {
		t.Errorf("Channels gives %+v, %v", rows, err)
	}
	must(t, "DeleteChannel", c.DeleteChannel(t.Context(), appID, "beta"))
	_, err = c.Channel(t.Context(), appID, "beta")
	wantClass(t, "reading a deleted channel", err, failure.NotFound)
	if c.Can(t.Context(), capgo.CapCompareAndSet) {
		now := show()
		change("with the revision that is there", capgo.ChannelChange{Version: ptr("1.0.0"), ExpectedRevision: &now.Revision})
		err := c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "production", Version: ptr("1.0.1"), ExpectedRevision: &now.Revision})
		wantClass(t, "a change from an old revision", err, failure.Conflict)
		if code := failure.CodeOf(err); code != "channel_moved" {
			t.Errorf("a change from an old revision has the code %s, want channel_moved", code)
		}
		if ch := show(); ch.Version == nil || ch.Version.Name != "1.0.0" {
			t.Errorf("a refused change moved the channel to %+v", ch.Version)
		}
	}
}

func testRollout(t *testing.T, target Target) {
	c := withApp(t, target)
	register(t, c, "1.0.0")
	register(t, c, "1.1.0")
	change := func(what string, ch capgo.ChannelChange) capgo.Channel {
		t.Helper()
		ch.AppID, ch.Channel = appID, "production"
		must(t, what, c.ChangeChannel(t.Context(), ch))
		now, err := c.Channel(t.Context(), appID, "production")
		must(t, "Channel", err)
		return now
	}
	change("promote", capgo.ChannelChange{Version: ptr("1.0.0")})
	ch := change("start", capgo.ChannelChange{RolloutVersion: ptr("1.1.0"), RolloutPercentageBps: ptr(500), RolloutEnabled: ptr(true)})
	if ch.RolloutVersionInfo == nil || ch.RolloutVersionInfo.Name != "1.1.0" || ch.RolloutPercentageBps != 500 || !ch.RolloutEnabled || ch.Version.Name != "1.0.0" {
		t.Errorf("a started rollout is %+v", ch)
	}
	if ch := change("pause", capgo.ChannelChange{RolloutPaused: ptr(true)}); ch.RolloutPausedAt == nil || ch.RolloutPercentageBps != 500 {
		t.Errorf("a paused rollout is %+v", ch)
	}
	if ch := change("resume", capgo.ChannelChange{RolloutPaused: ptr(false)}); ch.RolloutPausedAt != nil {
		t.Errorf("a resumed rollout is %+v", ch)
	}
	if ch := change("promote", capgo.ChannelChange{PromoteToStable: ptr(true)}); ch.Version.Name != "1.1.0" || ch.RolloutEnabled {
		t.Errorf("a promoted rollout is %+v", ch)
	}
	change("start back", capgo.ChannelChange{RolloutVersion: ptr("1.0.0"), RolloutPercentageBps: ptr(100), RolloutEnabled: ptr(true)})
	if ch := change("rollback", capgo.ChannelChange{Rollback: ptr(true)}); ch.Version.Name != "1.1.0" || ch.RolloutEnabled || ch.RolloutVersionInfo != nil {
		t.Errorf("a rolled back rollout is %+v", ch)
	}
	err := c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "production", RolloutPercentageBps: ptr(10_001)})
	wantClass(t, "more than all devices", err, failure.Usage)
}

func testDevices(t *testing.T, target Target) {
	c := withApp(t, target)
	if page, err := c.Devices(t.Context(), appID, "", 10); err != nil || len(page.Data) != 0 || page.HasMore {
		t.Errorf("devices of a new app are %+v, %v", page, err)
	}
	const n = 7
	for i := range n {
		target.See(t, c, appID, capgo.Device{DeviceID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Platform: "android", PluginVersion: "8.51.23",
			VersionName: "builtin", VersionBuild: "1.0.0", VersionOS: "15", IsProd: true, CustomID: fmt.Sprintf("crew %d", i/2)})
	}
	named, err := c.DevicesNamed(t.Context(), appID, "crew 1")
	must(t, "DevicesNamed", err)
	if len(named) != 2 || named[0].CustomID != "crew 1" || named[1].CustomID != "crew 1" {
		t.Errorf("crew 1 are %+v", named)
	}
	if none, err := c.DevicesNamed(t.Context(), appID, "crew"); err != nil || len(none) != 0 {
		t.Errorf("a part of a custom id finds %+v, %v", none, err)
	}
	seen := map[string]bool{}
	for cursor, pages := "", 0; ; pages++ {
		page, err := c.Devices(t.Context(), appID, cursor, 3)
		must(t, "Devices", err)
		for _, d := range page.Data {
			seen[d.DeviceID] = true
		}
		if cursor = page.NextCursor; !page.HasMore || pages > n {
			break
		}
	}
	if len(seen) != n {
		t.Errorf("the pages hold %d devices, want %d", len(seen), n)
	}
	const id = "00000000-0000-4000-8000-000000000003"
	d, err := c.Device(t.Context(), appID, id)
	must(t, "Device", err)
	if d.DeviceID != id || d.Platform != "android" || d.PluginVersion != "8.51.23" || d.UpdatedAt.IsZero() || d.Channel != "" {
		t.Errorf("Device gives %+v", d)
	}
	must(t, "create channel", c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "testers", Public: ptr(false)}))
	must(t, "SetOverride", c.SetOverride(t.Context(), appID, id, "testers"))
	if d, err := c.Device(t.Context(), appID, id); err != nil || d.Channel != "testers" {
		t.Errorf("an overridden device is %+v, %v", d, err)
	}
	must(t, "ClearOverride", c.ClearOverride(t.Context(), appID, id))
	if d, err := c.Device(t.Context(), appID, id); err != nil || d.Channel != "" {
		t.Errorf("a released device is %+v, %v", d, err)
	}
	wantClass(t, "pinning to a channel that is not there", c.SetOverride(t.Context(), appID, id, "nowhere"), failure.NotFound)
}

func testAbsent(t *testing.T, target Target) {
	c := withApp(t, target)
	ctx := t.Context()
	for what, ask := range map[string]func() error{
		"a bundle":  func() error { _, err := c.Bundle(ctx, appID, "9.9.9"); return err },
		"a channel": func() error { _, err := c.Channel(ctx, appID, "nowhere"); return err },
		"a device":  func() error { _, err := c.Device(ctx, appID, "00000000-0000-4000-8000-00000000ffff"); return err },
		"an app":    func() error { _, err := c.App(ctx, "com.example.nobody"); return err },
	} {
		wantClass(t, what+" that is not there", ask(), failure.NotFound)
	}
	// Whether an app exists is not everybody's business: either answer is right.
	for what, ask := range map[string]func() error{
		"bundles":  func() error { _, err := c.Bundles(ctx, "com.example.nobody"); return err },
		"channels": func() error { _, err := c.Channels(ctx, "com.example.nobody"); return err },
		"devices":  func() error { _, err := c.Devices(ctx, "com.example.nobody", "", 0); return err },
	} {
		f, ok := failure.Find(ask())
		if !ok || f.Class != failure.NotFound && f.Class != failure.NotAuthorised {
			t.Errorf("%s of an app that is not there gives %v", what, f)
		}
	}
}

func testStranger(t *testing.T, target Target) {
	c := target.Stranger(t)
	ctx := t.Context()
	for what, ask := range map[string]func() error{
		"Apps":     func() error { _, err := c.Apps(ctx); return err },
		"Bundles":  func() error { _, err := c.Bundles(ctx, appID); return err },
		"register": func() error { _, err := c.RegisterBundle(ctx, NewBundle("1.0.0")); return err },
		"promote": func() error {
			return c.ChangeChannel(ctx, capgo.ChannelChange{AppID: appID, Channel: "production", Version: ptr("1.0.0")})
		},
		"delete": func() error { return c.DeleteBundle(ctx, appID, "1.0.0") },
	} {
		wantClass(t, what+" with an unknown token", ask(), failure.NotAuthorised)
	}
}

func testCancelled(t *testing.T, target Target) {
	c := target.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Apps(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Apps gives %v", err)
	}
	if err := c.CreateApp(ctx, appID, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("CreateApp gives %v", err)
	}
}

// testCapabilities: what a server announces works, and the rest is refused
// before it is tried.
func testCapabilities(t *testing.T, target Target) {
	c := withApp(t, target)
	about, err := c.About(t.Context())
	must(t, "About", err)
	if want := map[bool]string{true: "capstan", false: "capgo"}[target.Capstan]; about.Server != want {
		t.Errorf("the server says it is %q, want %q", about.Server, want)
	}
	ctx := t.Context()
	for capability, ask := range map[string]func() error{
		capgo.CapHistory: func() error { _, err := c.History(ctx, appID, "production"); return err },
		capgo.CapExplain: func() error {
			_, err := c.Explain(ctx, capgo.UpdateRequest{AppID: appID, Platform: "ios", DeviceID: "00000000-0000-4000-8000-000000000001",
				VersionBuild: "1.0.0", VersionName: "builtin", PluginVersion: "8.51.23", VersionOS: "18", IsProd: true})
			return err
		},
		capgo.CapEvents:  func() error { _, err := c.Events(ctx, appID, ""); return err },
		capgo.CapSummary: func() error { _, err := c.Summary(ctx, appID); return err },
	} {
		err := ask()
		if c.Can(ctx, capability) {
			must(t, capability, err)
		} else if failure.CodeOf(err) != "unsupported" {
			t.Errorf("%s gives %v, want unsupported", capability, err)
		}
	}
	if !target.Capstan {
		b := NewBundle("2.0.0")
		b.MinUpdateVersion = "1.5.0"
		if _, err := c.RegisterBundle(ctx, b); failure.CodeOf(err) != "unsupported" {
			t.Errorf("a minimum native version on a server that drops it gives %v, want unsupported", err)
		}
	}
}
