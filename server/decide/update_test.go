package decide

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"capstan/core/bundle"
	"capstan/core/capgo"
)

const (
	device = "00009a6b-eefe-490a-9c60-8e965132ae51"
	keyID  = "MIIBCgKCAQEA4pW9olT4"
	sum    = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

var (
	v2 = strings.Repeat("2", 344)
	v3 = strings.Repeat("3", 512)
)

// world is what a case may change before it asks.
type world struct {
	app    *App
	bundle *Bundle  // 1.1.0, id 1, live on channel production
	next   *Bundle  // 1.2.0, id 2
	ch     *Channel // production, id 1
	beta   *Channel // beta, id 2, not public, self-assignable, bundle 1.2.0
	req    capgo.UpdateRequest
}

func newWorld() *world {
	w := &world{
		bundle: &Bundle{ID: 1, Name: "1.1.0", ExternalURL: "https://cdn.example.com/1.1.0.zip", Checksum: sum},
		next:   &Bundle{ID: 2, Name: "1.2.0", ExternalURL: "https://cdn.example.com/1.2.0.zip", Checksum: sum},
	}
	channel := func(id int64, name string, bundle int64) *Channel {
		return &Channel{ID: id, Name: name, BundleID: bundle, IOS: true, Android: true, Electron: true,
			AllowDev: true, AllowProd: true, AllowDevice: true, AllowEmulator: true, DisableAutoUpdate: capgo.PolicyNone}
	}
	w.ch, w.beta = channel(1, "production", 1), channel(2, "beta", 2)
	w.ch.Public, w.beta.AllowDeviceSelfSet = true, true
	w.app = &App{ID: "com.example.app", Bundles: map[int64]*Bundle{1: w.bundle, 2: w.next}, Channels: []*Channel{w.beta, w.ch}}
	w.req = capgo.UpdateRequest{Platform: "android", DeviceID: device, AppID: "com.example.app", VersionBuild: "1.0.0",
		VersionName: "1.0.0", PluginVersion: "8.51.14", IsProd: true}
	return w
}

// seal makes both bundles signed ones in the server's own storage and gives
// the app a key.
func (w *world) seal() {
	w.app.KeyID = keyID
	for _, b := range w.app.Bundles {
		b.ExternalURL, b.ObjectKey = "", "com.example.app/"+b.Name+".zip"
		b.SessionKey, b.KeyID, b.Checksum, b.PlainChecksum, b.ChecksumV2, b.ChecksumV3 = "iv:key", keyID, "", sum, v2, v3
	}
}

func (w *world) rollout(bps int) *Rollout {
	w.ch.Rollout = &Rollout{ID: "r1", BundleID: 2, PercentageBps: bps, Enabled: true}
	return w.ch.Rollout
}

// TestUpdate asks once per case and looks at what the device hears.
// want starts with the reason; then follow fields that must be so.
func TestUpdate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(w *world)
		reason string
		check  func(v Verdict) bool // nil = the reason says it all
	}{
		{"offered", func(w *world) {}, ReasonOffered, func(v Verdict) bool {
			return reflect.DeepEqual(v.Answer, capgo.UpdateAnswer{Version: "1.1.0", URL: "https://cdn.example.com/1.1.0.zip", Checksum: sum}) &&
				v.Status == 200 && v.Channel == "production" && v.ChannelID == 1 && v.ChannelSource == SourcePublic && v.Bundle.ID == 1 && !v.InRollout
		}},
		{"plain http is an address", func(w *world) { w.bundle.ExternalURL = "http://10.0.2.2/a.zip" }, ReasonOffered, nil},
		{"plain checksum on record only", func(w *world) { w.bundle.Checksum, w.bundle.PlainChecksum = "", "aa" }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Checksum == "aa" }},

		{"unknown app", func(w *world) { w.app = nil }, capgo.CodeUnknownApp, func(v Verdict) bool { return v.Status == 429 && v.Answer.Kind == "" }},
		{"native version is none", func(w *world) { w.req.VersionBuild = "1.x" }, capgo.CodeSemver, func(v Verdict) bool {
			return v.Status == 200 && v.Answer.Kind == capgo.KindFailed && strings.HasPrefix(v.Answer.Message, "Native version: 1.x doesn't follow")
		}},
		{"native version too large", func(w *world) { w.req.VersionBuild = "9007199254740992.0.0" }, capgo.CodeSemver, nil},
		{"plugin 4", func(w *world) { w.req.PluginVersion = "4.41.3" }, capgo.CodePluginVersion, nil},
		{"plugin version is none", func(w *world) { w.req.PluginVersion = "eight" }, capgo.CodePluginVersion, nil},
		{"no app id", func(w *world) { w.req.AppID = "" }, capgo.CodeMissingInfo, nil},
		{"no device id", func(w *world) { w.req.DeviceID = "" }, capgo.CodeMissingInfo, nil},
		{"no version name", func(w *world) { w.req.VersionName = "" }, capgo.CodeMissingInfo, nil},
		{"no platform", func(w *world) { w.req.Platform = "" }, capgo.CodeMissingInfo, nil},

		{"no public channel", func(w *world) { w.ch.Public = false }, capgo.CodeNoChannel, func(v Verdict) bool { return v.Channel == "" && v.Bundle == nil }},
		{"public channel of another platform", func(w *world) { w.ch.Android = false }, capgo.CodeNoChannel, nil},
		{"public channel whose bundle was deleted", func(w *world) { w.bundle.Deleted = true }, capgo.CodeNoChannel, nil},
		{"public channel whose bundle is gone", func(w *world) { w.ch.BundleID = 9 }, capgo.CodeNoChannel, nil},
		{"default channel, self-assignable", func(w *world) { w.req.DefaultChannel = "beta" }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Version == "1.2.0" && v.ChannelSource == SourceDefault }},
		{"default channel, public", func(w *world) { w.req.DefaultChannel = "production" }, ReasonOffered,
			func(v Verdict) bool { return v.ChannelSource == SourceDefault }},
		{"default channel, private", func(w *world) { w.req.DefaultChannel = "beta"; w.beta.AllowDeviceSelfSet = false }, capgo.CodeNoChannel, nil},
		{"default channel, unknown", func(w *world) { w.req.DefaultChannel = "Beta" }, capgo.CodeNoChannel, nil},
		{"default channel, bundle deleted", func(w *world) { w.req.DefaultChannel = "beta"; w.next.Deleted = true }, capgo.CodeNoChannel, nil},
		{"override", func(w *world) {
			w.beta.AllowDeviceSelfSet = false
			w.app.Overrides = map[string]int64{device: 2}
		}, ReasonOffered, func(v Verdict) bool { return v.Channel == "beta" && v.ChannelSource == SourceOverride }},
		{"override of another device", func(w *world) { w.app.Overrides = map[string]int64{"other": 2} }, ReasonOffered,
			func(v Verdict) bool { return v.ChannelSource == SourcePublic }},
		{"override whose bundle was deleted", func(w *world) {
			w.app.Overrides = map[string]int64{device: 2}
			w.next.Deleted = true
		}, ReasonOffered, func(v Verdict) bool { return v.ChannelSource == SourcePublic }},
		{"override switched off for the platform", func(w *world) {
			w.app.Overrides = map[string]int64{device: 2}
			w.beta.Android = false
		}, capgo.CodePlatformAndroid, func(v Verdict) bool { return v.Answer.Version == "1.2.0" && v.Answer.Old == "1.0.0" }},
		{"iOS switched off", func(w *world) {
			w.app.Overrides = map[string]int64{device: 2}
			w.req.Platform, w.beta.IOS = "ios", false
		}, capgo.CodePlatformIOS, nil},
		{"Electron switched off", func(w *world) {
			w.app.Overrides = map[string]int64{device: 2}
			w.req.Platform, w.beta.Electron = "electron", false
		}, capgo.CodePlatformElectron, nil},
		{"chosen by an old plugin, before an override", func(w *world) {
			w.app.SelfSet, w.app.Overrides = map[string]int64{device: 2}, map[string]int64{device: 1}
			w.req.PluginVersion = "7.33.9"
		}, ReasonOffered, func(v Verdict) bool { return v.Channel == "beta" && v.ChannelSource == SourceSelfSet }},
		{"chosen before the plugin was updated", func(w *world) {
			w.app.SelfSet = map[string]int64{device: 2}
		}, ReasonOffered, func(v Verdict) bool { return v.ChannelSource == SourcePublic }},
		{"chosen, and the channel is gone", func(w *world) {
			w.app.SelfSet, w.req.PluginVersion = map[string]int64{device: 7}, "6.33.0"
		}, ReasonOffered, func(v Verdict) bool { return v.ChannelSource == SourcePublic }},

		{"bundle of its own for iOS", func(w *world) {
			w.ch.PlatformBundles = map[string]int64{"ios": 2}
			w.req.Platform = "ios"
		}, ReasonOffered, func(v Verdict) bool { return v.Answer.Version == "1.2.0" }},
		{"bundle of its own for another platform", func(w *world) { w.ch.PlatformBundles = map[string]int64{"ios": 2} }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Version == "1.1.0" }},
		{"store build for Android only", func(w *world) { w.ch.PlatformBundles = map[string]int64{"android": 0}; w.req.VersionName = "1.1.0" }, ReasonRevert, nil},

		{"rollout, and a bundle of its own for the platform", func(w *world) {
			w.rollout(10000)
			w.ch.PlatformBundles = map[string]int64{"android": 1}
		}, ReasonOffered, func(v Verdict) bool { return v.Answer.Version == "1.1.0" && !v.InRollout }},

		{"rollout disabled", func(w *world) { w.rollout(10000).Enabled = false }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Version == "1.1.0" && !v.InRollout }},
		{"rollout in full", func(w *world) { w.rollout(10000) }, ReasonOffered, func(v Verdict) bool { return v.Answer.Version == "1.2.0" && v.InRollout }},
		{"rollout at nothing", func(w *world) { w.rollout(0) }, ReasonOffered, func(v Verdict) bool { return v.Answer.Version == "1.1.0" }},
		{"rollout at nothing, device on it", func(w *world) { w.rollout(0); w.req.VersionName = "1.2.0" }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Version == "1.1.0" }},
		{"rollout paused", func(w *world) { w.rollout(10000).PausedAt = new(time.Time) }, ReasonOffered, func(v Verdict) bool { return v.Answer.Version == "1.1.0" }},
		{"rollout paused, device on it", func(w *world) {
			w.rollout(1).PausedAt = new(time.Time)
			w.req.VersionName = "1.2.0"
		}, capgo.CodeUpToDate, func(v Verdict) bool { return v.InRollout }},
		{"rollout up to the device", func(w *world) { w.rollout(RolloutPosition("r1", device) + 1) }, ReasonOffered, func(v Verdict) bool { return v.InRollout }},
		{"rollout short of the device", func(w *world) { w.rollout(RolloutPosition("r1", device)) }, ReasonOffered, func(v Verdict) bool { return !v.InRollout }},
		{"rollout of a deleted bundle", func(w *world) { w.rollout(10000); w.next.Deleted = true }, ReasonOffered, func(v Verdict) bool { return !v.InRollout }},
		{"rollout of no bundle", func(w *world) { w.rollout(10000).BundleID = 9 }, ReasonOffered, func(v Verdict) bool { return !v.InRollout }},
		{"rollout from the store build", func(w *world) { w.rollout(10000); w.ch.BundleID = 0 }, ReasonOffered, func(v Verdict) bool { return v.Answer.Version == "1.2.0" }},

		{"no content", func(w *world) { w.bundle.ExternalURL = "" }, capgo.CodeNoBundle, nil},
		{"no content under the name unknown", func(w *world) { w.bundle.ExternalURL, w.bundle.Name = "", "unknown" }, capgo.CodeNoBundleURL, nil},
		{"other key", func(w *world) { w.bundle.KeyID, w.req.KeyID = keyID, "MIIBCgKCAQEAzzzzzzzz" }, capgo.CodeKeyMismatch, func(v Verdict) bool {
			return v.Answer.DeviceKeyID == "MIIBCgKCAQEAzzzzzzzz" && v.Answer.BundleKeyID == keyID && v.Answer.Kind == capgo.KindBlocked
		}},
		{"other key, pre-release after 8.40.7", func(w *world) {
			w.bundle.KeyID, w.req.KeyID, w.req.PluginVersion = keyID, "MIIB", "8.40.8-beta.1"
		}, capgo.CodeKeyMismatch, nil},
		{"other key, plugin sends four characters", func(w *world) {
			w.bundle.KeyID, w.req.KeyID, w.req.PluginVersion = keyID, "MIIB", "8.40.7"
		}, ReasonOffered, nil},
		{"same key", func(w *world) { w.bundle.KeyID, w.req.KeyID = keyID, keyID }, ReasonOffered, nil},
		{"device says no key", func(w *world) { w.bundle.KeyID = keyID }, ReasonOffered, nil},
		{"bundle has no key", func(w *world) { w.req.KeyID = keyID }, ReasonOffered, nil},

		{"up to date", func(w *world) { w.req.VersionName = "1.1.0" }, capgo.CodeUpToDate, func(v Verdict) bool {
			return v.Answer.Version == "1.1.0" && v.Answer.Kind == capgo.KindUpToDate
		}},
		{"store build of the bundle's version", func(w *world) { w.req.VersionName, w.req.VersionBuild = "builtin", "1.1" }, capgo.CodeUpToDate,
			func(v Verdict) bool { return v.Answer.Version == "builtin" }},

		{"major, allowed", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMajor }, ReasonOffered, nil},
		{"major, lower", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMajor; w.req.VersionBuild = "2.0.0" }, ReasonOffered, nil},
		{"major, blocked", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMajor; w.req.VersionBuild = "0.9" }, capgo.CodePolicyMajor, func(v Verdict) bool {
			return v.Answer.Major && v.Answer.Version == "1.1.0" && v.Answer.Old == "0.9.0"
		}},
		{"minor, allowed", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMinor; w.req.VersionBuild = "1.1.9" }, ReasonOffered, nil},
		{"minor, blocked by minor", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMinor }, capgo.CodePolicyMinor, nil},
		{"minor, blocked by major", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMinor; w.req.VersionBuild = "2.1.0" }, capgo.CodePolicyMinor, nil},
		{"patch, allowed", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyPatch; w.req.VersionBuild = "1.1.0-beta" }, ReasonOffered, nil},
		{"patch, blocked by patch", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyPatch; w.req.VersionBuild = "1.1.1" }, capgo.CodePolicyPatch, nil},
		{"patch, blocked by minor", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyPatch }, capgo.CodePolicyPatch, nil},
		{"patch, blocked by major", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyPatch; w.req.VersionBuild = "2.1.0" }, capgo.CodePolicyPatch, nil},
		{"policy and a name that is no version", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyMajor; w.bundle.Name = "hotfix" }, capgo.CodeMisconfigured, nil},
		{"policy and the store build", func(w *world) {
			w.ch.DisableAutoUpdate, w.ch.DisableAutoUpdateUnderNative, w.ch.BundleID = capgo.PolicyMajor, true, 0
		}, ReasonRevert, nil},
		{"no policy and a name that is no version", func(w *world) { w.bundle.Name = "hotfix" }, ReasonOffered, nil},
		{"minimum reached", func(w *world) { w.ch.DisableAutoUpdate, w.bundle.MinUpdateVersion = capgo.PolicyVersionNumber, "1.0.0" }, ReasonOffered, nil},
		{"minimum not reached", func(w *world) { w.ch.DisableAutoUpdate, w.bundle.MinUpdateVersion = capgo.PolicyVersionNumber, "1.0.1" }, capgo.CodePolicyVersionNumber,
			func(v Verdict) bool { return v.Answer.Major && v.Answer.Old == "1.0.0" }},
		{"minimum missing", func(w *world) { w.ch.DisableAutoUpdate = capgo.PolicyVersionNumber }, capgo.CodeMisconfigured, func(v Verdict) bool {
			return v.Answer.Message == "Channel production is misconfigured" && v.Answer.Kind == capgo.KindFailed
		}},
		{"minimum is no version", func(w *world) { w.ch.DisableAutoUpdate, w.bundle.MinUpdateVersion = capgo.PolicyVersionNumber, "abc" }, capgo.CodeMisconfigured, nil},
		{"under native", func(w *world) { w.ch.DisableAutoUpdateUnderNative = true; w.req.VersionBuild = "1.1.1" }, capgo.CodeUnderNative,
			func(v Verdict) bool { return v.Answer.Old == "1.0.0" && v.Answer.Version == "1.1.0" }},
		{"not under native", func(w *world) { w.ch.DisableAutoUpdateUnderNative = true; w.req.VersionBuild = "1.1.0" }, ReasonOffered, nil},
		{"under native and a name that is no version", func(w *world) { w.ch.DisableAutoUpdateUnderNative = true; w.bundle.Name = "hotfix" }, capgo.CodeMisconfigured, nil},

		{"no production builds", func(w *world) { w.ch.AllowProd = false }, capgo.CodeProdBuild, func(v Verdict) bool { return v.Answer.Old == "1.0.0" }},
		{"no development builds", func(w *world) { w.ch.AllowDev, w.req.IsProd = false, false }, capgo.CodeDevBuild, nil},
		{"a development build", func(w *world) { w.ch.AllowProd, w.req.IsProd = false, false }, ReasonOffered, nil},
		{"no devices", func(w *world) { w.ch.AllowDevice = false }, capgo.CodeDevice, nil},
		{"no emulators", func(w *world) { w.ch.AllowEmulator, w.req.IsEmulator = false, true }, capgo.CodeEmulator, nil},
		{"an emulator", func(w *world) { w.ch.AllowDevice, w.req.IsEmulator = false, true }, ReasonOffered, nil},

		{"back to the store build", func(w *world) { w.ch.BundleID = 0; w.req.VersionName = "1.1.0" }, ReasonRevert, func(v Verdict) bool {
			return reflect.DeepEqual(v.Answer, capgo.UpdateAnswer{Version: "builtin"}) && v.Status == 200 && v.Bundle == nil
		}},
		{"on the store build already", func(w *world) { w.ch.BundleID = 0; w.req.VersionName = "builtin" }, capgo.CodeAlreadyBuiltin,
			func(v Verdict) bool { return v.Answer.Kind == capgo.KindUpToDate }},
		{"plugin cannot go back", func(w *world) { w.ch.BundleID = 0; w.req.PluginVersion = "6.1.9" }, capgo.CodeBuiltinPlugin, nil},
		{"a deleted row named builtin", func(w *world) { w.bundle.Name, w.bundle.Deleted = "builtin", true }, ReasonRevert, nil},
		{"rollout of the store build", func(w *world) { w.rollout(10000); w.next.Name = "builtin" }, ReasonRevert, nil},

		{"no address", func(w *world) { w.bundle.ExternalURL = "ftp://example.com/a.zip" }, capgo.CodeNoBundleURL, nil},
		{"link and comment", func(w *world) { w.app.ExposeMetadata, w.bundle.Link, w.bundle.Comment = true, "https://x", "fix" }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Link == "https://x" && v.Answer.Comment == "fix" }},
		{"link and comment, hidden", func(w *world) { w.bundle.Link = "https://x" }, ReasonOffered, func(v Verdict) bool { return v.Answer.Link == "" }},
		{"link and comment, old plugin", func(w *world) {
			w.app.ExposeMetadata, w.bundle.Link, w.req.PluginVersion = true, "https://x", "7.34.9"
		}, ReasonOffered, func(v Verdict) bool { return v.Answer.Link == "" }},

		{"signed", func(w *world) { w.seal() }, ReasonOffered, func(v Verdict) bool {
			return v.Answer.Checksum == v3 && v.Answer.SessionKey == "iv:key" && v.Answer.URL == ""
		}},
		{"signed, form for an old plugin", func(w *world) { w.seal(); w.req.PluginVersion = "7.29.9" }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Checksum == v2 }},
		{"signed, unreadable for a very old plugin", func(w *world) { w.seal(); w.req.PluginVersion = "6.1.17" }, capgo.CodePluginVersion, nil},
		{"signed, form not on record", func(w *world) { w.seal(); w.bundle.ChecksumV3 = "" }, capgo.CodeChecksumForm,
			func(v Verdict) bool { return v.Answer.Kind == capgo.KindBlocked && v.Alarm == "" }},
		{"signed, registered in one form only", func(w *world) { w.seal(); w.bundle.ChecksumV2, w.bundle.ChecksumV3, w.bundle.Checksum = "", "", v3 }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Checksum == v3 }},
		{"signed, no key on record, one form only", func(w *world) { w.bundle.SessionKey, w.bundle.Checksum = "iv:key", v3 }, ReasonOffered,
			func(v Verdict) bool { return v.Answer.Checksum == v3 && v.Answer.SessionKey == "iv:key" }},
		{"key on record, no session key", func(w *world) { w.seal(); w.bundle.SessionKey = "" }, AlarmUnsigned, func(v Verdict) bool {
			return v.Alarm == AlarmUnsigned && v.Answer.Error == capgo.CodeUpToDate && v.Answer.Version == "1.0.0" && v.Answer.URL == ""
		}},
		{"key on record, checksum not signed", func(w *world) {
			w.seal()
			w.bundle.ChecksumV2, w.bundle.ChecksumV3, w.bundle.Checksum = "", "", sum
		}, AlarmUnsigned, nil},
		{"key on record, plain bundle", func(w *world) { w.app.KeyID = keyID }, AlarmUnsigned, nil},
		{"does not verify", func(w *world) { w.seal(); w.bundle.Unverified = true }, AlarmUnverified, func(v Verdict) bool { return v.Alarm == AlarmUnverified }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			tt.change(w)
			v := Update(w.app, w.req)
			if v.Reason != tt.reason || tt.check != nil && !tt.check(v) {
				t.Errorf("reason %q, want %q; %+v", v.Reason, tt.reason, v)
			}
			if !strings.HasPrefix(tt.reason, "unsigned") && !strings.HasPrefix(tt.reason, "unverified") && v.Answer.Error != "" && v.Answer.Error != v.Reason {
				t.Errorf("reason %q beside error %q", v.Reason, v.Answer.Error)
			}
			checkTrail(t, v)
			bare := Answer(w.app, &w.req)
			if bare.Checks != nil {
				t.Error("Answer wrote checks down")
			}
			v.Checks = nil
			if !reflect.DeepEqual(v, bare) {
				t.Errorf("Update and Answer differ:\n%+v\n%+v", v, bare)
			}
		})
	}
}

