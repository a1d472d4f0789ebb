package remote_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/remotetest"
)

const (
	key   = "5f1c9d1e-key-of-the-test"
	appID = "com.example.app"
)

func noPause(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func newClient(t *testing.T, baseURL, token string) *remote.Client {
	t.Helper()
	c, err := remote.New(remote.Config{BaseURL: baseURL, Token: remote.NewToken(token), Pause: noPause})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCapgo(t *testing.T) (*remotetest.Capgo, *remote.Client) {
	t.Helper()
	service := remotetest.NewCapgo(key)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	return service, newClient(t, server.URL, key)
}

func TestConformanceCapgo(t *testing.T) {
	services := map[*remote.Client]*remotetest.Capgo{}
	remotetest.Run(t, remotetest.Target{
		Client: func(t *testing.T) *remote.Client {
			service, c := newCapgo(t)
			services[c] = service
			return c
		},
		Stranger: func(t *testing.T) *remote.Client {
			_, c := newCapgo(t)
			return newClient(t, c.BaseURL(), "not-the-key")
		},
		See: func(_ *testing.T, c *remote.Client, appID string, d capgo.Device) { services[c].See(appID, d) },
	})
}

// TestOverlappingPages: whatever the number of bundles, each is listed once, in
// order, and in few requests.
func TestOverlappingPages(t *testing.T) {
	for _, n := range []int{0, 1, 49, 50, 51, 99, 100, 101, 149, 499, 500, 549, 550, 551, 600, 1500, 2600} {
		service, c := newCapgo(t)
		service.Seed(appID, n)
		rows, err := c.Bundles(t.Context(), appID)
		if err != nil || len(rows) != n {
			t.Errorf("%d bundles are listed as %d, %v", n, len(rows), err)
			continue
		}
		for i, row := range rows {
			if want := fmt.Sprintf("1.0.%d", n-1-i); row.Name != want {
				t.Errorf("of %d bundles, row %d is %s, want %s", n, i, row.Name, want)
				break
			}
		}
		if asked := service.Count("GET /bundle"); asked > 6 {
			t.Errorf("%d bundles took %d requests", n, asked)
		}
	}
}

// TestListThatNeverEnds: a server that ignores the page number, or that never
// runs out, ends in rows or an error, not in a loop.
func TestListThatNeverEnds(t *testing.T) {
	row := func(i int) string { return fmt.Sprintf(`{"id":%d,"name":"1.0.%d"}`, i, i) }
	same := make([]string, 60)
	for i := range same {
		same[i] = row(i)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "["+strings.Join(same, ",")+"]")
	}))
	defer server.Close()
	if rows, err := newClient(t, server.URL, key).Bundles(t.Context(), appID); err != nil || len(rows) != 60 {
		t.Errorf("a server that ignores pages gives %d rows, %v", len(rows), err)
	}
	var next atomic.Int64
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fresh := make([]string, 50)
		for i := range fresh {
			fresh[i] = row(int(next.Add(1)))
		}
		_, _ = io.WriteString(w, "["+strings.Join(fresh, ",")+"]")
	}))
	defer endless.Close()
	if _, err := newClient(t, endless.URL, key).Bundles(t.Context(), appID); failure.CodeOf(err) != "list_too_long" {
		t.Errorf("a list without end gives %v", err)
	}
}

func TestDeletionNamesItsVersionTwice(t *testing.T) {
	var query, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		query, body = r.URL.RawQuery, string(b)
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	}))
	defer server.Close()
	if err := newClient(t, server.URL, key).DeleteBundle(t.Context(), appID, "1.0.0+a&b"); err != nil {
		t.Fatal(err)
	}
	if query != "app_id=com.example.app&version=1.0.0%2Ba%26b" || strings.TrimSpace(body) != `{"app_id":"com.example.app","version":"1.0.0+a&b"}` {
		t.Errorf("the deletion was sent as %s with %s", query, body)
	}
}

