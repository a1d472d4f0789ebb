package bundle

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"io"
	"strings"

	"capstan/core/failure"
)

// The first scheme, which plugins before 6.1.18 and 7.0.2 read: the session
// key is encrypted to the app with RSA-OAEP (SHA-256), the private half is in
// the app, and the checksum is a bare CRC-32. Anyone who has the public half
// can make such a bundle, so it proves nothing; it is for fleets that have
// nothing newer.

// SealV1 encrypts a zip to the public half of the key that the old app carries.
// Of the result, SessionKey, CRC32, PlainChecksum, the sizes and ObjectSHA256
// are set; there are no signed forms.
func SealV1(ctx context.Context, plain io.Reader, w io.Writer, pub *rsa.PublicKey) (Sealed, error) {
	if err := CheckPublic(pub); err != nil {
		return Sealed{}, err
	}
	iv, key := newIV(), newSessionKey()
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, key, nil)
	if err != nil {
		return Sealed{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return Sealed{}, err
	}
	var before, after digest
	before.init()
	after.init()
	r := newRelay(ctx, before.pass, encryptStage(cipher.NewCBCEncrypter(block, iv)), after.pass, writeTo(w))
	n, err := r.ReadFrom(plain)
	if err == nil && n == 0 {
		err = failure.New(failure.Usage, "bundle_empty", "seal bundle", "the file is empty", "")
	}
	if err != nil {
		r.abort(err)
		return Sealed{}, err
	}
	if err := r.Close(); err != nil {
		return Sealed{}, err
	}
	sum, object := before.sum(), after.sum()
	return Sealed{
		SessionKey:    base64.StdEncoding.EncodeToString(iv) + ":" + base64.StdEncoding.EncodeToString(wrapped),
		KeyID:         keyID(pub),
		PlainChecksum: hex.EncodeToString(sum[:]),
		CRC32:         before.crcHex(),
		PlainSize:     before.size,
		ObjectSize:    after.size,
		ObjectSHA256:  hex.EncodeToString(object[:]),
	}, nil
}

// RecoverSessionKeyV1 reads the session_key field of the first scheme with the
// app's private key; the bytes then go to DecryptWith.
func RecoverSessionKeyV1(app crypto.Decrypter, s string) (iv, key []byte, err error) {
	iv, wrapped, err := splitSessionKey(s)
	if err != nil {
		return nil, nil, err
	}
	key, err = app.Decrypt(rand.Reader, wrapped, &rsa.OAEPOptions{Hash: crypto.SHA256})
	if err != nil || len(key) != sessionKeyBytes {
		return nil, nil, failure.New(failure.Verification, "session_key_refused", "read session key", "it was not made for this key", "")
	}
	return iv, key, nil
}

// Opened is what decrypting a bundle of the first scheme tells about the zip.
// Nobody signed either sum.
type Opened struct {
	SHA256, CRC32 string // hex
	Size          int64  // bytes
}

// Has reports whether a checksum, CRC-32 or SHA-256 in hex, is the zip's.
func (o Opened) Has(checksum string) bool {
	return strings.EqualFold(checksum, o.CRC32) || strings.EqualFold(checksum, o.SHA256)
}

// OpenV1 is DecryptWith that also gives the CRC-32, which is the checksum that
// the first scheme has.
func OpenV1(ctx context.Context, sealed io.Reader, w io.Writer, iv, key []byte) (Opened, error) {
	crc := crc32.NewIEEE()
	sum, size, err := DecryptWith(ctx, sealed, io.MultiWriter(w, crc), iv, key)
	if err != nil {
		return Opened{}, err
	}
	return Opened{SHA256: hex.EncodeToString(sum[:]), CRC32: hex.EncodeToString(crc.Sum(nil)), Size: size}, nil
}
