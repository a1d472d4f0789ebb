package views

import (
	"testing"

	"capstan/core/capgo"
)

func TestFailureTrend(t *testing.T) {
	for name, c := range map[string]struct {
		installs, failures, recentInstalls, recentFailures int64
		want                                               int
	}{
		"nothing yet":             {0, 0, 0, 0, 0},
		"too few now":             {500, 5, 10, 5, 0},
		"too few before":          {90, 40, 80, 40, 0},
		"as before":               {8000, 80, 2000, 20, 0},
		"a few more, by chance":   {1000, 10, 250, 4, 0},
		"three times as many":     {8120, 74, 2060, 38, 1},
		"a bundle that breaks":    {400, 100, 50, 95, 1},
		"the broken one is gone":  {2000, 200, 900, 1, -1},
		"all fail, and before":    {0, 100, 0, 40, 0},
		"none fails, and neither": {100, 0, 40, 0, 0},
	} {
		h := capgo.ChannelSummary{Installs: c.installs, Failures: c.failures, RecentInstalls: c.recentInstalls, RecentFailures: c.recentFailures}
		if got := failureTrend(h); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