// TestLostAnswers: the change arrived and its answer did not. A registration is
// recognised by its content; another change says that its outcome is unknown.
func TestLostAnswers(t *testing.T) {
	service, c := newCapgo(t)
	service.Seed(appID, 1)
	b := capgo.NewBundle{AppID: appID, Version: "2.0.0", ExternalURL: "https://cdn.example.com/2.zip", Checksum: strings.Repeat("a", 64)}
	for i, fault := range []remotetest.Fault{
		{Method: "POST", Path: "/bundle", After: true},              // cut after the change
		{Method: "POST", Path: "/bundle", After: true, Status: 502}, // a gateway's answer
	} {
		b.Version = fmt.Sprintf("2.0.%d", i)
		service.Fail(fault)
		row, err := c.RegisterBundle(t.Context(), b)
		if i == 0 && (err != nil || row.Name != b.Version) {
			t.Errorf("a registration whose answer was cut gives %+v, %v", row, err)
		}
		if i == 1 { // the next run of the command finds its own bundle
			if failure.ExitStatus(err) != int(failure.Unavailable) {
				t.Errorf("a registration answered with 502 gives %v", err)
			}
			if row, err := c.RegisterBundle(t.Context(), b); err != nil || row.Name != b.Version {
				t.Errorf("the repeated registration gives %+v, %v", row, err)
			}
		}
	}
	if n := service.Count("POST /bundle"); n != 3 {
		t.Errorf("registrations were sent %d times, want 3", n)
	}
	service.Fail(remotetest.Fault{Method: "POST", Path: "/channel", After: true})
	version := "2.0.0"
	err := c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "production", Version: &version})
	if failure.CodeOf(err) != "outcome_unknown" || failure.ExitStatus(err) != int(failure.Unavailable) {
		t.Errorf("a promotion whose answer was cut gives %v", err)
	}
	if n := service.Count("POST /channel"); n != 1 {
		t.Errorf("a promotion whose answer was cut was sent %d times", n)
	}
}

// TestRetries: reads are repeated a bounded number of times, changes are not,
// except where the server says that it did not look at them.
func TestRetries(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504, 0} {
		service, c := newCapgo(t)
		service.Seed(appID, 3)
		fault := remotetest.Fault{Method: "GET", Path: "/bundle", Status: status, Body: "busy"}
		service.Fail(fault, fault)
		if rows, err := c.Bundles(t.Context(), appID); err != nil || len(rows) != 3 {
			t.Errorf("%d twice, then right: %d rows, %v", status, len(rows), err)
		}
		service.Fail(fault, fault, fault, fault, fault)
		_, err := c.Bundles(t.Context(), appID)
		// net/http repeats a read by itself, once, when a kept connection turns out cut.
		if n := service.Count("GET /bundle"); failure.ExitStatus(err) != int(failure.Unavailable) || n < 3+4 || n > 3+4+1 {
			t.Errorf("%d for good: %d requests, %v", status, service.Count("GET /bundle"), err)
		}
	}
	service, c := newCapgo(t)
	service.Seed(appID, 1)
	service.Fail(remotetest.Fault{Method: "POST", Path: "/channel", Status: 503})
	err := c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "beta"})
	if failure.ExitStatus(err) != int(failure.Unavailable) || service.Count("POST /channel") != 1 {
		t.Errorf("a change answered with 503 was sent %d times, %v", service.Count("POST /channel"), err)
	}
	service.Fail(remotetest.Fault{Method: "POST", Path: "/channel", Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	if err := c.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: appID, Channel: "beta"}); err != nil {
		t.Errorf("a change answered with 429 once gives %v", err)
	}
}

