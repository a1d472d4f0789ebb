//go:build !unix

package server

import (
	"errors"
	"syscall"
)

// isFull reports whether a volume has no room left (ERROR_DISK_FULL,
// ERROR_HANDLE_DISK_FULL).
func isFull(err error) bool {
	return errors.Is(err, syscall.Errno(112)) || errors.Is(err, syscall.Errno(39))
}

func isDeviceFault(error) bool { return false }

// syncDir has nothing to do: folders cannot be synced here.
func (f *folder) syncDir(string) error { return nil }
