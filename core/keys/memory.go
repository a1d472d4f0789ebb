package keys

import (
	"bytes"
	"context"
	"sync"
)

// memoryStore keeps keys for the life of the process.
type memoryStore struct {
	mu   sync.Mutex
	keys map[Ref][]byte
}

var _ Store = (*memoryStore)(nil)

func newMemoryStore() *memoryStore { return &memoryStore{keys: map[Ref][]byte{}} }

func (s *memoryStore) Kind() Kind                  { return Memory }
func (s *memoryStore) Location(Ref) string         { return "the memory of this process" }
func (s *memoryStore) Probe(context.Context) error { return nil }

func (s *memoryStore) Put(ctx context.Context, ref Ref, pem []byte) error {
	const op = "store key"
	if err := ready(ctx, ref); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.keys[ref]; there {
		return exists(op, ref, s.Location(ref))
	}
	s.keys[ref] = bytes.Clone(pem)
	return nil
}

func (s *memoryStore) Get(ctx context.Context, ref Ref) ([]byte, error) {
	if err := ready(ctx, ref); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pem, there := s.keys[ref]
	if !there {
		return nil, notFound("read key", ref, s.Location(ref))
	}
	return bytes.Clone(pem), nil
}

func (s *memoryStore) Has(ctx context.Context, ref Ref) (bool, error) {
	if err := ready(ctx, ref); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.keys[ref]
	return there, nil
}

func (s *memoryStore) Delete(ctx context.Context, ref Ref) error {
	if err := ready(ctx, ref); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pem, there := s.keys[ref]
	if !there {
		return notFound("remove key", ref, s.Location(ref))
	}
	clear(pem)
	delete(s.keys, ref)
	return nil
}

// ready is what every store checks first: a live context and a sane reference.
func ready(ctx context.Context, ref Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return ref.check()
}