func TestRetryAfterIsHonouredAndBounded(t *testing.T) {
	for header, want := range map[string]time.Duration{"3": 3 * time.Second, "86400": 20 * time.Second, "nonsense": 0, "-5": 0} {
		service := remotetest.NewCapgo(key)
		service.Seed(appID, 1)
		server := httptest.NewServer(service)
		var waited time.Duration
		c, err := remote.New(remote.Config{BaseURL: server.URL, Token: remote.NewToken(key), Pause: func(_ context.Context, d time.Duration) error {
			waited = d
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		service.Fail(remotetest.Fault{Path: "/app", Status: 429, Header: http.Header{"Retry-After": {header}}})
		if _, err := c.Apps(t.Context()); err != nil {
			t.Error(err)
		}
		if want > 0 && waited != want || want == 0 && (waited <= 0 || waited > time.Second) {
			t.Errorf("Retry-After: %s leads to a pause of %s", header, waited)
		}
		server.Close()
	}
}

// TestErrorShapes: what servers and the gateways before them answer becomes a
// class, a code and one clean line.
func TestErrorShapes(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		class  failure.Class
		code   string
		text   string
	}{
		{400, `{"error":"version_already_exists","message":"Version already exists","moreInfo":{}}`, failure.Conflict, "version_already_exists", "Version already exists"},
		{400, `{"error":"cannot_find_version","message":"Cannot find version"}`, failure.NotFound, "cannot_find_version", "Cannot find version"},
		{401, `{"error":"invalid_apikey"}`, failure.NotAuthorised, "invalid_apikey", "Unauthorized"},
		{403, `{"message":"new row violates row-level security","code":"42501"}`, failure.NotAuthorised, "forbidden", "row-level security"},
		{401, `{"msg":"JWT expired"}`, failure.NotAuthorised, "not_authorised", "JWT expired"},
		{402, `{"error":"subscription_required","message":"pay"}`, failure.NotAuthorised, "subscription_required", "pay"},
		{404, `404 page not found`, failure.NotFound, "not_found", "404 page not found"},
		{404, `<html><body>nginx</body></html>`, failure.NotFound, "not_found", "a web page, not the update server"},
		{409, `{"error":"channel_moved","message":"the channel is at revision 7"}`, failure.Conflict, "channel_moved", "revision 7"},
		{412, ``, failure.Conflict, "conflict", "Precondition Failed"},
		{413, ``, failure.Failed, "too_large", "Too Large"},
		{418, `{"error":"I am a teapot, really"}`, failure.Failed, "http_418", "I am a teapot, really"},
		{429, `{"error":"too_many_requests","message":"Too many requests","moreInfo":{"reason":"api_key_rate_limit"}}`, failure.Unavailable, "too_many_requests", "(api_key_rate_limit)"},
		{500, `{"error":"unknown_error","message":"Unknown error","moreInfo":{}}`, failure.Unavailable, "unknown_error", "Unknown error"},
		{503, ``, failure.Unavailable, "http_503", "Service Unavailable"},
		{507, ``, failure.Failed, "storage_full", "Insufficient Storage"},
		{501, ``, failure.Failed, "http_501", "Not Implemented"},
		{400, `{"error":"invalid_rollout_percentage","message":"no"}`, failure.Usage, "invalid_rollout_percentage", "no"},
		{400, `{"error":"encryption_key_mismatch","message":"other key"}`, failure.Verification, "encryption_key_mismatch", "other key"},
		{400, `{"error":{"code":"missing_scope","message":"needs admin"}}`, failure.Usage, "missing_scope", "needs admin"},
		{400, `null`, failure.Failed, "http_400", ""},
		{400, `[1,2]`, failure.Failed, "http_400", "Bad Request"},
		{400, `{"error":5,"message":{"a":1}}`, failure.Failed, "http_400", "Bad Request"},
		{400, "{\"error\":\"x_y\",\"message\":\"red \\u001b[31m and \\u202ebidi\\nline " + key + "\"}", failure.Failed, "x_y", "red [31m and bidi line [secret]"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		_, err := newClient(t, server.URL, key).Channel(t.Context(), appID, "x")
		if test.code == "cannot_find_version" || test.class == failure.NotFound {
			_, err = newClient(t, server.URL, key).App(t.Context(), appID)
		}
		f, ok := failure.Find(err)
		if !ok || f.Class != test.class || f.Code != test.code || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%d %s gives %v (class %v, code %s)", test.status, test.body, err, f.Class, f.Code)
		}
		if err != nil && (strings.Contains(err.Error(), key) || strings.ContainsAny(err.Error(), "\x1b\n\u202e")) {
			t.Errorf("%d: the text is not clean: %q", test.status, err)
		}
		server.Close()
	}
}

// TestEveryStatus: no status from 300 to 599 passes for a success, and each has
// a code and a class.
func TestEveryStatus(t *testing.T) {
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer server.Close()
	c := newClient(t, server.URL, key)
	for s := 300; s < 600; s++ {
		status.Store(int64(s))
		_, err := c.App(t.Context(), appID)
		if f, ok := failure.Find(err); !ok || f.Code == "" || f.Class == 0 {
			t.Errorf("status %d gives %v", s, err)
		}
	}
}

// TestWrongAnswers: a success that is not what was asked for.
func TestWrongAnswers(t *testing.T) {
	zeros := func(n int) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		for range n >> 20 {
			_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
		}
		_ = z.Close()
		return b.Bytes()
	}
	for what, test := range map[string]struct {
		code  string
		serve http.HandlerFunc
	}{
		"a login page": {"answer_malformed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>log in</html>")
		}},
		"nothing":     {"answer_malformed", func(http.ResponseWriter, *http.Request) {}},
		"half":        {"answer_malformed", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[{"app_id":"x"`) }},
		"a number":    {"answer_malformed", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `5`) }},
		"wrong types": {"answer_malformed", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[{"app_id":5}]`) }},
		"a gzip bomb": {"answer_too_large", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zeros(40 << 20))
		}},
		"a short body": {"remote_unreachable", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "500")
			_, _ = io.WriteString(w, `[`)
		}},
		"a huge header": {"remote_unreachable", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Big", strings.Repeat("x", 1<<20)) }},
		"a cut":         {"remote_unreachable", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		server := httptest.NewServer(test.serve)
		_, err := newClient(t, server.URL, key).Apps(t.Context())
		if failure.CodeOf(err) != test.code {
			t.Errorf("%s gives %v (%s), want %s", what, err, failure.CodeOf(err), test.code)
		}
		server.Close()
	}
}

