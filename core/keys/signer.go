package keys

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
)

// signer hands out the private operation and nothing else: printing it, by any
// verb, shows the key id.
type signer struct{ key *rsa.PrivateKey }

var (
	_ crypto.Signer = (*signer)(nil)
	_ fmt.Formatter = (*signer)(nil)
)

// NewSigner wraps a private key so that it can sign but not be printed or
// reached: Public and Sign only.
func NewSigner(key *rsa.PrivateKey) crypto.Signer { return &signer{key} }

// Public gives the *rsa.PublicKey.
func (s *signer) Public() crypto.PublicKey { return &s.key.PublicKey }

// Sign is PKCS#1 v1.5; with crypto.Hash(0) the message is padded as it is,
// without a digest prefix, which is the operation that the plugin undoes.
func (s *signer) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(rand, message, opts)
}

// Format writes the key id for every verb and flag.
func (s *signer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "signer of %s", describe(&s.key.PublicKey))
}

// MarshalText refuses nothing and reveals nothing: encoders get the key id.
func (s *signer) MarshalText() ([]byte, error) { return []byte(KeyID(&s.key.PublicKey)), nil }
