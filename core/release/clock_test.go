package release_test

import (
	"net/http"
	"testing"
	"time"

	"capstan/core/release"
)

// otherClock dates every answer as a server with another clock does.
type otherClock struct{ ahead time.Duration }

func (o otherClock) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		answer.Header.Set("Date", time.Now().Add(o.ahead).UTC().Format(http.TimeFormat))
	}
	return answer, err
}

// TestReleaseNoticesTheClock: a clock that differs from the server's is a warning
// of the preflight, and stops nothing.
func TestReleaseNoticesTheClock(t *testing.T) {
	y := newYard(t)
	for app, ahead := range map[string]time.Duration{"com.example.same": 0, "com.example.behind": 10 * time.Minute, "com.example.ahead": -26 * time.Hour} {
		v := y.victim(t, app, "1.0.0")
		var found []release.Event
		if _, err := v.pipelineOver(t, otherClock{ahead}).Run(t.Context(), v.Plan, func(e release.Event) {
			if e.Code == "clock_skew" {
				found = append(found, e)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if (ahead != 0) != (len(found) == 1) {
			t.Errorf("%s: %v", app, found)
		}
		for _, e := range found {
			if e.Stage != release.StagePreflight || e.Kind != release.EventFinding || e.Level != "warn" || e.Hint == "" {
				t.Errorf("%s: %+v", app, e)
			}
		}
	}
}
