package keys

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
	"sync"

	"capstan/core/keys/multibuffer"
)

// signer hands out the private operation and nothing else: printing it, by any
// verb, shows the key id.
type signer struct {
	key *rsa.PrivateKey
	// many signs several payloads at a time; nil where that cannot be done. What
	// it needs is derived from the key when it is first asked for.
	many func() *multibuffer.Key
}

var (
	_ crypto.Signer = (*signer)(nil)
	_ fmt.Formatter = (*signer)(nil)
)

// NewSigner wraps a private key so that it can sign but not be printed or
// reached: Public, Sign and SignBatch only.
func NewSigner(key *rsa.PrivateKey) crypto.Signer {
	return &signer{key, sync.OnceValue(func() *multibuffer.Key { return multibuffer.New(key) })}
}

// Public gives the *rsa.PublicKey.
func (s *signer) Public() crypto.PublicKey { return &s.key.PublicKey }

// Sign is PKCS#1 v1.5; with crypto.Hash(0) the message is padded as it is,
// without a digest prefix, which is the operation that the plugin undoes.
func (s *signer) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(rand, message, opts)
}

// SignBatch gives what Sign gives for each payload with crypto.Hash(0), verified
// with the public key. For more than one it takes a fraction of the time on
// processors that multiply eight numbers at once. It gives all signatures or
// none; the error is that of crypto/rsa.
func (s *signer) SignBatch(payloads [][]byte) ([][]byte, error) {
	if many := s.many(); many != nil {
		return many.Sign(payloads)
	}
	signed := make([][]byte, len(payloads))
	for i, payload := range payloads {
		var err error
		// It verifies what it made before it gives it out.
		if signed[i], err = rsa.SignPKCS1v15(nil, s.key, crypto.Hash(0), payload); err != nil {
			return nil, err
		}
	}
	return signed, nil
}

// Format writes the key id for every verb and flag.
func (s *signer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "signer of %s", describe(&s.key.PublicKey))
}

// MarshalText refuses nothing and reveals nothing: encoders get the key id.
func (s *signer) MarshalText() ([]byte, error) { return []byte(KeyID(&s.key.PublicKey)), nil }