// TestRedirectsAreNotFollowed: the token reaches nobody else.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/x", status)
		}))
		c := newClient(t, server.URL, key)
		_, err := c.Apps(t.Context())
		if failure.CodeOf(err) != "redirected" || !strings.Contains(err.Error(), elsewhere.URL) {
			t.Errorf("%d gives %v", status, err)
		}
		if err := c.CreateApp(t.Context(), appID, ""); failure.CodeOf(err) != "redirected" {
			t.Errorf("%d to a change gives %v", status, err)
		}
		server.Close()
	}
	if reached.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	c := newClient(t, server.URL, key)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Apps(ctx); !errors.Is(err, context.DeadlineExceeded) || failure.ExitStatus(err) != int(failure.Unavailable) {
		t.Errorf("a server that hangs gives %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for baseURL, code := range map[string]string{closed.URL: "remote_unreachable", "https://updates.invalid": "host_unknown"} {
		c := newClient(t, baseURL, key)
		_, err := c.Apps(t.Context())
		if f, ok := failure.Find(err); !ok || f.Class != failure.Unavailable || f.Hint == "" || f.Code != code {
			t.Errorf("%s gives %v (%s)", baseURL, err, failure.CodeOf(err))
		}
		// A change that certainly did not arrive says so.
		if err := c.CreateApp(t.Context(), appID, ""); failure.CodeOf(err) != code {
			t.Errorf("a change at %s gives %v (%s)", baseURL, err, failure.CodeOf(err))
		}
	}
	if c := newClient(t, closed.URL, key); c.Can(t.Context(), capgo.CapHistory) {
		t.Error("a server that cannot be asked has a capability")
	}
}

func TestUntrustedCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Config.ErrorLog = nil
	defer server.Close()
	_, err := newClient(t, server.URL, key).Apps(t.Context())
	if failure.CodeOf(err) != "certificate_refused" {
		t.Errorf("an unknown certificate gives %v (%s)", err, failure.CodeOf(err))
	}
}

func TestNewRefuses(t *testing.T) {
	for baseURL, code := range map[string]string{
		"":                           "url_malformed",
		"updates.example.com":        "url_malformed",
		"ftp://updates.example.com":  "url_malformed",
		"http://updates.example.com": "url_insecure",
		"http://10.0.0.5:8080":       "url_insecure",
		"https://u:pw@example.com":   "url_with_secret",
		"http://localhost.evil.com":  "url_insecure",
	} {
		_, err := remote.New(remote.Config{BaseURL: baseURL})
		if failure.CodeOf(err) != code || failure.HintOf(err) == "" {
			t.Errorf("%q gives %v (%s), want %s", baseURL, err, failure.CodeOf(err), code)
		}
	}
	for _, baseURL := range []string{"https://api.capgo.app/", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost:3", "https://x.supabase.co/functions/v1"} {
		if _, err := remote.New(remote.Config{BaseURL: baseURL}); err != nil {
			t.Errorf("%s gives %v", baseURL, err)
		}
	}
	if _, err := remote.New(remote.Config{BaseURL: "http://10.0.0.5:8080", AllowHTTP: true}); err != nil {
		t.Errorf("plain http that is allowed gives %v", err)
	}
}

