package keys

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"

	"capstan/core/failure"
)

// EnvironmentVariable is where CI puts the private key: the PEM text, or the
// path of a file that holds it.
const EnvironmentVariable = "CAPSTAN_PRIVATE_KEY"

var taken struct {
	sync.Mutex
	value string
}

// TakeEnvironment gives the value of CAPSTAN_PRIVATE_KEY and removes it from
// the environment, so that no child process inherits it. Later calls give the
// same value, or a new one if it was set again. On Linux the first value stays
// readable in /proc to processes of the same user.
func TakeEnvironment() string {
	taken.Lock()
	defer taken.Unlock()
	if value, set := os.LookupEnv(EnvironmentVariable); set {
		taken.value = value
		_ = os.Unsetenv(EnvironmentVariable) // fails only for malformed names
	}
	return taken.value
}

// single is a read-only store of one key, which it reads when first asked.
type single struct {
	kind     Kind
	location string
	read     func(context.Context) ([]byte, error)

	mu  sync.Mutex
	pem []byte
	id  string
}

var _ Store = (*single)(nil)

// newEnvironmentStore reads the key from an environment variable's value.
func newEnvironmentStore(value string) *single {
	return &single{kind: Environment, location: "environment variable " + EnvironmentVariable, read: func(context.Context) ([]byte, error) {
		return environmentPEM(value)
	}}
}

// environmentPEM accepts PEM text, also with its line breaks written as \n
// (CI settings that hold one line), or a file's path.
func environmentPEM(value string) ([]byte, error) {
	const op = "read key from " + EnvironmentVariable
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, "-----BEGIN ") {
		return []byte(strings.ReplaceAll(value, `\n`, "\n")), nil
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, malformed(op, "set it to the PEM text or to a file's path", "it holds neither PEM text nor a file's path")
	}
	f, err := os.Open(value)
	if err != nil { // the value itself is not repeated: it may be a secret in a wrong form
		reason := "the file that it names cannot be read"
		if errors.Is(err, fs.ErrNotExist) {
			reason = "it holds neither PEM text nor the path of a file that exists"
		}
		return nil, malformed(op, "set it to the PEM text or to a file's path", "%s", reason)
	}
	defer f.Close()
	data, err := readLimited(f, maxPEM)
	if err != nil {
		return nil, malformed(op, "", "the file that it names cannot be read as a key")
	}
	return data, nil
}

func (s *single) Kind() Kind          { return s.kind }
func (s *single) Location(Ref) string { return s.location }

func (s *single) Probe(context.Context) error { return readOnly("probe key store", s.kind) }

func (s *single) Put(context.Context, Ref, []byte) error { return readOnly("store key", s.kind) }

func (s *single) Delete(context.Context, Ref) error { return readOnly("remove key", s.kind) }

// load reads and checks the key once; failures are not remembered, so that a
// locked password manager can be tried again.
func (s *single) load(ctx context.Context) (id string, pem []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pem != nil {
		return s.id, bytes.Clone(s.pem), nil
	}
	text, err := s.read(ctx)
	if err != nil {
		return "", nil, err
	}
	key, err := ParsePrivate(text)
	if err != nil {
		var f *failure.Error
		if errors.As(err, &f) {
			return "", nil, failure.Newf(f.Class, f.Code, f.Op, f.Hint, "%s: %w", s.location, f.Err)
		}
		return "", nil, err
	}
	s.id, s.pem = KeyID(&key.PublicKey), EncodePrivate(key)
	return s.id, bytes.Clone(s.pem), nil
}

// Get gives the one key if it is the one that ref names; the app does not matter.
func (s *single) Get(ctx context.Context, ref Ref) ([]byte, error) {
	if err := ready(ctx, ref); err != nil {
		return nil, err
	}
	return s.get(ctx, ref)
}

// get is Get for a reference whose app need not be known.
func (s *single) get(ctx context.Context, ref Ref) ([]byte, error) {
	id, pem, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if id != ref.KeyID {
		clear(pem)
		return nil, notFound("read key", ref, s.location)
	}
	return pem, nil
}

func (s *single) Has(ctx context.Context, ref Ref) (bool, error) {
	pem, err := s.Get(ctx, ref)
	clear(pem)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
