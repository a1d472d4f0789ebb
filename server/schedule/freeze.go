package schedule

import (
	"slices"
	"time"

	"capstan/core/failure"
)

// Freeze is a time in which nothing moves: once, or every week.
type Freeze struct {
	Name string
	// From and To bound a single freeze; To is the first moment after it. They
	// are not used when Days is set.
	From, To time.Time
	// Days makes it weekly: on each of them it begins at Start after midnight,
	// in Location's civil time, and lasts Length.
	Days     []time.Weekday
	Start    time.Duration // 0 to 24 h
	Length   time.Duration // up to 7 days
	Location *time.Location
}

const week = 7 * 24 * time.Hour

// Validate refuses a freeze that never is, or always. Class Usage, code
// freeze_invalid.
func (f Freeze) Validate() error {
	switch {
	case len(f.Days) == 0 && f.To.After(f.From):
		return nil
	case len(f.Days) > 0 && f.Location != nil && f.Start >= 0 && f.Start < 24*time.Hour && f.Length > 0 && f.Length <= week:
		return nil
	}
	return failure.New(failure.Usage, "freeze_invalid", "set a freeze", "the freeze "+f.Name+" has no beginning or no end",
		"give two times, the later one second, or days of the week with a time and a length of up to seven days")
}

// until is the end of the freeze that now lies in.
func (f Freeze) until(now time.Time) (end time.Time, frozen bool) {
	if len(f.Days) == 0 {
		return f.To, !now.Before(f.From) && now.Before(f.To)
	}
	local := now.In(f.Location)
	for back := range 8 { // a length of seven days reaches back to the same weekday
		y, m, d := local.AddDate(0, 0, -back).Date()
		hour, minute := int(f.Start.Hours()), int(f.Start.Minutes())%60
		// By the calendar, so that it begins at the same time of day all year.
		begin := time.Date(y, m, d, hour, minute, 0, 0, f.Location)
		if !slices.Contains(f.Days, begin.Weekday()) || now.Before(begin) {
			continue
		}
		if e := begin.Add(f.Length); now.Before(e) && e.After(end) {
			end, frozen = e, true
		}
	}
	return end, frozen
}

// farthest bounds how far a chain of freezes is followed: beyond it there is no
// point in saying when it ends.
const farthest = 366

// FrozenUntil tells whether now lies in a freeze and when the freezes that
// follow on each other let go.
func FrozenUntil(freezes []Freeze, now time.Time) (until time.Time, frozen bool) {
	until = now
	for range farthest {
		moved := false
		for _, f := range freezes {
			if end, in := f.until(until); in {
				until, frozen, moved = end, true, true
			}
		}
		if !moved {
			break
		}
	}
	return until, frozen
}
