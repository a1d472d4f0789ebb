package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"capstan/core/failure"
)

// fileStore keeps each key in one age file under a passphrase, 0600, in a
// folder that only its owner can enter.
type fileStore struct {
	dir        string
	workFactor int
	disk       disk
	askOld     Ask
	askNew     Ask

	mu   sync.Mutex
	held map[Ref][]byte // passphrases given in this run, so that each is asked once
}

var _ Store = (*fileStore)(nil)

const fileLock = "lock"

func newFileStore(dir string, workFactor int, askOld, askNew Ask, d disk) *fileStore {
	return &fileStore{dir: dir, workFactor: workFactor, disk: d, askOld: askOld, askNew: askNew, held: map[Ref][]byte{}}
}

func (s *fileStore) Kind() Kind              { return File }
func (s *fileStore) Location(ref Ref) string { return s.path(ref) }

func (s *fileStore) path(ref Ref) string { return filepath.Join(s.dir, ref.fileName()+".age") }

// Probe writes random bytes through the same path as a key, and reads them back.
func (s *fileStore) Probe(ctx context.Context) error {
	const op = "probe key folder"
	unlock, err := lock(ctx, s.dir, fileLock)
	if err != nil {
		return err
	}
	defer unlock()
	sweep(s.dir)
	canary := make([]byte, 32)
	rand.Read(canary)
	path := filepath.Join(s.dir, tempPrefix+"probe")
	if err := (disk{}).write(path, 0o600, canary, true); err != nil {
		return storeFailed(op, err)
	}
	back, err := readPrivate(op, path, 64)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		return storeFailed(op, err)
	}
	if !bytes.Equal(back, canary) {
		return failure.Newf(failure.KeyStore, "key_store_failed", op, "check the disk", "%s gave back other bytes than were written", s.dir)
	}
	return nil
}

func (s *fileStore) Put(ctx context.Context, ref Ref, pem []byte) error {
	const op = "store key"
	if err := ready(ctx, ref); err != nil {
		return err
	}
	path := s.path(ref)
	if _, err := os.Lstat(path); err == nil {
		return exists(op, ref, path)
	}
	passphrase, err := s.askNew.askNew(ctx, op, "new passphrase for the key file of "+ref.AppID)
	if err != nil {
		return err
	}
	text, err := sealPassphrase(pem, passphrase, s.workFactor)
	if err != nil {
		return storeFailed(op, err)
	}
	unlock, err := lock(ctx, s.dir, fileLock)
	if err != nil {
		return err
	}
	defer unlock()
	sweep(s.dir)
	if err := s.disk.write(path, 0o600, text, false); errors.Is(err, fs.ErrExist) {
		return exists(op, ref, path)
	} else if err != nil {
		return storeFailed(op, err)
	}
	s.hold(ref, passphrase)
	return nil
}

func (s *fileStore) Get(ctx context.Context, ref Ref) ([]byte, error) {
	const op = "read key"
	if err := ready(ctx, ref); err != nil {
		return nil, err
	}
	text, err := readPrivate(op, s.path(ref), maxBackup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(op, ref, s.dir)
	} else if _, known := failure.Find(err); known {
		return nil, err
	} else if err != nil {
		return nil, storeFailed(op, err)
	}
	if passphrase := s.recall(ref); passphrase != nil {
		return openPassphrase(op, text, passphrase)
	}
	passphrase, err := s.askOld.ask(ctx, op, "passphrase for key "+ref.KeyID+" of "+ref.AppID)
	if err != nil {
		return nil, err
	}
	pem, err := openPassphrase(op, text, passphrase)
	if err != nil {
		clear(passphrase)
		return nil, err
	}
	s.hold(ref, passphrase)
	return pem, nil
}

func (s *fileStore) Has(ctx context.Context, ref Ref) (bool, error) {
	if err := ready(ctx, ref); err != nil {
		return false, err
	}
	switch _, err := os.Lstat(s.path(ref)); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, storeFailed("look for key", err)
	}
}

func (s *fileStore) Delete(ctx context.Context, ref Ref) error {
	const op = "remove key"
	if err := ready(ctx, ref); err != nil {
		return err
	}
	unlock, err := lock(ctx, s.dir, fileLock)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.disk.remove(s.path(ref)); errors.Is(err, fs.ErrNotExist) {
		return notFound(op, ref, s.dir)
	} else if err != nil {
		return storeFailed(op, err)
	}
	s.hold(ref, nil)
	return nil
}

// hold remembers a passphrase for the rest of the run; nil forgets it.
func (s *fileStore) hold(ref Ref, passphrase []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.held[ref])
	if passphrase == nil {
		delete(s.held, ref)
		return
	}
	s.held[ref] = passphrase
}

func (s *fileStore) recall(ref Ref) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[ref]
}

// forget clears every passphrase.
func (s *fileStore) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, p := range s.held {
		clear(p)
		delete(s.held, ref)
	}
}
