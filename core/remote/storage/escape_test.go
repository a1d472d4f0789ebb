package storage

import "testing"

// TestEscapedNames: the form in which names are stored is part of the format.
func TestEscapedNames(t *testing.T) {
	for _, test := range []struct{ name, reserved, stored string }{
		{"com.example.app/1.2.3+4/é b.zip", `"#%?`, "com.example.app/1.2.3+4/é b.zip"},
		{"100%/a?b#c\".zip", `"#%?`, "100__0x25__/a__0x3f__b__0x23__c__0x22__.zip"},
		{"100%/a?b.zip", "", "100%/a?b.zip"},
		{"a:b|c*.zip", `<>:"|?*`, "a__0x3a__b__0x7c__c__0x2a__.zip"},
		{"__0x41__.zip", "", "__0x5f___0x41__.zip"},
		{"___0x41__.zip", "", "___0x5f___0x41__.zip"},
		{"__0x5f__0x41__", "", "__0x5f___0x5f__0x5f___0x41__"},
		{"__0x+5__ __0x__ __0xzz__ __0x41_ __0x80000000__", "", "__0x5f___0x+5__ __0x__ __0xzz__ __0x41_ __0x80000000__"},
		{"ends in __0x41", "", "ends in __0x41"},
	} {
		if got := escapeName(test.name, test.reserved); got != test.stored {
			t.Errorf("%q is stored as %q, want %q", test.name, got, test.stored)
		}
		if got := unescapeName(test.stored); got != test.name {
			t.Errorf("%q is read as %q, want %q", test.stored, got, test.name)
		}
	}
}

// FuzzEscapedNames: whatever the name, it is read back.
func FuzzEscapedNames(f *testing.F) {
	f.Add("__0x41__")
	f.Add("a__0x__0x41__?")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if got := unescapeName(escapeName(name, `"#%?`)); got != name {
			t.Errorf("%q becomes %q", name, got)
		}
	})
}
