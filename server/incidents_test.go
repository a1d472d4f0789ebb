package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/internal/servertest"
	"capstan/server"
	"capstan/server/store"
)

// What went wrong on other update servers, in public, one test each: the
// advisories on Capgo's backend of June 2026 by their CVE number.

const (
	mine   = "com.example.mine"
	theirs = "com.example.theirs"
)

func startWithApps(t *testing.T, change ...func(*server.Config)) *servertest.Server {
	t.Helper()
	s := servertest.Start(t, change...)
	for _, app := range []string{mine, theirs} {
		post(t, s, "/app", `{"app_id":"`+app+`"}`)
	}
	return s
}

func call(t *testing.T, s *servertest.Server, token, method, path, body string) (int, string) {
	t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("capgkey", token)
	}
	status, text := s.Do(t, method, path, strings.NewReader(body), header)
	return status, string(text)
}

func post(t *testing.T, s *servertest.Server, path, body string) string {
	t.Helper()
	status, text := call(t, s, "", "POST", path, body)
	if status/100 != 2 {
		t.Fatalf("POST %s: %d %s", path, status, text)
	}
	return text
}

func mint(t *testing.T, s *servertest.Server, token capgo.Token) capgo.Token {
	t.Helper()
	if token.Name == "" {
		token.Name = "minted"
	}
	made, err := s.Store().CreateToken(t.Context(), "test", "", token)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func bundleID(t *testing.T, s *servertest.Server, app, version string) int64 {
	t.Helper()
	text := post(t, s, "/bundle", fmt.Sprintf(`{"app_id":%q,"version":%q,"external_url":"https://cdn.example.com/x.zip","checksum":"00"}`, app, version))
	var answer struct{ Bundle capgo.Bundle }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Bundle.ID
}

func channelID(t *testing.T, s *servertest.Server, app, name string) int64 {
	t.Helper()
	post(t, s, "/channel", fmt.Sprintf(`{"app_id":%q,"channel":%q}`, app, name))
	c, err := s.Store().Channel(t.Context(), app, name)
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// The client chose the value of the key that it was given.
func TestCVE2026_56237_SecretsAreTheServers(t *testing.T) {
	s := servertest.Start(t)
	for _, field := range []string{"secret", "key", "hash", "token", "parent"} {
		status, text := call(t, s, "", "POST", "/capstan/v1/tokens", `{"name":"x","scope":"read","`+field+`":"chosen"}`)
		if status != http.StatusBadRequest || !strings.Contains(text, "unknown_field") {
			t.Errorf("%s: %d %s", field, status, text)
		}
	}
	status, text := call(t, s, "", "POST", "/capstan/v1/tokens", `{"name":"x","scope":"read","id":"chosen"}`)
	if status != http.StatusCreated || strings.Contains(text, `"id":"chosen"`) {
		t.Errorf("%d %s", status, text)
	}
}

// A limited key made one without limits. Every pair of scope and limits.
func TestCVE2026_56216_TokensMintSubsets(t *testing.T) {
	s := startWithApps(t)
	scopes := []capgo.TokenScope{capgo.ScopeRead, capgo.ScopeUpload, capgo.ScopePromote, capgo.ScopeAdmin}
	limits := [][2][]string{{nil, nil}, {{mine}, nil}, {nil, {"beta"}}, {{mine}, {"beta"}}, {{mine, theirs}, nil}, {nil, {"beta", "production"}}, {{mine, theirs}, {"beta", "production"}}}
	within := func(a, b []string) bool {
		if len(b) == 0 {
			return true
		}
		for _, v := range a {
			if !strings.Contains(strings.Join(b, "|")+"|", v+"|") {
				return false
			}
		}
		return len(a) > 0
	}
	pairs := 0
	for _, has := range limits {
		minter := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin, Apps: has[0], Channels: has[1]})
		for _, scope := range scopes {
			for _, asks := range limits {
				pairs++
				want := http.StatusForbidden
				if within(asks[0], has[0]) && within(asks[1], has[1]) {
					want = http.StatusCreated
				}
				body, err := json.Marshal(map[string]any{"name": "child", "scope": scope, "apps": asks[0], "channels": asks[1]})
				if err != nil {
					t.Fatal(err)
				}
				if status, text := call(t, s, minter.Secret, "POST", "/capstan/v1/tokens", string(body)); status != want {
					t.Errorf("%v mints %s %v: %d %s, want %d", has, scope, asks, status, text, want)
				}
			}
		}
		// An empty list is not "no limit".
		for _, body := range []string{`{"name":"x","scope":"read","apps":[]}`, `{"name":"x","scope":"read","channels":[]}`, `{"name":"x","scope":"read","apps":[""]}`} {
			if status, text := call(t, s, minter.Secret, "POST", "/capstan/v1/tokens", body); status != http.StatusBadRequest {
				t.Errorf("%v with %s: %d %s", has, body, status, text)
			}
		}
	}
	for _, scope := range scopes[:3] { // only admins mint
		weak := mint(t, s, capgo.Token{Scope: scope})
		if status, _ := call(t, s, weak.Secret, "POST", "/capstan/v1/tokens", `{"name":"x","scope":"read"}`); status != http.StatusForbidden {
			t.Errorf("a token of scope %s mints: %d", scope, status)
		}
	}
	if pairs < 64 {
		t.Errorf("%d pairs", pairs)
	}
}

