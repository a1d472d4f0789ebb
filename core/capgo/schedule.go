package capgo

import "time"

// ReleasePlan is how a bundle is going out on a channel by itself: a row of
// GET /capstan/v1/schedule and the body of PUT. A channel has at most one.
type ReleasePlan struct {
	AppID   string `json:"app_id"`
	Channel string `json:"channel"`
	Version string `json:"version"` // name of the bundle
	// At is when it starts; nil is at once.
	At *time.Time `json:"at,omitempty"`
	// Steps are the growing shares of devices that it passes; without steps the
	// bundle is promoted when it starts.
	Steps []PlanStep `json:"steps,omitempty"`
	// Promote makes the bundle the channel's own after the last step. Without
	// steps it has to be set.
	Promote bool `json:"promote"`

	// The rest is the server's answer.
	Share     int        `json:"share"`                // of the devices now, 0 to 10000
	Next      string     `json:"next"`                 // wait, raise, promote, hold, finish
	NotBefore *time.Time `json:"not_before,omitempty"` // with wait
	Reason    string     `json:"reason"`               // in plain words
	CreatedBy string     `json:"created_by,omitempty"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
}

// PlanStep is a share of devices and how long it lasts before the next move.
type PlanStep struct {
	Bps         int   `json:"bps"`          // 1 to 10000
	SoakSeconds int64 `json:"soak_seconds"` // 0 to 30 days
}

// Freeze is a time in which nothing is promoted or rolled out further, once
// or every week; rolling back and pausing always work.
type Freeze struct {
	AppID string `json:"app_id"`
	Name  string `json:"name"`
	// From and To bound a single freeze.
	From *time.Time `json:"from,omitempty"`
	To   *time.Time `json:"to,omitempty"`
	// Days (mon, tue, …) make it weekly: it begins at Start ("17:00") in Zone's
	// civil time and lasts Minutes, up to seven days.
	Days    []string `json:"days,omitempty"`
	Start   string   `json:"start,omitempty"`
	Minutes int64    `json:"minutes,omitempty"`
	Zone    string   `json:"zone,omitempty"` // a name of the IANA database; "" is UTC
}

// Freezes is the answer of GET /capstan/v1/freeze.
type Freezes struct {
	Freezes []Freeze `json:"freezes"`
	// FrozenUntil is set within a freeze: when the freezes that follow on each
	// other let go.
	FrozenUntil *time.Time `json:"frozen_until,omitempty"`
}
