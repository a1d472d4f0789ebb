package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"

	"capstan/core/failure"
)

// sessionKeySize is that of AES-128, in bytes.
const sessionKeySize = 16

// WrapV1 encrypts a session key for the first scheme, whose apps carry the
// private half: RSA-OAEP with SHA-256 for both hashes and no label. It takes
// the public half only. Whoever has that can make bundles that the app accepts,
// so V1 hides what is in a bundle and vouches for nothing.
func WrapV1(public *rsa.PublicKey, session []byte) ([]byte, error) {
	const op = "wrap session key"
	if len(session) != sessionKeySize {
		return nil, failure.Newf(failure.Failed, "session_key_malformed", op, "", "a session key has %d bytes, not %d", sessionKeySize, len(session))
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, session, nil)
	return wrapped, failure.Wrap(err, failure.Failed, "session_key_malformed", op, "")
}

// UnwrapV1 is what an app of the first scheme does with its private key.
func UnwrapV1(private *rsa.PrivateKey, wrapped []byte) ([]byte, error) {
	const op = "unwrap session key"
	session, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped, nil)
	if err != nil || len(session) != sessionKeySize {
		return nil, failure.New(failure.Verification, "session_key_malformed", op, "the session key does not belong to this key, or is damaged", "")
	}
	return session, nil
}

// DecrypterV1 opens the private half of a first-scheme key for reading bundles,
// as the app does. Such a key never signs.
func (r *Ring) DecrypterV1(ctx context.Context, rec Record) (crypto.Decrypter, error) {
	const op = "open key"
	if rec.Scheme != V1 {
		return nil, failure.Newf(failure.Usage, "key_scheme", op, "bundles of the second scheme are opened with the public half", "key %s is not of the first scheme", rec.KeyID)
	}
	store, err := r.store(rec)
	if err != nil {
		return nil, err
	}
	return r.open(ctx, store, rec)
}
