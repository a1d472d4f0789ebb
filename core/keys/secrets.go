package keys

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/zalando/go-keyring"

	"capstan/core/failure"
)

// Secrets keeps small named secrets, such as a server's token, in the system
// keyring or in a 0600 file. Where each one is kept is recorded, so that a
// locked keyring is reported as such and never looked past.
type Secrets struct{ ring *Ring }

// SecretStore gives the ring's named secrets.
func (r *Ring) SecretStore() *Secrets { return &Secrets{r} }

const (
	secretsFile = "secrets.json"
	maxSecret   = 2048 // fits every keyring
)

// namesSecret tells what a secret may be called.
func namesSecret(s string) bool {
	for i, c := range []byte(s) {
		if !alphanumeric(c) && (i == 0 || !strings.ContainsRune(":/._@%+-", rune(c))) {
			return false
		}
	}
	return s != "" && len(s) <= 160
}

func checkSecretName(name string) error {
	if !namesSecret(name) {
		return failure.Newf(failure.Usage, "secret_name_malformed", "", "", "%q cannot name a secret", clean(name))
	}
	return nil
}

func secretUser(name string) string { return "secret/" + name }

func secretNotFound(name string) error {
	return failure.Newf(failure.NotFound, "secret_not_found", "read secret", "", "no secret is stored for %s", name)
}

// Get gives a secret; secret_not_found when none was put under the name.
func (s *Secrets) Get(ctx context.Context, name string) (string, error) {
	const op = "read secret"
	kind, err := s.where(name)
	if err != nil {
		return "", err
	}
	switch kind {
	case Keyring:
		value, err := s.ring.keyring.get(ctx, op, secretUser(name))
		if errors.Is(err, keyring.ErrNotFound) {
			return "", secretNotFound(name)
		}
		return value, err
	case File:
		all, err := s.file(op)
		if err != nil {
			return "", err
		}
		if value, ok := all[name]; ok {
			return value, nil
		}
	}
	return "", secretNotFound(name)
}

// Put stores a secret under a name, in place of an earlier one.
func (s *Secrets) Put(ctx context.Context, name, value string) error {
	const op = "store secret"
	if value == "" || len(value) > maxSecret {
		return failure.Newf(failure.Usage, "secret_malformed", op, "", "a secret has 1 to %d bytes", maxSecret)
	}
	kind, err := s.where(name)
	if err != nil {
		return err
	}
	if kind == "" {
		if kind, err = s.choose(ctx); err != nil {
			return err
		}
	}
	if kind == Keyring {
		if err := fitsKeyring(op, secretUser(name), value); err != nil {
			return err
		}
		k := s.ring.keyring
		err := k.call(ctx, op, k.deadline, func() error { return k.backend.Set(keyringService, secretUser(name), value) })
		if err != nil {
			return err
		}
	}
	return s.ring.index.change(ctx, func(c *contents) error {
		if c.Secrets == nil {
			c.Secrets = map[string]Kind{}
		}
		c.Secrets[name] = kind
		if kind != File {
			return nil
		}
		return s.rewrite(op, func(all map[string]string) { all[name] = value })
	})
}

// Delete forgets a secret; secret_not_found when there is none.
func (s *Secrets) Delete(ctx context.Context, name string) error {
	const op = "remove secret"
	kind, err := s.where(name)
	if err != nil {
		return err
	}
	if kind == "" {
		return secretNotFound(name)
	}
	if kind == Keyring {
		k := s.ring.keyring
		err := k.call(ctx, op, k.deadline, func() error { return k.backend.Delete(keyringService, secretUser(name)) })
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
	}
	return s.ring.index.change(ctx, func(c *contents) error {
		delete(c.Secrets, name)
		if kind != File {
			return nil
		}
		return s.rewrite(op, func(all map[string]string) { delete(all, name) })
	})
}

// Kind says which store holds a secret: Keyring, File, or "" when none does.
func (s *Secrets) Kind(name string) (Kind, error) { return s.where(name) }

func (s *Secrets) where(name string) (Kind, error) {
	if err := checkSecretName(name); err != nil {
		return "", err
	}
	c, err := s.ring.index.read()
	return c.Secrets[name], err
}

// choose decides where a first secret goes. Only a keyring that does not exist
// leads to the file; one that is locked is an error for the operator to solve.
func (s *Secrets) choose(ctx context.Context) (Kind, error) {
	switch s.ring.opts.SecretKind {
	case File, Keyring:
		return s.ring.opts.SecretKind, nil
	}
	err := s.ring.keyring.Probe(ctx)
	if errors.Is(err, ErrAbsent) {
		return File, nil
	}
	return Keyring, err
}

func (s *Secrets) path() string { return filepath.Join(s.ring.dir, secretsFile) }

// file reads the secrets that are kept in the 0600 file.
func (s *Secrets) file(op string) (map[string]string, error) {
	all := map[string]string{}
	data, err := readPrivate(op, s.path(), maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, storeFailed(op, err)
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, failure.Newf(failure.KeyStore, "secrets_damaged", op, "move it away and store the tokens again", "%s is not the JSON that capstan wrote", s.path())
	}
	return all, nil
}

// rewrite changes the secrets file; the caller holds the index lock.
func (s *Secrets) rewrite(op string, edit func(map[string]string)) error {
	all, err := s.file(op)
	if err != nil {
		return err
	}
	edit(all)
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := s.ring.disk.write(s.path(), 0o600, append(data, '\n'), true); err != nil {
		return storeFailed(op, err)
	}
	return nil
}
