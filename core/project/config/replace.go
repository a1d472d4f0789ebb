package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"capstan/core/failure"
)

// replace writes the new text next to the file and renames it into place, so
// that a reader sees the old file or the new one, whatever happens meanwhile.
func (f *File) replace(text []byte) error {
	const op = "write config"
	if !f.Unchanged() {
		return failure.Newf(failure.Conflict, "config_changed", op, "plan the edit again", "%s was changed meanwhile", f.name())
	}
	// A symlink stays one: what it points to is replaced.
	path, err := filepath.EvalSymlinks(f.Path)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "config_unwritable", op, "")
	}
	if err := writeAtomically(path, text, f.Mode.Perm()); err != nil {
		hint := ""
		if errors.Is(err, fs.ErrPermission) {
			hint = "check the permissions of the folder"
		}
		return failure.Wrap(err, failure.Failed, "config_unwritable", op, hint)
	}
	return nil
}

func writeAtomically(path string, text []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return err
	}
	if d, openErr := os.Open(dir); openErr == nil {
		_ = d.Sync() // makes the rename durable; not every file system can
		_ = d.Close()
	}
	return nil
}
