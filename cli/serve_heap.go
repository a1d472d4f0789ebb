package cli

import "os"

// heapFloor is how many bytes more than the live heap a server fills before it
// collects.
const heapFloor = 32 << 20

// fillBeforeCollecting keeps a server with few apps from collecting garbage many
// times a second: Go collects when the heap has doubled, and such a heap is
// small. The bytes count as heap and are never touched, so that they take no
// memory, and nothing for the collector to look at. Where the operator has set
// GOGC or GOMEMLIMIT it gives nil: their word holds as it is.
func fillBeforeCollecting() []byte {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return nil
		}
	}
	return make([]byte, heapFloor)
}
