package management_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/internal/servertest"
	"capstan/server/decide"
	"capstan/server/management"
)

// document reads what the tests need of docs/openapi.yaml by its indentation:
// the scope of every route, and the members of every schema.
func document(t *testing.T) (routes map[string]string, schemas map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	routes, schemas = map[string]string{}, map[string][]string{}
	path, method, schema := "", "", ""
	member := regexp.MustCompile(`^        ([A-Za-z0-9_]+): \{`)
	inSchemas := false
	for _, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case line == "  schemas:":
			inSchemas = true
		case inSchemas && strings.HasPrefix(line, "    ") && line[4] != ' ':
			schema = strings.TrimSuffix(trimmed, ":")
		case inSchemas:
			if m := member.FindStringSubmatch(line); m != nil {
				schemas[schema] = append(schemas[schema], m[1])
			}
		case strings.HasPrefix(line, "  /"):
			path = strings.TrimSuffix(trimmed, ":")
		case path != "" && strings.HasPrefix(line, "    ") && line[4] != ' ':
			method = strings.ToUpper(strings.TrimSuffix(trimmed, ":"))
		case strings.HasPrefix(trimmed, "x-capstan-scope: "):
			routes[method+" "+path] = strings.TrimPrefix(trimmed, "x-capstan-scope: ")
		}
	}
	return routes, schemas
}

// The document names every route with its scope, and no other.
func TestOpenAPIRoutes(t *testing.T) {
	documented, _ := document(t)
	s := servertest.Start(t)
	served := map[string]string{}
	for _, r := range slices.Concat(s.API().Routes(), s.API().CLIRoutes()) {
		scope := string(r.Scope)
		if scope == "" {
			scope = "public"
		}
		served[r.Method+" "+strings.Replace(r.Pattern, "{name...}", "{name}", 1)] = scope
	}
	for route, scope := range served {
		if documented[route] != scope {
			t.Errorf("%s has the scope %s, the document says %q", route, scope, documented[route])
		}
	}
	for route, scope := range documented {
		_, path, _ := strings.Cut(route, " ")
		head := strings.Split(path, "/")[1]
		if slices.Contains(management.Prefixes(), head) {
			if served[route] == "" {
				t.Errorf("%s is documented and not served", route)
			}
			continue
		}
		if scope != "public" {
			t.Errorf("%s is for devices and has the scope %s", route, scope)
		}
		method, path, _ := strings.Cut(route, " ")
		if status, _ := s.Do(t, method, strings.Replace(path, "{name}", "x/y.zip", 1), strings.NewReader(""), nil); status == http.StatusMethodNotAllowed || status == http.StatusNotFound && head != "files" {
			t.Errorf("%s: %d", route, status)
		}
	}
}

// The schemas have the members that the types on the wire have.
func TestOpenAPISchemas(t *testing.T) {
	_, schemas := document(t)
	for name, value := range map[string]any{
		"App": capgo.App{}, "AppProfile": capgo.AppProfile{}, "Bundle": capgo.Bundle{}, "NewBundle": capgo.NewBundle{}, "NewFile": capgo.NewFile{}, "Seal": capgo.Seal{}, "Device": capgo.Device{}, "DevicePage": capgo.DevicePage{}, "About": capgo.About{},
		"Change": capgo.Change{}, "Explanation": capgo.Explanation{}, "Check": capgo.Check{}, "DeviceEvent": capgo.DeviceEvent{}, "Summary": capgo.Summary{},
		"ChannelSummary": capgo.ChannelSummary{}, "Token": capgo.Token{}, "UpdateRequest": capgo.UpdateRequest{}, "Fleet": capgo.Fleet{}, "FleetShare": capgo.FleetShare{}, "ReleasePlan": capgo.ReleasePlan{}, "PlanStep": capgo.PlanStep{}, "Freeze": capgo.Freeze{}, "Freezes": capgo.Freezes{}, "Channel": capgo.Channel{}, "ChannelChange": capgo.ChannelChange{},
	} {
		of := reflect.TypeOf(value)
		for i := range of.NumField() {
			member, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if member == "native_packages" || of.Field(i).Anonymous { // free-form; compared by itself
				continue
			}
			if !slices.Contains(schemas[name], member) {
				t.Errorf("the schema %s lacks %s", name, member)
			}
		}
	}
}

