package keys

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"capstan/core/failure"
)

// Scheme is the bundle encryption that a key is for.
type Scheme string

// The schemes of the updater plugin.
const (
	// V2: the app holds the public half; the private half signs.
	V2 Scheme = "v2"
	// V1: the app holds the private half, the tool encrypts with the public
	// one. It hides bundles from the network and authenticates nothing.
	V1 Scheme = "v1"
)

// Record is what the index remembers about a key. It holds nothing secret.
type Record struct {
	AppID      string    `json:"appId"`
	KeyID      string    `json:"keyId"`
	PublicPEM  string    `json:"publicKey"` // PKCS#1, with its final line feed
	Scheme     Scheme    `json:"scheme"`
	Store      Kind      `json:"store"`
	Location   string    `json:"location"`          // for people
	Command    []string  `json:"command,omitempty"` // Store command: what to run
	Token      *TokenKey `json:"token,omitempty"`   // Store pkcs11: where on which token
	Created    time.Time `json:"created"`           // UTC, when capstan first knew the key
	LastUsed   time.Time `json:"lastUsed,omitzero"`
	LastBackup time.Time `json:"lastBackup,omitzero"`
	LastDrill  time.Time `json:"lastDrill,omitzero"` // a backup was opened and matched
	Imported   bool      `json:"imported,omitempty"`
	Retired    bool      `json:"retired,omitempty"` // kept for old devices, not for new bundles
	Unfinished bool      `json:"-"`                 // creation was interrupted; Create goes on with it
}

// Ref names the private half.
func (r Record) Ref() Ref { return Ref{AppID: r.AppID, KeyID: r.KeyID} }

// Public parses the public half.
func (r Record) Public() (*rsa.PublicKey, error) { return ParsePublic([]byte(r.PublicPEM)) }

// Fingerprint is that of the public half, "" if the record does not hold one.
func (r Record) Fingerprint() string {
	pub, err := r.Public()
	if err != nil {
		return ""
	}
	return Fingerprint(pub)
}

// indexVersion is the format of keys.json; a newer one is refused, not guessed at.
const indexVersion = 1

// contents is keys.json.
type contents struct {
	Version int      `json:"version"`
	Keys    []Record `json:"keys"`
	// Pending are keys that are being stored: written before the store is
	// asked, so that no death can leave a key that nobody knows of.
	Pending []Record `json:"pending,omitempty"`
	// Secrets says which store holds each named secret.
	Secrets map[string]Kind `json:"secrets,omitempty"`
	// Rotations are under way, by app id.
	Rotations map[string]Rotation `json:"rotations,omitempty"`
}

// index is the file keys.json, 0600, read and rewritten whole under a lock.
type index struct {
	dir  string
	disk disk
}

const (
	indexFile  = "keys.json"
	indexLock  = "keys.lock"
	createLock = "create.lock"
	maxIndex   = 16 << 20
)

func (x index) path() string { return filepath.Join(x.dir, indexFile) }

// read gives the index; a missing file is an empty one.
func (x index) read() (contents, error) {
	const op = "read key index"
	c := contents{Version: indexVersion}
	f, err := os.Open(x.path())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, failure.Wrap(err, failure.Failed, "key_index_unreadable", op, "check the file's owner and rights")
	}
	defer f.Close()
	data, err := readLimited(f, maxIndex)
	if err != nil {
		return c, failure.Wrap(err, failure.Failed, "key_index_unreadable", op, "")
	}
	damaged := func(why string) error {
		return failure.Newf(failure.Failed, "key_index_damaged", op, "move it away and import the keys again; the private halves are still in their stores", "%s %s", x.path(), why)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&c); err != nil {
		return c, damaged("is not the JSON that capstan wrote")
	}
	if c.Version != indexVersion {
		return c, failure.Newf(failure.Failed, "key_index_newer", op, "update capstan", "%s has format %d, this capstan reads %d", x.path(), c.Version, indexVersion)
	}
	return c, nil
}

// change rewrites the index under its lock.
func (x index) change(ctx context.Context, edit func(*contents) error) error {
	unlock, err := lock(ctx, x.dir, indexLock)
	if err != nil {
		return err
	}
	defer unlock()
	sweep(x.dir)
	c, err := x.read()
	if err != nil {
		return err
	}
	if err := edit(&c); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := x.disk.write(x.path(), 0o600, append(data, '\n'), true); err != nil {
		return failure.Wrap(err, failure.Failed, "key_index_unwritable", "write key index", "check the folder's rights and the free space")
	}
	return nil
}

// position finds a record, or -1.
func position(records []Record, ref Ref) int {
	for i := range records {
		if records[i].Ref() == ref {
			return i
		}
	}
	return -1
}

// without gives the records except the one named.
func without(records []Record, ref Ref) []Record {
	var kept []Record
	for _, r := range records {
		if r.Ref() != ref {
			kept = append(kept, r)
		}
	}
	return kept
}
