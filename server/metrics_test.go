package server_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/keys"
	"capstan/internal/servertest"
	"capstan/server"
	"capstan/server/store"
)

var (
	sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? (\S+)$`)
	label  = regexp.MustCompile(`[a-z_]+="[^"]*"`)
)

// scrape reads the metrics as Prometheus does: the sum of each family, under
// its name, and of each label's value, under name{label="value"}. Of a
// histogram it takes the count.
func scrape(t *testing.T, s *servertest.Server) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(exposed(t, s)) {
		m := sample.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue // a comment
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name, isHistogram := strings.CutSuffix(m[1], "_count")
		if !isHistogram && (strings.HasSuffix(name, "_bucket") || strings.HasSuffix(name, "_sum")) {
			continue
		}
		values[name] += value
		for _, l := range label.FindAllString(m[2], -1) {
			values[name+"{"+l+"}"] += value
		}
	}
	return values
}

func exposed(t *testing.T, s *servertest.Server) string {
	t.Helper()
	answer, err := http.Get("http://" + s.MetricsAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documentedMetrics are the names in the table of docs/operations.md.
func documentedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(capstan_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
	}
	return names
}

// What happens to a server moves the metric that the documentation names for
// it, and every metric of ours is documented.
func TestMetricsMove(t *testing.T) {
	s := startWithApps(t, func(c *server.Config) {
		c.Metrics = "127.0.0.1:0"
		c.TrustedProxies = []string{"127.0.0.1"}
		c.Rates = server.Rates{Stats: 2}
		c.Limits = store.Limits{DevicesPerApp: 2}
	})
	poll := func(device int) string {
		_, text := call(t, s, "", "POST", "/updates", fmt.Sprintf(`{"app_id":%q,"device_id":"%08d-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`, mine, device))
		return text
	}
	moved := map[string]bool{}
	moves := func(what string, metrics ...string) {
		t.Helper()
		begin := scrape(t, s)
		switch what {
		case "an update is offered":
			if text := poll(1); !strings.Contains(text, "1.1.0") {
				t.Fatalf("no offer: %s", text)
			}
		case "a bundle is edited behind the server's back":
			raw, err := sql.Open("sqlite", "file:"+filepath.Join(s.DataDir, "capstan.db")+"?_pragma=busy_timeout(5000)")
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if _, err := raw.Exec(`UPDATE bundles SET checksum = plain_checksum, checksum_v2 = '', checksum_v3 = '' WHERE name = '1.1.0'`); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(20 * time.Second); scrape(t, s)["capstan_bundles_unverified"] == 0; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the edited bundle is not noticed")
				}
			}
		case "a device asks for it":
			if text := poll(2); strings.Contains(text, "1.1.0") || !strings.Contains(text, `"kind":"up_to_date"`) {
				t.Fatalf("a bundle that does not verify is answered: %s", text)
			}
		case "an address asks for too much":
			for range 5 {
				s.Do(t, "POST", "/stats", strings.NewReader(`[]`), http.Header{"X-Forwarded-For": {"203.0.113.7"}})
			}
		case "more devices than the app may have":
			poll(3)
			poll(4)
		}
		if err := s.Store().Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := scrape(t, s)
		for _, name := range metrics {
			if after[name] <= begin[name] {
				t.Errorf("%s: %s goes from %v to %v", what, name, begin[name], after[name])
			}
			moved[regexp.MustCompile(`\{.*`).ReplaceAllString(name, "")] = true
		}
	}

	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"public_key": string(keys.EncodePublic(&key.PublicKey))})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := call(t, s, "", "PUT", "/app/"+mine, string(text)); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	sealed, err := bundle.Seal(t.Context(), strings.NewReader("an archive"), io.Discard, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store().AddBundle(t.Context(), "test", store.Bundle{Bundle: capgo.Bundle{
		AppID: mine, Name: "1.1.0", Checksum: sealed.ChecksumV3, ChecksumV2: sealed.ChecksumV2, ChecksumV3: sealed.ChecksumV3, PlainChecksum: sealed.PlainChecksum,
		SessionKey: sealed.SessionKey, KeyID: sealed.KeyID, ExternalURL: "https://cdn.example.com/x.zip", ObjectSHA256: sealed.ObjectSHA256, ObjectSize: sealed.ObjectSize,
	}}); err != nil {
		t.Fatal(err)
	}
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"production","public":true,"version":"1.1.0","disableAutoUpdate":"none"}`)

	moves("an update is offered", `capstan_update_answers_total{reason="offered"}`, `capstan_http_requests_total{part="updates"}`, `capstan_http_request_duration_seconds{part="updates"}`, "capstan_devices")
	moves("a bundle is edited behind the server's back", "capstan_bundles_unverified")
	moves("a device asks for it", "capstan_bundles_withheld_total", "capstan_devices")
	moves("an address asks for too much", "capstan_limited_total", `capstan_http_requests_total{status="503"}`)
	moves("more devices than the app may have", "capstan_polls_dropped_total")
	moved["capstan_certificate_expiry_timestamp_seconds"] = true // by TestTLS and TestACME

	moved["capstan_certificate_failures_total"] = true // by TestACMERenewalFails
	moved["capstan_certificate_refused"] = true        // by TestCertificateReload
	moved["capstan_connections_refused_total"] = true  // by TestConnectionsOfOneAddress
	moved["capstan_crowded_total"] = true              // by TestOneAppDoesNotCrowdOutAnother
	for _, name := range []string{"capstan_replica_lag_seconds", "capstan_replica_fallbacks_total"} {
		moved[name] = true // by TestReadDatabase
	}

	documented := documentedMetrics(t)
	for name := range scrape(t, s) {
		if strings.HasPrefix(name, "capstan_") && !strings.Contains(name, "{") && !documented[name] {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
	for name := range documented {
		if !moved[name] {
			t.Errorf("%s is documented, and nothing here moves it", name)
		}
	}
}

// Names and units are as Prometheus wants them, and no label has a value that a
// client chose.
func TestMetricsAreWellNamed(t *testing.T) {
	s := startWithApps(t, func(c *server.Config) { c.Metrics = "127.0.0.1:0" })
	for _, path := range []string{"/canary-path", "/app/com.example.canary", "/files/canary/1/x.zip"} {
		call(t, s, "", "GET", path, "")
	}
	call(t, s, "", "POST", "/updates", `{"app_id":"com.example.canary","device_id":"canary","platform":"canary","version_build":"1.0.0","version_name":"canary","plugin_version":"8.0.0"}`)
	call(t, s, "", "CANARY", "/updates", "")
	text := exposed(t, s)
	if strings.Contains(strings.ToLower(text), "canary") {
		t.Error("a metric holds what a client said")
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "capstan_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	// The address of devices and operators has no metrics.
	if status, _ := call(t, s, "", "GET", "/metrics", ""); status != http.StatusNotFound {
		t.Errorf("/metrics on the public address: %d", status)
	}
}
