package capgo

import "testing"

func TestEnforcesSignatures(t *testing.T) {
	for version, want := range map[string]bool{
		"8.51.23": true, "8.51.22": false, "8.52.0": true, "8.100.0": true, "9.1.0": true, "8.51.23-beta.1": false,
		"9.0.0": false, "10.0.0": false, "7.51.21": false, "6.51.16": false, "5.50.2": false, "": false, "new": false,
	} {
		if EnforcesSignatures(version) != want {
			t.Errorf("%q: %t", version, !want)
		}
	}
}
