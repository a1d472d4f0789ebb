package decide

import (
	"crypto/sha256"
	"encoding/binary"
)

// fullRollout is 100 % in basis points.
const fullRollout = 10000

// RolloutPosition places a device in a rollout, 0 to 9999 basis points. It is
// a hash of the rollout's id and the device's: always the same for a pair, and
// a new draw for every rollout. A share that grows only ever adds devices.
func RolloutPosition(rolloutID, deviceID string) int {
	var buf [96]byte
	key := append(append(append(buf[:0], rolloutID...), 0), deviceID...)
	sum := sha256.Sum256(key)
	return int(binary.BigEndian.Uint64(sum[:8]) % fullRollout)
}

// holds tells whether the device gets the rollout's bundle. current is the
// bundle it runs, target the rollout's bundle name.
//
// A device that already runs the target stays on it while the rollout is
// paused or its share was lowered, so a pause moves nobody back. At 0 % the
// rollout holds nobody: that is how it is drained. (Capgo's server does the
// same unless another channel of the app has an active rollout.)
func (r *Rollout) holds(deviceID, current, target string) bool {
	switch {
	case !r.Enabled || r.PercentageBps <= 0:
		return false
	case current == target:
		return true
	case r.PausedAt != nil:
		return false
	}
	return r.PercentageBps >= fullRollout || RolloutPosition(r.ID, deviceID) < r.PercentageBps
}
