package management_test

import (
	"net/http"
	"strings"
	"testing"
)

// The calls of Capgo's command line are authorised like every other: without a
// token, with too small a scope, and for another's app they are refused.
func TestCapgoCLICallsAreAuthorised(t *testing.T) {
	w := newWorld(t)
	const body = `,"name":"3.0.0","storage_provider":"external","external_url":"https://cdn.example.com/x.zip","checksum":"00","name_version":"1.0.0"}`
	calls := []struct {
		method, path, body string
		upload, byApp      bool
	}{
		{"POST", "/rest/v1/rpc/reject_access_due_to_2fa_for_app", `{"app_id":"APP"}`, false, false},
		{"POST", "/rest/v1/rpc/request_actor_user_id", `{}`, false, false},
		{"POST", "/rest/v1/rpc/cli_check_permission", `{"app_id":"APP","permission_key":"app.read_bundles"}`, false, true},
		{"POST", "/rest/v1/rpc/exist_app_versions", `{"appid":"APP"` + body, false, true},
		{"POST", "/rest/v1/rpc/get_app_versions", `{"appid":"APP"` + body, false, true},
		{"GET", "/rest/v1/channels?select=*&app_id=eq.APP", "", false, true},
		{"POST", "/rest/v1/app_versions", `{"app_id":"APP"` + body, true, true},
		{"GET", "/functions/v1/bundle?app_id=APP", "", false, true},
	}
	for _, c := range calls {
		for _, credential := range w.credentials {
			for _, app := range []string{own, foreign} {
				header := http.Header{"Capgkey": {""}}
				if credential.secret != "" {
					name := credential.header
					if name == "" {
						name = "capgkey"
					}
					header.Set(name, credential.secret)
				}
				want := 2
				switch {
				case !credential.valid, c.upload && credential.scope == "read", c.byApp && credential.apps && app == foreign:
					want = 4
				}
				if want == 2 && c.upload {
					continue // would register it once for each token
				}
				status, text := w.Do(t, c.method, strings.Replace(c.path, "APP", app, 1), strings.NewReader(strings.Replace(c.body, "APP", app, 1)), header)
				if status/100 != want {
					t.Errorf("%s %s of %s with %s: %d %s", c.method, c.path, app, credential.name, status, text)
				}
			}
		}
	}
}

// A token that is limited to a channel sees that channel only, and a bundle
// without a checksum or with bytes for the server is refused.
func TestCapgoCLITables(t *testing.T) {
	w := newWorld(t)
	for _, credential := range w.credentials {
		if !credential.valid || credential.header != "" {
			continue
		}
		header := http.Header{"Capgkey": {credential.secret}}
		_, text := w.Do(t, "GET", "/rest/v1/channels?select=*&app_id=eq."+own, nil, header)
		if strings.Contains(string(text), `"production"`) == credential.limit || !strings.Contains(string(text), `"beta"`) {
			t.Errorf("%s sees %s", credential.name, text)
		}
	}
	object := http.Header{"Accept": {"application/vnd.pgrst.object+json"}}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/rest/v1/channels?select=*&name=eq.none&app_id=eq." + own, "", 406, "PGRST116"},
		{"GET", "/rest/v1/channels?select=version(name)&name=eq.beta&app_id=eq." + own, "", 200, `"name":"1.0.0"`},
		{"GET", "/rest/v1/channels?select=*&name=eq.beta", "", 400, "missing_app_id"},
		{"POST", "/rest/v1/rpc/exist_app_versions", `{"appid":"` + own + `","name_version":"1.0.0"}`, 200, "true"},
		{"POST", "/rest/v1/rpc/exist_app_versions", `{"appid":"` + own + `","name_version":"9.0.0"}`, 200, "false"},
		{"POST", "/rest/v1/rpc/get_app_versions", `{"appid":"` + own + `","name_version":"9.0.0"}`, 200, "null"},
		{"POST", "/rest/v1/rpc/get_app_versions", `{"appid":"` + absent + `","name_version":"9.0.0"}`, 404, "cannot_find_app"},
		{"POST", "/rest/v1/app_versions", `{"app_id":"` + own + `","name":"3.0.0","storage_provider":"external","external_url":"https://x.example/y"}`, 400, "missing_checksum"},
		{"POST", "/rest/v1/app_versions", `{"app_id":"` + own + `","name":"3.0.0","storage_provider":"r2-direct","checksum":"00"}`, 400, "unsupported_upload"},
		{"POST", "/rest/v1/rpc/get_app_versions/..", `{}`, 404, "not_found"},
		{"DELETE", "/rest/v1/channels?app_id=eq." + own, "", 404, "not_found"},
		{"GET", "/functions/v1/functions/v1/app", "", 404, "not_found"},
	} {
		status, text := w.Do(t, c.method, c.path, strings.NewReader(c.body), object)
		if status != c.status || !strings.Contains(string(text), c.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", c.method, c.path, c.body, status, text, c.status, c.want)
		}
	}
}
