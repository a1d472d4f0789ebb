package capgo

import "time"

// Fleet is the answer of GET /capstan/v1/fleet: what the devices of an app
// would do with a bundle, from their update checks alone. It counts the
// production devices (store builds, no emulators) of the last 30 days.
type Fleet struct {
	AppID   string    `json:"app_id"`
	At      time.Time `json:"at"`
	KeyID   string    `json:"key_id"`  // of the public key on record, "" when none
	Devices int64     `json:"devices"` // that are counted
	// Enforcing refuse an unsigned bundle by themselves: their plugin is
	// EnforcesFrom or later.
	Enforcing FleetShare `json:"enforcing"`
	// SecondKeyID is of the second public key on record, while the app changes
	// keys; OnSecond carry it.
	SecondKeyID string     `json:"second_key_id,omitempty"`
	OnSecond    FleetShare `json:"on_second"`
	// OtherKey hold another public key than those on record.
	OtherKey FleetShare `json:"other_key"`
	// WithoutKey name no key at all.
	WithoutKey FleetShare `json:"without_key"`
	// RefuseForm cannot read the checksum of their channel's live bundle in any
	// form that is on record; they stay on what they run.
	RefuseForm FleetShare `json:"refuse_form"`
}

// FleetShare is a part of the devices that are counted.
type FleetShare struct {
	Devices int64   `json:"devices"`
	Share   float64 `json:"share"` // 0 to 1; 0 of none
}
