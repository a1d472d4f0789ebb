package schedule

import (
	"errors"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
)

const day = 24 * time.Hour

var start = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC) // a Monday

func at(d time.Duration) time.Time { return start.Add(d) }

func TestNext(t *testing.T) {
	t.Parallel()
	ramp := Plan{At: start, Steps: []Step{{500, day}, {2500, 2 * day}, {Full, day}}, Promote: true}
	endless := Plan{Steps: []Step{{500, day}}}
	weekend := []Freeze{{Name: "weekend", Days: []time.Weekday{time.Friday}, Start: 17 * time.Hour, Length: 63 * time.Hour, Location: time.UTC}}
	for _, tt := range []struct {
		name     string
		plan     Plan
		progress Progress
		freezes  []Freeze
		now      time.Time
		want     Move // Reason: a part of it
	}{
		{"before it starts", ramp, Progress{}, nil, at(-time.Hour), Move{Wait, 0, start, "5 %"}},
		{"it starts", ramp, Progress{}, nil, start, Move{Kind: Raise, Bps: 500}},
		{"it starts late", ramp, Progress{}, nil, at(30 * day), Move{Kind: Raise, Bps: 500}},
		{"soaking", ramp, Progress{Started: true, Bps: 500, Since: start}, nil, at(day - 1), Move{Wait, 0, at(day), "25 %"}},
		{"soaked", ramp, Progress{Started: true, Bps: 500, Since: start}, nil, at(day), Move{Kind: Raise, Bps: 2500}},
		{"one step at a time after a stop", ramp, Progress{Started: true, Bps: 500, Since: start}, nil, at(30 * day), Move{Kind: Raise, Bps: 2500}},
		{"raised by hand between steps", ramp, Progress{Started: true, Bps: 1000, Since: at(day)}, nil, at(2 * day), Move{Kind: Raise, Bps: 2500}},
		{"last share soaking", ramp, Progress{Started: true, Bps: Full, Since: start}, nil, at(time.Hour), Move{Wait, 0, at(day), "passed"}},
		{"promoted", ramp, Progress{Started: true, Bps: Full, Since: start}, nil, at(day), Move{Kind: Promote}},
		{"done", ramp, Progress{Started: true, Bps: Full, Done: true}, nil, at(day), Move{Kind: Finish, Reason: "done"}},
		{"paused", ramp, Progress{Started: true, Bps: 500, Since: start, Paused: true}, nil, at(9 * day), Move{Kind: Hold, Reason: "paused"}},
		{"stays at its share", endless, Progress{Started: true, Bps: 500, Since: start}, nil, at(9 * day), Move{Kind: Finish, Reason: "last share"}},
		{"no steps", Plan{At: start, Promote: true}, Progress{}, nil, start, Move{Kind: Promote}},
		{"no steps, before its time", Plan{At: start, Promote: true}, Progress{}, nil, at(-1), Move{Kind: Wait, NotBefore: start}},
		{"frozen", ramp, Progress{Started: true, Bps: 500, Since: at(3 * day)}, weekend, at(5 * day), Move{Wait, 0, time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC), "freeze"}},
		{"due in a freeze that is to come", ramp, Progress{Started: true, Bps: 500, Since: at(4 * day)}, weekend, at(4 * day), Move{Wait, 0, time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC), "freeze"}},
		{"after the freeze", ramp, Progress{Started: true, Bps: 500, Since: at(3 * day)}, weekend, time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC), Move{Kind: Raise, Bps: 2500}},
		{"nothing to freeze", endless, Progress{Started: true, Bps: 500}, weekend, at(5 * day), Move{Kind: Finish}},
	} {
		got := tt.plan.Next(tt.progress, tt.freezes, tt.now)
		if got.Kind != tt.want.Kind || got.Bps != tt.want.Bps || !got.NotBefore.Equal(tt.want.NotBefore) || !strings.Contains(got.Reason, tt.want.Reason) || got.Reason == "" {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestRamp carries a whole plan out, asking at random moments, and sees every
// share in turn, none too early.
func TestRamp(t *testing.T) {
	t.Parallel()
	plan := Plan{At: start, Steps: []Step{{500, day}, {2500, day}, {Full, 0}}, Promote: true}
	for _, every := range []time.Duration{time.Minute, 7 * time.Hour, 40 * day} {
		p := Progress{}
		var moves []Kind
		var shares []int
		for now := at(-day); len(moves) < 10; now = now.Add(every) {
			m := plan.Next(p, nil, now)
			switch m.Kind {
			case Wait:
				if !m.NotBefore.After(now) {
					t.Fatalf("told at %v to wait until %v", now, m.NotBefore)
				}
				continue
			case Raise:
				if p.Started && now.Sub(p.Since) < day {
					t.Fatalf("raised to %d after %v", m.Bps, now.Sub(p.Since))
				}
				p.Started, p.Bps, p.Since = true, m.Bps, now
				shares = append(shares, m.Bps)
			case Promote:
				p.Done = true
			}
			moves = append(moves, m.Kind)
			if m.Kind == Finish {
				break
			}
		}
		if len(moves) != 10 && moves[len(moves)-1] != Finish || len(shares) != 3 || shares[0] != 500 || shares[2] != Full || moves[3] != Promote {
			t.Errorf("every %v: %v %v", every, moves, shares)
		}
	}
}

func TestFrozenUntil(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zone data: ", err)
	}
	nights := Freeze{Name: "nights", Days: []time.Weekday{0, 1, 2, 3, 4, 5, 6}, Start: 22*time.Hour + 30*time.Minute, Length: 9 * time.Hour, Location: berlin}
	always := Freeze{Name: "always", Days: []time.Weekday{time.Monday}, Length: week, Location: time.UTC}
	holidays := Freeze{Name: "holidays", From: time.Date(2026, 12, 24, 0, 0, 0, 0, berlin), To: time.Date(2027, 1, 2, 0, 0, 0, 0, berlin)}
	for _, tt := range []struct {
		name    string
		freezes []Freeze
		now     time.Time
		until   time.Time // zero = not frozen
	}{
		{"none", nil, start, time.Time{}},
		{"by day", []Freeze{nights}, time.Date(2026, 11, 2, 12, 0, 0, 0, berlin), time.Time{}},
		{"at its first moment", []Freeze{nights}, time.Date(2026, 11, 2, 22, 30, 0, 0, berlin), time.Date(2026, 11, 3, 7, 30, 0, 0, berlin)},
		{"just before", []Freeze{nights}, time.Date(2026, 11, 2, 22, 29, 59, 0, berlin), time.Time{}},
		{"past midnight", []Freeze{nights}, time.Date(2026, 11, 3, 3, 0, 0, 0, berlin), time.Date(2026, 11, 3, 7, 30, 0, 0, berlin)},
		{"at its end", []Freeze{nights}, time.Date(2026, 11, 3, 7, 30, 0, 0, berlin), time.Time{}},
		{"in summer time, seen from UTC", []Freeze{nights}, time.Date(2026, 7, 1, 20, 45, 0, 0, time.UTC), time.Date(2026, 7, 2, 5, 30, 0, 0, time.UTC)},
		{"once", []Freeze{holidays}, time.Date(2026, 12, 25, 12, 0, 0, 0, time.UTC), holidays.To},
		{"one after the other", []Freeze{nights, holidays}, time.Date(2026, 12, 25, 12, 0, 0, 0, berlin), time.Date(2027, 1, 2, 7, 30, 0, 0, berlin)},
		{"once, over", []Freeze{holidays}, holidays.To, time.Time{}},
	} {
		until, frozen := FrozenUntil(tt.freezes, tt.now)
		if frozen != !tt.until.IsZero() || frozen && !until.Equal(tt.until) {
			t.Errorf("%s: until %v, frozen %v, want %v", tt.name, until, frozen, tt.until)
		}
	}
	if until, frozen := FrozenUntil([]Freeze{always}, start); !frozen || until.Before(start.Add(52*week)) {
		t.Errorf("a freeze without end ends at %v", until)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		code string // "" = valid
	}{
		"ramp":             {Plan{Steps: []Step{{500, day}, {Full, 0}}}.Validate(), ""},
		"at once":          {Plan{Promote: true}.Validate(), ""},
		"nothing":          {Plan{}.Validate(), "plan_invalid"},
		"share of nothing": {Plan{Steps: []Step{{0, day}}}.Validate(), "plan_invalid"},
		"shrinking":        {Plan{Steps: []Step{{500, day}, {400, day}}}.Validate(), "plan_invalid"},
		"too much":         {Plan{Steps: []Step{{Full + 1, day}}}.Validate(), "plan_invalid"},
		"back in time":     {Plan{Steps: []Step{{500, -day}}}.Validate(), "plan_invalid"},
		"freeze":           {Freeze{From: start, To: at(day)}.Validate(), ""},
		"weekly":           {Freeze{Days: []time.Weekday{time.Friday}, Start: 17 * time.Hour, Length: day, Location: time.UTC}.Validate(), ""},
		"no freeze":        {Freeze{}.Validate(), "freeze_invalid"},
		"no place":         {Freeze{Days: []time.Weekday{time.Friday}, Length: day}.Validate(), "freeze_invalid"},
		"no length":        {Freeze{Days: []time.Weekday{time.Friday}, Location: time.UTC}.Validate(), "freeze_invalid"},
		"too long":         {Freeze{Days: []time.Weekday{time.Friday}, Length: week + 1, Location: time.UTC}.Validate(), "freeze_invalid"},
		"25 o'clock":       {Freeze{Days: []time.Weekday{time.Friday}, Start: 25 * time.Hour, Length: day, Location: time.UTC}.Validate(), "freeze_invalid"},
	} {
		if tt.code == "" && tt.err != nil || tt.code != "" && !errors.Is(tt.err, &failure.Error{Code: tt.code}) {
			t.Errorf("%s: %v, want %q", name, tt.err, tt.code)
		}
	}
}