// A client of Capgo's API: bodies on any method, queries instead of bodies,
// pages, mixed naming.
func TestCapgoShapes(t *testing.T) {
	w := newWorld(t)
	decode := func(text []byte, into any) {
		t.Helper()
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	status, text := w.Do(t, "GET", "/bundle", strings.NewReader(`{"app_id":"`+own+`","page":0}`), nil)
	var bundles []map[string]any
	decode(text, &bundles)
	if status != 200 || len(bundles) != 2 || bundles[0]["name"] != "1.1.0" || bundles[0]["deleted"] != false {
		t.Errorf("a GET with a body: %d %s", status, text)
	}
	status, text = w.Do(t, "GET", "/bundle?app_id="+own+"&page=1", nil, nil)
	if status != 200 || string(text) != "[]" {
		t.Errorf("a page past the end: %d %s", status, text)
	}
	status, text = w.Do(t, "POST", "/channel?app_id="+own+"&channel=beta&public=true&rolloutPercentage=12.5&ios=0", nil, nil)
	var changed map[string]any
	decode(text, &changed)
	if status != 200 || changed["status"] != "ok" {
		t.Errorf("a change by query: %d %s", status, text)
	}
	_, text = w.Do(t, "GET", "/channel?app_id="+own+"&channel=beta", nil, nil)
	var channel map[string]any
	decode(text, &channel)
	for member, want := range map[string]any{"public": true, "ios": false, "android": true, "rolloutPercentageBps": 1250.0, "disableAutoUpdate": "major", "allow_device_self_set": false,
		"autoPauseConfidence": 0.95, "rolloutCacheTtlSeconds": 2592000.0, "rollout_version": nil, "autoPauseFailureRateBps": nil, "autoPauseAction": "pause"} {
		if got, there := channel[member]; !there || got != want {
			t.Errorf("%s is %v, want %v", member, got, want)
		}
	}
	if version, _ := channel["version"].(map[string]any); version["name"] != "1.0.0" {
		t.Errorf("version %v", channel["version"])
	}
	// snake_case, null, numbers as text, the CLI's name of a policy.
	w.must(t, "POST", "/channel", `{"app_id":"`+own+`","channel":"beta","rollout_version":"1.1.0","rollout_percentage_bps":"300","auto_pause_failure_rate_bps":500,"disableAutoUpdate":"metadata"}`)
	w.must(t, "POST", "/channel", `{"app_id":"`+own+`","channel":"beta","autoPauseFailureRateBps":null,"rolloutPausedAt":"2026-01-01T00:00:00Z","rolloutPauseReason":"hot"}`)
	c, err := w.Store().Channel(t.Context(), own, "beta")
	if err != nil || c.RolloutVersionInfo == nil || c.RolloutPercentageBps != 300 || c.AutoPause.FailureRateBps != nil || c.RolloutPausedAt == nil || *c.RolloutPauseReason != "hot" || c.DisableAutoUpdate != capgo.PolicyVersionNumber {
		t.Errorf("%+v %v", c, err)
	}
	w.must(t, "POST", "/channel", `{"app_id":"`+own+`","channel":"beta","version":null,"rolloutVersion":null}`)
	if c, _ = w.Store().Channel(t.Context(), own, "beta"); c.Version != nil || c.RolloutVersion != nil {
		t.Errorf("null unlinks: %+v", c.Version)
	}
	for _, c := range []struct{ method, path, body, code string }{
		{"POST", "/bundle", `{"app_id":"` + own + `"}`, "missing_version"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"2.0.0"}`, "missing_external_url"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"2.0.0","external_url":"https://x.example/y"}`, "missing_checksum"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"2.0","external_url":"https://x.example/y","checksum":"0"}`, "invalid_version_format"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"v2.0.0","external_url":"https://x.example/y","checksum":"0"}`, "invalid_version_format"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"2.0.0","min_update_version":"1.x","external_url":"https://x.example/y","checksum":"0"}`, "invalid_min_update_version"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"2.0.0","external_url":"http://x.example/y","checksum":"0"}`, "invalid_protocol"},
		{"POST", "/bundle", `{"app_id":"` + own + `","version":"1.0.0","external_url":"https://x.example/y","checksum":"0"}`, "version_already_exists"},
		{"POST", "/bundle", `{"app_id":"com.example.none","version":"1.0.0","external_url":"https://x.example/y","checksum":"0"}`, "cannot_find_app"},
		{"POST", "/bundle", `{"app_id":"` + own + `","app_id":"` + foreign + `"}`, "invalid_json_body"},
		{"POST", "/bundle", `{"app_id"`, "invalid_json_parse_body"},
		{"POST", "/bundle", `[]`, "invalid_json_parse_body"},
		{"POST", "/bundle", `{"app_id":["` + own + `"]}`, "missing_app_id"},
		{"PUT", "/bundle", `{"app_id":"` + own + `"}`, "missing_required_fields"},
		{"POST", "/bundle/metadata", `{"app_id":"` + own + `","version_id":1}`, "no_fields_to_update"},
		{"DELETE", "/bundle", `{"app_id":"` + own + `","version":""}`, "missing_version"},
		{"DELETE", "/bundle", `{"app_id":"` + own + `","version":"9.9.9"}`, "cannot_delete_version"},
		{"POST", "/channel", `{"app_id":"` + own + `"}`, "missing_channel"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"a\u0000b"}`, "invalid_channel_name"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","disableAutoUpdate":"never"}`, "invalid_json_body"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","rolloutPercentage":200}`, "invalid_rollout_percentage"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","rollout_percentage_bps":"x"}`, "invalid_rollout_config"},
		{"GET", "/statistics/app/com.example.none?from=2026-01-01&to=2026-01-02", "", "app_not_found"},
		{"GET", "/statistics/org/none?from=2026-01-01&to=2026-01-02", "", "no_access_to_organization"},
		{"GET", "/statistics/org/none", "", "invalid_body"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","autoPauseAction":"explode"}`, "invalid_auto_pause_action"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","autoPauseConfidence":1}`, "invalid_auto_pause_confidence"},
		{"GET", "/channel?app_id=" + own + "&channel=none", "", "cannot_find_version"},
		{"POST", "/device", `{"app_id":"` + own + `","device_id":"x","channel":"beta"}`, "invalid_device_id"},
		{"POST", "/device", `{"app_id":"` + own + `","device_id":"00000000-0000-4000-8000-000000000001","channel":"beta","version_id":1}`, "invalid_version_id"},
		{"GET", "/device?app_id=" + own + "&device_id=00000000-0000-4000-8000-000000000001", "", "device_not_found"},
		{"GET", "/app/com.example.none", "", "cannot_find_app"},
		{"GET", "/app/..%2f..%2fetc", "", "invalid_app_id"},
		{"POST", "/app", `{"app_id":"` + own + `"}`, "app_id_already_exists"},
		{"PUT", "/app/" + own, `{"public_key":"not a key"}`, "key_malformed"},
		{"GET", "/statistics/app/" + own, "", "invalid_body"},
		{"GET", "/nothing", "", "not_found"},
		{"PATCH", "/app/" + own, "", "method_not_allowed"},
	} {
		status, text := w.Do(t, c.method, c.path, strings.NewReader(c.body), nil)
		var problem map[string]any
		decode(text, &problem)
		if problem["error"] != c.code || status < 400 || status >= 500 {
			t.Errorf("%s %s %s: %d %s, want %s", c.method, c.path, c.body, status, text, c.code)
		}
		if _, there := problem["moreInfo"]; !there && c.code != "not_found" {
			t.Errorf("%s has no moreInfo", text)
		}
	}
	// Statistics, with and without accumulation.
	status, text = w.Do(t, "GET", "/statistics/app/"+own+"?from=2026-01-01&to=2026-01-03&noAccumulate=true", nil, nil)
	var days []map[string]any
	decode(text, &days)
	if status != 200 || len(days) != 2 || days[1]["date"] != "2026-01-02T00:00:00.000Z" || days[0]["mau"] != 0.0 {
		t.Errorf("%d %s", status, text)
	}
	status, text = w.Do(t, "GET", "/statistics/app/"+own+"/bundle_usage?from=2026-01-01&to=2026-01-03", nil, nil)
	var usage map[string]any
	decode(text, &usage)
	if status != 200 || len(usage["labels"].([]any)) != 3 {
		t.Errorf("%d %s", status, text)
	}
}

