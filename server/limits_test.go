package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
)

func newTestLimiter(t *testing.T, r Rates, proxies ...string) (*limiter, *time.Time) {
	t.Helper()
	l, err := newLimiter(r, proxies)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	l.now = func() time.Time { return now }
	return l, &now
}

func from(address string, forwarded ...string) *http.Request {
	r := httptest.NewRequest("POST", "/stats", nil)
	r.RemoteAddr = address
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	return r
}

func TestClientAddress(t *testing.T) {
	l, _ := newTestLimiter(t, Rates{}, "10.0.0.0/8", "192.0.2.1")
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"203.0.113.5:1000", nil, "203.0.113.5"},
		{"203.0.113.5:1000", []string{"1.2.3.4"}, "203.0.113.5"}, // not a proxy: its word is worth nothing
		{"10.1.1.1:1000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"10.1.1.1:1000", []string{"1.2.3.4, 198.51.100.7"}, "198.51.100.7"}, // the last hop that is not ours
		{"10.1.1.1:1000", []string{"1.2.3.4", "198.51.100.7, 192.0.2.1, 10.9.9.9"}, "198.51.100.7"},
		{"10.1.1.1:1000", []string{"198.51.100.7, nonsense"}, "10.1.1.1"},
		{"10.1.1.1:1000", nil, "10.1.1.1"},
		{"[2001:db8::1]:1000", nil, "2001:db8::1"},
		{"[::ffff:203.0.113.5]:1000", nil, "203.0.113.5"},
	} {
		if got := l.client(from(c.remote, c.forwarded...)); got.String() != c.want {
			t.Errorf("%s %v: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
	if _, err := newLimiter(Rates{}, []string{"everybody"}); failure.CodeOf(err) != "trusted_proxy" {
		t.Errorf("%v", err)
	}
}

// Past its bound an address hears 503, which plugins take for a passing fault;
// only a flood earns a 429. The bound refills.
func TestLimitsAreGentleFirst(t *testing.T) {
	l, now := newTestLimiter(t, Rates{Stats: 10})
	statuses := map[int]int{}
	for range 100 {
		w := httptest.NewRecorder()
		if l.deviceBlocked(w, from("203.0.113.5:1")) {
			statuses[w.Code]++
			if w.Header().Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
		} else {
			statuses[200]++
		}
	}
	if statuses[200] != 10 || statuses[503] == 0 || statuses[429] == 0 {
		t.Errorf("%v", statuses)
	}
	if l.deviceBlocked(httptest.NewRecorder(), from("203.0.113.6:1")) {
		t.Error("another address is limited too")
	}
	*now = now.Add(10 * time.Minute)
	if l.deviceBlocked(httptest.NewRecorder(), from("203.0.113.5:1")) {
		t.Error("the bound does not refill")
	}
	for _, address := range []string{"127.0.0.1:1", "10.0.0.1:1", "[::1]:1", "[fe80::1]:1"} {
		for range 1000 {
			if l.deviceBlocked(httptest.NewRecorder(), from(address)) {
				t.Fatalf("%s is limited", address)
			}
		}
	}
	// An IPv6 network of one customer is one address.
	blocked := 0
	for i := range 100 {
		if l.deviceBlocked(httptest.NewRecorder(), from(fmt.Sprintf("[2001:db8:1:2::%x]:1", i+1))) {
			blocked++
		}
	}
	if blocked != 90 {
		t.Errorf("%d of 100 addresses of a /64 are limited", blocked)
	}
}

// An update check is never answered with 429: the plugin would stop asking.
func TestUpdatesAreBlockedWith200(t *testing.T) {
	l, _ := newTestLimiter(t, Rates{Updates: 1})
	r := from("203.0.113.5:1")
	r.URL.Path = "/updates"
	l.deviceBlocked(httptest.NewRecorder(), r)
	for range 50 {
		w := httptest.NewRecorder()
		if !l.deviceBlocked(w, r) || w.Code != 200 || !strings.Contains(w.Body.String(), `"kind":"blocked"`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

func TestRefusedTokensBlockAnAddress(t *testing.T) {
	l, now := newTestLimiter(t, Rates{AuthFailures: 3})
	r := from("203.0.113.5:1")
	for range 3 {
		if l.authBlocked(r) != 0 {
			t.Fatal("blocked too early")
		}
		l.authFailed(r)
	}
	l.authFailed(r)
	if l.authBlocked(r) == 0 {
		t.Fatal("not blocked")
	}
	if l.authBlocked(from("203.0.113.6:1")) != 0 {
		t.Fatal("another address is blocked")
	}
	*now = now.Add(time.Hour)
	if l.authBlocked(r) != 0 {
		t.Fatal("blocked for ever")
	}
}

// The memory of the limiter does not grow with the addresses.
func TestLimiterForgets(t *testing.T) {
	l, _ := newTestLimiter(t, Rates{})
	for i := range 3 * tracked {
		l.take(netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}), "stats", 10, time.Minute, 1)
	}
	if n := len(l.fresh) + len(l.stale); n > tracked {
		t.Errorf("%d addresses are remembered", n)
	}
}
