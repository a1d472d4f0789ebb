package plugin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/server/decide"
	"capstan/server/plugin"
)

const testDevice = "00009a6b-eefe-490a-9c60-8e965132ae51"

// testApp has one public channel with one plain bundle.
func testApp() *decide.App {
	return &decide.App{
		ID:      "com.example.app",
		Bundles: map[int64]*decide.Bundle{1: {ID: 1, Name: "1.1.0", ExternalURL: "https://cdn.example.com/1.1.0.zip", Checksum: "aa"}},
		Channels: []*decide.Channel{{ID: 1, Name: "production", BundleID: 1, Public: true, IOS: true, Android: true, Electron: true,
			AllowDev: true, AllowProd: true, AllowDevice: true, AllowEmulator: true, DisableAutoUpdate: capgo.PolicyNone}},
	}
}

func newHandler(m *memory) *plugin.Handler {
	return plugin.New(plugin.Config{Apps: m, Devices: m, ObjectURL: func(key string) string { return "https://updates.example.com/files/" + key }})
}

// ask sends a request and returns status and body.
func ask(t *testing.T, h http.Handler, method, target, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
	if w.Body.Len() > 0 && w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s %s: content type %q", method, target, w.Header().Get("Content-Type"))
	}
	return w.Code, w.Body.String()
}

// info is a device's body, with changes as JSON members: a member that comes
// twice counts as it comes last.
func info(changes string) string {
	if changes != "" {
		changes = "," + changes
	}
	return `{"platform":"android","device_id":"` + testDevice + `","app_id":"com.example.app","custom_id":"","version_build":"1.0.0","version_code":"1","version_os":"15","version_name":"1.0.0","plugin_version":"8.51.14","is_emulator":false,"is_prod":true,"defaultChannel":""` + changes + `}`
}

