package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/server/decide"
)

var seeds = []string{
	`{"platform":"android","device_id":"00009a6b-eefe-490a-9c60-8e965132ae51","app_id":"com.example.app","custom_id":"","version_build":"1.0.0","version_os":"15","version_name":"1.0.0","plugin_version":"8.51.14","is_emulator":false,"is_prod":true,"defaultChannel":"","action":"set","metadata":{"a":"b"}}`,
	`[{"app_id":"com.example.app","device_id":"00009A6B-EEFE-490A-9C60-8E965132AE51","version_name":"builtin","version_build":"1","version_os":"","platform":"","action":"x"},null,5,"x",[]]`,
	"\ufeff{\"app_id\":\"\\u00e9\\ud83d\\ude00\\ud800\\\\\\/\\b\\f\\n\\r\\t\"}",
	`{"a":-0.5e+10,"b":[[],{},[{"c":null}]],"a":true}`,
	`{"manifest":[{"file_hash":"aa","download_url":"https://x/?key=1"}],"version_id":"7"}`,
	"{\"a\":\"\xff\"}", `"x"`, "5", "null", "", "{", "[1,]", `{"a":1,}`, "\u00a0{}",
}

// FuzzDecode holds the decoder against encoding/json: both take the same texts
// and read the same members from them.
func FuzzDecode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		trimmed := strings.TrimPrefix(string(raw), "\ufeff")
		var b body
		accepted := b.decode(string(raw)) == nil
		if accepted != json.Valid([]byte(trimmed)) {
			if !accepted && nesting(trimmed) > maxDepth {
				return
			}
			t.Fatalf("accepted %v: %q", accepted, raw)
		}
		var want map[string]json.RawMessage
		if !accepted || json.Unmarshal([]byte(trimmed), &want) != nil || want == nil {
			return
		}
		for key, got := range map[string]value{
			"app_id": b.appID, "device_id": b.deviceID, "platform": b.platform, "custom_id": b.customID, "version_build": b.versionBuild,
			"version_code": b.versionCode, "version_os": b.versionOS, "version_name": b.versionName, "plugin_version": b.pluginVersion,
			"is_emulator": b.isEmulator, "is_prod": b.isProd, "install_source": b.installSource, "defaultChannel": b.defaultChannel,
			"key_id": b.keyID, "channel": b.channel, "action": b.action, "old_version_name": b.oldVersionName, "timestamp": b.timestamp,
			"metadata": b.metadata, "version": b.version, "version_id": b.versionID, "manifest": b.manifest, "files": b.files,
		} {
			raw, there := want[key]
			if there != (got.kind != absent) {
				t.Fatalf("%s there %v, got %v", key, there, got)
			}
			var s string
			if there && json.Unmarshal(raw, &s) == nil && got.kind == text {
				if s != got.s {
					t.Fatalf("%s is %q, got %q", key, s, got.s)
				}
			} else if there && got.kind != null && !bytes.Equal(raw, []byte(got.s)) {
				t.Fatalf("%s is %s, got %q", key, raw, got.s)
			}
		}
	})
}

// nesting is how deep brackets go, strings not looked at.
func nesting(s string) int {
	deep, deepest := 0, 0
	for _, c := range s {
		switch c {
		case '[', '{':
			deep++
			deepest = max(deepest, deep)
		case ']', '}':
			deep--
		}
	}
	return deepest
}

// strict fails the test on anything that validation should have kept out.
type strict struct {
	t   *testing.T
	app *decide.App
}

func (s strict) Snapshot(_ context.Context, appID string) (*decide.App, error) {
	if !isAppID(appID) {
		s.t.Errorf("asked for app %q", appID)
	}
	if appID != s.app.ID {
		return nil, nil
	}
	return s.app, nil
}

func (s strict) Seen(req capgo.UpdateRequest, v decide.Verdict) { s.check(req) }

func (s strict) check(req capgo.UpdateRequest) {
	if !isDeviceID(req.DeviceID) || req.DeviceID != strings.ToLower(req.DeviceID) || length16(req.KeyID) > maxKeyID || length16(req.InstallSource) > maxInstallSource {
		s.t.Errorf("let through %+v", req)
	}
}

func (s strict) Record(_ context.Context, _ string, events []capgo.StatsEvent) error {
	for _, e := range events {
		s.check(e.UpdateRequest)
		if e.Action == "" || len(e.Action) > maxAction || len(e.Metadata) > maxMetadata {
			s.t.Errorf("let through %+v", e)
		}
	}
	if len(events) > 3 {
		return errors.New("full") // any error will do
	}
	return nil
}

func (s strict) ChooseChannel(_ context.Context, _, deviceID string, channelID int64) error {
	if channelID != 2 || !isDeviceID(deviceID) {
		s.t.Errorf("device %q chose channel %d", deviceID, channelID)
	}
	return nil
}

func (s strict) ForgetChannel(context.Context, string, string) error { return nil }

// FuzzEndpoints sends any body anywhere: every answer is JSON, no status is one
// that a plugin would misread, and nothing malformed gets past.
func FuzzEndpoints(f *testing.F) {
	targets := []struct{ method, path string }{
		{"POST", "/updates"}, {"POST", "/stats"}, {"POST", "/channel_self"}, {"PUT", "/channel_self"}, {"POST", "/updates/manifest_size"}, {"POST", "/ok"},
	}
	for _, s := range seeds {
		for i := range targets {
			f.Add(uint8(i), []byte(s))
		}
	}
	app := &decide.App{ID: "com.example.app", Bundles: map[int64]*decide.Bundle{1: {ID: 1, Name: "1.0.0", ObjectKey: "a"}}, Channels: []*decide.Channel{
		{ID: 1, Name: "production", BundleID: 1, Public: true, IOS: true, Android: true},
		{ID: 2, Name: "beta", BundleID: 1, AllowDeviceSelfSet: true, IOS: true, Android: true},
	}}
	f.Fuzz(func(t *testing.T, target uint8, raw []byte) {
		to := targets[int(target)%len(targets)]
		h := New(Config{Apps: strict{t, app}, Devices: strict{t, app}, ObjectURL: func(key string) string { return "https://updates.example.com/files/" + key }})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(to.method, to.path, bytes.NewReader(raw)))
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %q", to.method, to.path, w.Body)
		}
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
		case http.StatusTooManyRequests:
			if !strings.Contains(w.Body.String(), capgo.CodeUnknownApp) {
				t.Errorf("%s %s: 429 %s", to.method, to.path, w.Body)
			}
		default:
			t.Errorf("%s %s: %d", to.method, to.path, w.Code)
		}
	})
}
