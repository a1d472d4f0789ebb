package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"

	"capstan/core/failure"
)

// disk is the few file operations that keys and their index need. Whatever
// moment the process dies at, a reader finds the old file or the new one, whole.
type disk struct {
	// fault is called before each step that changes the disk, with the step's
	// name; an error stops there. Tests kill the process in it. nil in use.
	fault func(step string) error
}

// tempPrefix marks files that were being written; whoever holds the folder's
// lock may remove what an earlier death left.
const tempPrefix = ".capstan-new-"

func (d disk) at(step string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(step)
}

// write puts data at path through a temporary file: write, flush to the disk,
// rename, flush the folder. Without overwrite an existing file is an fs.ErrExist.
func (d disk) write(path string, mode fs.FileMode, data []byte, overwrite bool) (err error) {
	if !overwrite {
		if _, err := os.Lstat(path); err == nil {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := d.at("create temporary file"); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*") // created 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := d.at("write"); err != nil {
		return err
	}
	half := len(data) / 2 // two writes, so that a death between them is a case that tests can reach
	if _, err := f.Write(data[:half]); err != nil {
		return err
	}
	if err := d.at("write the rest"); err != nil {
		return err
	}
	if _, err := f.Write(data[half:]); err != nil {
		return err
	}
	if mode != 0o600 {
		if err := f.Chmod(mode); err != nil && runtime.GOOS != "windows" {
			return err
		}
	}
	if err := d.at("flush"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := d.at("rename"); err != nil {
		return err
	}
	if overwrite {
		err = os.Rename(f.Name(), path)
	} else {
		err = claim(f.Name(), path)
	}
	if err != nil {
		return err
	}
	if err := d.at("flush folder"); err != nil {
		return nil // the file is in place; only its survival of a power cut is not assured
	}
	return syncDir(filepath.Dir(path))
}

// claim gives a finished file its name only if the name is free: by a hard link
// where the file system has them, else by a rename (the caller holds the lock,
// so only a foreign program could come in between).
func claim(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil {
		return os.Remove(temp)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return os.Rename(temp, path)
}

// remove deletes a file and flushes the folder.
func (d disk) remove(path string) error {
	if err := d.at("remove"); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename or removal survive a power cut. Windows flushes
// folders by itself and cannot be asked to.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}

// privateDir makes a folder that only its owner can enter.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// lock waits for the exclusive lock of a folder and gives its release. Files
// that a dead writer left are removed while the lock is held.
func lock(ctx context.Context, dir, name string) (unlock func(), err error) {
	if err := privateDir(dir); err != nil {
		return nil, failure.Wrap(err, failure.Failed, "folder_unwritable", "open key folder", "check the folder's owner and rights")
	}
	type result struct {
		unlock func()
		err    error
	}
	got := make(chan result, 1)
	go func() {
		unlock, err := lockedfile.MutexAt(filepath.Join(dir, name)).Lock()
		got <- result{unlock, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, failure.Wrap(r.err, failure.Failed, "folder_unwritable", "lock key folder", "check the folder's owner and rights")
		}
		return r.unlock, nil
	case <-ctx.Done():
		go func() { // give the lock back should it still arrive
			if r := <-got; r.err == nil {
				r.unlock()
			}
		}()
		return nil, ctx.Err()
	}
}

// sweep removes what dead writers left; the caller holds the folder's lock.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // nothing to tidy
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// readPrivate reads a small file that must belong to this user alone: loose
// rights or another owner are refused, because whoever could write the file
// could have swapped it.
func readPrivate(op, path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, failure.Newf(failure.KeyStore, "key_file_unsafe", op, "", "%s is not a regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, failure.Newf(failure.KeyStore, "key_file_unsafe", op, fmt.Sprintf("chmod 600 '%s' after making sure that it is yours", path), "%s can be read or written by others (mode %04o)", path, info.Mode().Perm())
	}
	if foreign(info) {
		return nil, failure.Newf(failure.KeyStore, "key_file_unsafe", op, "", "%s belongs to another user", path)
	}
	return readLimited(f, limit)
}

// readLimited reads everything, or fails when that is more than limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, nil
}
