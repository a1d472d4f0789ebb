package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"capstan/core/failure"
)

// maxBackup bounds what is read as an encrypted file: a backup of hundreds of
// keys is far smaller.
const maxBackup = 4 << 20

// Envelope says who can open an export or a backup.
type Envelope struct {
	// Recipients are age public keys (age1…). Without any, the file is put
	// under a passphrase, which is asked for.
	Recipients []age.Recipient
	// Plain writes a key without encryption. Only Export takes it.
	Plain bool
}

// ParseRecipients reads age public keys, as given on a command line.
func ParseRecipients(texts []string) ([]age.Recipient, error) {
	var all []age.Recipient
	for _, text := range texts {
		recipients, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, failure.Newf(failure.Usage, "recipient_malformed", "read recipient", "a recipient starts with age1; age-keygen makes a pair", "%q is not an age recipient", clean(text))
		}
		all = append(all, recipients...)
	}
	return all, nil
}

// ParseIdentities reads an age identity file, which is a secret.
func ParseIdentities(r io.Reader) ([]age.Identity, error) {
	identities, err := age.ParseIdentities(io.LimitReader(r, maxPEM))
	if err != nil { // the library's error could quote a line of the file
		return nil, failure.New(failure.Usage, "identity_malformed", "read identity", "the file holds no age identity", "age-keygen makes one; it starts with AGE-SECRET-KEY-")
	}
	return identities, nil
}

// seal encrypts data for an envelope, asking for a new passphrase if need be.
func (r *Ring) seal(ctx context.Context, op string, data []byte, e Envelope, prompt string) ([]byte, error) {
	if len(e.Recipients) != 0 {
		text, err := sealTo(data, e.Recipients...)
		if err != nil {
			return nil, failure.Wrap(err, failure.Usage, "recipient_refused", op, "choose recipients of one kind")
		}
		return text, nil
	}
	passphrase, err := Ask(r.opts.NewPassphrase).askNew(ctx, op, prompt)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	text, err := sealPassphrase(data, passphrase, r.opts.WorkFactor)
	if err != nil {
		return nil, storeFailed(op, err)
	}
	return text, nil
}

// openAge decrypts an age file with identities, or with a passphrase, which is
// asked for.
func (r *Ring) openAge(ctx context.Context, op string, text []byte, identities []age.Identity, prompt string) ([]byte, error) {
	if !underPassphrase(text) {
		if len(identities) == 0 {
			return nil, failure.New(failure.KeyStore, "identity_missing", op, "the file is encrypted to recipients", "give the identity file of one of them with --identity")
		}
		return openWith(op, text, identities...)
	}
	passphrase, err := r.opts.Passphrase.ask(ctx, op, prompt)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	return openPassphrase(op, text, passphrase)
}

// Export writes one private key to a new file, 0600: an age file that holds the
// PKCS#1 PEM, or with Plain the PEM itself. An existing file is never
// overwritten.
func (r *Ring) Export(ctx context.Context, rec Record, e Envelope, path string) error {
	const op = "export key"
	if err := free(op, path); err != nil {
		return err
	}
	text, err := r.private(ctx, rec)
	if err != nil {
		return err
	}
	defer clear(text)
	if !e.Plain {
		if text, err = r.seal(ctx, op, text, e, "new passphrase for "+filepath.Base(path)); err != nil {
			return err
		}
	}
	return r.writeNew(op, path, text)
}

// private gives the PEM of a recorded key, after checking that it is the one.
func (r *Ring) private(ctx context.Context, rec Record) ([]byte, error) {
	if rec.Store == PKCS11 {
		return nil, staysOnToken("read key", rec)
	}
	store, err := r.store(rec)
	if err != nil {
		return nil, err
	}
	key, err := r.open(ctx, store, rec)
	if err != nil {
		return nil, err
	}
	return EncodePrivate(key), nil
}

func free(op, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return failure.Newf(failure.Conflict, "file_exists", op, "choose another name; files with keys are never overwritten", "%s exists", clean(path))
	}
	return nil
}

func (r *Ring) writeNew(op, path string, data []byte) error {
	err := r.disk.write(path, 0o600, data, false)
	if errors.Is(err, fs.ErrExist) {
		return free(op, path)
	}
	return failure.Wrap(err, failure.Failed, "file_unwritable", op, "check the folder's rights and the free space")
}

