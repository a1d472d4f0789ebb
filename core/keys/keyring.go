package keys

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zalando/go-keyring"

	"capstan/core/failure"
)

// Deadlines for keyring calls. A person may have to type a password, so the
// ordinary one is long; the probe only asks whether a keyring works at all.
const (
	keyringDeadline = 60 * time.Second
	probeDeadline   = 3 * time.Second
	noticeAfter     = time.Second
)

// keyringService is the service name of every item that capstan keeps.
const keyringService = "capstan"

// osKeyring is what the keyring library offers; tests put failures in its place.
type osKeyring interface {
	Set(service, user, secret string) error
	Get(service, user string) (string, error)
	Delete(service, user string) error
}

// systemKeyring is the operating system's own keyring.
type systemKeyring struct{}

func (systemKeyring) Set(service, user, secret string) error {
	return keyring.Set(service, user, secret)
}
func (systemKeyring) Get(service, user string) (string, error) { return keyring.Get(service, user) }
func (systemKeyring) Delete(service, user string) error        { return keyring.Delete(service, user) }

// keyringStore keeps keys in the operating system's keyring. Every call has a
// deadline, because the library waits for an unlock prompt without one.
type keyringStore struct {
	backend  osKeyring
	deadline time.Duration
	probe    time.Duration
	// waiting is told once when a call takes long enough that a prompt is
	// probably open somewhere. May be nil.
	waiting func(message string)

	mu sync.Mutex
	// stuck is open while an abandoned call still runs. Until it ends no other
	// call is made: the late one may yet write.
	stuck chan struct{}
}

var _ Store = (*keyringStore)(nil)

func newKeyringStore(backend osKeyring, deadline time.Duration, waiting func(string)) *keyringStore {
	if deadline == 0 {
		deadline = keyringDeadline
	}
	return &keyringStore{backend: backend, deadline: deadline, probe: min(deadline, probeDeadline), waiting: waiting}
}

func (s *keyringStore) Kind() Kind { return Keyring }

func (s *keyringStore) Location(ref Ref) string {
	return fmt.Sprintf("%s, item %s of service %s", keyringName(), keyringUser(ref), keyringService)
}

// keyringName is what people call their system's keyring.
func keyringName() string {
	switch runtime.GOOS {
	case "darwin":
		return "macOS Keychain"
	case "windows":
		return "Windows Credential Manager"
	}
	return "system keyring (Secret Service)"
}

func keyringUser(ref Ref) string { return ref.AppID + "/" + ref.KeyID }

// Probe stores, reads and removes a random item, within three seconds.
func (s *keyringStore) Probe(ctx context.Context) error {
	const op = "probe keyring"
	canary := make([]byte, 16)
	rand.Read(canary)
	user, value := "probe/"+hex.EncodeToString(canary[:4]), hex.EncodeToString(canary)
	var back string
	err := s.call(ctx, op, s.probe, func() error {
		if err := s.backend.Set(keyringService, user, value); err != nil {
			return err
		}
		var err error
		back, err = s.backend.Get(keyringService, user)
		return errors.Join(err, s.backend.Delete(keyringService, user))
	})
	if err != nil && !errors.Is(err, keyring.ErrNotFound) {
		return err
	}
	if err != nil || back != value {
		return failure.New(failure.KeyStore, "key_store_failed", op, "the keyring did not give back what was stored", "choose --store file")
	}
	return nil
}

func (s *keyringStore) Put(ctx context.Context, ref Ref, pem []byte) error {
	const op = "store key"
	if err := ready(ctx, ref); err != nil {
		return err
	}
	return s.put(ctx, op, keyringUser(ref), string(pem), func() error { return exists(op, ref, keyringName()) })
}

// put stores a value under a name that must be free. The library overwrites, so
// the name is looked up first; the Ring's lock keeps other capstans out meanwhile.
func (s *keyringStore) put(ctx context.Context, op, user, value string, taken func() error) error {
	if err := fitsKeyring(op, user, value); err != nil {
		return err
	}
	occupied := false
	err := s.call(ctx, op, s.deadline, func() error {
		switch _, err := s.backend.Get(keyringService, user); {
		case err == nil:
			occupied = true
			return nil
		case !errors.Is(err, keyring.ErrNotFound):
			return err
		}
		return s.backend.Set(keyringService, user, value)
	})
	if err == nil && occupied {
		return taken()
	}
	return err
}

func (s *keyringStore) Get(ctx context.Context, ref Ref) ([]byte, error) {
	const op = "read key"
	if err := ready(ctx, ref); err != nil {
		return nil, err
	}
	value, err := s.get(ctx, op, keyringUser(ref))
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, notFound(op, ref, keyringName())
	}
	return []byte(value), err
}

func (s *keyringStore) get(ctx context.Context, op, user string) (string, error) {
	var value string // written by an abandoned call too, but read only after one that ended
	err := s.call(ctx, op, s.deadline, func() (err error) {
		value, err = s.backend.Get(keyringService, user)
		return err
	})
	if err != nil {
		return "", err
	}
	return value, nil
}

func (s *keyringStore) Has(ctx context.Context, ref Ref) (bool, error) {
	pem, err := s.Get(ctx, ref)
	clear(pem)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *keyringStore) Delete(ctx context.Context, ref Ref) error {
	const op = "remove key"
	if err := ready(ctx, ref); err != nil {
		return err
	}
	err := s.call(ctx, op, s.deadline, func() error { return s.backend.Delete(keyringService, keyringUser(ref)) })
	if errors.Is(err, keyring.ErrNotFound) {
		return notFound(op, ref, keyringName())
	}
	return err
}