// A key limited to an app managed its owner's other keys.
func TestCVE2026_56225_TokensManageSubsets(t *testing.T) {
	s := startWithApps(t)
	limited := mint(t, s, capgo.Token{Name: "limited", Scope: capgo.ScopeAdmin, Apps: []string{mine}})
	others := []capgo.Token{
		mint(t, s, capgo.Token{Name: "unlimited reader", Scope: capgo.ScopeRead}), mint(t, s, capgo.Token{Name: "of another app", Scope: capgo.ScopeRead, Apps: []string{theirs}}),
		mint(t, s, capgo.Token{Name: "of both", Scope: capgo.ScopeRead, Apps: []string{mine, theirs}}),
	}
	below := mint(t, s, capgo.Token{Name: "below", Scope: capgo.ScopeRead, Apps: []string{mine}})
	_, list := call(t, s, limited.Secret, "GET", "/capstan/v1/tokens", "")
	for _, o := range others {
		if strings.Contains(list, o.ID) {
			t.Errorf("a limited token sees %q", o.Name)
		}
		status, text := call(t, s, limited.Secret, "DELETE", "/capstan/v1/tokens/"+o.ID, "")
		none, noneText := call(t, s, limited.Secret, "DELETE", "/capstan/v1/tokens/000000000000000000", "")
		if status != none || text != noneText || status != http.StatusNotFound {
			t.Errorf("revoking %q: %d %s; a token that is not there: %d %s", o.Name, status, text, none, noneText)
		}
		if status, _ := call(t, s, o.Secret, "GET", "/app/"+map[bool]string{true: theirs, false: mine}[strings.Contains(o.Name, "another")], ""); status != http.StatusOK {
			t.Errorf("%q is revoked: %d", o.Name, status)
		}
	}
	if !strings.Contains(list, below.ID) {
		t.Error("a limited token does not see what it could have made")
	}
	if status, text := call(t, s, limited.Secret, "DELETE", "/capstan/v1/tokens/"+below.ID, ""); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
}

// Keys in plain text were kept and taken on a second way in.
func TestCVE2026_56243_NoSecretOnDisk(t *testing.T) {
	s := servertest.Start(t)
	token := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin})
	if status, _ := call(t, s, token.Secret, "GET", "/app", ""); status != http.StatusOK {
		t.Fatal(status)
	}
	err := filepath.Walk(s.DataDir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", filepath.Base(path), info.Mode())
		}
		text, err := os.ReadFile(path)
		for _, secret := range []string{token.Secret, s.Token, token.Secret[len(token.Secret)-64:]} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds a token", filepath.Base(path))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Secrets could be read with a key of low privilege (56244 and 56079).