// backupFormat and backupVersion stand in the JSON inside a backup.
const (
	backupFormat  = "capstan-keys"
	backupVersion = 1
)

type backupFile struct {
	Format  string      `json:"format"`
	Version int         `json:"version"`
	Created time.Time   `json:"created"`
	Keys    []backupKey `json:"keys"`
}

type backupKey struct {
	AppID      string    `json:"appId"`
	KeyID      string    `json:"keyId"`
	Scheme     Scheme    `json:"scheme"`
	Created    time.Time `json:"created"`
	PrivateKey string    `json:"privateKey"`
}

// Backup writes keys to one new age file, 0600. It counts as a backup only once
// it was opened again; Drill does that.
func (r *Ring) Backup(ctx context.Context, records []Record, e Envelope, path string) error {
	const op = "back up keys"
	if e.Plain {
		return failure.New(failure.Usage, "usage", op, "a backup is always encrypted", "give recipients or a passphrase")
	}
	if len(records) == 0 {
		return failure.New(failure.NotFound, "key_not_found", op, "there are no keys to back up", "")
	}
	if err := free(op, path); err != nil {
		return err
	}
	file := backupFile{Format: backupFormat, Version: backupVersion, Created: r.now()}
	for _, rec := range records {
		text, err := r.private(ctx, rec)
		if err != nil {
			return err
		}
		file.Keys = append(file.Keys, backupKey{rec.AppID, rec.KeyID, rec.Scheme, rec.Created, string(text)})
		clear(text)
	}
	data, err := json.Marshal(file)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "backup_failed", op, "")
	}
	defer clear(data)
	text, err := r.seal(ctx, op, data, e, "new passphrase for the backup "+filepath.Base(path))
	if err != nil {
		return err
	}
	if err := r.writeNew(op, path, text); err != nil {
		return err
	}
	for _, rec := range records {
		// The file is there; that the index could not note it is no reason to call it missing.
		_ = r.touch(ctx, rec.Ref(), func(rec *Record) { rec.LastBackup = r.now() })
	}
	return nil
}

// Held is a key found in a backup.
type Held struct {
	AppID     string    `json:"appId"`
	KeyID     string    `json:"keyId"`
	PublicPEM string    `json:"publicKey"`
	Scheme    Scheme    `json:"scheme"`
	Created   time.Time `json:"created"`
	// Known is true when the index has this very key.
	Known bool `json:"known"`
	// Restored is true when Restore stored it now.
	Restored bool `json:"restored"`

	key *rsa.PrivateKey
}

// Drill proves a backup without restoring anything: it opens the file, checks
// every key in it against the policy, lets each sign and verify, and compares
// it with the index. A key that the index knows is marked as drilled.
func (r *Ring) Drill(ctx context.Context, path string, identities []age.Identity) ([]Held, error) {
	const op = "prove backup"
	held, err := r.openBackup(ctx, op, path, identities)
	if err != nil {
		return nil, err
	}
	for i := range held {
		if held[i].Known {
			err := r.touch(ctx, Ref{held[i].AppID, held[i].KeyID}, func(rec *Record) { rec.LastDrill = r.now() })
			if err != nil {
				return nil, err
			}
		}
	}
	return held, nil
}

// Restore takes the keys of a backup, or those of one app, into a store. Keys
// that are known and in their store are left as they are; known ones that are
// gone from it are stored again.
func (r *Ring) Restore(ctx context.Context, path string, identities []age.Identity, kind Kind, appID string) ([]Held, error) {
	const op = "restore keys"
	store, err := r.writable(op, kind)
	if err != nil {
		return nil, err
	}
	held, err := r.openBackup(ctx, op, path, identities)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := store.Probe(ctx); err != nil {
		return nil, err
	}
	var chosen []Held
	for _, h := range held {
		if appID != "" && h.AppID != appID {
			continue
		}
		rec := r.record(h.AppID, kind, h.Scheme, h.key)
		there, err := r.recordedAndThere(ctx, rec.Ref())
		if err != nil {
			return chosen, err
		}
		if !there {
			rec.Created, rec.Imported = h.Created, true
			if _, finished, err := r.settleOne(ctx, rec.Ref()); err != nil {
				return chosen, err
			} else if !finished {
				if _, err := r.keep(ctx, op, store, rec, h.key); err != nil {
					return chosen, err
				}
			}
			h.Restored = true
		}
		chosen = append(chosen, h)
	}
	if len(chosen) == 0 {
		return nil, failure.Newf(failure.NotFound, "key_not_found", op, "capstan key restore --drill lists what it holds", "the backup holds no key of %s", clean(appID))
	}
	return chosen, nil
}