// What a device leaves out means the same to an explanation as to /updates.
func TestExplainTakesDefaults(t *testing.T) {
	w := newWorld(t)
	w.must(t, "POST", "/channel", `{"app_id":"`+own+`","channel":"production","version":"1.1.0","public":true,"allow_prod":false}`)
	for body, want := range map[string]string{``: "disable_prod_build", `,"is_prod":null`: "disable_prod_build", `,"is_prod":true`: "disable_prod_build", `,"is_prod":false`: "offered"} {
		var e capgo.Explanation
		text := w.must(t, "POST", "/capstan/v1/explain", `{"app_id":"`+own+`","device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23"`+body+`}`)
		if err := json.Unmarshal(text, &e); err != nil || e.Reason != want {
			t.Errorf("%s: %q, want %s (%v)", body, e.Reason, want, err)
		}
	}
}

// A platform's own bundle over the wire: given, shown, taken away.
func TestPlatformVersions(t *testing.T) {
	w := newWorld(t)
	pin := func(value string) int {
		status, _ := w.Do(t, "POST", "/channel", strings.NewReader(`{"app_id":"`+own+`","channel":"production","platform_versions":`+value+`}`), nil)
		return status
	}
	shown := func() string {
		var c capgo.Channel
		if err := json.Unmarshal(w.must(t, "GET", "/channel", `{"app_id":"`+own+`","channel":"production"}`), &c); err != nil {
			t.Fatal(err)
		}
		return c.PlatformVersions["ios"].Name
	}
	for _, c := range []struct {
		value  string
		status int
		shown  string
	}{
		{`{"ios":"1.1.0"}`, 200, "1.1.0"}, {`{"ios":1}`, 400, "1.1.0"}, {`"ios"`, 400, "1.1.0"}, {`{"web":"1.1.0"}`, 400, "1.1.0"},
		{`null`, 200, "1.1.0"}, {`{"ios":"builtin"}`, 200, "builtin"}, {`{"ios":null}`, 200, ""},
	} {
		if status := pin(c.value); status != c.status || shown() != c.shown {
			t.Errorf("%s: %d, then %q", c.value, status, shown())
		}
	}
}

