package release_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/core/release"
	"capstan/internal/fault/proxy"
	"capstan/internal/peers"
)

// httpAnswer is what a proxy says in the server's place.
func httpAnswer(status, contentType, body string, header ...string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s",
		status, contentType, len(body), strings.Join(append(header, ""), "\r\n"), body)
}

// harms is everything that the network does to a connection.
func harms() []proxy.Harm {
	html := "<!doctype html><title>Log in</title>"
	all := []proxy.Harm{
		{Name: "latency up", Up: proxy.Way{Latency: 60 * time.Millisecond}},
		{Name: "latency down", Down: proxy.Way{Latency: 60 * time.Millisecond}},
		{Name: "sliced up", Up: proxy.Way{Slice: 7}},
		{Name: "sliced down", Down: proxy.Way{Slice: 7}},
		{Name: "narrow up", Up: proxy.Way{Rate: 40 << 10}},
		{Name: "narrow down", Down: proxy.Way{Rate: 40 << 10}},
		{Name: "answer 500", Answer: httpAnswer("500 Internal Server Error", "application/json", `{"error":"internal"}`)},
		{Name: "answer 502 html", Answer: httpAnswer("502 Bad Gateway", "text/html", html)},
		{Name: "answer 503", Answer: httpAnswer("503 Service Unavailable", "application/json", `{}`, "Retry-After: 1")},
		{Name: "answer 429", Answer: httpAnswer("429 Too Many Requests", "application/json", `{"error":"too_many_requests"}`, "Retry-After: 1")},
		{Name: "answer 404 html", Answer: httpAnswer("404 Not Found", "text/html", html)},
		{Name: "login page", Answer: httpAnswer("200 OK", "text/html", html)},
		{Name: "redirect", Answer: httpAnswer("302 Found", "text/html", "", "Location: https://login.example.invalid/")},
		{Name: "empty object", Answer: httpAnswer("200 OK", "application/json", `{}`)},
		{Name: "empty list", Answer: httpAnswer("200 OK", "application/json", `[]`)},
		{Name: "half an object", Answer: httpAnswer("200 OK", "application/json", `{"status":`)},
		{Name: "no HTTP", Answer: "SSH-2.0-OpenSSH_9.2\r\n"},
		{Name: "lost answer", Forward: true},
		{Name: "done, 502", Forward: true, Answer: httpAnswer("502 Bad Gateway", "text/html", html)},
		{Name: "done, 500", Forward: true, Answer: httpAnswer("500 Internal Server Error", "application/json", `{"error":"internal"}`)},
		{Name: "done, login page", Forward: true, Answer: httpAnswer("200 OK", "text/html", html)},
		{Name: "done, half an object", Forward: true, Answer: httpAnswer("200 OK", "application/json", `{"status":`)},
	}
	for _, end := range []proxy.End{proxy.Close, proxy.Reset, proxy.HalfClose, proxy.Stall} {
		for _, after := range []int64{0, 40, 400} {
			if end == proxy.Stall && after == 0 {
				continue // the silence of one with 40 bytes
			}
			all = append(all,
				proxy.Harm{Name: fmt.Sprintf("%s up after %d", end, after), Up: proxy.Way{End: end, After: after}},
				proxy.Harm{Name: fmt.Sprintf("%s down after %d", end, after), Down: proxy.Way{End: end, After: after}})
		}
	}
	return all
}

// networkCase harms one connection of a release, or all from it on until the
// release is continued.
type networkCase struct {
	harm  proxy.Harm
	at    int
	times int
	delta bool
}

// lasting is more connections than a release makes.
const lasting = 1 << 20

