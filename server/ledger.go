package server

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"capstan/core/failure"
)

// ledgerKeyFile holds the Ed25519 key that signs the ledger's checkpoints, in
// the form of golang.org/x/mod/sumdb/note. It is beside the database and not in
// it, so that who can write to the database alone cannot sign a rewritten one.
const (
	ledgerKeyFile    = "ledger.key"
	ledgerPublicFile = "ledger.pub"
	ledgerName       = "capstan-ledger"
)

// HasLedgerKey reports whether a data directory has a signing key.
func HasLedgerKey(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, ledgerKeyFile))
	return err == nil
}

// OpenLedgerKey reads the signing key of a data directory; the first time it
// makes one. It also writes the public half, to be kept elsewhere.
func OpenLedgerKey(dataDir string) (note.Signer, error) {
	const op = "open ledger key"
	path := filepath.Join(dataDir, ledgerKeyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeLedgerKey(dataDir, path)
	}
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "ledger_key", op, "see the permissions of the data directory")
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, failure.New(failure.Failed, "ledger_key", op, "the ledger's key cannot be read", "restore "+ledgerKeyFile+" from a backup")
	}
	return signer, nil
}

func makeLedgerKey(dataDir, path string) ([]byte, error) {
	private, public, err := note.GenerateKey(rand.Reader, ledgerName)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	// Never over another key: of two servers that start at once, one wins.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(private + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return []byte(private), os.WriteFile(filepath.Join(dataDir, ledgerPublicFile), []byte(public+"\n"), 0o600)
}

// LedgerVerifier reads a public key as ledger.pub has it. Code ledger_key.
func LedgerVerifier(text string) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, failure.New(failure.Usage, "ledger_key", "read ledger key", "this is no public key of a ledger", "it is in "+ledgerPublicFile+" of the server's data directory")
	}
	return v, nil
}
