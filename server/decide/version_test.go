package decide

import (
	"strings"
	"testing"
)

func TestNativeVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1.2.3": "1.2.3", "1": "1.0.0", "1.2": "1.2.0", "0": "0.0.0", "10.20.30": "10.20.30",
		"builtin": "0.0.0", "unknown": "0.0.0", " 1.2.3": "1.2.3", "1.2.3 ": "1.2.3", "\u00a01.2.3\u2003": "1.2.3", "\t1.2.3\n": "1.2.3",
		"v1": "1.0.0", "v1.2": "1.2.0", "v1.2.3": "1.2.3",
		"1.2.3-beta": "1.2.3-beta", "1.2.3-beta.1": "1.2.3-beta.1", "1.2.3+7": "1.2.3+7", "1.2.3-a.0+b.01": "1.2.3-a.0+b.01",
		"1.2.3-0": "1.2.3-0", "1.2.3-01a": "1.2.3-01a", "1.2.3--": "1.2.3--",
		// too large for the peer, told apart later
		"9007199254740992.0.0": "9007199254740992.0.0",

		"": "", "abc": "", "1.2.3.4": "", "1.x": "", "1.2.x": "", "V1.2": "", "1.2.": "", ".1.2": "", "1..2": "", "-1": "", "1,2": "",
		"1-beta": "", "1.2-beta": "", "01.2.3": "", "1.02.3": "", "1.2.03": "", "1.2.3-": "", "1.2.3-01": "", "1.2.3-a..b": "", "1.2.3-ä": "",
		"1.2.3+": "", "1.2.3+a+b": "", "1.2.3 4": "", "vv1.2.3": "", "v": "", "9007199254740992": "", "1.9007199254740992.0-a": "", "1.0.9007199254740992-a": "",
		"1.2.3-" + strings.Repeat("a", 251): "", "1.2-3.4": "",
	} {
		got, ok := NativeVersion(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, ok, want)
		}
	}
	if !PluginVersion("v8.51.14") || PluginVersion("8") || !PluginVersion("1.2.3-"+strings.Repeat("a", 250)) {
		t.Error("plugin versions")
	}
}

// TestCompare orders a list; every pair in it must agree.
func TestCompare(t *testing.T) {
	t.Parallel()
	order := []string{
		"0.0.0", "0.9.9", "1.0.0-0", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.1.0", "1.0.0-alpha.beta", "1.0.0-beta",
		"1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "2.0.0", "10.0.0",
	}
	for i, a := range order {
		for j, b := range order {
			va, okA := parseVersion(a)
			vb, okB := parseVersion(b + "+build." + b)
			if !okA || !okB {
				t.Fatal(a, b)
			}
			if got, want := va.compare(vb), sign(i-j); got != want {
				t.Errorf("%s against %s: %d, want %d", a, b, got, want)
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestReportsDownloadFail(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"7.17.0": true, "7.16.9": false, "6.14.25": true, "6.14.24": false, "5.50.1": false, "8.0.0": true, "": false, "abc": false,
	} {
		if ReportsDownloadFail(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}

// FuzzVersion: whatever parses also survives being written and read again, and
// compares as equal to itself.
func FuzzVersion(f *testing.F) {
	for _, s := range []string{"1.2.3", "v1.2.3-beta.1+5", " 1.2.3\u00a0", "1", "01.2.3", "9007199254740993.0.0", "1.2.3-0.a.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		canonical, ok := NativeVersion(s)
		if !ok {
			return
		}
		again, ok := NativeVersion(canonical)
		if !ok || again != canonical {
			t.Fatalf("%q became %q, then %q", s, canonical, again)
		}
		if v, ok := parseVersion(canonical); ok && v.compare(v) != 0 {
			t.Fatalf("%q is not equal to itself", canonical)
		}
	})
}
