//go:build !windows

package release

import (
	"errors"
	"syscall"
)

// isFull reports whether a write failed for want of space: on the disk, of the
// user's quota, or below the limit on a file's size.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
