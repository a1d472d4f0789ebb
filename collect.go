package main

import (
	"math"
	"os"
	"runtime/debug"
	"time"
)

const (
	// Most commands are done before their garbage is worth a collection, and
	// bounded in memory all the same.
	commandSpan, commandMemory = 400 * time.Millisecond, 64 << 20
	// consoleSpan ends after the first frame.
	consoleSpan = time.Second
)

// collectLater puts the collection of garbage off for a span that the timer
// that it returns can make longer, or until the program holds commandMemory.
// Where GOGC or GOMEMLIMIT is set it changes nothing.
func collectLater(span time.Duration) *time.Timer {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return time.AfterFunc(span, func() {})
		}
	}
	percent := debug.SetGCPercent(-1)
	debug.SetMemoryLimit(commandMemory)
	return time.AfterFunc(span, func() {
		debug.SetMemoryLimit(math.MaxInt64)
		debug.SetGCPercent(percent)
	})
}