func TestCVE2026_56244_NoSecretInAnyAnswer(t *testing.T) {
	s := startWithApps(t)
	token := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin})
	for _, scope := range []capgo.TokenScope{capgo.ScopeRead, capgo.ScopeUpload, capgo.ScopePromote} {
		if status, text := call(t, s, mint(t, s, capgo.Token{Scope: scope}).Secret, "GET", "/capstan/v1/tokens", ""); status != http.StatusForbidden {
			t.Errorf("a token of scope %s lists tokens: %d %s", scope, status, text)
		}
	}
	for _, route := range slices.Concat(s.API().Routes(), s.API().CLIRoutes()) {
		if route.Method != "GET" {
			continue
		}
		path := strings.NewReplacer("{app_id}", mine, "{id}", token.ID).Replace(route.Pattern) + "?app_id=" + mine + "&from=2026-01-01&to=2026-01-02&version_id=1"
		_, text := call(t, s, token.Secret, "GET", path, "")
		for _, hidden := range []string{token.Secret, token.Secret[len(token.Secret)-64:], `"secret"`, `"hash"`} {
			if strings.Contains(text, hidden) {
				t.Errorf("GET %s says %s", route.Pattern, hidden)
			}
		}
	}
}

// The id of another tenant's row was taken, because only app_id was checked
// (56222, 56231 and 56229).
func TestCVE2026_56222_IDsOfOtherApps(t *testing.T) {
	s := startWithApps(t)
	myVersion, theirVersion := bundleID(t, s, mine, "1.0.0"), bundleID(t, s, theirs, "6.6.6")
	myChannel, theirChannel := channelID(t, s, mine, "production"), channelID(t, s, theirs, "production")
	channelID(t, s, theirs, "private")
	limited := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin, Apps: []string{mine}})
	for _, token := range []string{limited.Secret, s.Token} {
		for name, c := range map[string][3]string{
			"their bundle on my channel":        {"PUT", "/bundle", fmt.Sprintf(`{"app_id":%q,"version_id":%d,"channel_id":%d}`, mine, theirVersion, myChannel)},
			"my bundle on their channel":        {"PUT", "/bundle", fmt.Sprintf(`{"app_id":%q,"version_id":%d,"channel_id":%d}`, mine, myVersion, theirChannel)},
			"both theirs":                       {"PUT", "/bundle", fmt.Sprintf(`{"app_id":%q,"version_id":%d,"channel_id":%d}`, mine, theirVersion, theirChannel)},
			"their bundle as rollout":           {"POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"production","rolloutVersion":%d}`, mine, theirVersion)},
			"their bundle's metadata":           {"POST", "/bundle/metadata", fmt.Sprintf(`{"app_id":%q,"version_id":%d,"link":"https://evil.example"}`, mine, theirVersion)},
			"reading their metadata":            {"GET", fmt.Sprintf("/bundle/metadata?app_id=%s&version_id=%d", mine, theirVersion), ""},
			"their bundle by name":              {"POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"production","version":"6.6.6"}`, mine)},
			"deleting their bundle by its name": {"DELETE", "/bundle", fmt.Sprintf(`{"app_id":%q,"version":"6.6.6"}`, mine)},
		} {
			if status, text := call(t, s, token, c[0], c[1], c[2]); status/100 != 4 {
				t.Errorf("%s: %d %s", name, status, text)
			}
		}
	}
	b, err := s.Store().Bundles(t.Context(), store.BundleFilter{AppID: theirs})
	if err != nil || len(b) != 1 || b[0].Link != "" {
		t.Errorf("their bundle was changed: %+v %v", b, err)
	}
	// Every other route that takes an id or a name of a row, with those of the
	// other app.
	device := "00000000-0000-4000-8000-000000000001"
	for name, c := range map[string][3]string{
		"their channel forced on my device":       {"POST", "/device", fmt.Sprintf(`{"app_id":%q,"device_id":%q,"channel":"private"}`, mine, device)},
		"their bundle planned on my channel":      {"PUT", "/capstan/v1/schedule", fmt.Sprintf(`{"app_id":%q,"channel":"production","version":"6.6.6","at":"2030-01-01T00:00:00Z"}`, mine)},
		"a plan of their channel":                 {"DELETE", "/capstan/v1/schedule", fmt.Sprintf(`{"app_id":%q,"channel":"private"}`, mine)},
		"deleting their channel":                  {"DELETE", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"private"}`, mine)},
		"their channel's settings by name":        {"GET", "/channel?app_id=" + mine + "&channel=private", ""},
		"their bundle for one of my platforms":    {"POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"production","platform_versions":{"ios":"6.6.6"}}`, mine)},
		"an entry of their ledger":                {"GET", fmt.Sprintf("/capstan/v1/ledger/receipt?app_id=%s&id=%d", mine, entryOf(t, s, theirs)), ""},
		"an entry of their ledger under its name": {"GET", fmt.Sprintf("/capstan/v1/ledger/receipt?app_id=%s&id=%d", theirs, entryOf(t, s, theirs)), ""},
	} {
		if status, text := call(t, s, limited.Secret, c[0], c[1], c[2]); status/100 != 4 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if _, text := call(t, s, limited.Secret, "POST", "/rest/v1/rpc/exist_app_versions", fmt.Sprintf(`{"appid":%q,"name_version":"6.6.6"}`, mine)); text != "false" {
		t.Errorf("the Capgo CLI's table finds another app's bundle: %s", text)
	}
	// The list by id stays within the app.
	if _, text := call(t, s, "", "GET", fmt.Sprintf("/bundle?app_id=%s&id=%d", mine, theirVersion), ""); text != "[]" {
		t.Error(text)
	}
	// Objects are named by app.
	name := theirs + "/1.0.0/" + strings.Repeat("a", 64) + ".zip"
	for _, method := range []string{"PUT", "HEAD", "DELETE"} {
		if status, _ := call(t, s, limited.Secret, method, "/capstan/v1/objects/"+name, "x"); status != http.StatusForbidden {
			t.Errorf("%s of another app's object: %d", method, status)
		}
	}
}

