package keys

import (
	"context"
	"slices"
	"time"

	"capstan/core/failure"
)

// RotationState is how far an app's change from one key to another has come.
type RotationState string

// The states, in order. The public key is compiled into the native app, so a
// change takes as long as devices take to install the store release that
// carries the new one.
const (
	// Announced: the new key exists and goes into the next native build. Bundles
	// are sealed with the old key.
	Announced RotationState = "announced"
	// Both: a native build with the new key is out. Bundles are sealed with both
	// keys, and a device is answered by its key_id.
	Both RotationState = "both"
	// Draining: as Both; the devices that remain on the old key are counted.
	Draining RotationState = "draining"
	// Retired: bundles are sealed with the new key alone.
	Retired RotationState = "retired"
)

var rotationOrder = []RotationState{Announced, Both, Draining, Retired}

// Rotation is the change of an app from one key to another.
type Rotation struct {
	AppID    string        `json:"appId"`
	OldKeyID string        `json:"oldKeyId"`
	NewKeyID string        `json:"newKeyId"`
	State    RotationState `json:"state"`
	Started  time.Time     `json:"started"`
	Changed  time.Time     `json:"changed"`
	// Devices is the last count, zero before the first.
	Devices DeviceCount `json:"devices"`
}

// DeviceCount is how many devices still use the old key.
type DeviceCount struct {
	OnOld int       `json:"onOld"`
	Total int       `json:"total"`
	At    time.Time `json:"at,omitzero"`
}

// SealingKey is the key that an app's next bundle is sealed with first: the one
// that most devices have in that state.
func (r Rotation) SealingKey() string {
	if r.State == Announced {
		return r.OldKeyID
	}
	return r.NewKeyID
}

// SealingKeys are all keys that a bundle must be sealed with in this state.
func (r Rotation) SealingKeys() []string {
	switch r.State {
	case Announced:
		return []string{r.OldKeyID}
	case Both, Draining:
		return []string{r.NewKeyID, r.OldKeyID}
	}
	return []string{r.NewKeyID}
}

// Rotation gives the state of an app's change of keys; ok is false when there
// is, and was, none.
func (r *Ring) Rotation(appID string) (rotation Rotation, ok bool, err error) {
	c, err := r.index.read()
	if err != nil {
		return Rotation{}, false, err
	}
	rotation, ok = c.Rotations[appID]
	return rotation, ok, nil
}

// StartRotation announces the change from an app's current key to another one
// that is in the index. One that is under way already is a conflict.
func (r *Ring) StartRotation(ctx context.Context, appID, newKeyID string) (Rotation, error) {
	const op = "start rotation"
	var started Rotation
	err := r.index.change(ctx, func(c *contents) error {
		if running, ok := c.Rotations[appID]; ok && running.State != Retired {
			return failure.Newf(failure.Conflict, "rotation_running", op, "finish or cancel it first", "%s is changing from key %s to %s already", appID, running.OldKeyID, running.NewKeyID)
		}
		next := position(c.Keys, Ref{appID, newKeyID})
		if next < 0 {
			return notFound(op, Ref{appID, newKeyID}, "the index")
		}
		old := -1 // the newest other key in service
		for i, rec := range c.Keys {
			if rec.AppID == appID && !rec.Retired && i != next && (old < 0 || rec.Created.After(c.Keys[old].Created)) {
				old = i
			}
		}
		if running, ok := c.Rotations[appID]; ok { // after a finished one, its new key is the old one
			old = position(c.Keys, Ref{appID, running.NewKeyID})
		}
		if old < 0 || old == next {
			return failure.Newf(failure.NotFound, "key_not_found", op, "an app with one key needs no rotation", "%s has no other key to change from", appID)
		}
		if c.Keys[next].Retired {
			return failure.Newf(failure.Conflict, "key_retired", op, "make a new key with capstan key create", "key %s was retired", newKeyID)
		}
		started = Rotation{AppID: appID, OldKeyID: c.Keys[old].KeyID, NewKeyID: newKeyID, State: Announced, Started: r.now(), Changed: r.now()}
		if c.Rotations == nil {
			c.Rotations = map[string]Rotation{}
		}
		c.Rotations[appID] = started
		return nil
	})
	return started, err
}

// CountDevices notes how many devices still use the old key.
func (r *Ring) CountDevices(ctx context.Context, appID string, onOld, total int) (Rotation, error) {
	return r.changeRotation(ctx, "count devices", appID, func(rotation *Rotation, _ *contents) error {
		if onOld < 0 || total < onOld {
			return failure.Newf(failure.Usage, "usage", "count devices", "", "%d of %d devices is no count", onOld, total)
		}
		rotation.Devices = DeviceCount{OnOld: onOld, Total: total, At: r.now()}
		return nil
	})
}

// AdvanceRotation takes a rotation to the next state. Retiring needs a count
// made while draining that says that no device uses the old key, or anyway:
// devices that do use it get no further update.
func (r *Ring) AdvanceRotation(ctx context.Context, appID string, to RotationState, anyway bool) (Rotation, error) {
	const op = "advance rotation"
	return r.changeRotation(ctx, op, appID, func(rotation *Rotation, c *contents) error {
		from := slices.Index(rotationOrder, rotation.State)
		if from+1 >= len(rotationOrder) || rotationOrder[from+1] != to {
			return failure.Newf(failure.Conflict, "rotation_order", op, "the order is announced, both, draining, retired", "the rotation is %s and cannot go to %q", rotation.State, clean(string(to)))
		}
		if to == Retired && !anyway {
			count := rotation.Devices
			if count.At.Before(rotation.Changed) || count.Total == 0 {
				return failure.New(failure.Conflict, "rotation_not_counted", op, "the devices on the old key were not counted since draining began", "count them first")
			}
			if count.OnOld > 0 {
				return failure.Newf(failure.Conflict, "rotation_not_drained", op, "wait, or retire it anyway: they will get no further update", "%d of %d devices still use the old key", count.OnOld, count.Total)
			}
		}
		rotation.State, rotation.Changed = to, r.now()
		if to == Retired {
			if i := position(c.Keys, Ref{appID, rotation.OldKeyID}); i >= 0 {
				c.Keys[i].Retired = true
			}
		}
		return nil
	})
}

// CancelRotation gives up a rotation that is only announced. Later there are
// devices with the new key, and the way back is another rotation.
func (r *Ring) CancelRotation(ctx context.Context, appID string) error {
	const op = "cancel rotation"
	_, err := r.changeRotation(ctx, op, appID, func(rotation *Rotation, c *contents) error {
		if rotation.State != Announced {
			return failure.Newf(failure.Conflict, "rotation_order", op, "apps with the new key are out; finish it, and rotate again if need be", "the rotation is %s", rotation.State)
		}
		rotation.State = ""
		return nil
	})
	return err
}

// changeRotation edits an app's rotation; one left without a state is removed.
func (r *Ring) changeRotation(ctx context.Context, op, appID string, edit func(*Rotation, *contents) error) (Rotation, error) {
	var changed Rotation
	err := r.index.change(ctx, func(c *contents) error {
		rotation, ok := c.Rotations[appID]
		if !ok {
			return failure.Newf(failure.NotFound, "rotation_not_found", op, "capstan key rotate starts one", "%s is not changing keys", clean(appID))
		}
		if err := edit(&rotation, c); err != nil {
			return err
		}
		changed = rotation
		if rotation.State == "" {
			delete(c.Rotations, appID)
			return nil
		}
		c.Rotations[appID] = rotation
		return nil
	})
	return changed, err
}
