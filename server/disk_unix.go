//go:build unix

package server

import (
	"errors"
	"os"
	"syscall"
)

// isFull reports whether a volume has no room left.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// isDeviceFault reports whether the disk itself failed.
func isDeviceFault(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// syncDir makes a new name in a folder survive a loss of power.
func (f *folder) syncDir(name string) error {
	d, err := f.root.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
