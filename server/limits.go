package server

import (
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"capstan/core/failure"
)

// Rates bound what one client address may ask for, in a minute where nothing else is said. A negative
// value is no bound. An address is an IPv4 address or an IPv6 /64: never what a
// body says. Addresses that are not public (loopback, private networks) are
// not bounded, because there the client is usually a proxy that speaks for
// many: name it as a trusted proxy to bound the clients behind it.
type Rates struct {
	Updates      int // update checks; past it devices hear that updates are blocked
	Stats        int // batches of events; past it 503, so that devices keep them
	Channel      int // channel_self; past it 503
	AuthFailures int // refused tokens in a quarter of an hour; past it 429
	Connections  int // open at once; past it new ones are closed
	// Busy is how many device requests a second, of all addresses, the server can
	// do. In a second that brings more, an app with more than one and a half equal
	// shares hears that updates are blocked, and 503 for the rest; the other apps are
	// answered as ever. 0 is 10,000 for each core.
	Busy int
}

// DefaultRates leave room for a phone network that shows thousands of devices
// behind one address.
var DefaultRates = Rates{Updates: 20_000, Stats: 20_000, Channel: 1_000, AuthFailures: 20, Connections: 2_000, Busy: 10_000 * runtime.GOMAXPROCS(0)}

// abusive is how many times a bound an address must go over before it is told
// 429: plugins 7.23.8 to 8.51.4 take a 429 as a reason to stop their reports
// until the app restarts, so that only a flood earns it.
const abusive = 5

// tracked bounds the addresses that are remembered; past it the oldest half is
// forgotten.
const tracked = 100_000

type limiter struct {
	rates   Rates
	proxies []netip.Prefix

	mu           sync.Mutex
	fresh, stale map[bucketKey]*bucket
	alarms       map[string]time.Time

	shares  *shares
	hits    atomic.Int64
	refused atomic.Int64 // connections
	now     func() time.Time
}

type bucketKey struct {
	address netip.Addr
	kind    string
}

// bucket holds what is left of a bound; it refills evenly and goes below zero
// while the client does not stop.
type bucket struct {
	left float64
	at   time.Time
}

func newLimiter(r Rates, proxies []string) (*limiter, error) {
	fill := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&r.Updates, DefaultRates.Updates)
	fill(&r.Stats, DefaultRates.Stats)
	fill(&r.Channel, DefaultRates.Channel)
	fill(&r.AuthFailures, DefaultRates.AuthFailures)
	fill(&r.Connections, DefaultRates.Connections)
	fill(&r.Busy, DefaultRates.Busy)
	l := &limiter{rates: r, fresh: map[bucketKey]*bucket{}, stale: map[bucketKey]*bucket{}, alarms: map[string]time.Time{}, shares: newShares(r.Busy), now: time.Now}
	for _, text := range proxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, failure.Newf(failure.Usage, "trusted_proxy", "start server", "write it as 10.0.0.1 or 10.0.0.0/8", "%q is no address or network", text)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		l.proxies = append(l.proxies, prefix.Masked())
	}
	return l, nil
}

// client is the address that asked: the connection's, or, when that is a
// trusted proxy's, the last one in X-Forwarded-For that is not.
func (l *limiter) client(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	address = address.Unmap()
	if !l.trusted(address) {
		return address
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
		if !l.trusted(address) {
			break
		}
	}
	return address
}

func (l *limiter) trusted(address netip.Addr) bool {
	for _, p := range l.proxies {
		if p.Contains(address) {
			return true
		}
	}
	return false
}

// boundedAddress is what an address counts as: an IPv6 address as its /64. False
// is one that is not bounded, because it is not public.
func boundedAddress(address netip.Addr) (netip.Addr, bool) {
	if !address.IsValid() || address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast() {
		return address, false
	}
	if !address.Is6() {
		return address, true
	}
	prefix, err := address.WithZone("").Prefix(64)
	return prefix.Addr(), err == nil
}

// take counts one request of an address and says by how much it is over its
// bound of n in span: 0 for not at all, 1 for a little, abusive for a flood.
func (l *limiter) take(address netip.Addr, kind string, n int, span time.Duration, cost float64) int {
	address, bounded := boundedAddress(address)
	if n < 0 || !bounded {
		return 0
	}
	key, now := bucketKey{address, kind}, l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.find(key)
	if b == nil {
		b = &bucket{left: float64(n), at: now}
		if len(l.fresh) >= tracked/2 {
			l.fresh, l.stale = map[bucketKey]*bucket{}, l.fresh
		}
		l.fresh[key] = b
	}
	b.left = min(float64(n), b.left+float64(n)*now.Sub(b.at).Seconds()/span.Seconds())
	b.at = now
	b.left = max(b.left-cost, -float64(n*abusive)-1)
	switch {
	case b.left >= 0:
		return 0
	case b.left > -float64(n*(abusive-1)):
		l.hits.Add(1)
		return 1
	}
	l.hits.Add(1)
	return abusive
}

func (l *limiter) find(key bucketKey) *bucket {
	if b, ok := l.fresh[key]; ok {
		return b
	}
	b, ok := l.stale[key]
	if ok {
		delete(l.stale, key)
		l.fresh[key] = b
	}
	return b
}

// deviceBlocked counts a device's request and answers it when its address asks
// for too much.
func (l *limiter) deviceBlocked(w http.ResponseWriter, r *http.Request) bool {
	path := strings.TrimPrefix(r.URL.Path, "/plugin")
	switch {
	case strings.HasPrefix(path, "/updates"):
		if l.take(l.client(r), "updates", l.rates.Updates, time.Minute, 1) == 0 {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"error":"too_many_requests","message":"Too many requests","kind":"blocked"}`))
		return true
	case strings.HasPrefix(path, "/stats"):
		return l.shed(w, r, "stats", l.rates.Stats)
	case strings.HasPrefix(path, "/channel_self"):
		return l.shed(w, r, "channel", l.rates.Channel)
	}
	return false
}

func (l *limiter) shed(w http.ResponseWriter, r *http.Request, kind string, n int) bool {
	switch l.take(l.client(r), kind, n, time.Minute, 1) {
	case 0:
		return false
	case abusive:
		w.Header().Set("Retry-After", strconv.Itoa(60))
		writeError(w, http.StatusTooManyRequests, "too_many_requests", "Too many requests")
	default:
		w.Header().Set("Retry-After", strconv.Itoa(10))
		writeError(w, http.StatusServiceUnavailable, "service_unavailable", "Service unavailable, try again later")
	}
	return true
}

const authSpan = 15 * time.Minute

// authFailed counts a refused token.
func (l *limiter) authFailed(r *http.Request) {
	l.take(l.client(r), "auth", l.rates.AuthFailures, authSpan, 1)
}

// authBlocked says for how long tokens from this address are not looked at.
func (l *limiter) authBlocked(r *http.Request) time.Duration {
	if l.take(l.client(r), "auth", l.rates.AuthFailures, authSpan, 0) == 0 {
		return 0
	}
	return authSpan / time.Duration(max(l.rates.AuthFailures, 1))
}

// alarm runs fn, at most once a minute for each key.
func (l *limiter) alarm(key string, fn func()) {
	l.mu.Lock()
	now := l.now()
	due := now.Sub(l.alarms[key]) > time.Minute
	if due {
		if len(l.alarms) > 10_000 {
			l.alarms = map[string]time.Time{}
		}
		l.alarms[key] = now
	}
	l.mu.Unlock()
	if due {
		fn()
	}
}
