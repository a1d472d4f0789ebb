//go:build unix

package release_test

import (
	"strconv"
	"syscall"
	"testing"
)

// limitFiles keeps this process from writing files larger than limit bytes; ""
// is no limit.
func limitFiles(t *testing.T, limit string) {
	t.Helper()
	if limit == "" {
		return
	}
	n, err := strconv.ParseUint(limit, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
		t.Fatal(err)
	}
}