// entryOf gives the id of an entry of the audit that speaks of an app.
func entryOf(t *testing.T, s *servertest.Server, app string) int64 {
	t.Helper()
	list, err := s.Store().Changes(t.Context(), store.ChangeFilter{AppID: app, Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	return list[0].ID
}

// A limit by device_id, which the client chooses, let one client fill a table.
func TestCVE2026_56324_LimitsByAddress(t *testing.T) {
	s := startWithApps(t, func(c *server.Config) {
		c.TrustedProxies = []string{"127.0.0.0/8"}
		c.Rates = server.Rates{Channel: 50, Stats: 50}
		c.Limits = store.Limits{DevicesPerApp: 100, SelfSetPerApp: 20}
	})
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"beta","allow_device_self_set":true}`)
	heard := map[int]int{}
	for i := range 10_000 {
		header := http.Header{"X-Forwarded-For": {"203.0.113.7"}}
		body := fmt.Sprintf(`{"app_id":%q,"device_id":"%08d-0000-4000-8000-000000000000","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"6.0.0","is_prod":true,"is_emulator":false,"channel":"beta"}`, mine, i)
		status, _ := s.Do(t, "POST", "/channel_self", strings.NewReader(body), header)
		heard[status]++
	}
	snapshot, err := s.Store().Snapshot(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	if len(snapshot.SelfSet) > 20 || heard[http.StatusTooManyRequests] < 9_000 {
		t.Errorf("%d rows; answers %v", len(snapshot.SelfSet), heard)
	}
	// Another address is not made to pay for it.
	body := fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000000","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.0.0","is_prod":true,"is_emulator":false,"channel":"beta"}`, mine)
	if status, text := s.Do(t, "POST", "/channel_self", strings.NewReader(body), http.Header{"X-Forwarded-For": {"203.0.113.8"}}); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	// A forged hop before the proxy's own does not help.
	if status, _ := s.Do(t, "POST", "/channel_self", strings.NewReader(body), http.Header{"X-Forwarded-For": {"198.51.100.1, 203.0.113.7"}}); status != http.StatusTooManyRequests {
		t.Errorf("a forged address got %d", status)
	}
}

// Different answers told private channels and apps from those that are not
// there, and one route to read needed no key (56323, 56319 and 56321).
func TestCVE2026_56323_DevicesCannotEnumerate(t *testing.T) {
	s := startWithApps(t)
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"secret"}`)
	ask := func(channel string) string {
		body := fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false,"defaultChannel":%q}`, mine, channel)
		status, text := call(t, s, "", "POST", "/updates", body)
		return fmt.Sprint(status, text)
	}
	if a, b := ask("secret"), ask("nosuch"); a != b {
		t.Errorf("a private channel answers %s, none answers %s", a, b)
	}
	// Operators' tokens of one app cannot tell another app from none: see also
	// TestRefusalsDoNotTell of package management, which asks every route.
	limited := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin, Apps: []string{mine}})
	look := func(app string) string {
		status, text := call(t, s, limited.Secret, "GET", "/channel?app_id="+app, "")
		return fmt.Sprint(status, text)
	}
	if a, b := look(theirs), look("com.example.nosuch"); a != b {
		t.Errorf("another app answers %s, none answers %s", a, b)
	}
	for _, route := range s.API().Routes() {
		if route.Scope == "" && route.Pattern != "/capstan/v1/about" {
			t.Errorf("%s %s needs no token", route.Method, route.Pattern)
		}
	}
}

