// Package schedule decides when a planned release moves: at which time it
// starts, how its share of devices grows, and when nothing may move at all. It
// is pure. The caller brings the clock and what the channel looks like, and
// carries out the move; asking again at any time, or after a long stop, gives
// the move that is due then.
//
//	plan := schedule.Plan{Steps: []schedule.Step{{500, day}, {2500, day}, {10000, day}}, Promote: true}
//	move := plan.Next(progress, freezes, time.Now())
package schedule

import (
	"fmt"
	"time"

	"capstan/core/failure"
)

// Full is a share of all devices, in basis points.
const Full = 10000

// Plan is how a bundle goes out.
type Plan struct {
	// At is when it starts; zero means at once.
	At time.Time
	// Steps are the shares it passes through, growing. Without steps the
	// bundle is promoted at once when the plan starts.
	Steps []Step
	// Promote makes the bundle the channel's own after the last step.
	Promote bool
}

// Step is a share of devices and how long it stays there before the next move.
type Step struct {
	Bps  int           // 1 to 10000
	Soak time.Duration // not negative
}

// Progress is how far a plan has come.
type Progress struct {
	// Started is set once the first move was made. The rest means nothing
	// before that.
	Started bool
	Bps     int       // the share now
	Since   time.Time // when it was last raised, or resumed after a pause
	Paused  bool      // by an operator or because devices fail
	// Done is set once the bundle is the channel's own, or the plan was given up.
	Done bool
}

// Kind is a kind of move.
type Kind string

// The moves.
const (
	Wait    Kind = "wait"    // nothing before Move.NotBefore
	Raise   Kind = "raise"   // set the share to Move.Bps; the first one starts the rollout
	Promote Kind = "promote" // make the bundle the channel's own
	Finish  Kind = "finish"  // the plan has nothing left to do
	Hold    Kind = "hold"    // paused; only an operator can go on
)

// Move is what is due.
type Move struct {
	Kind Kind
	Bps  int // with Raise
	// NotBefore is when to ask again, with Wait.
	NotBefore time.Time
	// Reason says in plain words why.
	Reason string
}

// Validate refuses a plan that cannot be carried out. Class Usage, code
// plan_invalid.
func (p Plan) Validate() error {
	invalid := func(text string) error {
		return failure.New(failure.Usage, "plan_invalid", "plan a release", text, "give growing shares of 0.01 to 100 %, such as 5, 25, 100")
	}
	last := 0
	for _, s := range p.Steps {
		switch {
		case s.Bps <= last:
			return invalid("the shares of devices do not grow")
		case s.Bps > Full:
			return invalid("a share is above 100 %")
		case s.Soak < 0:
			return invalid("a step has a negative length")
		}
		last = s.Bps
	}
	if len(p.Steps) == 0 && !p.Promote {
		return invalid("the plan does nothing")
	}
	return nil
}

// Next is the move that is due now. A share is only ever raised, one step at a
// time, also when the clock has passed several: each step soaks before the
// next. In a freeze nothing is raised or promoted, and the soaking goes on.
func (p Plan) Next(at Progress, freezes []Freeze, now time.Time) Move {
	switch {
	case at.Done:
		return Move{Kind: Finish, Reason: "the plan is done"}
	case at.Started && at.Paused:
		return Move{Kind: Hold, Reason: "the rollout is paused"}
	}
	move, due := p.following(at)
	if move.Kind == Finish {
		return move
	}
	if until, frozen := FrozenUntil(freezes, latest(due, now)); frozen {
		return Move{Kind: Wait, NotBefore: until, Reason: "a freeze holds it until " + until.Format(time.RFC3339)}
	}
	if now.Before(due) {
		return Move{Kind: Wait, NotBefore: due, Reason: move.Reason + ", due " + due.Format(time.RFC3339)}
	}
	return move
}

// following is the next move and when it is due, freezes aside.
func (p Plan) following(at Progress) (Move, time.Time) {
	due := p.At
	for _, step := range p.Steps {
		if !at.Started || step.Bps > at.Bps {
			return Move{Kind: Raise, Bps: step.Bps, Reason: fmt.Sprintf("the next share is %g %%", float64(step.Bps)/100)}, due
		}
		due = at.Since.Add(step.Soak)
	}
	if p.Promote {
		return Move{Kind: Promote, Reason: "every share was passed"}, due
	}
	return Move{Kind: Finish, Reason: "the last share is reached"}, due
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