func (r *Ring) recordedAndThere(ctx context.Context, ref Ref) (bool, error) {
	known, err := r.known()
	if err != nil {
		return false, err
	}
	i := position(known, ref)
	if i < 0 {
		return false, nil
	}
	return r.holds(ctx, known[i])
}

func (r *Ring) openBackup(ctx context.Context, op, path string, identities []age.Identity) ([]Held, error) {
	text, err := readBackupText(op, path)
	if err != nil {
		return nil, err
	}
	data, err := r.openAge(ctx, op, text, identities, "passphrase of the backup "+filepath.Base(path))
	if err != nil {
		return nil, err
	}
	defer clear(data)
	file, err := parseBackup(op, data)
	if err != nil {
		return nil, err
	}
	known, err := r.known()
	if err != nil {
		return nil, err
	}
	var held []Held
	for _, k := range file.Keys {
		ref := Ref{k.AppID, k.KeyID}
		if err := ref.check(); err != nil {
			return nil, err
		}
		key, err := ParsePrivate([]byte(k.PrivateKey))
		if err != nil {
			return nil, err
		}
		if KeyID(&key.PublicKey) != k.KeyID {
			return nil, failure.Newf(failure.Verification, "backup_mismatch", op, "take another copy of the backup", "the backup holds another key under %s", k.KeyID)
		}
		if err := signsFor(op, key); err != nil {
			return nil, err
		}
		h := Held{AppID: k.AppID, KeyID: k.KeyID, PublicPEM: string(EncodePublic(&key.PublicKey)), Scheme: k.Scheme, Created: k.Created, key: key}
		if i := position(known, ref); i >= 0 {
			if known[i].PublicPEM != h.PublicPEM {
				return nil, failure.Newf(failure.Verification, "backup_mismatch", op, "take another backup", "the backup and the index hold different keys under %s", k.KeyID)
			}
			h.Known = true
		}
		held = append(held, h)
	}
	return held, nil
}

func readBackupText(op, path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Newf(failure.NotFound, "backup_missing", op, "", "there is no file %s", clean(path))
	}
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "backup_unreadable", op, "check the file's owner and rights")
	}
	defer f.Close()
	text, err := readLimited(f, maxBackup)
	if err != nil {
		return nil, malformed(op, "", "%s is not a backup", clean(path))
	}
	if !isAge(text) {
		return nil, malformed(op, "capstan key import takes plain key files", "%s is not an encrypted backup", clean(path))
	}
	return text, nil
}

func parseBackup(op string, data []byte) (backupFile, error) {
	var file backupFile
	if !bytes.HasPrefix(data, []byte("{")) || json.Unmarshal(data, &file) != nil || file.Format != backupFormat {
		return file, malformed(op, "capstan key import takes exported keys", "the file holds no backup of keys")
	}
	if file.Version != backupVersion {
		return file, failure.Newf(failure.Failed, "backup_newer", op, "update capstan", "the backup has format %d, this capstan reads %d", file.Version, backupVersion)
	}
	if len(file.Keys) == 0 {
		return file, malformed(op, "", "the backup is empty")
	}
	return file, nil
}

// signsFor lets a key do what it is for and undoes it with the public half.
func signsFor(op string, key *rsa.PrivateKey) error {
	message := make([]byte, 16)
	rand.Read(message)
	signature, err := key.Sign(nil, message, crypto.Hash(0))
	if err == nil {
		err = rsa.VerifyPKCS1v15(&key.PublicKey, crypto.Hash(0), message, signature)
	}
	return failure.Wrap(err, failure.Verification, "key_unusable", op, "take another backup")
}