// call runs one use of the backend under a deadline and classifies its failure.
// keyring.ErrNotFound comes back as it is. A call that outlives its deadline is
// left behind, and until it ends the store refuses with keyring_timeout.
func (s *keyringStore) call(ctx context.Context, op string, deadline time.Duration, use func() error) error {
	if err := s.unstick(ctx, op); err != nil {
		return err
	}
	done, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil { // the library's D-Bus code indexes answers without looking
				failed <- fmt.Errorf("the keyring answered in an unexpected form")
			}
		}()
		failed <- use()
	}()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	notice := time.NewTimer(noticeAfter)
	defer notice.Stop()
	for {
		select {
		case err := <-failed:
			return classifyKeyring(op, err)
		case <-notice.C:
			if s.waiting != nil {
				s.waiting("waiting for you to unlock the " + keyringName())
			}
		case <-timer.C:
			s.abandon(done)
			return timedOut(op, deadline)
		case <-ctx.Done():
			s.abandon(done)
			return ctx.Err()
		}
	}
}

func (s *keyringStore) abandon(done chan struct{}) {
	s.mu.Lock()
	s.stuck = done
	s.mu.Unlock()
}

// unstick lets a call go on only if no abandoned one is still running.
func (s *keyringStore) unstick(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck == nil {
		return nil
	}
	select {
	case <-s.stuck:
		s.stuck = nil
		return nil
	default:
		return failure.New(failure.KeyStore, "keyring_timeout", op, "the keyring still waits for an earlier request", "answer or close its prompt, then try again")
	}
}

func timedOut(op string, deadline time.Duration) error {
	return failure.Newf(failure.KeyStore, "keyring_timeout", op, "answer its unlock prompt and try again, or choose --store file", "the %s did not answer within %s", keyringName(), deadline)
}

// The limits of the smallest platforms, held everywhere, so that a key made on
// one machine can be kept on every other.
const (
	windowsBlob    = 2560 // CRED_MAX_CREDENTIAL_BLOB_SIZE, counted in bytes
	windowsService = 512
	macOSCommand   = 4096 // one line on the standard input of security -i
)

// fitsKeyring refuses values that a platform could not store. It is asked
// before the library, which on macOS leaves a process behind when it refuses.
func fitsKeyring(op, user, value string) error {
	command := len("add-generic-password -U -s  -a  -w \n") + len(keyringService) + quoted(user) +
		quoted("go-keyring-base64:") + base64.StdEncoding.EncodedLen(len(value))
	if len(value) > windowsBlob || len(keyringService) >= windowsService || command > macOSCommand {
		return failure.Newf(failure.KeyStore, "keyring_too_big", op, "choose --store file", "%d bytes are more than every system's keyring can hold", len(value))
	}
	return nil
}

// quoted is an upper bound for the length of s once quoted for a shell.
func quoted(s string) int { return len(s) + 2 + 4*strings.Count(s, "'") }

// classifyKeyring turns the backends' errors, of which only three have a type,
// into capstan's codes. What is not recognised stays key_store_failed: it is
// never reported as an absent key.
func classifyKeyring(op string, err error) error {
	if err == nil || errors.Is(err, keyring.ErrNotFound) {
		return err
	}
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	locked := func() error {
		return failure.Newf(failure.KeyStore, "keyring_locked", op, "unlock it and try again; nothing was changed", "the %s is locked", keyringName())
	}
	denied := func() error {
		return failure.Newf(failure.KeyStore, "keyring_denied", op, "allow capstan to use the keyring and try again; nothing was changed", "the %s refused access", keyringName())
	}
	absent := func() error {
		return failure.Newf(failure.KeyStore, "keyring_absent", op, "choose --store file, or start a keyring service", "there is no working %s", keyringName())
	}
	var exit *exec.ExitError
	var missing *exec.Error
	var errno syscall.Errno
	switch {
	case errors.Is(err, keyring.ErrSetDataTooBig):
		return failure.New(failure.KeyStore, "keyring_too_big", op, "the value is too big for the keyring", "choose --store file")
	case errors.Is(err, keyring.ErrUnsupportedPlatform), errors.As(err, &missing):
		return absent()
	case errors.As(err, &exit) && runtime.GOOS == "darwin":
		// the low byte of the Security framework's status, as `security` exits with it
		switch exit.ExitCode() {
		case 36: // errSecInteractionNotAllowed
			return locked()
		case 51, 128, 152: // errSecAuthFailed, user cancelled
			return denied()
		case 37, 50: // errSecNoDefaultKeychain, errSecNoSuchKeychain
			return absent()
		}
	case errors.As(err, &errno) && runtime.GOOS == "windows":
		const errorNoSuchLogonSession, errorAccessDenied = syscall.Errno(1312), syscall.Errno(5)
		switch errno {
		case errorNoSuchLogonSession:
			return absent()
		case errorAccessDenied:
			return denied()
		}
	}
	switch {
	case has("failed to unlock", "islocked", "is locked", "user interaction is not allowed"):
		return locked()
	case has("dismissed", "accessdenied", "access denied", "not authorized", "user canceled"):
		return denied()
	case has("was not provided by any .service files", "serviceunknown", "namehasnoowner", "dbus-launch",
		"dbus_session_bus_address", "no such interface", "unknownmethod", "unknown object", "no such object",
		"dial unix", "connect:", "dbus: connection closed", "couldn't determine address of session bus"):
		return absent()
	case has("timeout", "noreply", "timed out"):
		return failure.Newf(failure.KeyStore, "keyring_timeout", op, "try again, or choose --store file", "the %s did not answer", keyringName())
	}
	return failure.Newf(failure.KeyStore, "key_store_failed", op, "try again, or choose --store file", "the %s failed: %s", keyringName(), clean(err.Error()))
}
