package ui

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/tuitest"
	"capstan/ui/views"
)

// desk implements the console's services in memory, with data that does not
// change between runs and the delays of a real network on the fake clock.
type desk struct {
	mu       sync.Mutex
	began    time.Time
	keys     []views.Key
	channels []capgo.Channel
	bundles  []capgo.Bundle
	history  []capgo.Change
	log      []string // what the server said since
	devices  []capgo.Device
	hidden   []capgo.Device // that no page of the list has
	summary  capgo.Summary
	open     []views.Unfinished
	plans    []capgo.ReleasePlan
	frozen   []capgo.Freeze
	promoted views.Prepared // the last one
	slow     time.Duration  // of every read
	down     error          // of every read
	prepare  func(ctx context.Context, emit func(release.Event)) error
	written  bool         // the configuration has the key
	synced   bool         // the native projects have the configuration
	ask      *Passphrases // for the keys in files; nil asks nobody
	told     string       // the last passphrase that it got
	wrong    error        // of every passphrase
	local    bool         // the server is on loopback
	block    bool         // the folder is not a build
	nextID   int64
	asked    views.ReleaseRequest // the last one
	resumed  string               // id of the release that was continued
}

const app = "com.example.notes"

// newDesk is an app at its very start: nothing released, no key.
func newDesk() *desk { return &desk{began: time.Now(), slow: 20 * time.Millisecond} }