// What Capgo's API answers has these members, of these kinds, so that a client
// of it finds them: s a string, n a number, b a boolean, o an object, a a list, a
// question mark after it also null, and one before it also nothing. The members
// are those of the public documentation and of the backend of 12.201.7; capstan
// gives more.
func TestCapgoObjects(t *testing.T) {
	w := newWorld(t)
	const device = "00000000-0000-4000-8000-000000000001"
	w.must(t, "POST", "/channel", `{"app_id":"`+own+`","channel":"production","version":"1.0.0","public":true}`)
	r := capgo.UpdateRequest{AppID: own, DeviceID: device, Platform: "ios", VersionName: "1.0.0", VersionBuild: "1.0.0", VersionOS: "18", PluginVersion: "8.51.23", InstallSource: "app_store", KeyID: "MIIBCgKCAQEA", IsProd: true}
	w.Store().Seen(r, decide.Verdict{})
	if err := w.Store().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	app, of := `"app_id":"`+own+`"`, "?app_id="+own
	const (
		anApp    = "app_id:s name:s owner_org:s created_at:s updated_at:s retention:n default_upload_channel:s expose_metadata:b allow_device_custom_id:b"
		aBundle  = "id:n created_at:s updated_at:s app_id:s name:s checksum:s session_key:?s key_id:?s external_url:?s r2_path:?s storage_provider:s deleted:b min_update_version:?s link:?s comment:?s manifest_count:n"
		aChannel = "id:n created_at:s updated_at:s name:s app_id:s created_by:s public:b disableAutoUpdateUnderNative:b disableAutoUpdate:s allow_device_self_set:b allow_emulator:b allow_device:b allow_dev:b allow_prod:b " +
			"rollout_version:n? rollout_id:s rolloutPercentageBps:n rolloutEnabled:b rolloutPausedAt:s? rolloutPauseReason:s? rolloutCacheTtlSeconds:n " +
			"autoPauseEnabled:b autoPauseWindowMinutes:n autoPauseFailureRateBps:n? autoPauseConfidence:n autoPauseMinAttempts:n? autoPauseMinFailures:n? autoPauseAction:s autoPauseCooldownMinutes:n " +
			"autoPauseLastTriggeredAt:s? autoPauseLastCheckedAt:s? rollout_version_info:o? version:o?"
		aDevice = "updated_at:s device_id:s custom_id:s is_prod:b is_emulator:b install_source:s version_name:s version:n app_id:s platform:s plugin_version:s os_version:s version_build:s key_id:s"
		aDay    = "date:s mau:n storage:n storage_byte_hours:n bandwidth:n build_time_seconds:n"
		usage   = "labels:a datasets:a"
		ok      = "status:s"
		span    = "?from=2026-01-01&to=2026-01-02"
	)
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/app", "", "[" + anApp},
		{"GET", "/app/" + own, "", anApp},
		{"GET", "/app/" + own + "/", "", anApp},
		{"POST", "/app", `{"app_id":"com.example.third","name":"Third","owner_org":"another","need_onboarding":true,"ios_store_url":"x"}`, anApp},
		{"PUT", "/app/com.example.third", `{"name":"3","retention":86400}`, anApp},
		{"GET", "/bundle" + of, "", "[" + aBundle},
		{"POST", "/bundle", `{` + app + `,"version":"3.0.0","external_url":"https://x.example/y","checksum":"0"}`, "status:s bundle:o"},
		{"PUT", "/bundle", fmt.Sprintf(`{%s,"version_id":%d,"channel_id":%d}`, app, w.ids[own+"/1.1.0"], w.ids[own+"/beta"]), "status:s message:s"},
		{"POST", "/bundle/metadata", fmt.Sprintf(`{%s,"version_id":%d,"link":"https://x.example","comment":"c"}`, app, w.ids[own+"/1.1.0"]), ok},
		{"DELETE", "/bundle", `{` + app + `,"version":"3.0.0"}`, ok},
		{"GET", "/channel" + of, "", "[" + aChannel},
		{"GET", "/channel" + of + "&channel=beta", "", aChannel},
		{"POST", "/channel", `{` + app + `,"channel":"made","version":"1.0.0"}`, "status:s id:n public:b"},
		{"POST", "/channel", `{` + app + `,"channel":"made","version":"1.1.0"}`, ok},
		{"POST", "/device", `{` + app + `,"device_id":"` + device + `","channel":"made"}`, ok},
		{"GET", "/device" + of, "", "data:a hasMore:b nextCursor:?s"},
		{"GET", "/device" + of + "&device_id=" + device, "", aDevice + " channel:s"},
		{"DELETE", "/device", `{` + app + `,"device_id":"` + device + `"}`, ok},
		{"GET", "/device" + of + "&device_id=" + device, "", aDevice},
		{"DELETE", "/channel", `{` + app + `,"channel":"made"}`, ok},
		{"GET", "/statistics/app/" + own + span, "", "[" + aDay},
		{"GET", "/statistics/app/" + own + "/" + span, "", "[" + aDay},
		{"GET", "/statistics/app/" + own + "/bundle_usage" + span, "", usage},
		{"GET", "/statistics/app/" + own + "/native_usage" + span, "", usage + " latestVersion:o"},
		{"GET", "/statistics/org/another" + span, "", "[" + aDay},
		{"GET", "/statistics/org/another/" + span + "&breakdown=true", "", "global:a byApp:a"},
		{"GET", "/statistics/user/" + span, "", "[" + aDay},
		{"DELETE", "/app/com.example.third", "", ok},
	} {
		text := w.must(t, c.method, c.path, c.body)
		members, list := strings.CutPrefix(c.want, "[")
		var one map[string]any
		var all []map[string]any
		var err error
		if list {
			if err = json.Unmarshal(text, &all); err == nil && len(all) > 0 {
				one = all[0]
			}
		} else {
			err = json.Unmarshal(text, &one)
		}
		if err != nil || one == nil {
			t.Errorf("%s %s: %v in %s", c.method, c.path, err, text)
			continue
		}
		for member := range strings.FieldsSeq(members) {
			name, kind, _ := strings.Cut(member, ":")
			if value, there := one[name]; !isKind(kind, value, there) {
				t.Errorf("%s %s: %s is %v (there: %v), wanted %s", c.method, c.path, name, value, there, kind)
			}
		}
	}
}