// checkTrail holds the list of checks to its promise: everything passed except
// the one that decided against the device, and each says something.
func checkTrail(t *testing.T, v Verdict) {
	t.Helper()
	for i, c := range v.Checks {
		last := i == len(v.Checks)-1
		refused := last && v.Reason != ReasonOffered && v.Reason != ReasonRevert
		if c.Passed == refused || c.Name == "" || c.Detail == "" {
			t.Errorf("check %d of %d: %+v with reason %s", i+1, len(v.Checks), c, v.Reason)
		}
	}
	if len(v.Checks) == 0 {
		t.Error("no checks")
	}
}

// TestTwoKeys asks for a bundle that is sealed for two keys, and for one that is
// sealed for one of them, as devices with either key, with another, with none,
// and with plugins that do not say the whole id.
func TestTwoKeys(t *testing.T) {
	t.Parallel()
	const second, other = "MIIBCgKCAQEAsecond00", "MIIBCgKCAQEAother000"
	two := func() *world {
		w := newWorld()
		w.seal()
		w.app.SecondKeyID = second
		w.bundle.Seals = []*Bundle{{ID: 1, Name: "1.1.0", ExternalURL: "https://cdn.example.com/second.zip", KeyID: second, SessionKey: "iv:second",
			PlainChecksum: sum, ChecksumV2: strings.Repeat("4", 344), ChecksumV3: strings.Repeat("5", 512)}}
		w.rollout(0).BundleID = 2
		return w
	}
	for _, tt := range []struct {
		name, key, plugin string
		change            func(w *world)
		reason            string
		session           string // of the offer
		detail            string // within that of the check key_id
	}{
		{"the first key", keyID, "8.51.23", nil, ReasonOffered, "iv:key", "does not contradict"},
		{"the second key", second, "8.51.23", nil, ReasonOffered, "iv:second", "sealed for 2 keys; this device gets the one for its key " + second},
		{"the second key, a plugin that may shorten", second, "8.40.7", nil, ReasonOffered, "iv:second", second},
		{"no key said", "", "8.51.23", nil, ReasonOffered, "iv:key", "does not contradict"},
		{"four characters", "MIIB", "8.40.7", nil, ReasonOffered, "iv:key", "does not contradict"},
		{"another key", other, "8.51.23", nil, capgo.CodeKeyMismatch, "", "holds key " + other},
		{"the second key, sealed for the first alone", second, "8.51.23", func(w *world) { w.bundle.Seals = nil }, capgo.CodeKeyMismatch, "", "sealed with " + keyID},
		{"the second seal is current", second, "8.51.23", func(w *world) { w.req.VersionName = "1.1.0" }, capgo.CodeUpToDate, "", second},
		{"the second seal does not verify", second, "8.51.23", func(w *world) { w.bundle.Seals[0].Unverified = true }, AlarmUnverified, "", second},
		{"the second seal lacks the plugin's form", second, "7.27.8", func(w *world) { w.bundle.Seals[0].ChecksumV2 = "" }, capgo.CodeChecksumForm, "", second},
		{"the store build has no seals", second, "8.51.23", func(w *world) { w.ch.BundleID = 0 }, capgo.CodeAlreadyBuiltin, "", "does not contradict"},
	} {
		w := two()
		w.req.KeyID, w.req.PluginVersion, w.req.VersionName = tt.key, tt.plugin, capgo.Builtin
		if tt.change != nil {
			tt.change(w)
		}
		v := Update(w.app, w.req)
		if v.Reason != tt.reason || v.Answer.SessionKey != tt.session {
			t.Errorf("%s: reason %s, session key %q", tt.name, v.Reason, v.Answer.SessionKey)
		}
		i := slices.IndexFunc(v.Checks, func(c capgo.Check) bool { return c.Name == "key_id" })
		if i < 0 || !strings.Contains(v.Checks[i].Detail, tt.detail) {
			t.Errorf("%s: checks %+v", tt.name, v.Checks)
		}
		if short := Answer(w.app, &w.req); !reflect.DeepEqual(short.Answer, v.Answer) {
			t.Errorf("%s: without a trace %+v", tt.name, short.Answer)
		}
		if v.Reason == ReasonOffered && tt.key == second && (v.Bundle.Name != "1.1.0" || v.Answer.URL != "https://cdn.example.com/second.zip" || v.Answer.Checksum != strings.Repeat("5", 512)) {
			t.Errorf("%s: %+v", tt.name, v.Answer)
		}
	}
}