// busyDesk is an app in full use.
func busyDesk() *desk {
	d := newDesk()
	now := d.began
	ago := func(t time.Duration) time.Time { return now.Add(-t) }
	yes, no := true, false
	d.keys = []views.Key{{AppID: app, ID: "MIIBCgKCAQEA9f3c2e1b", Fingerprint: "SHA256:qL8mVw2p0s1Tt7JkzX4rN6dYb3cEhUoA5gRfWiQx9Zk", Store: "keyring", Location: "capstan/com.example.notes", Created: ago(90 * 24 * time.Hour), LastUsed: ago(2 * time.Hour), PublicPEM: samplePEM}}
	for i := range 14 {
		name := fmt.Sprintf("2.%d.%d", 4-i/5, 4-i%5)
		d.bundles = append(d.bundles, capgo.Bundle{ID: int64(100 - i), AppID: app, Name: name, SessionKey: "x", KeyID: d.keys[0].ID, PlainChecksum: strings.Repeat(fmt.Sprintf("%x", (i+7)%16), 64),
			ObjectSize: 3_400_000 - int64(i)*41_000, PlainSize: 3_390_000 - int64(i)*41_000, CreatedAt: ago(time.Duration(i)*53*time.Hour + 2*time.Hour), Comment: []string{"offline notes, faster start", "fix sync on slow networks", ""}[i%3],
			ExternalURL: "https://updates.example.com/files/" + app + "/" + name + "/" + strings.Repeat("a", 16) + ".zip"})
	}
	d.bundles[0].Name = "2.5.0"
	d.bundles[0].MinUpdateVersion = "2.0.0"
	d.nextID = 200
	d.channels = []capgo.Channel{
		{ID: 1, Name: "production", AppID: app, Public: true, DisableAutoUpdate: capgo.PolicyMajor, DisableAutoUpdateUnderNative: true, AllowDevice: true, AllowProd: true, Version: &capgo.VersionRef{ID: 99, Name: d.bundles[1].Name},
			RolloutVersionInfo: &capgo.VersionRef{ID: 100, Name: "2.5.0"}, RolloutPercentageBps: 2500, RolloutEnabled: true, IOS: &yes, Android: &yes, Electron: &no, Revision: 41, UpdatedAt: ago(2 * time.Hour)},
		{ID: 2, Name: "beta", AppID: app, DisableAutoUpdate: capgo.PolicyNone, AllowDevice: true, AllowEmulator: true, AllowProd: true, AllowDev: true, AllowDeviceSelfSet: true, Version: &capgo.VersionRef{ID: 100, Name: "2.5.0"}, IOS: &yes, Android: &yes, Electron: &no, Revision: 12, UpdatedAt: ago(26 * time.Hour)},
		{ID: 3, Name: "internal", AppID: app, DisableAutoUpdate: capgo.PolicyNone, AllowDevice: true, AllowEmulator: true, AllowDev: true, IOS: &yes, Android: &yes, Electron: &yes, Revision: 3, UpdatedAt: ago(9 * 24 * time.Hour)},
	}
	paused := ago(12 * time.Minute)
	reason := "auto-pause: 41 of 290 devices failed"
	d.channels[0].RolloutPausedAt, d.channels[0].RolloutPauseReason = &paused, &reason
	d.history = []capgo.Change{
		{ID: 9, At: ago(12 * time.Minute), AppID: app, Channel: "production", Action: "rollout.pause", Actor: "watch", To: "2.5.0", Note: reason},
		{ID: 8, At: ago(2 * time.Hour), AppID: app, Channel: "production", Action: "rollout.start", Actor: "maria", To: "2.5.0", Note: "25 %"},
		{ID: 7, At: ago(26 * time.Hour), AppID: app, Channel: "beta", Action: "channel.promote", Actor: "maria", From: d.bundles[1].Name, To: "2.5.0"},
		{ID: 6, At: ago(27 * time.Hour), AppID: app, Action: "bundle.register", Actor: "ci", To: "2.5.0"},
		{ID: 5, At: ago(5 * 24 * time.Hour), AppID: app, Channel: "production", Action: "channel.promote", Actor: "jonas", From: d.bundles[2].Name, To: d.bundles[1].Name, Note: "after two days on beta"},
		{ID: 4, At: ago(6 * 24 * time.Hour), AppID: app, Channel: "production", Action: "channel.rollback", Actor: "maria", From: d.bundles[1].Name, To: d.bundles[2].Name, Note: "sync fails offline"},
		{ID: 3, At: ago(8 * 24 * time.Hour), AppID: app, Channel: "production", Action: "channel.settings", Actor: "jonas", Note: "minor and patch only"},
		{ID: 2, At: ago(40 * 24 * time.Hour), AppID: app, Channel: "production", Action: "channel.create", Actor: "jonas"},
		{ID: 1, At: ago(40 * 24 * time.Hour), AppID: app, Action: "app.create", Actor: "jonas"},
	}
	curve := func(from, to float64) []float64 {
		out := make([]float64, 24)
		for i := range out {
			out[i] = from + (to-from)*float64(i*i)/(23*23)
		}
		return out
	}
	betaHours := curve(0.05, 0.93)
	for i := range 5 {
		betaHours[i] = -1
	}
	d.summary = capgo.Summary{AppID: app, At: now, Devices: 14_820,
		Channels: []capgo.ChannelSummary{
			{Channel: "production", Live: d.bundles[1].Name, Rollout: "2.5.0", Devices: 12_480, OnLive: 10_483, Installs: 8_120, Failures: 74, RecentInstalls: 2_060, RecentFailures: 38, Adoption: curve(0.42, 0.84)},
			{Channel: "beta", Live: "2.5.0", Devices: 318, OnLive: 296, Installs: 290, Failures: 1, RecentInstalls: 80, Adoption: betaHours},
			{Channel: "internal", Live: capgo.Builtin, Devices: 0, Adoption: slices.Repeat([]float64{-1}, 24)},
		},
		Fleet: map[string]map[string]int64{
			"version_name":   {d.bundles[1].Name: 10_483, "2.5.0": 2_240, d.bundles[2].Name: 1_310, "builtin": 520, "2.2.4": 190, "2.2.1": 77},
			"version_build":  {"2.1.0": 9_900, "2.0.3": 4_610, "1.9.0": 310},
			"plugin_version": {"8.51.23": 11_900, "8.40.3": 2_300, "7.27.0": 620},
			"platform":       {"ios": 8_100, "android": 6_600, "electron": 120},
			"key_id":         {d.keys[0].ID: 13_900, "MIIB": 600, "": 320},
		}}
	for i := range 240 {
		platform, plugin, native := "ios", "8.51.23", "2.1.0"
		if i%3 == 1 {
			platform, plugin = "android", "8.40.3"
		}
		if i%17 == 3 {
			native = "1.9.0"
		}
		d.devices = append(d.devices, capgo.Device{DeviceID: fmt.Sprintf("%08x-4b1d-4c0e-9f%02x-%012x", 0x3fa9c1d2+i*7919, i%256, 0x5d21ab+i*104729), AppID: app, CustomID: fmt.Sprintf("customer-%04d", 1200+i*7),
			Platform: platform, VersionName: d.bundles[1+i%3].Name, VersionBuild: native, VersionOS: "18.1", PluginVersion: plugin, IsProd: i%9 != 0, IsEmulator: i%40 == 5, DefaultChannel: "production", KeyID: d.keys[0].ID, UpdatedAt: ago(time.Duration(i) * 7 * time.Minute)})
	}
	return d
}

const samplePEM = "-----BEGIN RSA PUBLIC KEY-----\nMIIBCgKCAQEA9f3c2e1bQmZ0d2xk0eXhY3Zibm1sa2poZ2Zkc2FxMTIzNDU2Nzg5\nMGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6QUJDREVGR0hJSktMTU5PUFFSU1RV\nAgMBAAE=\n-----END RSA PUBLIC KEY-----\n"

// read waits as a network does, and fails when it is down.
func (d *desk) read(ctx context.Context) error {
	d.mu.Lock()
	slow, down := d.slow, d.down
	d.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	return down
}

