package bundle

import (
	"crypto"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"

	"golang.org/x/sync/errgroup"

	"capstan/core/failure"
)

// Signing is the RSA private operation over PKCS#1 v1.5 type 1 padding without
// a DigestInfo: 00 01 FF…FF 00 payload. It is deterministic, so the same key
// and payload give the same bytes in every implementation.

const (
	keyBits         = 2048
	keyBytes        = keyBits / 8
	keyExponent     = 65537
	sessionKeyBytes = 16 // AES-128
	ivBytes         = aes.BlockSize
	// v2PayloadBytes is the length of 64 hex characters read as base64.
	v2PayloadBytes = 48
)

// CheckPublic refuses every key that some plugin would refuse: anything but
// RSA of 2048 bits with the exponent 65537.
func CheckPublic(pub *rsa.PublicKey) error {
	if pub == nil || pub.N == nil || pub.N.BitLen() != keyBits || pub.E != keyExponent {
		return failure.New(failure.Usage, "key_unsuitable", "check key", "the key is not RSA of 2048 bits with exponent 65537",
			"create one with capstan key create")
	}
	return nil
}

// keyID is the first 20 characters of the base64 of the PKCS#1 public key.
func keyID(pub *rsa.PublicKey) string {
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(pub))[:20]
}

// sign applies the private operation and checks the outcome with the public
// half, so that a broken token or command never publishes a bad value.
func sign(signer crypto.Signer, payload []byte) ([]byte, error) {
	pub, ok := signer.Public().(*rsa.PublicKey)
	if !ok {
		return nil, CheckPublic(nil)
	}
	if err := CheckPublic(pub); err != nil {
		return nil, err
	}
	signed, err := signer.Sign(rand.Reader, payload, crypto.Hash(0))
	if err != nil {
		if _, known := failure.Find(err); known {
			return nil, err
		}
		return nil, failure.Wrap(err, failure.KeyStore, "sign_failed", "sign bundle", "")
	}
	if !signedBy(pub, payload, signed) {
		return nil, failure.New(failure.KeyStore, "sign_failed", "sign bundle", "the signer's answer does not verify with its own public key", "")
	}
	return signed, nil
}

// signedBy reports whether sign made signed of payload. It says the same as
// recoverPayload at half the cost, which a delta update of thousands of files
// feels.
func signedBy(pub *rsa.PublicKey, payload, signed []byte) bool {
	return len(signed) == keyBytes && rsa.VerifyPKCS1v15(pub, crypto.Hash(0), payload, signed) == nil
}

var errNotSigned = errors.New("not signed with this key")

// recoverPayload undoes sign with the public key. It accepts only what every
// plugin generation accepts: 256 bytes, a value below the modulus, and FF
// padding up to exactly want payload bytes. Everything here is public, so the
// time it takes tells nothing.
func recoverPayload(pub *rsa.PublicKey, signed []byte, want int) ([]byte, error) {
	if len(signed) != keyBytes || want > keyBytes-11 {
		return nil, errNotSigned
	}
	c := new(big.Int).SetBytes(signed)
	if c.Cmp(pub.N) >= 0 {
		return nil, errNotSigned
	}
	em := c.Exp(c, big.NewInt(int64(pub.E)), pub.N).FillBytes(make([]byte, keyBytes))
	at := keyBytes - want
	if em[0] != 0 || em[1] != 1 || em[at-1] != 0 {
		return nil, errNotSigned
	}
	for _, b := range em[2 : at-1] {
		if b != 0xff {
			return nil, errNotSigned
		}
	}
	return em[at:], nil
}

// newSessionKey draws an AES-128 key without zero bytes: old iOS plugins cut a
// recovered key at its first zero byte. 127.9 bits remain.
func newSessionKey() []byte {
	key := make([]byte, sessionKeyBytes)
	rand.Read(key) // never fails: the runtime aborts instead
	for i := range key {
		for key[i] == 0 {
			rand.Read(key[i : i+1])
		}
	}
	return key
}

func newIV() []byte {
	iv := make([]byte, ivBytes)
	rand.Read(iv)
	return iv
}

// sessionKeyText signs an AES key and writes it with its IV as the session_key field.
func sessionKeyText(signer crypto.Signer, iv, key []byte) (string, error) {
	signed, err := sign(signer, key)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(iv) + ":" + base64.StdEncoding.EncodeToString(signed), nil
}

// RecoverSessionKey reads the session_key field with the public key: a 16-byte
// IV and a 16-byte AES key. It fails with session_key_malformed when the text
// is not of the form that every device reads, and with session_key_refused
// when the key was not signed by the private half of pub.
func RecoverSessionKey(pub *rsa.PublicKey, s string) (iv, key []byte, err error) {
	iv, signed, err := splitSessionKey(s)
	if err != nil {
		return nil, nil, err
	}
	if err := CheckPublic(pub); err != nil {
		return nil, nil, err
	}
	if key, err = recoverPayload(pub, signed, sessionKeyBytes); err != nil {
		return nil, nil, failure.New(failure.Verification, "session_key_refused", "read session key", "it was not signed by this key",
			"check that the public key belongs to the private key that sealed the bundle")
	}
	return iv, key, nil
}