// TestDecoding sends odd bodies to /updates: what JSON.parse takes is taken.
func TestDecoding(t *testing.T) {
	t.Parallel()
	h := newHandler(newMemory(testApp()))
	const (
		offer   = "offer"
		noJSON  = capgo.CodeInvalidJSON
		badBody = capgo.CodeInvalidBody
	)
	deep := func(n int) string {
		return `"x":` + strings.Repeat("[", n) + strings.Repeat("]", n)
	}
	for _, tt := range []struct{ name, body, want string }{
		{"plain", info(""), offer},
		{"byte order mark", "\ufeff" + info(""), offer},
		{"two byte order marks", "\ufeff\ufeff" + info(""), noJSON},
		{"white space around", "\r\n\t " + info("") + " \n", offer},
		{"no-break space around", "\u00a0" + info(""), noJSON},
		{"text after it", info("") + "x", noJSON},
		{"two bodies", info("") + info(""), noJSON},
		{"empty", "", noJSON},
		{"cut off", info("")[:100], noJSON},
		{"unknown members of every kind", info(`"a":null,"b":[1,-2.5e+3,{"c":true}],"d":{"e":"\u00e9\ud83d\ude00"},"f":false,"g":0.1E-2,"h":[],"i":{}`), offer},
		{"escaped key", strings.Replace(info(""), `"platform"`, `"pl\u0061tform"`, 1), offer},
		{"key in other case", strings.Replace(info(""), `"platform"`, `"Platform"`, 1), badBody},
		{"last of two counts", info(`"version_name":"1.1.0"`), capgo.CodeUpToDate},
		{"last of two counts, wrong type", info(`"version_name":5`), badBody},
		{"escapes in a value", info(`"version_name":"1\u002e1.\u0030"`), capgo.CodeUpToDate},
		{"lone surrogate", info(`"custom_id":"\ud800x\udc00"`), offer},
		{"surrogate and another escape", info(`"custom_id":"\ud800\u0041"`), offer},
		{"surrogate and a bad escape", info(`"custom_id":"\ud800\u00zz"`), noJSON},
		{"bytes that are not UTF-8", info("\"custom_id\":\"\xff\xfe\""), offer},
		{"bytes that are not UTF-8, with escapes", info("\"custom_id\":\"\\n\xff\""), offer},
		{"line break in a string", info("\"custom_id\":\"a\nb\""), noJSON},
		{"line break after an escape", info("\"custom_id\":\"\\t\n\""), noJSON},
		{"unknown escape", info(`"custom_id":"\x41"`), noJSON},
		{"short escape", info(`"custom_id":"\u12`), noJSON},
		{"escape at the end", info(`"custom_id":"\`), noJSON},
		{"unfinished string after an escape", `{"a":"\n`, noJSON},
		{"trailing comma", strings.TrimSuffix(info(""), "}") + ",}", noJSON},
		{"trailing comma in a list", info(`"a":[1,]`), noJSON},
		{"comment", "/* */" + info(""), noJSON},
		{"single quotes", `{'app_id':'x'}`, noJSON},
		{"missing colon", `{"a" 1}`, noJSON},
		{"missing comma", `{"a":1 "b":2}`, noJSON},
		{"unfinished key", `{"a`, noJSON},
		{"leading zero", info(`"a":01`), noJSON},
		{"plus sign", info(`"a":+1`), noJSON},
		{"bare minus", info(`"a":-`), noJSON},
		{"no digits after the point", info(`"a":1.`), noJSON},
		{"no digits in the exponent", info(`"a":1e`), noJSON},
		{"not a number", info(`"a":NaN`), noJSON},
		{"half a word", info(`"a":tru`), noJSON},
		{"another half", info(`"a":fals`), noJSON},
		{"a third", info(`"a":nul`), noJSON},
		{"nested as deep as allowed", info(deep(63)), offer},
		{"nested too deep", info(deep(64)), noJSON},
		{"nested too deep in objects", info(`"x":` + strings.Repeat(`{"y":`, 64) + "1" + strings.Repeat("}", 64)), noJSON},
		{"number", "5", badBody}, {"zero", "0", badBody}, {"true", "true", badBody}, {"false", "false", badBody}, {"null", "null", badBody},
		{"string", `"x"`, "missing_device_id"}, {"empty string", `""`, badBody},
		{"list", "[" + info("") + "]", "missing_device_id"}, {"empty list", "[ ]", badBody}, {"empty object", "{ }", badBody},
		{"device_id 0", info(`"device_id":0`), "missing_device_id"}, {"device_id -0.0e9", info(`"device_id":-0.0e9`), "missing_device_id"},
		{"device_id false", info(`"device_id":false`), "missing_device_id"}, {"device_id true", info(`"device_id":true`), badBody},
		{"device_id of another length", info(`"device_id":"x"`), badBody}, {"device_id without dashes", info(`"device_id":"00009a6b0eefe-490a-9c60-8e965132ae51"`), badBody},
		{"device_id not hexadecimal", info(`"device_id":"g0009a6b-eefe-490a-9c60-8e965132ae51"`), badBody},
		{"app_id 0", info(`"app_id":0`), "missing_app_id"}, {"app_id without a dot", info(`"app_id":"app"`), badBody},
		{"app_id with an empty part", info(`"app_id":"com..app"`), badBody}, {"app_id with a dash", info(`"app_id":"com.my-app_1"`), capgo.CodeUnknownApp},
		{"app_id with a dash at first", info(`"app_id":"my-com.app"`), badBody}, {"app_id in other case", info(`"app_id":"com.example.App"`), capgo.CodeUnknownApp},
		{"install_source of 64 characters", info(`"install_source":"` + strings.Repeat("😀", 32) + `"`), offer},
		{"install_source of 65 characters", info(`"install_source":"` + strings.Repeat("😀", 32) + `x"`), badBody},
		{"version_build that is none", info(`"version_build":"1.x"`), capgo.CodeSemver}, {"version_build false", info(`"version_build":false`), badBody},
		{"plugin_version that is none", info(`"plugin_version":"8"`), badBody},
		{"is_prod as text", info(`"is_prod":"true"`), badBody}, {"is_prod null", info(`"is_prod":null`), offer},
	} {
		status, body := ask(t, h, http.MethodPost, "/updates", tt.body)
		var answer capgo.UpdateAnswer
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Errorf("%s: %v in %s", tt.name, err, body)
		}
		got := answer.Error
		if got == "" && answer.URL != "" {
			got = offer
		}
		if got != tt.want || (status == http.StatusOK) != (got == offer || got == capgo.CodeUpToDate) {
			t.Errorf("%s: %d %s, want %s", tt.name, status, body, tt.want)
		}
	}
}

// TestRoutes asks for every path in every way.
func TestRoutes(t *testing.T) {
	t.Parallel()
	h := newHandler(newMemory(testApp()))
	const ok, lost = `{"status":"ok"}`, `{"error":"not_found","message":"Not found"}`
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/updates", "", 200, ok}, {"GET", "/updates/", "", 200, ok}, {"GET", "/stats", "", 200, ok}, {"GET", "/ok", "", 200, ok},
		{"GET", "/latency", "", 200, ok}, {"POST", "/ok", "{}", 200, ok}, {"GET", "/plugin/ok", "", 200, ok}, {"GET", "/plugin/updates", "", 200, ok},
		{"GET", "/plugin/stats", "", 200, ok}, {"HEAD", "/ok", "", 200, ok},
		// Only the older address looks at the body.
		{"POST", "/ok", "{", 200, ok}, {"POST", "/plugin/ok", "{", 400, `{"error":"invalid_json_parse_body","message":"Invalid JSON body","moreInfo":{}}`},
		{"OPTIONS", "/updates", "", 204, ""},
		{"PUT", "/updates", "{}", 404, lost}, {"DELETE", "/updates", "", 404, lost}, {"PUT", "/stats", "{}", 404, lost}, {"GET", "/updates/manifest_size", "", 404, lost},
		{"POST", "/latency", "{}", 404, lost}, {"GET", "/plugin/latency", "", 404, lost}, {"PATCH", "/channel_self", "{}", 404, lost},
		{"GET", "/", "", 404, lost}, {"GET", "/nope", "", 404, lost}, {"GET", "/plugin", "", 404, lost}, {"GET", "/pluginupdates", "", 404, lost}, {"GET", "/updates/x", "", 404, lost},
	} {
		if status, body := ask(t, h, tt.method, tt.path, tt.body); status != tt.status || body != tt.want {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, status, body, tt.status, tt.want)
		}
	}
	for _, path := range plugin.Paths() {
		if status, _ := ask(t, h, "POST", path, ""); status == 404 && !strings.HasSuffix(path, "latency") {
			t.Errorf("%s is no path of ours", path)
		}
	}
}