func get[T any](ctx context.Context, d *desk, value func() T) (T, error) {
	if err := d.read(ctx); err != nil {
		var none T
		return none, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return value(), nil
}

func (d *desk) About(ctx context.Context) (capgo.About, error) {
	return get(ctx, d, func() capgo.About {
		return capgo.About{Server: "capstan", Version: "0.3.0", PublicURL: "http://192.168.1.20:8087", Capabilities: []string{capgo.CapHistory, capgo.CapExplain, capgo.CapSchedule, capgo.CapDelta}}
	})
}
func (d *desk) Apps(ctx context.Context) ([]capgo.App, error) {
	return get(ctx, d, func() []capgo.App { return []capgo.App{{AppID: app, Name: "Notes"}} })
}
func (d *desk) Bundles(ctx context.Context, _ string) ([]capgo.Bundle, error) {
	return get(ctx, d, func() []capgo.Bundle { return slices.Clone(d.bundles) })
}
func (d *desk) Channels(ctx context.Context, _ string) ([]capgo.Channel, error) {
	return get(ctx, d, func() []capgo.Channel { return slices.Clone(d.channels) })
}
func (d *desk) Summary(ctx context.Context, _ string) (capgo.Summary, error) {
	return get(ctx, d, func() capgo.Summary { return d.summary })
}
func (d *desk) History(ctx context.Context, _, channel string) ([]capgo.Change, error) {
	return get(ctx, d, func() []capgo.Change {
		var out []capgo.Change
		for _, c := range d.history {
			if channel == "" || c.Channel == channel {
				out = append(out, c)
			}
		}
		return out
	})
}
func (d *desk) DeleteBundle(ctx context.Context, _, name string) error {
	_, err := get(ctx, d, func() bool {
		d.bundles = slices.DeleteFunc(d.bundles, func(b capgo.Bundle) bool { return b.Name == name })
		return true
	})
	return err
}

func (d *desk) ChangeChannel(ctx context.Context, ch capgo.ChannelChange) error {
	if err := d.read(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.channels {
		c := &d.channels[i]
		if c.Name != ch.Channel {
			continue
		}
		if ch.ExpectedRevision != nil && *ch.ExpectedRevision != c.Revision {
			return failure.New(failure.Conflict, "channel_moved", "change the channel", "somebody changed the channel meanwhile", "look at it again")
		}
		c.Revision++
		entry := capgo.Change{ID: d.id(), At: time.Now(), AppID: app, Channel: c.Name, Actor: "you", Action: "channel.settings", Note: ch.Note}
		if ch.Version != nil {
			entry.Action, entry.To = "channel.promote", *ch.Version
			if c.Version != nil {
				entry.From = c.Version.Name
			}
			c.Version = &capgo.VersionRef{Name: *ch.Version}
			if *ch.Version == capgo.Builtin {
				c.Version = nil
			}
		}
		if ch.RolloutPaused != nil {
			entry.Action = "rollout.resume"
			c.RolloutPausedAt = nil
			if *ch.RolloutPaused {
				at := time.Now()
				c.RolloutPausedAt, entry.Action = &at, "rollout.pause"
			}
		}
		if ch.Public != nil {
			c.Public = *ch.Public
		}
		if ch.AllowEmulator != nil {
			c.AllowEmulator = *ch.AllowEmulator
		}
		if ch.Rollback != nil {
			c.RolloutVersionInfo, entry.Action = nil, "rollout.rollback"
		}
		if ch.PromoteToStable != nil && c.RolloutVersionInfo != nil {
			entry.Action, entry.From, entry.To = "rollout.promote", c.Version.Name, c.RolloutVersionInfo.Name
			c.Version, c.RolloutVersionInfo = c.RolloutVersionInfo, nil
		}
		d.history = append([]capgo.Change{entry}, d.history...)
		return nil
	}
	return failure.New(failure.NotFound, "channel_not_found", "change the channel", "there is no such channel", "")
}

func (d *desk) Plans(ctx context.Context, _ string) ([]capgo.ReleasePlan, error) {
	return get(ctx, d, func() []capgo.ReleasePlan { return slices.Clone(d.plans) })
}
func (d *desk) SetPlan(ctx context.Context, p capgo.ReleasePlan) error {
	_, err := get(ctx, d, func() bool {
		d.plans = slices.DeleteFunc(d.plans, func(o capgo.ReleasePlan) bool { return o.Channel == p.Channel })
		p.Next, p.NotBefore = "raise", p.At
		if p.At != nil {
			p.Next = "wait"
		}
		d.plans = append(d.plans, p)
		d.history = append([]capgo.Change{{ID: d.id(), At: time.Now(), AppID: app, Channel: p.Channel, Action: "schedule.set", Actor: "you", To: p.Version}}, d.history...)
		return true
	})
	return err
}
func (d *desk) ClearPlan(ctx context.Context, _, channel string) error {
	_, err := get(ctx, d, func() bool {
		d.plans = slices.DeleteFunc(d.plans, func(o capgo.ReleasePlan) bool { return o.Channel == channel })
		return true
	})
	return err
}
func (d *desk) Freezes(ctx context.Context, _ string) (capgo.Freezes, error) {
	return get(ctx, d, func() capgo.Freezes {
		all := capgo.Freezes{Freezes: slices.Clone(d.frozen)}
		for _, f := range d.frozen {
			if now := time.Now(); f.From != nil && !now.Before(*f.From) && now.Before(*f.To) {
				all.FrozenUntil = f.To
			}
		}
		return all
	})
}
func (d *desk) SetFreeze(ctx context.Context, f capgo.Freeze) error {
	_, err := get(ctx, d, func() bool { d.frozen = append(d.frozen, f); return true })
	return err
}
func (d *desk) ClearFreeze(ctx context.Context, _, name string) error {
	_, err := get(ctx, d, func() bool {
		d.frozen = slices.DeleteFunc(d.frozen, func(f capgo.Freeze) bool { return f.Name == name })
		return true
	})
	return err
}

func (d *desk) id() int64 { d.nextID++; return d.nextID }

func (d *desk) Devices(ctx context.Context, _, cursor string, limit int) (capgo.DevicePage, error) {
	return get(ctx, d, func() capgo.DevicePage {
		from := 0
		_, _ = fmt.Sscan(cursor, &from)
		to := min(len(d.devices), from+limit)
		page := capgo.DevicePage{Data: slices.Clone(d.devices[from:to]), HasMore: to < len(d.devices)}
		if page.HasMore {
			page.NextCursor = fmt.Sprint(to)
		}
		return page
	})
}
func (d *desk) Device(ctx context.Context, _, id string) (capgo.Device, error) {
	if err := d.read(ctx); err != nil {
		return capgo.Device{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.devices {
		if one.DeviceID == id {
			return one, nil
		}
	}
	return capgo.Device{}, failure.Newf(failure.NotFound, "device_not_found", "find the device", "ask the user for the id that the app shows", "no device %q", id)
}
func (d *desk) DevicesNamed(ctx context.Context, _, customID string) ([]capgo.Device, error) {
	return get(ctx, d, func() []capgo.Device {
		return slices.DeleteFunc(slices.Clone(d.hidden), func(one capgo.Device) bool { return one.CustomID != customID })
	})
}
func (d *desk) SearchDevices(ctx context.Context, _, fragment string) (capgo.DeviceSearch, error) {
	return get(ctx, d, func() capgo.DeviceSearch {
		found := slices.DeleteFunc(slices.Concat(d.devices, d.hidden), func(one capgo.Device) bool {
			return !strings.Contains(one.DeviceID+" "+one.CustomID, strings.ToLower(fragment))
		})
		return capgo.DeviceSearch{Devices: found[:min(len(found), 40)], Cut: len(found) > 40}
	})
}
func (d *desk) setOverride(ctx context.Context, id, channel string) error {
	_, err := get(ctx, d, func() bool {
		for i := range d.devices {
			if d.devices[i].DeviceID == id {
				d.devices[i].Channel = channel
			}
		}
		return true
	})
	return err
}
func (d *desk) SetOverride(ctx context.Context, _, id, channel string) error {
	return d.setOverride(ctx, id, channel)
}
func (d *desk) ClearOverride(ctx context.Context, _, id string) error {
	return d.setOverride(ctx, id, "")
}
func (d *desk) Explain(ctx context.Context, q capgo.UpdateRequest) (capgo.Explanation, error) {
	return get(ctx, d, func() capgo.Explanation {
		x := capgo.Explanation{Channel: "production", ChannelSource: "default_channel", Bundle: "2.5.0", Reason: "disable_auto_update_under_native",
			Answer: capgo.UpdateAnswer{Error: "disable_auto_update_under_native", Message: "Cannot update, native version is too low", Kind: capgo.KindBlocked},
			Checks: []capgo.Check{
				{Name: "app", Passed: true, Detail: "the app com.example.notes is registered"},
				{Name: "channel", Passed: true, Detail: `channel "production", by default channel`},
				{Name: "platform", Passed: true, Detail: "the channel serves " + q.Platform},
				{Name: "policy", Passed: true, Detail: "policy major allows bundle 2.5.0 on native " + q.VersionBuild},
				{Name: "under_native", Passed: q.VersionBuild != "1.9.0", Detail: "native " + q.VersionBuild + " reaches the bundle's minimum 2.0.0"},
			}}
		if q.VersionBuild != "1.9.0" {
			x.Reason, x.Answer = "offered", capgo.UpdateAnswer{Version: "2.5.0", URL: "https://updates.example.com/2.5.0.zip"}
		} else {
			x.Checks[4].Detail = "native 1.9.0 is below the bundle's minimum 2.0.0"
		}
		return x
	})
}
func (d *desk) Events(ctx context.Context, _, id string) ([]capgo.DeviceEvent, error) {
	return get(ctx, d, func() []capgo.DeviceEvent {
		at := func(m int) time.Time { return d.began.Add(-time.Duration(m) * time.Minute) }
		return []capgo.DeviceEvent{{At: at(4), DeviceID: id, Action: "get", VersionName: "2.4.3"}, {At: at(64), DeviceID: id, Action: "disableAutoUpdateUnderNative", VersionName: "2.5.0"},
			{At: at(3000), DeviceID: id, Action: "set", VersionName: "2.4.3", OldVersion: "2.4.2"}, {At: at(3001), DeviceID: id, Action: "download_complete", VersionName: "2.4.3"}, {At: at(4400), DeviceID: id, Action: "checksum_fail", VersionName: "2.4.2"}}
	})
}

func (d *desk) List(ctx context.Context, _ string) ([]views.Key, error) {
	return get(ctx, d, func() []views.Key { return slices.Clone(d.keys) })
}
func (d *desk) Stores(ctx context.Context) ([]views.KeyStore, error) {
	return get(ctx, d, func() []views.KeyStore {
		return []views.KeyStore{{Kind: "keyring"}, {Kind: "file"}, {Kind: "memory"}}
	})
}

// passphrase asks as the ring does for what is in a file.
func (d *desk) passphrase(ctx context.Context, fresh bool) error {
	if d.ask == nil {
		return nil
	}
	ask := d.ask.Ask
	if fresh {
		ask = d.ask.AskNew
	}
	typed, err := ask(ctx, "passphrase for com.example.notes")
	if err != nil {
		return err
	}
	d.told = string(typed)
	return d.wrong
}

func (d *desk) Import(ctx context.Context, appID, path, kind string) (views.Key, []views.Finding, error) {
	key, err := get(ctx, d, func() views.Key {
		k := views.Key{AppID: appID, ID: "MIIBCgKCAQEAimported", Fingerprint: "SHA256:9Zk", Store: kind, Location: "capstan/" + appID, Created: time.Now(), PublicPEM: samplePEM}
		d.keys = append(d.keys, k)
		return k
	})
	return key, []views.Finding{{Level: "warn", Code: "loose_mode", Text: path + " is readable by others", Hint: "chmod 600 it, or delete it once a backup is proven"}}, err
}
func (d *desk) Export(ctx context.Context, _ views.Key, _ string) error {
	return d.passphrase(ctx, true)
}
func (d *desk) Backup(ctx context.Context, _, _ string) error {
	if err := d.passphrase(ctx, true); err != nil {
		return err
	}
	for i := range d.keys {
		d.keys[i].BackedUp = time.Now()
	}
	return nil
}
func (d *desk) Drill(ctx context.Context, _ string) ([]views.Drilled, error) {
	if err := d.passphrase(ctx, false); err != nil {
		return nil, err
	}
	for i := range d.keys {
		d.keys[i].Drilled = time.Now()
	}
	return []views.Drilled{{AppID: app, KeyID: d.keys[0].ID, Known: true}, {AppID: "com.example.shop", KeyID: "MIIBCgKCAQEAunknownk"}}, nil
}
func (d *desk) Remove(ctx context.Context, k views.Key) error {
	_, err := get(ctx, d, func() bool {
		d.keys = slices.DeleteFunc(d.keys, func(o views.Key) bool { return o.ID == k.ID })
		return true
	})
	return err
}

func (d *desk) Create(ctx context.Context, appID, kind string) (views.Key, error) {
	if kind == "file" {
		if err := d.passphrase(ctx, true); err != nil {
			return views.Key{}, err
		}
	}
	return get(ctx, d, func() views.Key {
		k := views.Key{AppID: appID, ID: "MIIBCgKCAQEA9f3c2e1b", Fingerprint: "SHA256:qL8mVw2p0s1Tt7JkzX4rN6dYb3cEhUoA5gRfWiQx9Zk", Store: kind, Location: "capstan/" + appID, Created: time.Now(), PublicPEM: samplePEM}
		d.keys = append(d.keys, k)
		return k
	})
}

func (d *desk) Complete(_ context.Context, prefix string, _ int) ([]string, error) {
	var out []string
	for _, p := range []string{"/home/maria/notes", "/home/maria/notes/dist", "/home/maria/notes/src", "/home/maria/notes/www", "/home/maria/music"} {
		if strings.HasPrefix(p, prefix) {
			out = append(out, p)
		}
	}
	return out, nil
}
func (d *desk) Recent(context.Context) ([]string, error) {
	return []string{"/home/maria/notes/dist", "/home/maria/shop/www"}, nil
}
func (d *desk) Inspect(ctx context.Context, dir string) (views.FolderReport, error) {
	if err := d.read(ctx); err != nil {
		return views.FolderReport{}, err
	}
	if d.block || !strings.HasSuffix(dir, "dist") {
		return views.FolderReport{Dir: dir, Files: 12, Bytes: 40_000, Findings: []views.Finding{{Level: "block", Code: "no_index_html", Text: "there is no index.html in it", Hint: "choose the folder that the build writes, often dist or www"}}}, nil
	}
	return views.FolderReport{Dir: dir, Build: true, Files: 214, Bytes: 3_390_000, Findings: []views.Finding{
		{Level: "ok", Text: "index.html is there"}, {Level: "ok", Text: "notifyAppReady is called"}, {Level: "warn", Code: "source_maps", Text: "18 source maps are left out", Hint: "they are of no use on a device"}}}, nil
}

func (d *desk) NextVersion(context.Context, string, string) (string, error) {
	if len(d.bundles) == 0 {
		return "1.0.0", nil
	}
	return "2.5.1", nil
}

func (d *desk) Prepare(ctx context.Context, q views.ReleaseRequest, emit func(release.Event)) (views.Prepared, error) {
	if d.prepare != nil {
		return views.Prepared{}, d.prepare(ctx, emit)
	}
	if err := stages(ctx, emit); err != nil {
		return views.Prepared{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resumed, d.asked = q.Resume, q
	for _, u := range d.open {
		if u.ID == q.Resume {
			q.Version, q.Channel = u.Version, u.Channel
		}
	}
	p := views.Prepared{ID: "r1", AppID: q.AppID, Version: q.Version, Channel: q.Channel, Live: capgo.Builtin, Size: 3_391_488, Files: 214, Checksum: strings.Repeat("9f3c", 16), KeyID: q.KeyID, URL: "http://127.0.0.1:8087/files/x.zip",
		Proof: []views.Proof{
			{Plugin: "8.51.23", Platform: "android", Form: "v3", Offered: true, Installed: true}, {Plugin: "8.51.23", Platform: "ios", Form: "v3", Offered: true, Installed: true},
			{Plugin: "8.40.3", Platform: "android", Form: "v3", Offered: true, Installed: true}, {Plugin: "8.40.3", Platform: "ios", Form: "v3", Offered: true, Installed: true},
			{Plugin: "5.3.1", Platform: "android", Form: "v2"}, {Plugin: "5.3.1", Platform: "ios", Form: "v2"}}}
	for _, c := range d.channels {
		if c.Name == q.Channel && c.Version != nil {
			p.Live, p.Revision, p.MinNative = c.Version.Name, c.Revision, "2.0.0"
			diff := sampleDiff(p.Live, p.Version)
			p.Diff = &diff
		}
	}
	d.bundles = append([]capgo.Bundle{{ID: d.id(), AppID: app, Name: q.Version, SessionKey: "x", KeyID: q.KeyID, ObjectSize: p.Size, CreatedAt: time.Now()}}, d.bundles...)
	return p, nil
}

// stages plays a release as the pipeline reports it.
func stages(ctx context.Context, emit func(release.Event)) error {
	pause := func(t time.Duration) error {
		select {
		case <-time.After(t):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	say := func(stage release.StageName, kind release.EventKind, text string) {
		emit(release.Event{Time: time.Now(), Stage: stage, Kind: kind, Text: text})
	}
	const total = 3_391_488
	for _, s := range release.Stages()[:5] {
		say(s, release.EventStarted, "")
		switch s {
		case release.StagePreflight:
			emit(release.Event{Time: time.Now(), Stage: s, Kind: release.EventFinding, Level: "warn", Text: "18 source maps are left out", Hint: "they are of no use on a device"})
		case release.StageSeal, release.StageUpload:
			for done := int64(0); done < total; done += 169_574 {
				emit(release.Event{Time: time.Now(), Stage: s, Kind: release.EventProgress, Done: done, Total: total})
				wait := 20 * time.Millisecond
				if s == release.StageUpload {
					wait = 300 * time.Millisecond
				}
				if err := pause(wait); err != nil {
					say(s, release.EventFailed, "cancelled")
					return err
				}
			}
			emit(release.Event{Time: time.Now(), Stage: s, Kind: release.EventProgress, Done: total, Total: total})
		case release.StageProve:
			for _, step := range []string{"key: session key and checksum are signed by the app's key", "download: 3391488 bytes, as on record; broken downloads can go on", "checksum: SHA-256 9f3c41d8a7", "android 8.51.23: 214 files installed, checksum form v3", "ios 8.51.23: 214 files installed, checksum form v3", "ios 8.40.3: behaves like a version that was tried already"} {
				if err := pause(200 * time.Millisecond); err != nil {
					return err
				}
				emit(release.Event{Time: time.Now(), Stage: s, Kind: release.EventStep, Level: "ok", Text: step})
			}
		}
		if err := pause(100 * time.Millisecond); err != nil {
			return err
		}
		say(s, release.EventFinished, map[release.StageName]string{release.StagePreflight: "214 files, 3.2 MiB, 1 note", release.StageSeal: "3.2 MiB, signed MIIBCgKC", release.StageUpload: "3.2 MiB in 6 s", release.StageProve: "plugin 8.51.23 and 8.40.3 installed it", release.StageRegister: "registered"}[s])
	}
	return nil
}

func (d *desk) Promote(ctx context.Context, p views.Prepared, emit func(release.Event)) (release.Result, error) {
	emit(release.Event{Time: time.Now(), Stage: release.StagePromote, Kind: release.EventStarted})
	if err := d.read(ctx); err != nil {
		return release.Result{}, err
	}
	for _, step := range []string{"download: 3391488 bytes", "decrypt: AES-128, 3391472 bytes", "checksum: v3 9f3c41d8a7", "unpack: 214 files, 3390000 bytes", "set: the app starts with " + p.Version} {
		time.Sleep(120 * time.Millisecond)
		emit(release.Event{Time: time.Now(), Stage: release.StagePromote, Kind: release.EventStep, Level: "ok", Text: step})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.promoted = p
	found := false
	for i := range d.channels {
		if d.channels[i].Name == p.Channel {
			d.channels[i].Version, found = &capgo.VersionRef{Name: p.Version}, true
			d.channels[i].Revision++
		}
	}
	if !found {
		yes := true
		d.channels = append(d.channels, capgo.Channel{ID: d.id(), Name: p.Channel, AppID: app, Public: true, Version: &capgo.VersionRef{Name: p.Version}, IOS: &yes, Android: &yes, Revision: 1, AllowDevice: true, AllowProd: true, UpdatedAt: time.Now()})
	}
	d.history = append([]capgo.Change{{ID: d.id(), At: time.Now(), AppID: app, Channel: p.Channel, Action: "channel.promote", Actor: "you", From: p.Live, To: p.Version}}, d.history...)
	emit(release.Event{Time: time.Now(), Stage: release.StagePromote, Kind: release.EventFinished})
	return release.Result{ID: p.ID, App: p.AppID, Version: p.Version, Channel: p.Channel, Previous: p.Live, Checksum: p.Checksum, KeyID: p.KeyID, Size: p.Size, Files: p.Files, Device: &release.DeviceResult{Installed: true, PluginVersion: "8.51.23"}}, nil
}

func (d *desk) Files(ctx context.Context, _, name string) (views.Inventory, error) {
	return get(ctx, d, func() views.Inventory {
		return views.Inventory{Name: name, Bytes: 1_043_000, Origins: []string{"https://api.example.com"}, Files: []views.File{
			{Path: "assets/icons/logo.svg", Bytes: 9_000, Packed: 2_100}, {Path: "assets/main-88d1.js", Bytes: 98_000, Packed: 31_000},
			{Path: "assets/vendor-4f1c.js", Bytes: 934_000, Packed: 288_000}, {Path: "index.html", Bytes: 2_000, Packed: 800}}}
	})
}
func (d *desk) Compare(ctx context.Context, _, from, to string) (views.Diff, error) {
	return get(ctx, d, func() views.Diff { return sampleDiff(from, to) })
}

func sampleDiff(from, to string) views.Diff {
	return views.Diff{From: from, To: to, Added: 3, Removed: 1, Changed: 12, Same: 198, BytesBefore: 3_240_000, BytesAfter: 3_390_000, DeltaBytes: 412_000, NewOrigins: []string{"https://cdn.example.net"},
		Files: []views.DiffFile{{Path: "assets/vendor-4f1c.js", Before: 812_000, After: 934_000}, {Path: "assets/map/tiles-europe.json", Before: -1, After: 61_000}, {Path: "assets/old-logo.svg", Before: 9_000, After: -1},
			{Path: "assets/main-88d1.js", Before: 94_000, After: 98_000}, {Path: "index.html", Before: 1_900, After: 2_000}}}
}

func (d *desk) Unfinished(ctx context.Context, _ string) ([]views.Unfinished, error) {
	return get(ctx, d, func() []views.Unfinished { return slices.Clone(d.open) })
}

func (d *desk) Check(ctx context.Context, _, channel string, emit func(release.Event)) (release.DeviceResult, error) {
	if err := d.read(ctx); err != nil {
		return release.DeviceResult{}, err
	}
	for _, s := range []string{"download: 3391488 bytes", "decrypt: AES-128, 3391472 bytes", "checksum: v3 9f3c41d8a7", "unpack: 214 files, 3390000 bytes", "set: the app starts with 2.4.3"} {
		emit(release.Event{Kind: release.EventStep, Level: "ok", Text: s})
	}
	return release.DeviceResult{Installed: true, PluginVersion: "8.51.23"}, nil
}

func (d *desk) PlanKey(context.Context, string) (views.Edit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.written {
		return views.Edit{Path: "capacitor.config.json"}, nil
	}
	return views.Edit{Path: "capacitor.config.json", Diff: "@@ plugins.CapacitorUpdater @@\n   \"autoUpdate\": true,\n+  \"publicKey\": \"-----BEGIN RSA PUBLIC KEY-----\\nMIIBCgKC…\"\n", Apply: func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.written = true
		return nil
	}}, nil
}
func (d *desk) Doctor(context.Context) ([]views.Finding, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	findings := []views.Finding{{Level: "ok", Code: "plugin", Text: "plugin 8.51.23 from package.json"}, {Level: "ok", Code: "transport", Text: "plain http is not allowed"}}
	if d.written && !d.synced {
		return append(findings, views.Finding{Level: "block", Code: "public_key_not_synced_android", Text: "the public key of the config is not in the Android project: its next build could not verify bundles", Hint: "run: npx cap sync"}), nil
	}
	return append(findings, views.Finding{Level: "ok", Code: "native_sync", Text: "the native projects have the config's values"}), nil
}
func (d *desk) Status(ctx context.Context) (views.ServerStatus, error) {
	return get(ctx, d, func() views.ServerStatus {
		var rps []float64
		for i := range 60 {
			rps = append(rps, float64((i*i*7)%23)+float64(i)/4)
		}
		public := "http://192.168.1.20:8087"
		if d.local {
			public = "http://127.0.0.1:8087"
		}
		return views.ServerStatus{Version: "0.3.0", Address: "http://127.0.0.1:8087", PublicURL: public, DataDir: "/home/maria/.local/share/capstan/server", Started: d.began.Add(-3 * time.Hour), Requests: rps, Total: 48_211, Devices: 12_480,
			Log: d.tail("10:31:58 POST /updates 200 0.8 ms up_to_date", "10:31:58 POST /updates 200 0.7 ms offered 2.5.0", "10:31:59 GET /files/com.example.notes/2.5.0 206 3.2 MiB", "10:32:01 POST /stats 200 set 2.5.0")}
	})
}

// tail is the end of the server's log, as much as a server keeps.
func (d *desk) tail(first ...string) []string {
	all := append(first, d.log...)
	return slices.Clone(all[max(0, len(all)-200):])
}

type memoryPreferences struct{ s views.Settings }

func (m *memoryPreferences) Load(context.Context) (views.Settings, error) { return m.s, nil }
func (m *memoryPreferences) Save(_ context.Context, s views.Settings) error {
	m.s = s
	return nil
}

var (
	_ views.Registry = (*desk)(nil)
	_ views.Keys     = (*desk)(nil)
	_ views.KeyCare  = (*desk)(nil)
	_ views.Releases = (*desk)(nil)
	_ views.Folders  = (*desk)(nil)
	_ views.Contents = (*desk)(nil)
	_ views.Prober   = (*desk)(nil)
	_ views.Project  = (*desk)(nil)
	_ views.Server   = (*desk)(nil)
)

// options open the console on a desk.
func (d *desk) options() Options {
	return Options{
		SwitchProfile: func(string) {},
		Services: views.Services{Registry: d, Keys: d, KeyCare: d, Releases: d, Folders: d, Contents: d, Prober: d, Project: d, Server: d,
			Preferences: &memoryPreferences{views.Settings{Profile: "work", Profiles: []views.Profile{{Name: "work", Server: "https://updates.example.com", Storage: "s3://releases", Channel: "production"}, {Name: "local", Server: "http://127.0.0.1:8087", Storage: "capstan+http://127.0.0.1:8087", Channel: "beta"}}}}},
		Facts: views.Facts{AppID: app, AppName: "Notes", WebDir: "/home/maria/notes/dist", Root: "/home/maria/notes", Channel: "production", PluginVersion: "8.51.23", NativeVersion: "2.1.0", ServerURL: "https://updates.example.com", Production: "production"},
	}
}

// open starts the console on a desk in a terminal of w×h cells.
func open(t testing.TB, o Options, w, h int, dark bool) *tuitest.Terminal {
	t.Helper()
	profile := colorprofile.TrueColor
	if o.NoColor {
		profile = colorprofile.ASCII
	}
	if o.Profile == nil {
		o.Profile = &profile
	}
	o.Width, o.Height = w, h
	o.Environment = []string{"TERM=xterm-256color"}
	return tuitest.Start(t, w, h, dark, func(in io.Reader, out io.Writer) error {
		o.Input, o.Output = in, out
		return Run(t.Context(), o)
	})
}

// leave ends the console with ctrl+c.
func leave(t testing.TB, term *tuitest.Terminal) {
	t.Helper()
	for range 4 {
		if !term.Running() {
			return
		}
		term.Press("ctrl+c")
		term.Wait(time.Second)
	}
	if err := term.End(); err != nil {
		t.Fatalf("the console ended with %v", err)
	}
}
