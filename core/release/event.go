// Package release takes a build folder to a live channel: preflight, pack and
// seal, upload, prove, register, promote. Each step is a Stage; the journal is
// written before and after each, so that a release which died continues where
// it stopped and never publishes twice. Stages emit one Event type, which the
// console draws, --plain prints and --json encodes.
//
// Start with Pipeline.Run; Resume continues a journal.
package release

import (
	"encoding/json"
	"time"

	"capstan/core/keys"
)

// StageName is a stage's stable name in journals, events and scripts.
type StageName string

// The stages, in order.
const (
	StagePreflight StageName = "preflight"
	StageSeal      StageName = "seal" // pack and seal are one pass
	StageUpload    StageName = "upload"
	StageProve     StageName = "prove"
	StageRegister  StageName = "register"
	StagePromote   StageName = "promote"
)

// Stages lists the stages in the order in which they run.
func Stages() []StageName {
	return []StageName{StagePreflight, StageSeal, StageUpload, StageProve, StageRegister, StagePromote}
}

// EventKind says what an Event reports.
type EventKind string

// The kinds.
const (
	EventStarted  EventKind = "started"
	EventProgress EventKind = "progress"
	EventFinding  EventKind = "finding" // one preflight finding
	EventStep     EventKind = "step"    // one step of the simulated device
	EventSkipped  EventKind = "skipped" // the journal says it was done
	EventFinished EventKind = "finished"
	EventFailed   EventKind = "failed"
	EventDone     EventKind = "done" // the whole release
)

// Event is one thing that happened in a release.
type Event struct {
	Time  time.Time `json:"time"`
	Stage StageName `json:"stage,omitempty"`
	Kind  EventKind `json:"event"`
	// Text is one line for people: what was done, what was found.
	Text string `json:"text,omitempty"`
	// Done and Total count bytes; Total is 0 while unknown. Rate is bytes a
	// second over a sliding window; ETA is 0 while unknown.
	Done  int64         `json:"done,omitempty"`
	Total int64         `json:"total,omitempty"`
	Rate  float64       `json:"rate,omitempty"`
	ETA   time.Duration `json:"-"` // etaSeconds in JSON
	// Level is "ok", "warn" or "block" of a finding; "ok" or "refused" of a step.
	Level string `json:"level,omitempty"`
	// Code is the finding's, step's or error's stable code.
	Code string `json:"code,omitempty"`
	// Hint says what to do about a finding or an error.
	Hint string `json:"hint,omitempty"`
	// Result comes with EventDone.
	Result *Result `json:"result,omitempty"`
}

// Result is the outcome of a release, and the final object of --json.
type Result struct {
	ID         string `json:"id"` // of the release, names its journal
	App        string `json:"app"`
	Version    string `json:"version"`
	Channel    string `json:"channel,omitempty"`
	Previous   string `json:"previous,omitempty"` // what the channel had before
	URL        string `json:"url"`
	Checksum   string `json:"checksum"` // SHA-256 of the plain zip, hex
	SessionKey string `json:"sessionKey,omitempty"`
	KeyID      string `json:"keyId,omitempty"`
	// SecondKeyID and SecondURL are of the seal for the second key of an app that
	// changes keys.
	SecondKeyID string `json:"secondKeyId,omitempty"`
	SecondURL   string `json:"secondUrl,omitempty"`
	// Format is v1 for the first scheme; then CRC32 is the bundle's checksum, and
	// Warnings say what the scheme does not protect.
	Format   keys.Scheme   `json:"format,omitempty"`
	CRC32    string        `json:"crc32,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Size     int64         `json:"size"`  // bytes of the object in storage
	Files    int           `json:"files"` // in the bundle
	Delta    *DeltaOutcome `json:"delta,omitempty"`
	Device   *DeviceResult `json:"device,omitempty"`
	// SecondDevice is the answer to a device with the second key.
	SecondDevice *DeviceResult `json:"secondDevice,omitempty"`
	// Receipt proves the change in the server's ledger; nil where there is none.
	Receipt *Receipt `json:"receipt,omitempty"`
	// Undo is how to undo what a release that was stopped on purpose left behind.
	Undo []Undo        `json:"undo,omitempty"`
	Took time.Duration `json:"-"` // tookMs in JSON
}

// MarshalJSON writes durations in units that scripts know.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	return json.Marshal(struct {
		plain
		ETASeconds float64 `json:"etaSeconds,omitempty"`
	}{plain(e), e.ETA.Seconds()})
}

// MarshalJSON writes durations in units that scripts know.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	return json.Marshal(struct {
		plain
		TookMS int64 `json:"tookMs"`
	}{plain(r), r.Took.Milliseconds()})
}

// DeviceResult says what the simulated device did with the release.
type DeviceResult struct {
	Installed     bool   `json:"installed"`
	PluginVersion string `json:"pluginVersion"`
	Reason        string `json:"reason,omitempty"` // why not, when it did not
}
