package project

import (
	"strings"
	"testing"
)

// TestFirstScheme: which plugins open which scheme, and what doctor says of an
// app that still carries a private key.
func TestFirstScheme(t *testing.T) {
	for _, c := range []struct {
		plugin      string
		v1, withKey bool // opens the first scheme, without and with a privateKey
		v2          bool
		hint        string
	}{
		{"4.3.1", true, true, false, "update it"},
		{"5.9.5", true, true, false, "update it"},
		{"5.43.0", false, false, true, "delete_old"},
		{"6.1.17", true, true, false, "update it"},
		{"6.1.18", false, true, true, "--format v1"},
		{"6.27.11", false, true, true, "--format v1"},
		{"6.39.0", false, false, true, "delete_old"},
		{"7.0.1", true, true, false, "update it"},
		{"7.0.2", false, false, true, "delete_old"},
		{"8.51.23", false, false, true, "delete_old"},
		{"", false, false, false, "key create"},
		{"latest", false, false, false, "update it"},
	} {
		p := &Project{PluginVersion: c.plugin}
		if p.ReadsV1() != c.v1 || readsV2(c.plugin) != c.v2 {
			t.Errorf("%q: first scheme %v, second %v", c.plugin, p.ReadsV1(), readsV2(c.plugin))
		}
		p.PrivateKey = true
		if p.ReadsV1() != c.withKey {
			t.Errorf("%q with a privateKey: %v", c.plugin, p.ReadsV1())
		}
		f := p.firstScheme()
		if f.Level != Block || !strings.Contains(f.Hint, c.hint) {
			t.Errorf("%q: %+v", c.plugin, f)
		}
		if gone := strings.Contains(f.Text, "does not read it any more"); gone != (c.plugin != "" && c.v2 && !c.withKey) {
			t.Errorf("%q: %s", c.plugin, f.Text)
		}
	}
}