// TestPrecedence piles faults up and takes them away one by one: the order of
// checks is part of the protocol.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.app.KeyID = keyID
	w.app.Overrides = map[string]int64{device: 1}
	w.bundle.Name, w.bundle.KeyID, w.bundle.ExternalURL = "2.0.0", keyID, "ftp://x"
	w.req.KeyID, w.req.VersionBuild, w.req.VersionName = "MIIBCgKCAQEAzzzzzzzz", "1.x", "2.0.0"
	w.req.PluginVersion = "4.0.0"
	w.ch.Android, w.ch.AllowProd, w.ch.AllowDevice = false, false, false
	w.ch.DisableAutoUpdate, w.ch.DisableAutoUpdateUnderNative = capgo.PolicyMajor, true
	for _, step := range []struct {
		reason string
		mend   func()
	}{
		{capgo.CodeSemver, func() { w.req.VersionBuild = "1.0.0" }},
		{capgo.CodePluginVersion, func() { w.req.PluginVersion = "8.51.14"; w.bundle.Deleted = true; w.ch.Public = false }},
		{capgo.CodeNoChannel, func() { w.bundle.Deleted = false }},
		{capgo.CodeKeyMismatch, func() { w.req.KeyID = keyID }},
		{capgo.CodeUpToDate, func() { w.req.VersionName = "1.9.0" }},
		{capgo.CodePlatformAndroid, func() { w.ch.Android = true }},
		{capgo.CodePolicyMajor, func() { w.req.VersionBuild = "3.0.0" }},
		{capgo.CodeUnderNative, func() { w.req.VersionBuild = "2.0.0" }},
		{capgo.CodeProdBuild, func() { w.ch.AllowProd = true }},
		{capgo.CodeDevice, func() { w.ch.AllowDevice = true }},
		{AlarmUnsigned, func() { w.bundle.SessionKey, w.bundle.ChecksumV2 = "iv:key", v2 }},
		{capgo.CodeChecksumForm, func() { w.bundle.ChecksumV3 = v3 }},
		{capgo.CodeNoBundleURL, func() { w.bundle.ExternalURL = "https://x" }},
		{ReasonOffered, func() {}},
	} {
		if v := Update(w.app, w.req); v.Reason != step.reason {
			t.Fatalf("reason %s, want %s", v.Reason, step.reason)
		}
		step.mend()
	}
}

