package management_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/internal/servertest"
	"capstan/server/management"
)

const (
	own     = "com.example.own"     // the app of limited tokens
	foreign = "com.example.foreign" // exists, and is not theirs
	absent  = "com.example.absent"  // does not exist
)

// credential is one kind of token, or of no token.
type credential struct {
	name   string
	secret string // "" sends no header
	scope  capgo.TokenScope
	apps   bool // limited to own
	limit  bool // limited to the channel beta
	valid  bool
	header string // capgkey when ""
}

// world is a server with two apps and every kind of token.
type world struct {
	*servertest.Server
	credentials []credential
	ids         map[string]int64 // app/channel and app/bundle → row id
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: servertest.Start(t), ids: map[string]int64{}}
	ctx := t.Context()
	for _, app := range []string{own, foreign} {
		w.must(t, "POST", "/app", fmt.Sprintf(`{"app_id":%q,"name":"x"}`, app))
		for _, version := range []string{"1.0.0", "1.1.0"} {
			body := w.must(t, "POST", "/bundle", fmt.Sprintf(`{"app_id":%q,"version":%q,"external_url":"https://cdn.example.com/x.zip","checksum":"00"}`, app, version))
			var answer struct {
				Bundle capgo.Bundle `json:"bundle"`
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Fatal(err)
			}
			w.ids[app+"/"+version] = answer.Bundle.ID
		}
		for _, channel := range []string{"beta", "production"} {
			w.must(t, "POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":%q,"version":"1.0.0"}`, app, channel))
			c, err := w.Store().Channel(ctx, app, channel)
			if err != nil {
				t.Fatal(err)
			}
			w.ids[app+"/"+channel] = c.ID
		}
	}
	w.credentials = w.makeCredentials(t)
	return w
}

func (w *world) must(t *testing.T, method, path, body string) []byte {
	t.Helper()
	status, answer := w.Do(t, method, path, strings.NewReader(body), nil)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return answer
}

func (w *world) makeCredentials(t *testing.T) []credential {
	t.Helper()
	mint := func(token capgo.Token) capgo.Token {
		made, err := w.Store().CreateToken(t.Context(), "test", "", token)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	var list []credential
	for _, scope := range []capgo.TokenScope{capgo.ScopeRead, capgo.ScopeUpload, capgo.ScopePromote, capgo.ScopeAdmin} {
		for _, apps := range []bool{false, true} {
			for _, limit := range []bool{false, true} {
				token := capgo.Token{Name: "matrix", Scope: scope}
				name := string(scope)
				if apps {
					token.Apps, name = []string{own}, name+" of one app"
				}
				if limit {
					token.Channels, name = []string{"beta"}, name+" of one channel"
				}
				made := mint(token)
				list = append(list, credential{name: name, secret: made.Secret, scope: scope, apps: apps, limit: limit, valid: true})
				if apps == limit { // the header makes no difference to the rest
					continue
				}
				list = append(list, credential{name: name + " as bearer", secret: "Bearer " + made.Secret, scope: scope, apps: apps, limit: limit, valid: true, header: "Authorization"})
			}
		}
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	expired := mint(capgo.Token{Name: "expired", Scope: capgo.ScopeAdmin, ExpiresAt: &yesterday})
	revoked := mint(capgo.Token{Name: "revoked", Scope: capgo.ScopeAdmin})
	if err := w.Store().RevokeToken(t.Context(), "test", revoked.ID); err != nil {
		t.Fatal(err)
	}
	good := mint(capgo.Token{Name: "good", Scope: capgo.ScopeAdmin})
	half := good.Secret[:len(good.Secret)/2]
	for name, secret := range map[string]string{
		"none": "", "expired": expired.Secret, "revoked": revoked.Secret, "half": half, "one more": good.Secret + "0", "one less": good.Secret[:len(good.Secret)-1],
		"upper case": strings.ToUpper(good.Secret), "another's secret": "capstan_" + good.ID + "_" + expired.Secret[len(expired.Secret)-64:], "id only": "capstan_" + good.ID,
		"id and no secret": "capstan_" + good.ID + "_", "unknown id": "capstan_000000000000000000_" + good.Secret[len(good.Secret)-64:], "uuid": "b1b2b3b4-0000-4000-8000-000000000000",
		"wildcards": "capstan_%_%", "sql": "capstan_' OR '1'='1_x", "hash": "capstan_" + good.ID + "_" + strings.Repeat("0", 64), "long": "capstan_" + strings.Repeat("a", 4000),
		"json": `{"capgkey":"x"}`, "basic": "Basic YWRtaW46YWRtaW4=", "bearer of nothing": "Bearer", "space": " ", "null": "null", "true": "true", "undefined": "undefined", "zero": "0",
	} {
		list = append(list, credential{name: name, secret: secret})
	}
	return list
}

// probe is a route with one choice of app and channel, and its body.
type probe struct {
	route        management.Route
	app, channel string
	path, body   string
}

// probes fills a route's places with each app and each channel.
func (w *world) probes(route management.Route) []probe {
	var list []probe
	for _, app := range []string{own, foreign, absent} {
		for _, channel := range []string{"beta", "production"} {
			path := strings.NewReplacer("{app_id}", app, "{id}", "0123456789abcdef01", "{org_id}", "00000000-0000-4000-8000-000000000001", "{name...}", app+"/1.0.0/"+strings.Repeat("a", 64)+".zip").Replace(route.Pattern)
			body := map[string]any{
				"app_id": app, "channel": channel, "version": "9.9.9", "device_id": "00000000-0000-4000-8000-000000000001",
				"version_id": w.ids[foreign+"/1.1.0"], "channel_id": w.ids[app+"/"+channel], "from": "2026-01-01", "to": "2026-01-02",
			}
			if strings.HasPrefix(path, "/rest/") { // the calls of Capgo's command line, whose table names columns
				body["appid"], body["name_version"], body["permission_key"] = app, "1.0.0", "app.read_bundles"
				body["name"], body["storage_provider"], body["external_url"], body["checksum"] = "9.9.9", "external", "https://cdn.example.com/x.zip", "00"
				if route.Method == "GET" {
					path += "?select=*&app_id=eq." + app + "&name=eq." + channel
				}
			}
			if app != absent {
				body["version_id"] = w.ids[app+"/1.1.0"]
			} else {
				body["channel_id"] = 999999
			}
			text, err := json.Marshal(body)
			if err != nil {
				panic(err)
			}
			if strings.Contains(path, "/objects/") || strings.Contains(path, "/tokens") || strings.Contains(path, "?select") {
				text = nil
			}
			list = append(list, probe{route, app, channel, path, string(text)})
			if route.Channel == 0 {
				break // the channel makes no difference
			}
		}
	}
	return list
}

// refusedWith is what a Capgo client hears from a route that its key does not
// reach: the status and code of the backend of 12.201.7. Routes that are not here
// are the server's own and answer 403.
var refusedWith = map[string]struct {
	status int
	code   string
}{
	"POST /app": {403, "cannot_access_organization"}, "GET /app/{app_id}": {401, "cannot_access_app"}, "PUT /app/{app_id}": {401, "cannot_access_app"}, "DELETE /app/{app_id}": {400, "cannot_delete_app"},
	"GET /bundle": {400, "cannot_get_bundle"}, "POST /bundle": {400, "cannot_create_bundle"}, "PUT /bundle": {400, "cannot_access_app"}, "DELETE /bundle": {400, "cannot_delete_bundle"},
	"POST /bundle/metadata": {400, "cannot_update_bundle_metadata"}, "GET /bundle/metadata": {400, "cannot_access_app"},
	"GET /channel": {400, "cannot_access_app"}, "POST /channel": {400, "cannot_access_app"}, "DELETE /channel": {400, "cannot_access_app"},
	"GET /device": {400, "cannot_access_app"}, "POST /device": {400, "cannot_access_app"}, "DELETE /device": {400, "cannot_access_app"},
	"GET /statistics/app/{app_id}": {401, "no_access_to_app"}, "GET /statistics/app/{app_id}/bundle_usage": {401, "no_access_to_app"}, "GET /statistics/app/{app_id}/native_usage": {401, "no_access_to_app"},
	"GET /statistics/org/{org_id}": {401, "no_access_to_organization"}, "GET /statistics/user": {401, "no_organizations_found"},
}

// heard is what a credential hears of a refusal of scope or reach, as the
// server's own code: 403 and one of the three, where the answer is that of
// refusedWith.
func heard(route management.Route, status int, problem capgo.APIError) (int, string) {
	want, capgos := refusedWith[route.Method+" "+route.Pattern]
	if !capgos {
		return status, problem.Error
	}
	own, _ := problem.MoreInfo[capgo.OwnCode].(string)
	if own == "" {
		own = problem.Error
	}
	switch own {
	case "insufficient_scope", "cannot_access_app", "cannot_access_channel":
	case "no_access_to_organization": // none of its apps is the token's
		return http.StatusOK, ""
	default:
		return status, problem.Error
	}
	if route.Pattern == "/device" && own == "cannot_access_channel" {
		want.code = own
	}
	if status != want.status || problem.Error != want.code {
		return status, "not as Capgo's: " + problem.Error
	}
	return http.StatusForbidden, own
}

// expected says how far a credential gets: to the door (401), to a refusal of
// scope or reach (403, see heard), or inside.
func expected(c credential, p probe) int {
	if p.route.Scope == "" {
		return 0
	}
	if !c.valid {
		return http.StatusUnauthorized
	}
	rank := map[capgo.TokenScope]int{capgo.ScopeRead: 1, capgo.ScopeUpload: 2, capgo.ScopePromote: 3, capgo.ScopeAdmin: 4}
	if rank[c.scope] < rank[p.route.Scope] {
		return http.StatusForbidden
	}
	named := p.route.Reach()
	if c.apps && named.App && p.app != own {
		return http.StatusForbidden
	}
	if c.limit && named.WholeApp {
		return http.StatusForbidden
	}
	if c.limit && named.Channel && p.channel != "beta" {
		return http.StatusForbidden
	}
	if c.limit && named.ChannelID && p.app == absent {
		return http.StatusForbidden // an id that leads nowhere is not told from one that is not theirs
	}
	return 0
}

// everyRoute is the table and what only Capgo's command line calls.
func (w *world) everyRoute() []management.Route {
	return slices.Concat(w.API().Routes(), w.API().CLIRoutes())
}

// Every route with every kind of credential, on an app that is the token's, on
// one that is not and on one that does not exist, on either channel.
func TestRoutesByCredentials(t *testing.T) {
	w := newWorld(t)
	cells := 0
	for _, route := range w.everyRoute() {
		if route.Method == "DELETE" && route.Pattern == "/app/{app_id}" || route.Method == "DELETE" && route.Pattern == "/channel" {
			// Destroys what the other cells need: see TestDestructiveRoutes.
			continue
		}
		for _, p := range w.probes(route) {
			for _, c := range w.credentials {
				if _, err := w.Store().App(t.Context(), absent); err == nil { // POST /app made it
					if err := w.Store().DeleteApp(t.Context(), "test", absent); err != nil {
						t.Fatal(err)
					}
				}
				cells++
				status, code := w.try(t, c, p)
				want := expected(c, p)
				switch {
				case want == http.StatusUnauthorized && (status != want || code != "no_key_provided" && code != "no_jwt_apikey_or_subkey" && code != "invalid_apikey"),
					want == http.StatusForbidden && (status != want || code != "insufficient_scope" && code != "cannot_access_app" && code != "cannot_access_channel"),
					want == 0 && (status == http.StatusUnauthorized || status == http.StatusForbidden && code != "token_not_subset" || status >= 500):
					t.Errorf("%s %s (%s, %s) with %q: %d %s, want %d", route.Method, route.Pattern, p.app, p.channel, c.name, status, code, want)
				}
			}
		}
	}
	t.Logf("%d routes, %d cells", len(w.everyRoute()), cells)
	if cells < 1500 {
		t.Errorf("only %d cells", cells)
	}
}

// The second name under which Capgo's command line calls the REST API lets in
// no one whom the first refuses.
func TestAliasesByCredentials(t *testing.T) {
	w := newWorld(t)
	cells := 0
	for _, route := range w.API().Routes() {
		for _, p := range w.probes(route) {
			if p.app != foreign {
				continue
			}
			p.path = "/functions/v1" + p.path
			for _, c := range w.credentials {
				want := expected(c, p)
				if want == 0 {
					continue // gets in, as it does by the first name
				}
				cells++
				if status, code := w.try(t, c, p); status != want {
					t.Errorf("%s %s with %q: %d %s, want %d", route.Method, p.path, c.name, status, code, want)
				}
			}
		}
	}
	t.Logf("%d cells", cells)
}

// The two routes that end an app or a channel: every credential that must not
// get in, then the one that may.
func TestDestructiveRoutes(t *testing.T) {
	w := newWorld(t)
	for _, route := range w.API().Routes() {
		if route.Method != "DELETE" || route.Pattern != "/app/{app_id}" && route.Pattern != "/channel" {
			continue
		}
		for _, p := range w.probes(route) {
			for _, c := range w.credentials {
				if want := expected(c, p); want != 0 {
					if status, code := w.try(t, c, p); status != want {
						t.Errorf("%s %s (%s) with %q: %d %s, want %d", route.Method, route.Pattern, p.app, c.name, status, code, want)
					}
				}
			}
		}
	}
	w.must(t, "DELETE", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"beta"}`, own))
	w.must(t, "DELETE", "/app/"+own, "")
}