// TestNetwork harms each connection of a release in each way. Afterwards, when
// the network is well again and the release was continued where it stopped, the
// world must be as if nothing had happened.
func TestNetwork(t *testing.T) {
	y := newYard(t)
	connections, withDelta := y.connections(t, false), y.connections(t, true)
	var cases []networkCase
	for _, harm := range harms() {
		for at := range connections {
			cases = append(cases, networkCase{harm, at, 1, false}, networkCase{harm, at, lasting, false})
		}
		for at := range withDelta {
			cases = append(cases, networkCase{harm, at, 1, true})
		}
	}
	if connections < 12 || len(cases) < 500 {
		t.Fatalf("only %d connections, %d cases", connections, len(cases))
	}
	tried := len(cases)
	switch {
	case os.Getenv("CAPSTAN_LONG") == "1":
	case peers.Required():
		tried = 64
	default:
		tried = 16
	}
	var straight, continued atomic.Int64
	var byCode sync.Map
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	t.Run("cases", func(t *testing.T) {
		for i := range tried {
			// A stride over all cases, so that any number of them covers all
			// harms, all places and both durations.
			n := i * len(cases) / tried
			c := cases[n]
			t.Run(fmt.Sprintf("%04d %s at %d for %d delta %v", n, c.harm.Name, c.at, c.times, c.delta), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				if code := y.suffer(t, c, fmt.Sprintf("com.example.network%d", n)); code == "" {
					straight.Add(1)
				} else {
					continued.Add(1)
					byCode.Store(code, true)
				}
			})
		}
	})
	var codes []string
	byCode.Range(func(code, _ any) bool { codes = append(codes, code.(string)); return true })
	slices.Sort(codes)
	t.Logf("count: network: %d ways to harm %d connections, once and for good, and %d of a release with delta files, once: %d cases, %d tried: %d went through, %d were continued, stopping with %v",
		len(harms()), connections, withDelta, len(cases), tried, straight.Load(), continued.Load(), codes)
}

// connections counts those of a release that nobody harms.
func (y yard) connections(t *testing.T, delta bool) int {
	t.Helper()
	count := proxy.New(t, strings.TrimPrefix(y.BaseURL, "http://"))
	v := y.behind(t, count, fmt.Sprintf("com.example.counting%v", delta), "1.0.0")
	v.Plan.Delta = delta
	if _, err := v.pipelineOver(t, oneCallEach()).Run(t.Context(), v.Plan, func(release.Event) {}); err != nil {
		t.Fatal(err)
	}
	return count.Connections()
}

// oneCallEach makes a connection a call.
func oneCallEach() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 20 * time.Second}
}

// behind is a release that reaches the server through the proxy alone.
func (y yard) behind(t testing.TB, p *proxy.Proxy, app, version string) victim {
	v := y.victim(t, app, version)
	v.Server, v.Public, v.Plan.UpdateURL = p.URL, p.URL+"/files", p.URL+"/updates"
	return v
}

// suffer runs one case and gives the code with which the release stopped, ""
// when it went through.
func (y yard) suffer(t *testing.T, c networkCase, app string) string {
	p := proxy.New(t, strings.TrimPrefix(y.BaseURL, "http://"))
	v := y.behind(t, p, app, "1.0.0")
	v.Plan.Delta = c.delta
	p.Arm(c.harm, c.at, c.times)
	_, err := v.pipelineOver(t, oneCallEach()).Run(t.Context(), v.Plan, func(release.Event) {})
	p.Disarm()
	code := ""
	if err != nil {
		f, known := failure.Find(err)
		if !known {
			t.Errorf("an error without a code: %v", err)
			return "failed"
		}
		if code = f.Code; f.Class == failure.Crash || f.Error() == "" {
			t.Errorf("class %d: %v", f.Class, err)
		}
	}
	v.goOn(t)
	v.check(t)
	return code
}

// TestKeyIsOnRecord: a login page that answers in the server's place when the
// key is put on record does not let a release go on without one.
func TestKeyIsOnRecord(t *testing.T) {
	y := newYard(t)
	v := y.victim(t, "com.example.keyless", "1.0.0")
	swallowed := false
	_, err := v.pipelineOver(t, tripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/app/") {
			return http.DefaultTransport.RoundTrip(r)
		}
		swallowed = true
		page := "<!doctype html><title>Log in</title>"
		return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"text/html"}},
			Body: io.NopCloser(strings.NewReader(page)), ContentLength: int64(len(page)), Request: r}, nil
	})).Run(t.Context(), v.Plan, func(release.Event) {})
	if !swallowed || failure.CodeOf(err) != "answer_malformed" {
		t.Fatalf("swallowed %v: %v", swallowed, err)
	}
	v.goOn(t)
	v.check(t)
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