func isKind(kind string, value any, there bool) bool {
	kind, optional := strings.CutPrefix(kind, "?")
	kind, nullable := strings.CutSuffix(kind, "?")
	switch value := value.(type) {
	case nil:
		return there && (nullable || optional) || !there && optional
	case string:
		return kind == "s"
	case float64:
		return kind == "n"
	case bool:
		return kind == "b"
	case map[string]any:
		return kind == "o"
	case []any:
		return kind == "a"
	default:
		panic(value)
	}
}

// An organisation's statistics are the sum of its apps' that the token may see,
// and an organisation without one is not told from one that is not there.
func TestOrganisationStatistics(t *testing.T) {
	w := newWorld(t)
	for app, organisation := range map[string]string{"com.example.a": "first", "com.example.b": "first", "com.example.c": "second"} {
		w.must(t, "POST", "/app", `{"app_id":"`+app+`","name":"x","owner_org":"`+organisation+`"}`)
		for n := range map[string]int{"com.example.a": 1, "com.example.b": 2, "com.example.c": 4}[app] {
			w.Store().Seen(capgo.UpdateRequest{AppID: app, DeviceID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Platform: "ios", VersionName: "1.0.0", VersionBuild: "1.0.0", PluginVersion: "8.51.23", IsProd: true}, decide.Verdict{})
		}
	}
	if err := w.Store().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	limited, err := w.Store().CreateToken(t.Context(), "test", "", capgo.Token{Name: "one", Scope: capgo.ScopeRead, Apps: []string{"com.example.b"}})
	if err != nil {
		t.Fatal(err)
	}
	yesterday := time.Now().UTC().Add(-24 * time.Hour).Format(time.DateOnly)
	span := "?noAccumulate=true&from=" + yesterday + "&to=" + time.Now().UTC().Add(24*time.Hour).Format(time.DateOnly)
	type day struct {
		AppID string `json:"app_id"`
		MAU   int64
	}
	sum := func(days []day, app string) (n int64) {
		for _, d := range days {
			if app == "" || d.AppID == app {
				n += d.MAU
			}
		}
		return n
	}
	for _, c := range []struct {
		token, organisation string
		devices             int64
		status              int
	}{
		{w.Token, "first", 3, 200}, {w.Token, "second", 4, 200}, {limited.Secret, "first", 2, 200},
		{w.Token, "third", 0, 401}, {limited.Secret, "second", 0, 401}, {limited.Secret, "third", 0, 401},
	} {
		status, text := w.Do(t, "GET", "/statistics/org/"+c.organisation+span, nil, http.Header{"capgkey": {c.token}})
		var days []day
		if status == http.StatusOK {
			if err := json.Unmarshal(text, &days); err != nil {
				t.Fatal(err)
			}
		}
		if status != c.status || sum(days, "") != c.devices {
			t.Errorf("%+v: %d %s", c, status, text)
		}
	}
	var both struct{ Global, ByApp []day }
	if err := json.Unmarshal(w.must(t, "GET", "/statistics/org/first"+span+"&breakdown=true", ""), &both); err != nil {
		t.Fatal(err)
	}
	if sum(both.Global, "") != 3 || sum(both.ByApp, "com.example.a") != 1 || sum(both.ByApp, "com.example.b") != 2 || sum(both.ByApp, "") != 3 {
		t.Errorf("%+v", both)
	}
}

