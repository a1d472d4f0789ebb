package effect

import (
	"context"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Recent is how long a device counts for an Outcome after its last question.
// One that asks right after a change still says what it ran before; it has the
// new bundle at its next question.
const Recent = 24 * time.Hour

// Confirmed is the share of the devices at which a change counts as arrived.
const Confirmed = 0.99

// Outcome is how far a channel's devices are, of those that asked since Since.
type Outcome struct {
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`
	Live  string    `json:"live"`
	// On the bundle that is meant for them, and still to take it. What the
	// channel keeps from it counts in neither.
	On      int64 `json:"on"`
	Waiting int64 `json:"waiting"`
	Kept    int64 `json:"kept"`
}

// Share of the devices that confirmed, 0 to 1; 1 when there are none.
func (o Outcome) Share() float64 {
	if o.On+o.Waiting == 0 {
		return 1
	}
	return float64(o.On) / float64(o.On+o.Waiting)
}

// Observe counts once.
func Observe(ctx context.Context, r Registry, appID, channel string, now time.Time) (Outcome, error) {
	o := Outcome{At: now.UTC(), Since: now.Add(-Recent).UTC()}
	w, err := Read(ctx, r, appID)
	if err != nil {
		return o, err
	}
	ch := w.channel(channel)
	if ch == nil {
		return o, failure.Newf(failure.NotFound, "channel_not_found", "watch the channel", "capstan channel list shows the channels", "%s has no channel %s", appID, channel)
	}
	o.Live = liveName(*ch)
	err = w.eachDevice(ctx, r, o.Since, func(d capgo.Device) {
		switch a := w.Answer(d); {
		case a.Channel != channel:
		case a.Moves():
			o.Waiting++
		case a.Current():
			o.On++
		default:
			o.Kept++
		}
	})
	return o, err
}

// Watch observes every so often until 99 % of the devices confirmed, and gives
// the last outcome. It ends with channel_moved when the channel is given
// another bundle meanwhile. A server that does not answer is asked again.
func Watch(ctx context.Context, r Registry, appID, channel string, every time.Duration, report func(Outcome)) (Outcome, error) {
	var last Outcome
	for {
		began := time.Now()
		o, err := Observe(ctx, r, appID, channel, began)
		if f, known := failure.Find(err); err != nil && (!known || f.Class != failure.Unavailable || last.Live == "") {
			return last, err
		}
		if err == nil {
			if last.Live != "" && o.Live != last.Live {
				return o, failure.Newf(failure.Conflict, "channel_moved", "watch the channel", "", "%s was given %s meanwhile", channel, o.Live)
			}
			report(o)
			if last = o; o.Share() >= Confirmed {
				return o, nil
			}
		}
		// Counting a large fleet takes a while, and shall not be all that the
		// server does.
		if err := transport.Sleep(ctx, max(every, 10*time.Since(began))); err != nil {
			return last, err
		}
	}
}