// TestUnavailable: whatever cannot be read or written is a 503, never a 429 and
// never "unknown app", and tells newer plugins not to report a failed download.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	old := info(`"plugin_version":"7.33.0","channel":"beta"`)
	for _, tt := range []struct{ method, path, body string }{
		{"POST", "/updates", info("")},
		{"POST", "/updates/manifest_size", info("")},
		{"POST", "/stats", info(`"action":"set"`)},
		{"POST", "/stats", "[" + info(`"action":"set"`) + "]"},
		{"POST", "/channel_self", old},
		{"PUT", "/channel_self", old},
		{"GET", "/channel_self?app_id=com.example.app&platform=ios", ""},
	} {
		m := newMemory(testApp())
		m.fail = errors.New("disk I/O error")
		status, body := ask(t, newHandler(m), tt.method, tt.path, tt.body)
		if status != 503 || !strings.Contains(body, capgo.CodeUnavailable) || !strings.Contains(body, `"kind":"blocked"`) || strings.Contains(body, "disk") {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, body)
		}
	}
}

// TestWritesFail: a choice or an event that could not be kept is not acknowledged.
func TestWritesFail(t *testing.T) {
	t.Parallel()
	app := testApp()
	app.Channels = append(app.Channels, &decide.Channel{ID: 2, Name: "beta", BundleID: 1, AllowDeviceSelfSet: true, Android: true})
	m := newMemory(app)
	h := plugin.New(plugin.Config{Apps: m, Devices: &memory{fail: errors.New("disk full")}, ObjectURL: func(string) string { return "" }})
	for _, tt := range []struct{ path, body string }{
		{"/channel_self", info(`"plugin_version":"7.33.0","channel":"beta"`)},
		{"/stats", info(`"action":"set","version_name":"1.1.0"`)},
	} {
		if status, body := ask(t, h, "POST", tt.path, tt.body); status != 503 {
			t.Errorf("%s: %d %s", tt.path, status, body)
		}
	}
}

