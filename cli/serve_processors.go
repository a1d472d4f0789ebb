package cli

import (
	"context"
	"os"
	"runtime"
	"time"
)

// A goroutine that becomes ready makes Go wake a second thread to look for more
// work. With a few hundred requests a second there is none, and looking for it
// costs more than the answers do. So a server that has little to do runs its Go
// code on one processor, and on all of them as soon as there is more to do.
const (
	// processorsEvery is how often the server's own CPU time is looked at, and
	// so how long a burst may have to do with one processor.
	processorsEvery = 100 * time.Millisecond
	// busyShare of one core is much to do, quietShare little. Between the two
	// everything stays as it is.
	busyShare, quietShare = 0.5, 0.25
	// quietTimes in a row make a server quiet: two seconds.
	quietTimes = 20
)

// processors decides whether one is enough.
type processors struct {
	one   bool
	quiet int // times in a row that there was little to do
}

// observe takes the CPU time that was used in a span, and says whether one
// processor is enough from now on.
func (p *processors) observe(used, span time.Duration) bool {
	share := float64(used) / float64(span)
	switch {
	case share > busyShare:
		p.one, p.quiet = false, 0
	case share > quietShare:
		p.quiet = 0
	default:
		p.quiet++
		p.one = p.one || p.quiet >= quietTimes
	}
	return p.one
}

// followLoad adapts the number of processors to what there is to do until the
// context ends. Where the operator has set GOMAXPROCS it does nothing, nor
// where there is one processor only or the CPU time is unknown.
func followLoad(ctx context.Context) {
	if _, known := cpuTime(); !known || os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	defer runtime.SetDefaultGOMAXPROCS()
	tick := time.NewTicker(processorsEvery)
	defer tick.Stop()
	var p processors
	before, _ := cpuTime()
	at := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		used, _ := cpuTime()
		now := time.Now()
		was := p.one
		// Changing the number stops everything for some microseconds.
		switch one := p.observe(used-before, now.Sub(at)); {
		case one && !was:
			runtime.GOMAXPROCS(1)
		case was && !one:
			runtime.SetDefaultGOMAXPROCS() // what the machine and its limits give now
		}
		before, at = used, now
	}
}
