package server

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Status is what a console in the same process shows of a server.
type Status struct {
	Started time.Time
	// Requests are the requests of each of the last 60 whole seconds, oldest first.
	Requests []float64
	Total    uint64 // requests since the start
	Devices  int64  // devices that the server remembers, of all apps
	// Log holds the newest lines of the log, oldest first: those of level Info
	// and above, whatever Config.Log itself lets through.
	Log []string
}

// Status gives the server's state at this moment. It touches neither the disk
// nor a lock that requests wait for.
func (s *Server) Status() Status {
	return Status{
		Started: s.started, Requests: s.pulse.seconds(time.Now().Unix()), Total: s.pulse.total.Load(),
		Devices: s.store.KnownDevices(), Log: s.lines.last(),
	}
}

const pulseSeconds = 60

// pulse counts requests by second without a lock. A slot holds its second in
// the upper 32 bits and the count in the lower.
type pulse struct {
	total atomic.Uint64
	slots [pulseSeconds + 4]atomic.Uint64
}

func (p *pulse) beat(second int64) {
	p.total.Add(1)
	slot := &p.slots[second%int64(len(p.slots))]
	for {
		old := slot.Load()
		next := uint64(second)<<32 | 1
		if old>>32 == uint64(second) {
			next = old + 1
		}
		if slot.CompareAndSwap(old, next) {
			return
		}
	}
}

// seconds are the counts of the whole seconds before now.
func (p *pulse) seconds(now int64) []float64 {
	counts := make([]float64, pulseSeconds)
	for i := range counts {
		second := now - pulseSeconds + int64(i)
		if slot := p.slots[second%int64(len(p.slots))].Load(); slot>>32 == uint64(second) {
			counts[i] = float64(slot & (1<<32 - 1))
		}
	}
	return counts
}

// linesKept is how many lines of the log stay in memory.
const linesKept = 200

// lines are the newest lines of the log.
type lines struct {
	mu    sync.Mutex
	kept  [linesKept]string
	count int
	start string // of the line that is being written
}

// Write takes one line from slog's handler, which is called with mu held.
func (l *lines) Write(text []byte) (int, error) {
	l.kept[l.count%linesKept] = l.start + string(bytes.TrimSpace(text))
	l.count++
	return len(text), nil
}

func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]string, 0, min(l.count, linesKept))
	for i := max(0, l.count-linesKept); i < l.count; i++ {
		list = append(list, l.kept[i%linesKept])
	}
	return list
}

// tee passes records on and keeps them as lines besides.
type tee struct {
	next, text slog.Handler
	lines      *lines
}

func newTee(next slog.Handler, l *lines) tee {
	// Time, level and message stand at the line's beginning without their names.
	withoutNames := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}
	return tee{next, slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: withoutNames}), l}
}

// Enabled implements slog.Handler.
func (t tee) Enabled(ctx context.Context, level slog.Level) bool {
	return t.text.Enabled(ctx, level) || t.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (t tee) Handle(ctx context.Context, r slog.Record) error {
	if t.text.Enabled(ctx, r.Level) {
		t.lines.mu.Lock()
		t.lines.start = r.Time.Format("15:04:05 ") + r.Level.String() + " " + r.Message + " "
		err := t.text.Handle(ctx, r)
		t.lines.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if !t.next.Enabled(ctx, r.Level) {
		return nil
	}
	return t.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (t tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tee{t.next.WithAttrs(attrs), t.text.WithAttrs(attrs), t.lines}
}

// WithGroup implements slog.Handler.
func (t tee) WithGroup(name string) slog.Handler {
	return tee{t.next.WithGroup(name), t.text.WithGroup(name), t.lines}
}