// TestLimits: a body over the limit is refused, told by its length or not.
func TestLimits(t *testing.T) {
	t.Parallel()
	h := newHandler(newMemory(testApp()))
	pad := func(n int) string { return info(`"x":"` + strings.Repeat("x", n) + `"`) }
	event := info(`"action":"set","version_name":"1.1.0"`)
	for _, tt := range []struct {
		path, body string
		status     int
	}{
		{"/updates", pad(plugin.MaxBody - len(pad(0))), 200},
		{"/updates", pad(plugin.MaxBody - len(pad(0)) + 1), 413},
		{"/channel_self", pad(plugin.MaxBody), 413},
		{"/ok", pad(plugin.MaxBody), 200},
		{"/plugin/ok", pad(plugin.MaxBody), 413},
		{"/updates/manifest_size", pad(plugin.MaxManifestBody), 413},
		{"/stats", pad(plugin.MaxStatsBody), 413},
		{"/stats", "[" + strings.Repeat(event+",", plugin.MaxEvents-1) + event + "]", 200},
		{"/stats", "[" + strings.Repeat(event+",", plugin.MaxEvents) + event + "]", 413},
	} {
		if status, body := ask(t, h, "POST", tt.path, tt.body); status != tt.status {
			t.Errorf("%s with %d bytes: %d %.200s", tt.path, len(tt.body), status, body)
		}
		r := httptest.NewRequestWithContext(t.Context(), "POST", tt.path, io.MultiReader(strings.NewReader(tt.body[:10]), strings.NewReader(tt.body[10:])))
		r.ContentLength = -1
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != tt.status {
			t.Errorf("%s with %d bytes, length unknown: %d", tt.path, len(tt.body), w.Code)
		}
	}
	for _, path := range []string{"/updates", "/stats"} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, io.MultiReader(strings.NewReader(info("")[:50]), brokenReader{}))
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != 400 {
			t.Errorf("%s cut off: %d", path, w.Code)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestSeen: every check of a known app is noted with its verdict, an alarm is
// raised for a bundle that was withheld, and objects get public addresses.
func TestSeen(t *testing.T) {
	t.Parallel()
	app := testApp()
	m := newMemory(app)
	var alarms []string
	h := plugin.New(plugin.Config{Apps: m, Devices: m, ObjectURL: func(key string) string { return "https://updates.example.com/files/" + key },
		Alarm: func(appID string, v *decide.Verdict) { alarms = append(alarms, appID+" "+v.Alarm) }})
	ask(t, h, "POST", "/updates", info(`"device_id":"00009A6B-EEFE-490A-9C60-8E965132AE51"`))
	ask(t, h, "POST", "/updates", info(`"app_id":"com.unknown"`))
	if len(m.seen) != 1 || m.seen[0].Reason != decide.ReasonOffered || len(alarms) != 0 {
		t.Errorf("seen %+v, alarms %v", m.seen, alarms)
	}
	app.Bundles[1].ExternalURL, app.Bundles[1].ObjectKey = "", "com.example.app/1.1.0/aa.zip"
	if _, body := ask(t, h, "POST", "/updates", info("")); !strings.Contains(body, `"url":"https://updates.example.com/files/com.example.app/1.1.0/aa.zip"`) {
		t.Error(body)
	}
	app.KeyID = "MIIBCgKCAQEA4pW9olT4"
	if _, body := ask(t, h, "POST", "/updates", info("")); !strings.Contains(body, capgo.CodeUpToDate) {
		t.Error(body)
	}
	if fmt.Sprint(alarms) != "[com.example.app unsigned_bundle]" {
		t.Errorf("alarms %v", alarms)
	}
}

// TestStats looks at what is kept, which the answers do not show.
func TestStats(t *testing.T) {
	t.Parallel()
	const at = `"timestamp":1769000000000,`
	for _, tt := range []struct {
		name, body, answer string
		kept               string // action@version of each event kept
	}{
		{"one", info(at + `"action":"set","version_name":"1.1.0","old_version_name":"1.0.0","metadata":{"a":"b"}`), `{"status":"ok"}`, "set@1.1.0"},
		{"two", "[" + info(`"action":"set_next","version_name":"1.1.0"`) + "," + info(at+`"action":"set","version_name":"1.1.0"`) + "]",
			`{"status":"ok","results":[{"status":"ok","index":0},{"status":"ok","index":1}]}`, "set_next@1.1.0 set@1.1.0"},
		{"unknown version in a batch", "[" + info(`"action":"set","version_name":"9.9.9"`) + "]",
			`{"status":"ok","results":[{"status":"error","error":"version_not_found","message":"Version not found","index":0,"moreInfo":{"app_id":"com.example.app","version_name":"9.9.9"}}]}`, ""},
		{"file of a version", info(`"action":"download_manifest_file_fail","version_name":"1.1.0:a.js"`), `{"status":"ok"}`, "download_manifest_file_fail@1.1.0:a.js"},
		{"colon at first", info(`"action":"set","version_name":":a.js"`), `{"error":"version_not_found","message":"Version not found","app_id":"com.example.app","version_name":":a.js"}`, ""},
		{"from the store build", info(`"action":"update_fail","version_name":"builtin"`), `{"error":"version_not_found","message":"Version not found","app_id":"com.example.app","version_name":"1.0.0"}`, "update_fail@builtin"},
		{"from the store build, named like a bundle", info(`"action":"set","version_name":"builtin","version_build":"1.1"`), `{"status":"ok"}`, "set@builtin"},
		{"download_fail that means nothing", info(`"action":"download_fail","plugin_version":"7.16.9"`), `{"status":"ok"}`, ""},
		{"action of tomorrow", info(`"action":"app_teleported","version_name":"1.1.0"`), `{"status":"ok"}`, "app_teleported@1.1.0"},
		{"action that is no name", info(`"action":"a b","version_name":"1.1.0"`), `{"error":"invalid_json_body","message":"Cannot parse body","moreInfo":{}}`, ""},
		{"action too long", info(`"version_name":"1.1.0","action":"` + strings.Repeat("a", 65) + `"`), `{"error":"invalid_json_body","message":"Cannot parse body","moreInfo":{}}`, ""},
		{"no action", info(`"version_name":"1.1.0"`), `{"error":"invalid_json_body","message":"Cannot parse body","moreInfo":{}}`, ""},
		{"no action, unknown version", info(""), `{"error":"version_not_found","message":"Version not found","app_id":"com.example.app","version_name":"1.0.0"}`, ""},
		{"metadata of 30", info(`"action":"set","version_name":"1.1.0","metadata":{` + members(30) + `}`), `{"status":"ok"}`, "set@1.1.0"},
		{"metadata that is null", info(`"action":"set","version_name":"1.1.0","metadata":null`), `{"error":"invalid_json_body","message":"Cannot parse body","moreInfo":{}}`, ""},
		{"odd clock", info(`"action":"set","version_name":"1.1.0","timestamp":-5`), `{"status":"ok"}`, "set@1.1.0"},
	} {
		m := newMemory(testApp())
		if _, body := ask(t, newHandler(m), "POST", "/stats", tt.body); body != tt.answer {
			t.Errorf("%s: %s, want %s", tt.name, body, tt.answer)
		}
		var kept []string
		for _, e := range m.events {
			kept = append(kept, e.Action+"@"+e.VersionName)
		}
		if strings.Join(kept, " ") != tt.kept {
			t.Errorf("%s: kept %v, want %s", tt.name, kept, tt.kept)
		}
	}
}

func members(n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	return strings.Join(parts, ",")
}

// TestCustomID: an app may forbid devices to name themselves.
func TestCustomID(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{true, false} {
		app := testApp()
		app.AllowDeviceCustomID = allowed
		m := newMemory(app)
		ask(t, newHandler(m), "POST", "/stats", info(`"action":"set","version_name":"1.1.0","custom_id":" me "`))
		if len(m.events) != 1 || (m.events[0].CustomID == "me") != allowed {
			t.Errorf("allowed %v: %+v", allowed, m.events)
		}
	}
}

// TestManifestSize covers the ways to say which bundle is meant.
func TestManifestSize(t *testing.T) {
	t.Parallel()
	app := testApp()
	app.Bundles[1].Manifest = []decide.ManifestFile{{FileName: "a", FileHash: "aa", Size: 10}, {FileName: "z", FileHash: "zz"}}
	app.Bundles[2] = &decide.Bundle{ID: 2, Name: "1.2.0", Manifest: []decide.ManifestFile{{FileName: "a", FileHash: "aa", Size: 20}}}
	app.Bundles[3] = &decide.Bundle{ID: 3, Name: "1.3.0", Deleted: true, Manifest: []decide.ManifestFile{{FileName: "a", FileHash: "aa", Size: 30}}}
	h := newHandler(newMemory(app))
	for _, tt := range []struct {
		name, members string
		size          int64
	}{
		{"by name", `"version":"1.1.0","manifest":[{"file_hash":"aa"}]`, 10},
		{"by number", `"version":"1.1.0","version_id":2,"manifest":[{"file_hash":"aa"}]`, 20},
		{"by number as text", `"version_id":" 2 ","manifest":[{"file_hash":"aa"}]`, 20},
		{"by address", `"version":"1.1.0","manifest":[{"file_hash":"aa","download_url":"https://x/files/a?key=2"}]`, 20},
		{"by an address without a number", `"version":"1.1.0","manifest":[{"file_hash":"aa","download_url":"https://x/files/a?key=abc"}]`, 10},
		{"any bundle", `"manifest":[{"file_hash":"aa"}]`, 20},
		{"deleted bundle", `"version":"1.3.0","manifest":[{"file_hash":"aa"}]`, 0},
		{"size not on record", `"version":"1.1.0","manifest":[{"file_hash":"zz"}]`, 0},
		{"numbers that are none", `"version":"1.1.0","version_id":"+2","files":[{"file_hash":"aa"}]`, 10},
		{"not a list", `"version":"1.1.0","manifest":{"file_hash":"aa"}`, 0},
	} {
		status, body := ask(t, h, "POST", "/updates/manifest_size", info(tt.members))
		var size capgo.ManifestSize
		if err := json.Unmarshal([]byte(body), &size); err != nil || status != 200 || size.TotalSize != tt.size || size.Files == nil {
			t.Errorf("%s: %d %s, want %d", tt.name, status, body, tt.size)
		}
	}
}