// A client of Capgo's API branches on statuses and codes: those of the backend of
// 12.201.7, where docs/protocol.md does not name another.
func TestCapgoRefusals(t *testing.T) {
	w := newWorld(t)
	w.must(t, "POST", "/channel", `{"app_id":"`+own+`","channel":"production","version":"1.0.0","public":true,"ios":true,"android":false}`)
	const device = "00000000-0000-4000-8000-000000000001"
	app, gone := `{"app_id":"`+own+`"`, `{"app_id":"`+absent+`"`
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/app", `{"app_id":"` + own + `","name":"x"}`, 409, "app_id_already_exists"},
		{"POST", "/app", `{"name":"x"}`, 400, "missing_app_id"},
		{"POST", "/app", "", 400, "invalid_json_parse_body"},
		{"GET", "/app/" + absent, "", 404, "cannot_find_app"},
		{"GET", "/app?org_id=none", "", 400, "user_does_not_have_access_to_this_organization"},
		{"PUT", "/app/" + own, `{"retention":63113904}`, 400, "retention_to_big"},
		{"PUT", "/app/" + own, `{"retention":-1}`, 400, "retention_to_small"},
		{"PUT", "/app/" + own, `{"need_onboarding":"x"}`, 400, "invalid_json_body"},
		{"GET", "/bundle?app_id=" + absent, "", 400, "cannot_get_bundle"},
		{"POST", "/bundle", app + `,"version":"1.0.0","external_url":"https://x.example/y","checksum":"0"}`, 400, "version_already_exists"},
		{"POST", "/bundle", gone + `,"version":"1.0.0","external_url":"https://x.example/y","checksum":"0"}`, 400, "cannot_find_app"},
		{"PUT", "/bundle", `{"version_id":1}`, 400, "missing_required_fields"},
		{"PUT", "/bundle", app + `,"version_id":999,"channel_id":` + fmt.Sprint(w.ids[own+"/beta"]) + `}`, 400, "cannot_find_version"},
		{"PUT", "/bundle", app + `,"version_id":1,"channel_id":999}`, 400, "cannot_find_channel"},
		{"PUT", "/bundle", gone + `,"version_id":1,"channel_id":999}`, 400, "cannot_find_channel"},
		{"POST", "/bundle/metadata", `{"version_id":1}`, 400, "missing_required_fields"},
		{"POST", "/bundle/metadata", app + `,"version_id":999,"link":"x"}`, 400, "cannot_find_version"},
		{"DELETE", "/bundle", app + `,"version":"1.0.0"}`, 400, "cannot_delete_linked_version"},
		{"DELETE", "/bundle", app + `,"version":"9.0.0"}`, 400, "cannot_delete_version"},
		{"DELETE", "/bundle", gone + `,"version":"9.0.0"}`, 400, "cannot_delete_bundle"},
		{"DELETE", "/bundle", "", 400, "invalid_json_parse_body"},
		{"GET", "/channel?app_id=" + absent, "", 400, "cannot_access_app"},
		{"GET", "/channel?app_id=" + own + "&channel=none", "", 400, "cannot_find_version"},
		{"POST", "/channel", gone + `,"channel":"beta"}`, 400, "cannot_access_app"},
		{"POST", "/channel", app + `,"channel":"beta","version":"9.0.0"}`, 400, "cannot_find_version"},
		{"POST", "/channel", app + `,"channel":"none","rolloutVersion":"1.1.0"}`, 400, "cannot_find_channel"},
		{"POST", "/channel", app + `,"channel":"none","rollback":true}`, 400, "cannot_find_channel"},
		{"POST", "/channel", app + `,"channel":"beta","promoteToStable":true}`, 400, "missing_rollout_version"},
		{"POST", "/channel", app + `,"channel":"beta","rolloutPercentageBps":10001}`, 400, "invalid_rollout_config"},
		{"POST", "/channel", app + `,"channel":"beta","autoPauseWindowMinutes":0}`, 400, "invalid_rollout_config"},
		{"POST", "/channel", app + `,"channel":"beta","autoPauseConfidence":2}`, 400, "invalid_auto_pause_confidence"},
		{"DELETE", "/channel", app + `}`, 400, "missing_channel_name"},
		{"DELETE", "/channel", app + `,"channel":"none"}`, 400, "cannot_find_channel"},
		{"DELETE", "/channel", gone + `,"channel":"beta"}`, 400, "cannot_find_channel"},
		{"DELETE", "/channel", app + `,"channel":"beta","delete_bundle":true}`, 400, "cannot_access_app"},
		{"GET", "/device?app_id=" + absent, "", 400, "cannot_access_app"},
		{"GET", "/device?app_id=" + own + "&device_id=" + device, "", 404, "device_not_found"},
		{"GET", "/device?app_id=" + own + "&limit=0", "", 400, "invalid_limit"},
		{"GET", "/device?app_id=" + own + "&order=up", "", 400, "invalid_order"},
		{"GET", "/device?app_id=" + own + "&updated_at=yesterday", "", 400, "invalid_updated_at"},
		{"POST", "/device", `{"device_id":"` + device + `","channel":"beta"}`, 400, "missing_device_id_or_app_id"},
		{"POST", "/device", app + `,"channel":"beta"}`, 400, "missing_device_id_or_app_id"},
		{"POST", "/device", app + `,"device_id":"` + device + `","channel":"none"}`, 404, "channel_not_found"},
		{"POST", "/device", app + `,"device_id":"` + device + `","channel":"production"}`, 400, "public_channel_override"},
		{"DELETE", "/device", app + `}`, 400, "missing_device_id"},
		{"GET", "/statistics/app/" + absent + "?from=2026-01-01&to=2026-01-02", "", 404, "app_not_found"},
		{"GET", "/statistics/app/" + own + "?from=2026-01-01", "", 400, "invalid_body"},
		{"GET", "/statistics/app/" + own + "?from=2026-01-01&to=2026-01-02&noAccumulate=perhaps", "", 400, "invalid_body"},
	} {
		status, text := w.Do(t, c.method, c.path, strings.NewReader(c.body), nil)
		var problem capgo.APIError
		if err := json.Unmarshal(text, &problem); err != nil || status != c.status || problem.Error != c.code {
			t.Errorf("%s %s %s: %d %s, want %d %s", c.method, c.path, c.body, status, text, c.status, c.code)
		}
	}
	for path, code := range map[string]string{"/app": "no_key_provided", "/bundle": "no_key_provided", "/statistics/user": "no_jwt_apikey_or_subkey"} {
		answer, err := http.Get(w.BaseURL + path)
		if err != nil {
			t.Fatal(err)
		}
		var problem capgo.APIError
		if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil || answer.StatusCode != 401 || problem.Error != code {
			t.Errorf("%s without a key: %d %+v", path, answer.StatusCode, problem)
		}
		answer.Body.Close()
	}
	if status, text := w.Do(t, "GET", "/app", nil, http.Header{"x-limited-key-id": {"7"}}); status != 401 || !strings.Contains(string(text), "invalid_subkey") {
		t.Errorf("a sub-key: %d %s", status, text)
	}
	// What was set comes back, and null takes it away.
	for _, c := range [][2]string{
		{`{"icon":"i","ios_store_url":"https://apps.example/1","existing_app":true}`, `"icon_url":"i","ios_store_url":"https://apps.example/1","android_store_url":null,"need_onboarding":false,"existing_app":true`},
		{`{"ios_store_url":null}`, `"icon_url":"i","ios_store_url":null`},
	} {
		if text := w.must(t, "PUT", "/app/"+own, c[0]); !strings.Contains(string(text), c[1]) {
			t.Errorf("%s: %s", c[0], text)
		}
	}
	c, err := w.Store().Channel(t.Context(), own, "production")
	if err != nil || *c.Electron {
		t.Errorf("the channel of one mobile platform serves electron: %v", err)
	}
	w.must(t, "POST", "/channel", app+`,"channel":"production","rolloutPaused":false,"rolloutPausedAt":"2026-01-02T03:04:05Z"}`)
	if c, err = w.Store().Channel(t.Context(), own, "production"); err != nil || c.RolloutPausedAt == nil || c.RolloutPausedAt.Year() != 2026 || c.RolloutPausedAt.Second() != 5 {
		t.Errorf("paused at %v, %v", c.RolloutPausedAt, err)
	}
}
