package effect

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// TestAnswerIsTheServers lets random apps answer random devices twice: by the
// forecast, from the rows that a registry tells, and by the server's decision.
func TestAnswerIsTheServers(t *testing.T) {
	const cases = 60_000
	seed := uint64(1) // new ones with CAPSTAN_LONG=1
	if os.Getenv("CAPSTAN_LONG") == "1" {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	reasons := map[string]int{}
	for range cases / 20 {
		w, app := randomApp(random)
		for range 20 {
			d := randomDevice(random)
			app.Overrides = map[string]int64{}
			for _, ch := range app.Channels {
				if ch.Name == d.Channel {
					app.Overrides[d.DeviceID] = ch.ID
				}
			}
			got, want := w.Answer(d), decide.Update(app, request(d))
			reasons[want.Reason]++
			name := ""
			if want.Channel != "" {
				name = capgo.Builtin
				if want.Bundle != nil {
					name = want.Bundle.Name
				}
			}
			if got.Reason != want.Reason || want.Channel != "" && (got.Channel != want.Channel || got.Bundle != name || got.InRollout != want.InRollout) {
				t.Fatalf("device %+v\nforecast %+v\nserver   %s %s %s %v\n%+v", d, got, want.Reason, want.Channel, name, want.InRollout, want.Checks)
			}
		}
	}
	for _, reason := range []string{
		ReasonOffered, ReasonRevert, ReasonUnsigned, capgo.CodeUpToDate, capgo.CodeAlreadyBuiltin, capgo.CodeNoChannel, capgo.CodeKeyMismatch,
		capgo.CodePlatformIOS, capgo.CodePolicyMajor, capgo.CodePolicyMinor, capgo.CodePolicyPatch, capgo.CodePolicyVersionNumber, capgo.CodeUnderNative,
		capgo.CodeProdBuild, capgo.CodeDevBuild, capgo.CodeDevice, capgo.CodeEmulator, capgo.CodeMisconfigured, capgo.CodeSemver, capgo.CodePluginVersion,
		capgo.CodeBuiltinPlugin, capgo.CodeMissingInfo, capgo.CodeChecksumForm,
	} {
		if reasons[reason] == 0 {
			t.Errorf("no case came to %s", reason)
		}
	}
	t.Logf("%d answers, %d reasons", cases, len(reasons))
}

func request(d capgo.Device) capgo.UpdateRequest {
	return capgo.UpdateRequest{
		Platform: d.Platform, DeviceID: d.DeviceID, AppID: d.AppID, VersionBuild: d.VersionBuild, VersionName: d.VersionName,
		PluginVersion: d.PluginVersion, IsEmulator: d.IsEmulator, IsProd: d.IsProd, DefaultChannel: d.DefaultChannel, KeyID: d.KeyID,
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

var versions = []string{"1.0.0", "1.0.1", "1.1.0", "2.0.0", "2.0.0-beta.1", "2.0.0-beta.10", "2.0.1+build.5", "3.4.5", "not-a-version"}

// asServed is a bundle as the server holds it for its decisions.
func asServed(b capgo.Bundle) *decide.Bundle {
	return &decide.Bundle{ID: b.ID, Name: b.Name, ExternalURL: b.ExternalURL, Checksum: b.Checksum, ChecksumV2: b.ChecksumV2,
		ChecksumV3: b.ChecksumV3, SessionKey: b.SessionKey, KeyID: b.KeyID, MinUpdateVersion: b.MinUpdateVersion, Deleted: b.Deleted}
}

func randomApp(r *rand.Rand) (*World, *decide.App) {
	row := capgo.App{AppID: "com.example.app"}
	app := &decide.App{ID: row.AppID, Bundles: map[int64]*decide.Bundle{}}
	if r.IntN(2) == 0 {
		row.PublicKey, app.KeyID = "PEM", "MIIBCgKCAQEAAAAAAAAA"
	}
	var bundles []capgo.Bundle
	for i, name := range versions {
		b := capgo.Bundle{ID: int64(i + 1), Name: name, ExternalURL: "https://cdn.example.com/" + name, MinUpdateVersion: pick(r, "", "1.0.0", "2.0.0", "bad")}
		if r.IntN(4) > 0 {
			b.SessionKey, b.KeyID = "iv:key", pick(r, "", "KEYAKEYAKEYAKEYAKEYA", "KEYBKEYBKEYBKEYBKEYB")
			switch r.IntN(4) {
			case 0:
				b.ChecksumV2 = strings.Repeat("A", 344)
			case 1:
				b.ChecksumV3 = strings.Repeat("a", 512)
			case 2:
				b.ChecksumV2, b.ChecksumV3 = strings.Repeat("A", 344), strings.Repeat("a", 512)
			}
			b.Checksum = pick(r, strings.Repeat("A", 344), strings.Repeat("a", 512), strings.Repeat("0", 64))
			if b.KeyID == "KEYAKEYAKEYAKEYAKEYA" && r.IntN(2) == 0 { // the app changes keys
				b.Seals = []capgo.Seal{{KeyID: "KEYBKEYBKEYBKEYBKEYB", SessionKey: "iv:other", ExternalURL: b.ExternalURL + "/b",
					ChecksumV2: pick(r, "", strings.Repeat("B", 344)), ChecksumV3: pick(r, "", strings.Repeat("b", 512))}}
			}
		}
		b.Deleted = r.IntN(8) == 0
		bundles = append(bundles, b)
		app.Bundles[b.ID] = asServed(b)
		for _, s := range b.Seals {
			app.Bundles[b.ID].Seals = append(app.Bundles[b.ID].Seals, asServed(b.With(s)))
		}
	}
	var channels []capgo.Channel
	for i, name := range []string{"beta", "production", "staging"} {
		flag := func() *bool { b := r.IntN(6) > 0; return &b }
		ch := capgo.Channel{
			ID: int64(i + 1), Name: name, AppID: row.AppID, Public: r.IntN(3) > 0, AllowDeviceSelfSet: r.IntN(2) == 0,
			IOS: flag(), Android: flag(), Electron: flag(), AllowEmulator: *flag(), AllowDevice: *flag(), AllowDev: *flag(), AllowProd: *flag(),
			DisableAutoUpdate:            pick(r, capgo.PolicyMajor, capgo.PolicyMinor, capgo.PolicyPatch, capgo.PolicyVersionNumber, capgo.PolicyNone, capgo.PolicyNone, capgo.PolicyNone),
			DisableAutoUpdateUnderNative: r.IntN(3) == 0,
		}
		d := &decide.Channel{ID: ch.ID, Name: ch.Name, Public: ch.Public, IOS: *ch.IOS, Android: *ch.Android, Electron: *ch.Electron,
			AllowDeviceSelfSet: ch.AllowDeviceSelfSet, AllowDev: ch.AllowDev, AllowProd: ch.AllowProd, AllowDevice: ch.AllowDevice, AllowEmulator: ch.AllowEmulator,
			DisableAutoUpdate: ch.DisableAutoUpdate, DisableAutoUpdateUnderNative: ch.DisableAutoUpdateUnderNative}
		if r.IntN(4) > 0 {
			b := pick(r, bundles...)
			ch.Version, d.BundleID = &capgo.VersionRef{ID: b.ID, Name: b.Name}, b.ID
		}
		for _, platform := range []string{"ios", "android", "electron"} {
			if r.IntN(5) > 0 {
				continue
			}
			if ch.PlatformVersions == nil {
				ch.PlatformVersions, d.PlatformBundles = map[string]capgo.VersionRef{}, map[string]int64{}
			}
			ch.PlatformVersions[platform] = capgo.VersionRef{Name: capgo.Builtin}
			d.PlatformBundles[platform] = 0
			if r.IntN(4) > 0 {
				b := pick(r, bundles...)
				ch.PlatformVersions[platform], d.PlatformBundles[platform] = capgo.VersionRef{ID: b.ID, Name: b.Name}, b.ID
			}
		}
		if r.IntN(3) == 0 {
			b := pick(r, bundles...)
			ch.RolloutVersion, ch.RolloutVersionInfo = &b.ID, &capgo.VersionRef{ID: b.ID, Name: b.Name}
			ch.RolloutID, ch.RolloutEnabled, ch.RolloutPercentageBps = fmt.Sprint(r.Int()), r.IntN(3) > 0, pick(r, 0, 100, 5000, 10000)
			if r.IntN(3) == 0 {
				ch.RolloutPausedAt = new(time.Time)
			}
			d.Rollout = &decide.Rollout{ID: ch.RolloutID, BundleID: b.ID, PercentageBps: ch.RolloutPercentageBps, Enabled: ch.RolloutEnabled, PausedAt: ch.RolloutPausedAt}
		}
		channels = append(channels, ch)
		app.Channels = append(app.Channels, d)
	}
	return NewWorld("capstan", row, channels, bundles), app
}

func randomDevice(r *rand.Rand) capgo.Device {
	return capgo.Device{
		AppID: "com.example.app", DeviceID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", r.Uint32()), Platform: pick(r, "ios", "android", "electron", "ios", "android", ""),
		VersionName:   pick(r, append(versions, capgo.Builtin, capgo.Builtin, "")...),
		VersionBuild:  pick(r, "1.0.0", "1", "1.1", "2.0.0", "v2.0.1", " 3.4.5 ", "builtin", "unknown", "none", "2.0.0-rc.1", "1.02.3"),
		PluginVersion: pick(r, "8.51.23", "8.40.7", "8.40.8", "7.34.0", "7.29.9", "7.0.1", "6.14.0", "6.1.17", "6.1.0", "5.9.0", "5.30.0", "4.61.0", "9.0.0", "x", ""),
		IsProd:        r.IntN(4) > 0, IsEmulator: r.IntN(4) == 0, DefaultChannel: pick(r, "", "", "beta", "production", "nowhere"),
		KeyID: pick(r, "", "KEYAKEYAKEYAKEYAKEYA", "KEYBKEYBKEYBKEYBKEYB", "KEYA"), Channel: pick(r, "", "", "", "", "beta", "staging"),
	}
}
