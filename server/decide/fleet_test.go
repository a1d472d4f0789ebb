package decide

import (
	"strings"
	"testing"
)

func TestRefusesForm(t *testing.T) {
	v2, v3 := strings.Repeat("a", 344), strings.Repeat("a", 512)
	app := &App{
		KeyID:   "MIIBCgKCAQEA00000001",
		Bundles: map[int64]*Bundle{1: {ID: 1, Name: "1.0.0", Checksum: v3, ChecksumV2: v2, ChecksumV3: v3}, 2: {ID: 2, Name: "2.0.0", Checksum: v3}, 3: {ID: 3, Name: "3.0.0", ChecksumV2: v2}},
		Channels: []*Channel{
			{ID: 1, BundleID: 1, PlatformBundles: map[string]int64{"ios": 2, "electron": 0}}, {ID: 2, BundleID: 3},
		},
	}
	for _, c := range []struct {
		channel          int64
		platform, plugin string
		want             bool
	}{
		{1, "android", "8.51.23", false}, {1, "android", "7.27.8", false}, {1, "android", "5.5.0", true}, {1, "android", "what", true},
		{1, "ios", "8.51.23", false}, {1, "ios", "7.27.8", true}, {1, "electron", "5.5.0", false},
		{2, "android", "8.51.23", true}, {2, "android", "7.27.8", false}, {7, "android", "5.5.0", false},
	} {
		if got := app.RefusesForm(c.channel, c.platform, c.plugin); got != c.want {
			t.Errorf("channel %d, %s, plugin %s: %t", c.channel, c.platform, c.plugin, got)
		}
	}
	for id, want := range map[string]bool{"": false, "MIIB": false, app.KeyID: false, "MIIBCgKCAQEA00000002": true} {
		if app.HoldsOtherKey(id) != want {
			t.Errorf("key %q: %t", id, !want)
		}
	}
	app.SecondKeyID = "MIIBCgKCAQEA00000002"
	if app.HoldsOtherKey(app.SecondKeyID) || !app.HoldsOtherKey("MIIBCgKCAQEA00000003") {
		t.Error("an app with two keys on record")
	}
	for id, want := range map[string]bool{"": false, "MIIB": false, app.KeyID: false, app.SecondKeyID: true} {
		if app.HoldsSecondKey(id) != want {
			t.Errorf("key %q: %t", id, !want)
		}
	}
	app.KeyID, app.SecondKeyID = "", ""
	if app.HoldsSecondKey("") {
		t.Error("no key is no second key")
	}
	if app.RefusesForm(1, "android", "5.5.0") || app.HoldsOtherKey("MIIBCgKCAQEA00000002") {
		t.Error("an app without a key on record")
	}
}
