package server

import (
	"sync"
	"sync/atomic"
	"time"
)

// shares keep one app from using up a server that many share. Who asks for an
// app is a stranger's word, so an app has no bound of its own that a stranger
// could use up for it: only in a second that brings more than the server can do
// does an app wait, when in what came past half of that it had more than one and
// a half equal shares. The others are answered as ever.
type shares struct {
	busy   int64 // device requests in a second from which on apps wait; negative for never
	second atomic.Pointer[second]
	shed   atomic.Int64
	now    func() time.Time
}

// second counts the requests of one second; by app only from half of busy on,
// so that a server with room to spare counts one number.
type second struct {
	unix  int64
	total atomic.Int64
	named atomic.Int64 // apps in byApp
	byApp sync.Map     // app id → *atomic.Int64
}

func newShares(busy int) *shares { return &shares{busy: int64(busy), now: time.Now} }

// over counts a request of a known app and reports whether it has to wait.
func (s *shares) over(appID string) bool {
	if s.busy < 0 {
		return false
	}
	now := s.now().Unix()
	current := s.second.Load()
	if current == nil || current.unix != now {
		// Of several that see the second begin one wins; the others' counts of it are not missed.
		s.second.CompareAndSwap(current, &second{unix: now})
		current = s.second.Load()
	}
	total := current.total.Add(1)
	if total <= s.busy/2 {
		return false
	}
	mine, known := current.byApp.Load(appID)
	if !known {
		if mine, known = current.byApp.LoadOrStore(appID, new(atomic.Int64)); !known {
			current.named.Add(1)
		}
	}
	had, apps := mine.(*atomic.Int64).Add(1), current.named.Load()
	if total <= s.busy || apps < 2 || had <= s.busy/200 || 2*had*apps <= 3*(total-s.busy/2) {
		return false
	}
	s.shed.Add(1)
	return true
}
