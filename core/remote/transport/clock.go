package transport

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Clock compares this machine's clock with a server's, by the Date of its
// answers. The zero value has heard none. It is safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	heard bool
	ahead time.Duration
}

// hear takes an answer's Date. The server wrote it between the two moments on
// this machine's clock, so that the smallest difference that explains it is what
// counts: a slow answer is no wrong clock. A cache's copy was made earlier by
// its Age.
func (c *Clock) hear(header http.Header, sent, received time.Time) {
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	if age, err := strconv.Atoi(header.Get("Age")); err == nil && age > 0 {
		at = at.Add(time.Duration(age) * time.Second)
	}
	// The Date is cut to whole seconds. Wall clocks are meant, not monotonic ones.
	ahead := time.Duration(0)
	if latest := at.Add(time.Second); sent.Round(0).After(latest) {
		ahead = sent.Round(0).Sub(latest)
	} else if received.Round(0).Before(at) {
		ahead = received.Round(0).Sub(at)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard, c.ahead = true, ahead
}

// Ahead is how far this machine's clock is before the server's, negative when
// it is behind; false while no answer had a Date.
func (c *Clock) Ahead() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead, c.heard
}
