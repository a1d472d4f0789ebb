package cli

import (
	"testing"
	"time"
)

func TestProcessors(t *testing.T) {
	const span = processorsEvery
	share := func(percent int) time.Duration { return span * time.Duration(percent) / 100 }
	var p processors
	times := func(n, percent int) (one bool) {
		for range n {
			one = p.observe(share(percent), span)
		}
		return one
	}
	for _, step := range []struct {
		name       string
		n, percent int
		one        bool
	}{
		{"just started", quietTimes - 1, 5, false},
		{"quiet for long enough", 1, 5, true},
		{"a little more to do", 50, 40, true},
		{"much to do, at once", 1, 60, false},
		{"less, and not little", 50, 40, false},
		{"quiet but for a moment", quietTimes - 1, 5, false},
		{"", 1, 40, false},
		{"quiet again", quietTimes - 1, 5, false},
		{"", 1, 0, true},
		{"two cores at work", 1, 200, false},
	} {
		if got := times(step.n, step.percent); got != step.one {
			t.Errorf("%s: %d times %d %%: one processor %v", step.name, step.n, step.percent, got)
		}
	}
	// A process that was stopped for a minute has seen one quiet moment, not 600.
	p = processors{}
	if p.observe(share(5), time.Minute) {
		t.Error("one look was enough")
	}
}