// A deleted bundle was still offered: the property is tested on the store; here
// that the route refuses to leave a channel without its bundle.
func TestCVE2026_56314_DeletedBundles(t *testing.T) {
	s := startWithApps(t)
	bundleID(t, s, mine, "1.1.0")
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"production","public":true,"version":"1.1.0","disableAutoUpdate":"none"}`)
	if status, text := call(t, s, "", "DELETE", "/bundle", `{"app_id":"`+mine+`","version":"1.1.0"}`); status != http.StatusBadRequest || !strings.Contains(text, "cannot_delete_linked_version") {
		t.Errorf("%d %s", status, text)
	}
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"production","version":null}`)
	if status, text := call(t, s, "", "DELETE", "/bundle", `{"app_id":"`+mine+`","version":"1.1.0"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	_, text := call(t, s, "", "POST", "/updates", fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`, mine))
	if strings.Contains(text, "1.1.0") {
		t.Error(text)
	}
	if status, text := call(t, s, "", "POST", "/channel", `{"app_id":"`+mine+`","channel":"production","version":"1.1.0"}`); status/100 != 4 {
		t.Errorf("a deleted bundle goes on a channel: %d %s", status, text)
	}
}

// An underscore in an app id was a wildcard.
func TestCVE2026_56325_NoWildcards(t *testing.T) {
	s := startWithApps(t)
	limited := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin, Apps: []string{"com.example.min_"}})
	for _, id := range []string{"com.example.min_", "com.example._ine", "com_example_mine", "com.example.%25", "com.example.mine%5C", "COM.EXAMPLE.MINE"} {
		if status, text := call(t, s, "", "GET", "/app/"+id, ""); status == http.StatusOK {
			t.Errorf("%s finds %s", id, text)
		}
	}
	if status, _ := call(t, s, limited.Secret, "GET", "/app/"+mine, ""); status != http.StatusUnauthorized {
		t.Errorf("a limit with an underscore reaches another app: %d", status)
	}
}