// TestTokenNeverPrints: under no verb, in no encoding, also inside other values.
func TestTokenNeverPrints(t *testing.T) {
	token := remote.NewToken("  " + key + "\n")
	if token.Reveal() != key {
		t.Errorf("Reveal gives %q", token.Reveal())
	}
	config := remote.Config{BaseURL: "https://x.example", Token: token}
	hidden := struct{ inner remote.Config }{config}
	c, err := remote.New(config)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb, token)
		fmt.Fprintf(&out, verb, config)
		fmt.Fprintf(&out, verb, hidden)
		fmt.Fprintf(&out, verb, &config)
	}
	fmt.Fprint(&out, c)
	b, err := json.Marshal(struct{ T remote.Token }{token})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", token, "config", struct{ T remote.Token }{token})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", token, "inner", hidden)
	if strings.Contains(out.String(), key) || strings.Contains(out.String(), fmt.Sprintf("%x", key)) {
		t.Errorf("the token shows: %s", out.String())
	}
}

// TestHeaders: every request carries the token in the one header that all
// routes read, who asks, and for a change a key of its own.
func TestHeaders(t *testing.T) {
	service, c := newCapgo(t)
	ctx := remote.WithIdempotencyKey(t.Context(), "release-42-promote")
	if err := c.CreateApp(ctx, appID, "x"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateApp(t.Context(), appID+".b", "x"); err != nil {
		t.Fatal(err)
	}
	for i, h := range service.Headers {
		if h.Get("capgkey") != key || !strings.HasPrefix(h.Get("User-Agent"), "capstan/") || h.Get("Authorization") != "" {
			t.Errorf("request %d has the header %v", i, h)
		}
	}
	if service.Headers[0].Get("Idempotency-Key") != "release-42-promote" || len(service.Headers[1].Get("Idempotency-Key")) < 20 {
		t.Errorf("the keys are %q and %q", service.Headers[0].Get("Idempotency-Key"), service.Headers[1].Get("Idempotency-Key"))
	}
}

// TestAboutIsAskedOnce, and again only when it could not be answered.
func TestAboutIsAskedOnce(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"server":"capstan","version":"1.0.0","capabilities":["history"],"max_object":5}`)
	}))
	defer server.Close()
	c := newClient(t, server.URL, key)
	if _, err := c.About(t.Context()); failure.ExitStatus(err) != int(failure.Unavailable) {
		t.Errorf("a server that is down gives %v", err)
	}
	for range 3 {
		about, err := c.About(t.Context())
		if err != nil || about.Server != "capstan" || about.MaxObject != 5 || !c.Can(t.Context(), capgo.CapHistory) || c.Can(t.Context(), capgo.CapEvents) {
			t.Fatalf("About gives %+v, %v", about, err)
		}
	}
	if asked.Load() != 5 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// TestLooseRows: rows of other versions of the API.
func TestLooseRows(t *testing.T) {
	for body, want := range map[string]string{
		`{"id":"7","name":"production","version":"1.2.3","created_at":"2026-01-02 03:04:05"}`:              "1.2.3",
		`[{"id":7,"name":"production","version":{"name":"1.2.3","id":4},"rolloutPausedAt":null}]`:          "1.2.3",
		`{"data":[{"id":7,"name":"production","version":null,"updated_at":"2026-01-02T03:04:05.1+00"}]}`:   "",
		`{"id":7,"name":"production","version":12,"created_at":"yesterday"}`:                               "",
		`{"id":7,"name":"production","version":{"name":"1.2.3","id":"4"},"created_at":"2026-01-02T03:04"}`: "1.2.3",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		ch, err := newClient(t, server.URL, key).Channel(t.Context(), appID, "production")
		got := ""
		if ch.Version != nil {
			got = ch.Version.Name
		}
		if err != nil || ch.ID != 7 || got != want {
			t.Errorf("%s gives %+v, %v", body, ch, err)
		}
		server.Close()
	}
}
