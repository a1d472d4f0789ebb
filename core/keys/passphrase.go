package keys

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"capstan/core/failure"
)

// DefaultWorkFactor is scrypt's cost, as a power of two: about a second of
// work and 256 MiB of memory for each guess.
const DefaultWorkFactor = 18

// maxWorkFactor bounds what a foreign file can make this process spend.
const maxWorkFactor = 20

// minPassphrase is the least number of bytes in a passphrase for a new file.
const minPassphrase = 8

// sealPassphrase encrypts data to a passphrase, as an armored age file.
func sealPassphrase(data, passphrase []byte, workFactor int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	if workFactor == 0 {
		workFactor = DefaultWorkFactor
	}
	recipient.SetWorkFactor(workFactor)
	return sealTo(data, recipient)
}

// sealTo encrypts data to recipients, as an armored age file.
func sealTo(data []byte, recipients ...age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := armored.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// openPassphrase decrypts what sealPassphrase made.
func openPassphrase(op string, text, passphrase []byte) ([]byte, error) {
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil { // an empty passphrase opens nothing
		return nil, wrongPassphrase(op)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	return openWith(op, text, identity)
}

// openWith decrypts an age file, armored or not. A wrong passphrase or identity
// has the code passphrase_wrong, a damaged file key_malformed.
func openWith(op string, text []byte, identities ...age.Identity) ([]byte, error) {
	var src io.Reader = bytes.NewReader(text)
	if isArmored(text) {
		src = armor.NewReader(src)
	}
	r, err := age.Decrypt(src, identities...)
	if err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) || errors.Is(err, age.ErrIncorrectIdentity) {
			return nil, wrongPassphrase(op)
		}
		return nil, malformed(op, "take another copy of the file", "the encrypted file is damaged or not an age file")
	}
	data, err := readLimited(r, maxBackup)
	if err != nil {
		return nil, malformed(op, "take another copy of the file", "the encrypted file is damaged")
	}
	return data, nil
}

func wrongPassphrase(op string) error {
	return failure.New(failure.KeyStore, "passphrase_wrong", op, "the passphrase or identity does not open the file", "nothing was changed; try again")
}

func isArmored(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header))
}

// isAge reports whether text is an age file, armored or not.
func isAge(text []byte) bool {
	return isArmored(text) || bytes.HasPrefix(text, []byte("age-encryption.org/"))
}

// underPassphrase reports whether an age file is encrypted to a passphrase,
// and so whether to ask for one or for an identity.
func underPassphrase(text []byte) bool {
	var src io.Reader = bytes.NewReader(text)
	if isArmored(text) {
		src = armor.NewReader(src)
	}
	head := make([]byte, 256)
	n, _ := io.ReadFull(src, head) // a short file is read as far as it goes
	_, stanza, _ := strings.Cut(string(head[:n]), "\n")
	return strings.HasPrefix(stanza, "-> scrypt ")
}

// Ask gets a passphrase from the operator, without echo. The caller clears the
// bytes. nil, or an error, means that nobody can be asked.
type Ask func(ctx context.Context, prompt string) ([]byte, error)

// ask asks for the passphrase of something that exists.
func (a Ask) ask(ctx context.Context, op, prompt string) ([]byte, error) {
	if a == nil {
		return nil, failure.New(failure.KeyStore, "passphrase_missing", op, "a passphrase is needed and nobody can be asked", "give it with --passphrase-file or --passphrase-fd, or run in a terminal")
	}
	p, err := a(ctx, prompt)
	if err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, failure.New(failure.KeyStore, "passphrase_missing", op, "no passphrase was given", "give it with --passphrase-file or --passphrase-fd, or run in a terminal")
	}
	return p, nil
}

// askNew asks for a passphrase that will protect something new.
func (a Ask) askNew(ctx context.Context, op, prompt string) ([]byte, error) {
	p, err := a.ask(ctx, op, prompt)
	if err != nil {
		return nil, err
	}
	if len(p) < minPassphrase {
		clear(p)
		return nil, failure.Newf(failure.Usage, "passphrase_weak", op, "six random words are easy to remember and hard to guess", "the passphrase has fewer than %d characters", minPassphrase)
	}
	return p, nil
}