// TestManifest looks at which plugin gets which delta files.
func TestManifest(t *testing.T) {
	t.Parallel()
	plain := []ManifestFile{{FileName: "index.html", FileHash: sum, ObjectKey: "d/index"}, {FileName: "a.js.br", FileHash: sum, ObjectKey: "d/a"}}
	signed := []ManifestFile{{FileName: "index.html", FileHash: sum, FileHashV2: v2, FileHashV3: v3, ObjectKey: "d/index"}}
	for _, tt := range []struct {
		name   string
		plugin string
		change func(w *world)
		want   string // reason, url, and the hashes of the files
	}{
		{"zip and files", "8.51.14", func(w *world) { w.bundle.ExternalURL, w.bundle.ObjectKey = "", "b/1.zip" }, "offered at:b/1.zip " + sum + " " + sum},
		{"zip for an old plugin", "7.0.34", func(w *world) { w.bundle.ExternalURL, w.bundle.ObjectKey = "", "b/1.zip" }, "offered at:b/1.zip"},
		{"files only", "8.51.14", func(w *world) { w.bundle.ExternalURL = "" }, "offered " + capgo.NoZipURL + " " + sum + " " + sum},
		{"files only for an old plugin", "6.24.9", func(w *world) { w.bundle.ExternalURL = "" }, capgo.CodeNoBundle + " "},
		{"kept elsewhere", "8.51.14", func(w *world) {}, "offered https://cdn.example.com/1.1.0.zip"},
		{"signed", "8.51.14", func(w *world) { w.seal(); w.bundle.Manifest = signed }, "offered at:com.example.app/1.1.0.zip " + v3},
		{"signed, other form", "7.1.0", func(w *world) { w.seal(); w.bundle.Manifest = signed }, "offered at:com.example.app/1.1.0.zip " + v2},
		{"signed zip, hashes not signed", "8.51.14", func(w *world) { w.seal() }, "offered at:com.example.app/1.1.0.zip"},
		{"own, kept elsewhere", "8.51.14", func(w *world) { w.bundle.Manifest = own(plain) }, "offered https://cdn.example.com/1.1.0.zip " + sum + " " + sum},
		{"own, for a plugin before Capgo's", "6.14.28", func(w *world) { w.bundle.Manifest = own(plain) }, "offered https://cdn.example.com/1.1.0.zip " + sum + " " + sum},
		{"own, decoded without suffix", "7.0.37", func(w *world) { w.bundle.Manifest = own(plain) }, "offered https://cdn.example.com/1.1.0.zip"},
		{"own, wrong digest", "7.18.14", func(w *world) { w.bundle.Manifest = own(plain) }, "offered https://cdn.example.com/1.1.0.zip"},
		{"own, signed", "7.29.0", func(w *world) { w.seal(); w.bundle.Manifest = own(signed) }, "offered at:com.example.app/1.1.0.zip " + v2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.bundle.Manifest = plain
			tt.change(w)
			w.req.PluginVersion = tt.plugin
			v := Update(w.app, w.req)
			checkTrail(t, v)
			v.Locate(func(key string) string { return "at:" + key })
			got := v.Reason + " " + v.Answer.URL
			for i, f := range v.Answer.Manifest {
				got += " " + f.FileHash
				if want := w.bundle.Manifest[i]; f.FileName != want.FileName || f.DownloadURL != "at:"+want.ObjectKey && f.DownloadURL != want.URL {
					t.Errorf("file %d: %+v", i, f)
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if v.Answer.Manifest != nil && len(v.Answer.Manifest) == 0 {
				t.Error("an empty manifest selects the delta path")
			}
			var encoded []capgo.ManifestEntry
			for range 2 { // made, then kept
				encoded = nil
				if raw := v.ManifestJSON(func(key string) string { return "at:" + key }); raw != nil {
					if err := json.Unmarshal(raw, &encoded); err != nil {
						t.Error(err)
					}
				}
				if !reflect.DeepEqual(encoded, v.Answer.Manifest) {
					t.Errorf("encoded %+v, want %+v", encoded, v.Answer.Manifest)
				}
			}
		})
	}
}

// own makes delta files such as capstan registers them.
func own(files []ManifestFile) []ManifestFile {
	files = slices.Clone(files)
	for i := range files {
		files[i].Own = true
		if i > 0 {
			files[i].URL, files[i].ObjectKey = "https://cdn.example.com/"+files[i].ObjectKey, ""
		}
	}
	return files
}

// TestOwnDeltaReaders: what the server offers is what the bundle's format says.
func TestOwnDeltaReaders(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"4.61.11", "5.9.9", "5.10.0", "5.50.2", "6.0.0", "6.14.26", "6.14.28", "6.24.9", "6.25.0", "6.51.16", "7.0.0", "7.0.35", "7.0.37", "7.0.38", "7.8.9",
		"7.9.0-beta.1", "7.9.0", "7.18.14", "7.18.15", "7.27.8", "7.50.1", "8.0.0-rc.1", "8.0.0", "8.51.23", "9.0.0", "9.0.1", "10.0.0", "10.1.0", "11.0.0",
	} {
		v, ok := parseVersion(text)
		if want := bundle.TakesManifest(text); !ok || decodesBySuffix(v) != want {
			t.Errorf("%s: %v, want %v", text, decodesBySuffix(v), want)
		}
	}
}