// A webhook reached the server's own network. This server fetches nothing that
// it is told of; the addresses it takes are for devices.
func TestCVE2026_56227_NoRequestsOfItsOwn(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var reached atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			conn.Close()
		}
	}()
	s := startWithApps(t)
	body := func(url string) string {
		return fmt.Sprintf(`{"app_id":%q,"version":"1.0.0","external_url":%q,"checksum":"00"}`, mine, url)
	}
	if status, text := call(t, s, "", "POST", "/bundle", body("http://"+listener.Addr().String()+"/x.zip")); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	time.Sleep(50 * time.Millisecond)
	if reached.Load() != 0 {
		t.Error("the server fetched an address that it was told of")
	}
	for _, url := range []string{
		"http://169.254.169.254/latest", "http://10.0.0.1/x", "http://192.168.1.1/x", "http://172.16.0.1/x", "http://0.0.0.0/x", "http://[fe80::1]/x", "http://metadata/x",
		"http://127.0.0.1.evil.example/x", "http://localhost.evil.example/x", "http://127.0.0.1@evil.example/x", "http://evil.example#@127.0.0.1/", "http://2130706433/x",
		"http://0x7f000001/x", "http://cdn.example.com/x.zip", "ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1/x", "javascript:alert(1)", "data:text/html,x",
		"//cdn.example.com/x", "cdn.example.com/x", "https://", "https://user:pass@cdn.example.com/x", "https:cdn.example.com", " https://cdn.example.com/x", "https://cdn.example.com/x#y",
		"HTTPS//x", "https://exa mple.com/x", "", "null",
	} {
		if status, text := call(t, s, "", "POST", "/bundle", strings.Replace(body(url), "1.0.0", "2.0.0", 1)); status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", url, status, text)
		}
	}
}

// Keys without an end got around the policy on some routes.
func TestCVE2026_56295_TokensDoNotOutliveTheirMinter(t *testing.T) {
	s := servertest.Start(t)
	until := time.Now().Add(time.Hour)
	minter := mint(t, s, capgo.Token{Scope: capgo.ScopeAdmin, ExpiresAt: &until})
	for body, want := range map[string]int{
		`{"name":"x","scope":"read"}`:                   http.StatusForbidden,
		`{"name":"x","scope":"read","expires_at":null}`: http.StatusForbidden,
		`{"name":"x","scope":"read","expires_at":"` + until.Add(time.Minute).UTC().Format(time.RFC3339) + `"}`:  http.StatusForbidden,
		`{"name":"x","scope":"read","expires_at":"` + until.Add(-time.Minute).UTC().Format(time.RFC3339) + `"}`: http.StatusCreated,
		`{"name":"x","scope":"read","expires_at":"2001-01-01T00:00:00Z"}`:                                       http.StatusBadRequest,
		`{"name":"x","scope":"read","expires_at":"9999-01-01T00:00:00Z"}`:                                       http.StatusBadRequest,
	} {
		if status, text := call(t, s, minter.Secret, "POST", "/capstan/v1/tokens", body); status != want {
			t.Errorf("%s: %d %s, want %d", body, status, text, want)
		}
	}
}

// Anybody could make apps without end.
func TestCVE2026_56255_NothingIsMadeAnonymously(t *testing.T) {
	s := servertest.Start(t)
	for _, route := range s.API().Routes() {
		if route.Scope == "" {
			continue
		}
		path := strings.NewReplacer("{app_id}", mine, "{id}", "x", "{name...}", mine+"/a/b.zip").Replace(route.Pattern)
		r, err := http.NewRequestWithContext(t.Context(), route.Method, s.BaseURL+path, strings.NewReader(`{"app_id":"`+mine+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d", route.Method, route.Pattern, answer.StatusCode)
		}
	}
}

// A setting of 10^9 locked everybody out.
func TestCVE2026_56228_NumbersAreBounded(t *testing.T) {
	s := startWithApps(t)
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"beta"}`)
	for _, field := range []string{
		"rolloutPercentage", "rolloutPercentageBps", "rolloutCacheTtlSeconds", "autoPauseWindowMinutes", "autoPauseFailureRateBps", "autoPauseConfidence",
		"autoPauseMinAttempts", "autoPauseMinFailures", "autoPauseCooldownMinutes", "expected_revision",
	} {
		for _, value := range []string{"-1", "1e18", "1e400", `"x"`, "[]", "{}", "true", `"NaN"`, "99999999999999999999"} {
			status, text := call(t, s, "", "POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"beta",%q:%s}`, mine, field, value))
			if status != http.StatusBadRequest {
				t.Errorf("%s %s: %d %s", field, value, status, text)
			}
		}
	}
	for _, value := range []string{"0", "-1", "63113904", "1e18"} {
		if status, text := call(t, s, "", "PUT", "/app/"+mine, `{"retention":`+value+`}`); status != http.StatusBadRequest {
			t.Errorf("retention %s: %d %s", value, status, text)
		}
	}
	for _, path := range []string{"/bundle?app_id=" + mine + "&page=-1", "/bundle?app_id=" + mine + "&page=1e18", "/device?app_id=" + mine + "&limit=100000", "/app?limit=0&page=1"} {
		if status, text := call(t, s, "", "GET", path, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, text := call(t, s, "", "GET", "/statistics/app/"+mine+"?from=0001-01-01&to=9999-01-01", ""); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, text)
	}
}

