package capgo

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestAppendAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer UpdateAnswer
		want   string
	}{
		{"plain offer", UpdateAnswer{Version: "1.1.0", URL: "https://x/a.zip", Checksum: "aa"},
			`{"version":"1.1.0","url":"https://x/a.zip","session_key":"","checksum":"aa"}`},
		{"offer without a checksum", UpdateAnswer{Version: "1.1.0", URL: "https://x/a.zip"}, `{"version":"1.1.0","url":"https://x/a.zip","session_key":""}`},
		{"everything", UpdateAnswer{Version: "1.1.0", URL: "https://x/a.zip", SessionKey: "iv:key", Checksum: "aa", Link: "https://l", Comment: "<fix>",
			Manifest: []ManifestEntry{{"index.html", "h1", "https://x/1"}, {"a.js", "h2", "https://x/2"}}},
			`{"version":"1.1.0","url":"https://x/a.zip","session_key":"iv:key","checksum":"aa","manifest":[{"file_name":"index.html","file_hash":"h1","download_url":"https://x/1"},{"file_name":"a.js","file_hash":"h2","download_url":"https://x/2"}],"link":"https://l","comment":"<fix>"}`},
		{"an empty manifest is none", UpdateAnswer{Version: "1.1.0", URL: "u", Manifest: []ManifestEntry{}}, `{"version":"1.1.0","url":"u","session_key":""}`},
		{"an offer has no message or kind", UpdateAnswer{Version: "1.1.0", URL: "u", Message: "m", Kind: KindFailed, Old: "o", Major: true}, `{"version":"1.1.0","url":"u","session_key":""}`},
		{"revert", UpdateAnswer{Version: Builtin, URL: "u", SessionKey: "s", Message: "m"}, `{"version":"builtin"}`},
		{"refusal", UpdateAnswer{Error: CodeUpToDate, Message: "No new version available", Kind: KindUpToDate}, `{"error":"no_new_version_available","message":"No new version available","kind":"up_to_date"}`},
		{"refusal of a version", UpdateAnswer{Error: CodePolicyMajor, Message: "m", Kind: KindBlocked, Major: true, Version: "2.0.0", Old: "1.0.0"},
			`{"error":"disable_auto_update_to_major","message":"m","major":true,"version":"2.0.0","old":"1.0.0","kind":"blocked"}`},
		{"refusal for a key", UpdateAnswer{Error: CodeKeyMismatch, Message: "m", Kind: KindBlocked, DeviceKeyID: "a", BundleKeyID: "b"},
			`{"error":"key_id_mismatch","message":"m","deviceKeyId":"a","bundleKeyId":"b","kind":"blocked"}`},
		{"already on the store build", UpdateAnswer{Error: CodeAlreadyBuiltin, Message: "m", Version: Builtin, Kind: KindUpToDate}, `{"error":"already_on_builtin","message":"m","version":"builtin","kind":"up_to_date"}`},
		{"unknown app", UpdateAnswer{Error: CodeUnknownApp, Message: "m"}, `{"error":"on_premise_app","message":"m"}`},
	} {
		if got := string(AppendAnswer([]byte("x"), &tt.answer)); got != "x"+tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
	if offer := (&UpdateAnswer{Version: "1"}); !offer.Offers() || (&UpdateAnswer{Version: Builtin}).Offers() || (&UpdateAnswer{Error: "e"}).Offers() {
		t.Error("Offers")
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]Kind{
		CodeUpToDate: KindUpToDate, CodeAlreadyBuiltin: KindUpToDate, CodePolicyMajor: KindBlocked, CodeKeyMismatch: KindBlocked, CodeEmulator: KindBlocked,
		CodeChecksumForm: KindBlocked, CodeUnavailable: KindBlocked, CodeNoChannel: KindFailed, CodeSemver: KindFailed, "of tomorrow": KindFailed, "": KindFailed,
	} {
		if KindOf(code) != want {
			t.Errorf("%s is %s", code, KindOf(code))
		}
	}
}

func TestAppendStatsResult(t *testing.T) {
	t.Parallel()
	got := string(AppendStatsResult(nil, StatsResult{Status: "ok", Index: 7}, nil))
	if got != `{"status":"ok","index":7}` {
		t.Error(got)
	}
	got = string(AppendStatsResult(nil, StatsResult{Status: "error", Error: "e", Message: "m"}, &StatsInfo{"com.a", `"`}))
	if got != `{"status":"error","error":"e","message":"m","index":0,"moreInfo":{"app_id":"com.a","version_name":"\""}}` {
		t.Error(got)
	}
}

// FuzzAppendAnswer: whatever is in an answer, its JSON reads back as it was,
// in one of the three shapes.
func FuzzAppendAnswer(f *testing.F) {
	f.Add("1.1.0", "https://x/a b.zip", "iv:key", "aa", "")
	f.Add("\"\\\n\r\t\x00\x1f\x7f", "é😀\u2028", "\xff\xfe", "\ufffd", "error\xc3")
	f.Fuzz(func(t *testing.T, version, url, key, sum, code string) {
		for _, s := range []*string{&version, &url, &key, &sum, &code} {
			*s = strings.ToValidUTF8(*s, "\ufffd")
		}
		answer := UpdateAnswer{Version: version, URL: url, SessionKey: key, Checksum: sum, Error: code}
		raw := AppendAnswer(nil, &answer)
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatalf("%v in %q", err, raw)
		}
		var again UpdateAnswer
		if err := json.Unmarshal(raw, &again); err != nil {
			t.Fatal(err)
		}
		switch {
		case code != "":
			answer.URL, answer.SessionKey, answer.Checksum = "", "", ""
		case version == Builtin:
			answer = UpdateAnswer{Version: Builtin}
		default:
			if _, poison := members["error"]; poison || members["kind"] != nil || members["session_key"] == nil || members["url"] == nil {
				t.Fatalf("offer %s", raw)
			}
		}
		if !reflect.DeepEqual(answer, again) {
			t.Fatalf("%+v became %+v", answer, again)
		}
	})
}

// FuzzAppendString agrees with encoding/json on every string.
func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\b\f\n\r\t\x00\x7f<>&\u2028é😀\xff\xc3")
	f.Fuzz(func(t *testing.T, s string) {
		raw := AppendString(nil, s)
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got, expected string
		if json.Unmarshal(raw, &got) != nil || json.Unmarshal(want, &expected) != nil || got != expected {
			t.Fatalf("%q became %s", s, raw)
		}
	})
}
