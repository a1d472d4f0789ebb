package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capstan/core/failure"
)

// Cache keeps between two delta updates what costs most in making one: the
// compressed bytes of a file and the signatures of its hash. Both follow from
// the plain file alone, so that a build of which little changed is compressed
// and signed only where it changed. Encrypted bytes are never kept: they belong
// to one bundle's session key.
//
//	<dir>/<2 hex>/<sha256>.q<quality>   of the plain file with that hash: brotli,
//	                                    then its own SHA-256 (32 bytes); nothing
//	                                    before that: it is not worth it
//	<dir>/<key>.signatures              see signatures
//
// Nothing that is read from it is believed: compressed bytes are compared with
// their hash, the signatures of a key are sealed with that key. What does not
// hold is made again. A Cache may be shared by several processes.
type Cache struct{ dir string }

const (
	// cacheAge is how long an entry stays that nothing asked for, cacheBytes
	// what all of them may take: some hundred builds.
	cacheAge   = 90 * 24 * time.Hour
	cacheBytes = 1 << 30
	// cacheTouch spares a write each time that an entry is used.
	cacheTouch = 24 * time.Hour
)

// OpenCache uses the folder dir and makes it when it is absent.
func OpenCache(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure.Wrap(err, failure.Failed, "state_folder", "open the cache of delta files", "check that the folder can be written, or set CAPSTAN_HOME")
	}
	return &Cache{dir: dir}, nil
}

func (c *Cache) path(sum [32]byte, suffix string) string {
	name := hex.EncodeToString(sum[:])
	return filepath.Join(c.dir, name[:2], name+suffix)
}

func compressedSuffix(quality int) string { return fmt.Sprintf(".q%d", quality) }

// compressed gives the compressed bytes of a file, nil when they are not there.
// Empty ones say that the file is stored as it is.
func (c *Cache) compressed(sum [32]byte, quality int) *spill {
	if c == nil {
		return nil
	}
	path := c.path(sum, compressedSuffix(quality))
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	s := &spill{file: f, keep: true}
	info, err := f.Stat()
	if err != nil || info.Size() < sha256.Size {
		s.close()
		return nil
	}
	s.size = info.Size() - sha256.Size
	h := sha256.New()
	var want [sha256.Size]byte
	_, err = io.Copy(h, s.reader())
	if err == nil {
		_, err = f.ReadAt(want[:], s.size)
	}
	if err != nil && err != io.EOF || !bytes.Equal(h.Sum(nil), want[:]) {
		s.close()
		_ = os.Remove(path)
		return nil
	}
	c.used(path, info)
	return s
}

// keepCompressed remembers compressed bytes. It may fail without harm.
func (c *Cache) keepCompressed(sum [32]byte, quality int, packed io.Reader) {
	if c == nil {
		return
	}
	c.write(c.path(sum, compressedSuffix(quality)), func(w io.Writer) error {
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(w, h), packed); err != nil {
			return err
		}
		_, err := w.Write(h.Sum(nil))
		return err
	})
}

func (c *Cache) used(path string, info fs.FileInfo) {
	if now := time.Now(); now.Sub(info.ModTime()) > cacheTouch {
		_ = os.Chtimes(path, now, now)
	}
}

// write gives an entry its name when it is whole.
func (c *Cache) write(path string, content func(io.Writer) error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return
	}
	err = content(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// Tidy removes entries that nothing asked for in 90 days, and the oldest ones
// beyond 1 GiB. It looks once a day, however often it is called.
func (c *Cache) Tidy(ctx context.Context) error {
	return c.tidy(ctx, time.Now(), cacheAge, cacheBytes)
}

func (c *Cache) tidy(ctx context.Context, now time.Time, age time.Duration, limit int64) error {
	stamp := filepath.Join(c.dir, "tidied")
	if info, err := os.Stat(stamp); err == nil && now.Sub(info.ModTime()) < cacheTouch {
		return nil
	}
	type entry struct {
		path string
		size int64
		at   time.Time
	}
	var entries []entry
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || d.IsDir() || path == stamp {
			return nil // what cannot be read is not in the way
		}
		if info, err := d.Info(); err == nil {
			entries = append(entries, entry{path, info.Size(), info.ModTime()})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b entry) int { return b.at.Compare(a.at) })
	var total int64
	for _, e := range entries {
		if total += e.size; total > limit || now.Sub(e.at) > age {
			_ = os.Remove(e.path)
		}
	}
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		return failure.Wrap(err, failure.Failed, "state_folder", "tidy the cache of delta files", "")
	}
	_ = os.Chtimes(stamp, now, now)
	return nil
}