// A second factor was asked for by the page, not by the server. Here: what a
// token may not do it cannot do by any route to the same end.
func TestCVE2026_56256_NoWayAround(t *testing.T) {
	s := startWithApps(t)
	v1, v2 := bundleID(t, s, mine, "1.0.0"), bundleID(t, s, mine, "1.1.0")
	id := channelID(t, s, mine, "production")
	_ = v1
	for _, scope := range []capgo.TokenScope{capgo.ScopeRead, capgo.ScopeUpload} {
		token := mint(t, s, capgo.Token{Scope: scope})
		for _, c := range [][3]string{
			{"POST", "/channel", `{"app_id":"` + mine + `","channel":"production","version":"1.1.0"}`},
			{"POST", "/channel/", `{"app_id":"` + mine + `","channel":"production","version":"1.1.0"}`},
			{"POST", "/channel?app_id=" + mine + "&channel=production&version=1.1.0", ""},
			{"PUT", "/bundle", fmt.Sprintf(`{"app_id":%q,"version_id":%d,"channel_id":%d}`, mine, v2, id)},
			{"PUT", fmt.Sprintf("/bundle?app_id=%s&version_id=%d&channel_id=%d", mine, v2, id), ""},
			{"POST", "/device", `{"app_id":"` + mine + `","device_id":"00000000-0000-4000-8000-000000000001","channel":"production"}`},
		} {
			if status, text := call(t, s, token.Secret, c[0], c[1], c[2]); status != http.StatusBadRequest || !strings.Contains(text, `"capstan_code":"insufficient_scope"`) {
				t.Errorf("%s with %s %s: %d %s", scope, c[0], c[1], status, text)
			}
		}
	}
	c, err := s.Store().Channel(t.Context(), mine, "production")
	if err != nil || c.Version != nil {
		t.Errorf("%+v %v", c.Version, err)
	}
}

// Accounts, single sign-on and one-time codes failed in four ways (53868, 56081,
// 56223 and 56338). There are none: a token is the only thing that a caller can be.
func TestCVE2026_53868_NoAccounts(t *testing.T) {
	s := servertest.Start(t)
	for _, path := range []string{"/login", "/user", "/auth/v1/token", "/rest/v1/apps", "/rest/v1/users", "/rest/v1/apikeys", "/functions/v1/login", "/private/users", "/organization", "/apikey", "/webhooks", "/admin", "/debug/pprof/", "/metrics"} {
		for _, method := range []string{"GET", "POST"} {
			if status, text := call(t, s, "", method, path, "{}"); status != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, path, status, text)
			}
		}
	}
	// The names under which the Capgo CLI asks take a token like any other route.
	for _, path := range []string{"/rest/v1/app_versions", "/rest/v1/channels", "/functions/v1/bundle", "/rest/v1/rpc/get_app_versions"} {
		method := "POST"
		if path == "/rest/v1/channels" {
			method = "GET"
		}
		if status, text := call(t, s, "none", method, path, `{"app_id":"`+mine+`"}`); status != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d %s", method, path, status, text)
		}
	}
	// A cookie or a query is no credential.
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.BaseURL+"/app?capgkey="+s.Token+"&apikey="+s.Token, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", "capgkey="+s.Token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d", answer.StatusCode)
	}
}
