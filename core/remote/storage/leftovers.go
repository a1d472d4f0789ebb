package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Leftover is an upload that was begun and not finished: it takes space, and
// nobody sees it.
type Leftover struct {
	Name    string // of the object that it was to become, or of the half-written file
	ID      string // the service's own
	Size    int64  // bytes that are there; 0 where the service does not tell
	Started time.Time
}

// Cleaner is a Storage that keeps unfinished uploads until somebody drops them.
// A release that is run again continues those of S3, Azure and Google. Azure and
// Google drop theirs after a week.
type Cleaner interface {
	Leftovers(ctx context.Context) ([]Leftover, error)
	Discard(ctx context.Context, l Leftover) error
}

var (
	_ Cleaner = (*s3)(nil)
	_ Cleaner = (*file)(nil)
	_ Cleaner = (*sftpDir)(nil)
)

// Leftovers lists the half-written files of uploads that were killed.
func (f *file) Leftovers(ctx context.Context) ([]Leftover, error) {
	var all []Leftover
	err := f.walk(ctx, "", func(object Object) bool {
		if isTemporary(object.Name) {
			all = append(all, Leftover{Name: object.Name, Size: object.Size, Started: object.Changed})
		}
		return true
	})
	if err != nil {
		return nil, f.translate(ctx, "list unfinished uploads", "", err)
	}
	return all, nil
}

// Discard removes a half-written file, and nothing else.
func (f *file) Discard(ctx context.Context, l Leftover) error {
	if !isTemporary(l.Name) || CheckName(l.Name) != nil {
		return errNotFound("drop the unfinished upload", l.Name)
	}
	return f.Delete(ctx, l.Name)
}

// Leftovers lists the half-written files of uploads that were killed.
func (s *sftpDir) Leftovers(ctx context.Context) ([]Leftover, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	var all []Leftover
	for walk := c.Walk(s.dir); walk.Step(); {
		switch err := walk.Err(); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			continue // nothing was ever stored, or it is gone by now
		case err != nil:
			return nil, s.translate("list unfinished uploads", "", err)
		}
		if name := strings.TrimPrefix(walk.Path(), s.dir+"/"); isPart(name) && walk.Stat().Mode().IsRegular() {
			all = append(all, Leftover{Name: name, Size: walk.Stat().Size(), Started: walk.Stat().ModTime()})
		}
	}
	return all, nil
}

// isPart recognises the temporary files of the sftp driver.
func isPart(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, ".capstan-") && strings.HasSuffix(base, ".part")
}

// Discard removes a half-written file, and nothing else.
func (s *sftpDir) Discard(ctx context.Context, l Leftover) error {
	if !isPart(l.Name) || CheckName(l.Name) != nil {
		return errNotFound("drop the unfinished upload", l.Name)
	}
	return s.Delete(ctx, l.Name)
}