func (w *world) try(t *testing.T, c credential, p probe) (status int, code string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), p.route.Method, w.BaseURL+p.path, strings.NewReader(p.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.secret != "" {
		header := c.header
		if header == "" {
			header = "capgkey"
		}
		r.Header.Set(header, c.secret)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", p.route.Method, p.path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var problem capgo.APIError
	_ = json.Unmarshal(text, &problem) // a success is no problem
	if p.route.Method == "HEAD" {
		problem.Error = map[int]string{401: "invalid_apikey", 403: "cannot_access_app"}[answer.StatusCode]
	}
	return heard(p.route, answer.StatusCode, problem)
}

// A refusal does not say whether what it refuses exists.
func TestRefusalsDoNotTell(t *testing.T) {
	w := newWorld(t)
	var limited credential
	for _, c := range w.credentials {
		if c.scope == capgo.ScopeAdmin && c.apps && !c.limit && c.header == "" {
			limited = c
		}
	}
	for _, route := range w.everyRoute() {
		if !route.Reach().App {
			continue
		}
		var answers []string
		for _, p := range w.probes(route) {
			if p.app == own {
				continue
			}
			r, err := http.NewRequestWithContext(t.Context(), route.Method, w.BaseURL+p.path, strings.NewReader(p.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("capgkey", limited.secret)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, fmt.Sprint(answer.StatusCode, string(text)))
		}
		for _, a := range answers {
			if a != answers[0] {
				t.Errorf("%s %s tells an app that exists from one that does not:\n%s\n%s", route.Method, route.Pattern, answers[0], a)
			}
		}
	}
}
