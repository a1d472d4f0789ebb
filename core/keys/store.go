package keys

import (
	"context"
	"strings"

	"capstan/core/failure"
)

// Kind names a sort of store.
type Kind string

// The kinds of store.
const (
	Keyring     Kind = "keyring"     // the operating system's: Secret Service, Keychain, Credential Manager
	File        Kind = "file"        // one age file a key, under a passphrase
	Memory      Kind = "memory"      // gone with the process
	Environment Kind = "environment" // CAPSTAN_PRIVATE_KEY, read-only
	Command     Kind = "command"     // what an external command prints, read-only
	PKCS11      Kind = "pkcs11"      // a token or HSM; the private half never leaves it
)

// Ref names one private key in a store.
type Ref struct {
	AppID string // the Capacitor app id
	KeyID string // 20 characters, see KeyID
}

// A Store keeps private keys as PKCS#1 PEM.
//
// Failures carry one of the codes key_exists, key_not_found, keyring_locked,
// keyring_absent, keyring_timeout, keyring_denied, keyring_too_big,
// passphrase_wrong, passphrase_missing, store_read_only, key_store_failed. A
// store that cannot be read gives never key_not_found: that code is a promise
// that the key is not there. Every method ends when ctx does.
type Store interface {
	// Kind is the same for the store's life.
	Kind() Kind
	// Location says for people where the key of ref is, or would be, kept.
	Location(ref Ref) string
	// Probe shows that a key could be stored and read back, without leaving
	// anything behind. Read-only stores fail with store_read_only.
	Probe(ctx context.Context) error
	// Put stores a key. It never overwrites: key_exists, also for equal bytes.
	Put(ctx context.Context, ref Ref, pem []byte) error
	// Get gives the key's bytes, or key_not_found.
	Get(ctx context.Context, ref Ref) ([]byte, error)
	// Has reports whether a key is there, where possible without opening it.
	Has(ctx context.Context, ref Ref) (bool, error)
	// Delete removes a key, or fails with key_not_found.
	Delete(ctx context.Context, ref Ref) error
}

// Sentinels for errors.Is; each matches every failure with its code.
var (
	ErrExists            = failure.New(failure.Conflict, "key_exists", "", "the key exists", "")
	ErrNotFound          = failure.New(failure.NotFound, "key_not_found", "", "no such key", "")
	ErrLocked            = failure.New(failure.KeyStore, "keyring_locked", "", "the keyring is locked", "")
	ErrAbsent            = failure.New(failure.KeyStore, "keyring_absent", "", "there is no keyring", "")
	ErrTimeout           = failure.New(failure.KeyStore, "keyring_timeout", "", "the keyring did not answer", "")
	ErrPassphraseWrong   = failure.New(failure.KeyStore, "passphrase_wrong", "", "the passphrase is wrong", "")
	ErrPassphraseMissing = failure.New(failure.KeyStore, "passphrase_missing", "", "a passphrase is needed", "")
	ErrReadOnly          = failure.New(failure.Usage, "store_read_only", "", "the store is read-only", "")
	ErrWeak              = failure.New(failure.Usage, "key_weak", "", "the key is weak", "")
	ErrMalformed         = failure.New(failure.Usage, "key_malformed", "", "this is not a key", "")
)

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isAppID tells names in parts, parted by single dots.
func isAppID(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case alphanumeric(c):
		case i == 0, i == len(s)-1 && c == '.', c == '.' && s[i-1] == '.', c != '.' && c != '_' && c != '-':
			return false
		}
	}
	return s != ""
}

// isKeyID tells 20 characters of base64.
func isKeyID(s string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '+' && c != '/' {
			return false
		}
	}
	return len(s) == 20
}

// maxAppID keeps file names and keyring user names within every platform's limit.
const maxAppID = 128

// CheckAppID refuses names that cannot be a Capacitor app id, and so could
// climb out of a folder or break a keyring's user name.
func CheckAppID(id string) error {
	if len(id) > maxAppID || !isAppID(id) {
		return failure.Newf(failure.Usage, "app_id_malformed", "", "an app id looks like com.example.app", "%q is not an app id", clean(id))
	}
	return nil
}

// check refuses a reference that no store should see.
func (r Ref) check() error {
	if err := CheckAppID(r.AppID); err != nil {
		return err
	}
	if !isKeyID(r.KeyID) {
		return failure.Newf(failure.Usage, "key_id_malformed", "", "a key id has 20 characters, see capstan key list", "%q is not a key id", clean(r.KeyID))
	}
	return nil
}

// fileName is the reference as the name of a file: base64's slash and plus are
// replaced as in URLs, and the prefix keeps clear of names that Windows reserves.
func (r Ref) fileName() string {
	return "key-" + r.AppID + "-" + strings.NewReplacer("/", "_", "+", "-").Replace(r.KeyID)
}

func notFound(op string, ref Ref, where string) error {
	return failure.Newf(failure.NotFound, "key_not_found", op, "capstan key list shows the keys that are known here", "there is no key %s of %s in %s", ref.KeyID, ref.AppID, where)
}

func exists(op string, ref Ref, where string) error {
	return failure.Newf(failure.Conflict, "key_exists", op, "keys are never overwritten; capstan key list shows it", "key %s of %s is already in %s", ref.KeyID, ref.AppID, where)
}

func readOnly(op string, kind Kind) error {
	return failure.Newf(failure.Usage, "store_read_only", op, "choose --store keyring or --store file", "keys from the %s can be used but not changed", kind)
}

func storeFailed(op string, cause error) error {
	return failure.Wrap(cause, failure.KeyStore, "key_store_failed", op, "")
}
