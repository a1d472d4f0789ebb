//go:build !unix

package cli

import "time"

// cpuTime is unknown here.
func cpuTime() (time.Duration, bool) { return 0, false }
