package project

import (
	"encoding/json"
	"testing"

	"capstan/core/failure"
)

func TestCompareNative(t *testing.T) {
	with := func(version, ios, android string) NativePackage {
		return NativePackage{Name: "@capacitor/camera", Version: version, IOSChecksum: ios, AndroidChecksum: android}
	}
	for name, c := range map[string]struct {
		local, remote []NativePackage
		compatible    bool
	}{
		"the same":                        {[]NativePackage{with("6.0.1", "a", "b")}, []NativePackage{with("6.0.1", "a", "b")}, true},
		"another version, the same files": {[]NativePackage{with("6.0.2", "a", "b")}, []NativePackage{with("6.0.1", "a", "b")}, true},
		"the same version, other files":   {[]NativePackage{with("6.0.1", "a", "c")}, []NativePackage{with("6.0.1", "a", "b")}, false},
		"files for one platform more":     {[]NativePackage{with("6.0.1", "a", "b")}, []NativePackage{with("6.0.1", "a", "")}, false},
		"versions alone":                  {[]NativePackage{with("6.0.2", "a", "b")}, []NativePackage{with("6.0.1", "", "")}, false},
		"a range":                         {[]NativePackage{with("6.0.2", "a", "b")}, []NativePackage{with("^6.0.0", "", "")}, true},
		"no version at all":               {[]NativePackage{with("file:x", "", "")}, []NativePackage{with("6.0.0", "", "")}, false},
		"new":                             {[]NativePackage{with("6.0.1", "a", "b")}, nil, false},
		"gone":                            {nil, []NativePackage{with("6.0.1", "a", "b")}, true},
	} {
		got := CompareNative(c.local, c.remote)
		if len(got) != 1 || got[0].Compatible != c.compatible || got[0].Reason == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := CompareNative(nil, nil); len(got) != 0 {
		t.Errorf("nothing: %+v", got)
	}
}

func TestParseNativePackages(t *testing.T) {
	list, err := ParseNativePackages(json.RawMessage(`[{"name":"a","version":"1.0.0","ios_checksum":"x","extra":1}]`))
	if err != nil || len(list) != 1 || list[0].IOSChecksum != "x" {
		t.Errorf("%+v %v", list, err)
	}
	for _, text := range []string{"", "null", "[]"} {
		if list, err := ParseNativePackages(json.RawMessage(text)); err != nil || len(list) != 0 {
			t.Errorf("%q: %+v %v", text, list, err)
		}
	}
	if _, err := ParseNativePackages(json.RawMessage(`{"a":1}`)); failure.CodeOf(err) != "native_packages_malformed" {
		t.Errorf("an object: %v", err)
	}
}