// TestPluginGenerations pins every threshold to the version before it.
func TestPluginGenerations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		plugin             string
		form               form
		manifest, metadata bool
		channel            bool // keeps its channel on the device
	}{
		{"0.0.1", formNone, true, true, true},
		{"3.9.9", formNone, true, true, true},
		{"5.9.9", formNone, false, false, false},
		{"5.10.0", formV2, true, false, false},
		{"5.29.9", formV2, true, false, false},
		{"5.30.0-beta.1", formV2, true, false, false},
		{"5.30.0", formV3, true, false, false},
		{"5.34.0", formV3, true, false, true},
		{"5.35.0", formV3, true, true, true},
		{"6.1.17", formNone, false, false, false},
		{"6.1.18", formV2, false, false, false},
		{"6.24.9", formV2, false, false, false},
		{"6.25.0", formV2, true, false, false},
		{"6.29.9", formV2, true, false, false},
		{"6.30.0", formV3, true, false, false},
		{"6.33.9", formV3, true, false, false},
		{"6.34.0", formV3, true, false, true},
		{"6.35.0", formV3, true, true, true},
		{"7.0.1", formNone, false, false, false},
		{"7.0.2", formV2, false, false, false},
		{"7.0.34", formV2, false, false, false},
		{"7.0.35", formV2, true, false, false},
		{"7.29.9", formV2, true, false, false},
		{"7.30.0", formV3, true, false, false},
		{"7.34.0", formV3, true, false, true},
		{"7.35.0", formV3, true, true, true},
		{"8.0.0-rc.1", formV3, false, false, false},
		{"8.0.0", formV3, true, false, true},
		{"8.34.9", formV3, true, false, true},
		{"8.35.0", formV3, true, true, true},
		{"9.0.0", formNone, true, true, true},
		{"9.0.1", formV3, true, true, true},
		{"10.0.0", formNone, true, true, true},
		{"11.0.0", formV3, true, true, true},
	} {
		v, ok := parseVersion(tt.plugin)
		if !ok || signedForm(v) != tt.form || readsManifest(v) != tt.manifest || readsMetadata(v) != tt.metadata || storesChannel(v) != tt.channel {
			t.Errorf("%s: form %v, manifest %v, metadata %v, channel %v", tt.plugin, signedForm(v), readsManifest(v), readsMetadata(v), storesChannel(v))
		}
	}
}

