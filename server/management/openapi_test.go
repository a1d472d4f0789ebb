package management_test

import (
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/internal/servertest"
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
		"App": capgo.App{}, "Bundle": capgo.Bundle{}, "NewBundle": capgo.NewBundle{}, "NewFile": capgo.NewFile{}, "Seal": capgo.Seal{}, "Device": capgo.Device{}, "DevicePage": capgo.DevicePage{}, "About": capgo.About{},
		"Change": capgo.Change{}, "Explanation": capgo.Explanation{}, "Check": capgo.Check{}, "DeviceEvent": capgo.DeviceEvent{}, "Summary": capgo.Summary{},
		"ChannelSummary": capgo.ChannelSummary{}, "Token": capgo.Token{}, "UpdateRequest": capgo.UpdateRequest{}, "Fleet": capgo.Fleet{}, "FleetShare": capgo.FleetShare{}, "ReleasePlan": capgo.ReleasePlan{}, "PlanStep": capgo.PlanStep{}, "Freeze": capgo.Freeze{}, "Freezes": capgo.Freezes{}, "Channel": capgo.Channel{}, "ChannelChange": capgo.ChannelChange{},
	} {
		of := reflect.TypeOf(value)
		for i := range of.NumField() {
			member, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if member == "native_packages" { // free-form
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
		{"DELETE", "/bundle", `{"app_id":"` + own + `","version":"9.9.9"}`, "cannot_find_version"},
		{"POST", "/channel", `{"app_id":"` + own + `"}`, "missing_channel"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"a\u0000b"}`, "invalid_channel_name"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","disableAutoUpdate":"never"}`, "invalid_json_body"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","autoPauseAction":"explode"}`, "invalid_auto_pause_action"},
		{"POST", "/channel", `{"app_id":"` + own + `","channel":"beta","autoPauseConfidence":1}`, "invalid_auto_pause_confidence"},
		{"GET", "/channel?app_id=" + own + "&channel=none", "", "channel_not_found"},
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
	if status != 200 || len(days) != 3 || days[2]["date"] != "2026-01-03" || days[0]["mau"] != 0.0 {
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
