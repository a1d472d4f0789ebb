package keys

import "time"

// RotationState is how far an app's change from one key to another has come.
type RotationState string

// The states, in order.
const (
	Announced RotationState = "announced" // the new key exists and ships with the next native build
	Both      RotationState = "both"      // bundles are sealed twice, devices are answered by their key_id
	Draining  RotationState = "draining"  // the old key serves the devices that remain
	RetiredBy RotationState = "retired"   // the new key alone
)

// Rotation is the change of an app from one key to another.
type Rotation struct {
	OldKeyID string        `json:"oldKeyId"`
	NewKeyID string        `json:"newKeyId"`
	State    RotationState `json:"state"`
	Started  time.Time     `json:"started"`
	Changed  time.Time     `json:"changed"`
}

// SealingKey is the key that an app's next bundle is sealed with first.
func (r Rotation) SealingKey() string {
	if r.State == Announced {
		return r.OldKeyID
	}
	return r.NewKeyID
}