// TestSignedApp is the rule that must never break: an app with a key on record
// gets no offer without a session key and a signed checksum.
func TestSignedApp(t *testing.T) {
	t.Parallel()
	plugins := []string{"5.9.9", "5.10.0", "5.43.0", "6.1.17", "6.14.30", "6.50.1", "7.0.1", "7.27.0", "7.50.1", "8.0.0", "8.51.23", "9.0.0", "12.0.0"}
	checksums := []string{"", sum, v2, v3, "0badcafe"}
	offered := 0
	for _, plugin := range plugins {
		for mask := range 1 << 5 {
			for _, checksum := range checksums {
				w := newWorld()
				w.app.KeyID = keyID
				w.req.PluginVersion = plugin
				b := w.bundle
				b.Checksum, b.PlainChecksum = checksum, sum
				b.Manifest = []ManifestFile{{FileName: "index.html", FileHash: sum, ObjectKey: "d/1"}}
				if mask&1 != 0 {
					b.SessionKey = "iv:key"
				}
				if mask&2 != 0 {
					b.ChecksumV2 = v2
				}
				if mask&4 != 0 {
					b.ChecksumV3 = v3
				}
				if mask&8 != 0 {
					b.ExternalURL, b.ObjectKey = "", "b/1.zip"
				}
				if mask&16 != 0 {
					b.ExternalURL = ""
				}
				v := Answer(w.app, &w.req)
				if v.Reason != ReasonOffered {
					continue
				}
				offered++
				if v.Answer.SessionKey == "" || shapeOf(v.Answer.Checksum) == formNone || v.delta {
					t.Fatalf("plugin %s, bundle %+v: offered %+v", plugin, b, v.Answer)
				}
			}
		}
	}
	if offered == 0 {
		t.Error("nothing was offered at all")
	}
}