func splitSessionKey(s string) (iv, signed []byte, err error) {
	malformed := func(why string) error {
		return failure.New(failure.Verification, "session_key_malformed", "read session key", why,
			"it is the ivSessionKey that bundle encrypt printed: two base64 texts with a colon between them")
	}
	left, right, ok := strings.Cut(s, ":")
	if !ok || strings.Contains(right, ":") {
		return nil, nil, malformed("it has not exactly two parts")
	}
	if iv, ok = strictBase64(left); !ok || len(iv) != ivBytes {
		return nil, nil, malformed("the IV is not 16 bytes of base64")
	}
	if signed, ok = strictBase64(right); !ok || len(signed) != keyBytes {
		return nil, nil, malformed("the key is not 256 bytes of base64")
	}
	return iv, signed, nil
}

// strictBase64 decodes as iOS does: standard alphabet, padded, no line breaks.
func strictBase64(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") { // Strict still skips these
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// signedSum is a SHA-256 with its signatures in both forms, of 256 bytes each.
type signedSum struct {
	sum    [32]byte
	v2, v3 []byte
}

// texts gives the forms as devices are told them.
func (s signedSum) texts() (v2, v3 string) {
	return base64.StdEncoding.EncodeToString(s.v2), hex.EncodeToString(s.v3)
}

// signSum signs a SHA-256 in both forms, side by side.
func signSum(signer crypto.Signer, sum [32]byte) (s signedSum, err error) {
	s.sum = sum
	var group errgroup.Group
	group.Go(func() (err error) {
		s.v2, err = sign(signer, v2Payload(sum))
		return err
	})
	s.v3, err = sign(signer, sum[:])
	if failed := group.Wait(); err == nil {
		err = failed
	}
	return s, err
}

// signsTogether is a signer that makes several signatures in less time than one
// after the other. Each that it gives was verified with its public key.
type signsTogether interface {
	SignBatch(payloads [][]byte) ([][]byte, error)
}

// signSums signs several SHA-256 in both forms, together if the signer can.
func signSums(signer crypto.Signer, sums [][32]byte) (signed []signedSum, err error) {
	signed = make([]signedSum, len(sums))
	together, can := signer.(signsTogether)
	if !can {
		for i, sum := range sums {
			if signed[i], err = signSum(signer, sum); err != nil {
				return nil, err
			}
		}
		return signed, nil
	}
	if pub, _ := signer.Public().(*rsa.PublicKey); CheckPublic(pub) != nil {
		return nil, CheckPublic(pub)
	}
	var payloads [][]byte
	for _, sum := range sums {
		payloads = append(payloads, v2Payload(sum), sum[:])
	}
	made, err := together.SignBatch(payloads)
	if err != nil {
		return nil, failure.Wrap(err, failure.KeyStore, "sign_failed", "sign bundle", "")
	}
	for i := range signed {
		signed[i] = signedSum{sums[i], made[2*i], made[2*i+1]}
	}
	return signed, nil
}

// v2Payload is the quirk of the older form: the hex text taken for base64.
func v2Payload(sum [32]byte) []byte {
	payload, err := base64.StdEncoding.DecodeString(hex.EncodeToString(sum[:]))
	if err != nil { // hex digits are base64 digits, and 64 is a multiple of 4
		panic(err)
	}
	return payload
}

// SignChecksum signs the SHA-256 of a zip or of a delta file, in both forms.
func SignChecksum(signer crypto.Signer, sum [32]byte) (v2, v3 string, err error) {
	signed, err := signSum(signer, sum)
	if err != nil {
		return "", "", err
	}
	v2, v3 = signed.texts()
	return v2, v3, nil
}

// RecoverChecksum reads a checksum of any form. A signed one is verified with
// pub, which may be nil for the unsigned forms. For FormCRC32 the value is in
// the first four bytes of sum. It fails with checksum_malformed when the text
// has no known shape, and with checksum_refused when pub did not sign it.
func RecoverChecksum(pub *rsa.PublicKey, value string) (sum [32]byte, form Form, err error) {
	switch {
	case len(value) == 8 && isLowerHex(value):
		hex.Decode(sum[:], []byte(value))
		return sum, FormCRC32, nil
	case len(value) == 64 && isLowerHex(value):
		hex.Decode(sum[:], []byte(value))
		return sum, FormSHA256, nil
	}
	var signed []byte
	base := false
	if len(value) == 2*keyBytes && isLowerHex(value) {
		signed, _ = hex.DecodeString(value)
	} else if signed, base = strictBase64(value); !base || len(signed) != keyBytes {
		return sum, FormNone, failure.New(failure.Verification, "checksum_malformed", "read checksum",
			"it is neither 512 or 64 or 8 lower-case hex digits nor 344 characters of base64", "")
	}
	if err := CheckPublic(pub); err != nil {
		return sum, FormNone, err
	}
	if base {
		if payload, err := recoverPayload(pub, signed, v2PayloadBytes); err == nil {
			text := base64.StdEncoding.EncodeToString(payload)
			if !isLowerHex(text) {
				return sum, FormNone, checksumRefused()
			}
			hex.Decode(sum[:], []byte(text))
			return sum, FormV2, nil
		}
	}
	payload, err := recoverPayload(pub, signed, len(sum))
	if err != nil {
		return sum, FormNone, checksumRefused()
	}
	copy(sum[:], payload)
	if base {
		return sum, FormV3Base64, nil
	}
	return sum, FormV3, nil
}

func checksumRefused() error {
	return failure.New(failure.Verification, "checksum_refused", "read checksum", "it was not signed by this key",
		"check that the public key belongs to the private key that sealed the bundle")
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