// TestRolloutPosition: a draw is stable, spreads evenly and differs from
// rollout to rollout, and a growing share never drops a device.
func TestRolloutPosition(t *testing.T) {
	t.Parallel()
	const devices = 20000
	quarter, moved := 0, 0
	for i := range devices {
		id := fmt.Sprintf("00009a6b-eefe-490a-9c60-%012x", i)
		p := RolloutPosition("first", id)
		if p < 0 || p >= fullRollout || p != RolloutPosition("first", id) {
			t.Fatalf("position %d of %s", p, id)
		}
		if p < 2500 {
			quarter++
			if RolloutPosition("second", id) >= 2500 {
				moved++
			}
		}
		held := false
		for _, bps := range []int{0, 1, 500, 2500, 9999, 10000} {
			r := Rollout{ID: "first", PercentageBps: bps, Enabled: true}
			now := r.holds(id, "1.0.0", "1.2.0")
			if held && !now {
				t.Fatalf("%s was dropped at %d", id, bps)
			}
			held = now
		}
		if !held {
			t.Fatalf("%s is not held at 100 %%", id)
		}
	}
	// Four standard deviations around a quarter.
	if quarter < 4755 || quarter > 5245 {
		t.Errorf("%d of %d devices in the first quarter", quarter, devices)
	}
	if moved < quarter/2 {
		t.Errorf("only %d of %d devices changed places in the next rollout", moved, quarter)
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	v := Verdict{Reason: capgo.CodeNoChannel}
	v.Locate(func(string) string { t.Error("a refusal has no objects"); return "" })
}

// TestAnswerAllocates nothing on the way to an offer.
func TestAnswerAllocates(t *testing.T) {
	w := newWorld()
	w.seal()
	w.ch.DisableAutoUpdate, w.ch.DisableAutoUpdateUnderNative = capgo.PolicyMajor, true
	w.rollout(5000)
	if n := testing.AllocsPerRun(100, func() { Answer(w.app, &w.req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
