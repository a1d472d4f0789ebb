package bundle

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"io"

	"capstan/core/failure"
)

// Seal encrypts and signs a zip that exists already. plain is read once to its
// end; progress, if not nil, is told the bytes read so far. An error of plain
// or w comes back as it is.
func Seal(ctx context.Context, plain io.Reader, w io.Writer, signer crypto.Signer, progress func(done int64)) (Sealed, error) {
	s, err := newSealing(ctx, w, signer)
	if err != nil {
		return Sealed{}, err
	}
	if progress != nil {
		plain = &countingReader{r: plain, report: progress}
	}
	n, err := s.relay.ReadFrom(plain)
	if err == nil && n == 0 {
		err = failure.New(failure.Usage, "bundle_empty", "seal bundle", "the file is empty", "")
	}
	if err != nil {
		s.relay.abort(err)
		return Sealed{}, err
	}
	return s.finish()
}

type countingReader struct {
	r      io.Reader
	done   int64
	report func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	c.report(c.done)
	return n, err
}

// sealing is a sealed object while its plain bytes pass through relay.
type sealing struct {
	relay      *relay
	signer     crypto.Signer
	pub        *rsa.PublicKey
	iv, key    []byte
	plain      digest
	object     digest
	sessionKey string
}

func newSealing(ctx context.Context, w io.Writer, signer crypto.Signer) (*sealing, error) {
	return newSealingWith(ctx, w, signer, newIV(), newSessionKey())
}

// newSealingWith signs the session key before the first byte passes: a locked
// key store is noticed at once, not after a gigabyte.
func newSealingWith(ctx context.Context, w io.Writer, signer crypto.Signer, iv, key []byte) (*sealing, error) {
	text, err := sessionKeyText(signer, iv, key)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	s := &sealing{signer: signer, pub: signer.Public().(*rsa.PublicKey), iv: iv, key: key, sessionKey: text}
	s.plain.init()
	s.object.init()
	s.relay = newRelay(ctx,
		s.plain.pass,
		encryptStage(cipher.NewCBCEncrypter(block, iv)),
		s.object.pass,
		writeTo(w))
	return s, nil
}

// encryptStage encrypts chunks in place and pads the last one.
func encryptStage(cbc cipher.BlockMode) stage {
	return func(chunk []byte, last bool) ([]byte, error) {
		if last {
			chunk = pad(chunk)
		}
		cbc.CryptBlocks(chunk, chunk)
		return chunk, nil
	}
}

// finish sends the padding through, waits for the last write and signs the checksum.
func (s *sealing) finish() (Sealed, error) {
	if err := s.relay.Close(); err != nil {
		return Sealed{}, err
	}
	sum := s.plain.sum()
	v2, v3, err := SignChecksum(s.signer, sum)
	if err != nil {
		return Sealed{}, err
	}
	object := s.object.sum()
	return Sealed{
		SessionKey:    s.sessionKey,
		KeyID:         keyID(s.pub),
		PlainChecksum: hex.EncodeToString(sum[:]),
		CRC32:         s.plain.crcHex(),
		ChecksumV2:    v2,
		ChecksumV3:    v3,
		PlainSize:     s.plain.size,
		ObjectSize:    s.object.size,
		ObjectSHA256:  hex.EncodeToString(object[:]),
	}, nil
}

// digest counts and hashes what passes.
type digest struct {
	sha  hash.Hash
	crc  uint32
	size int64
}

func (d *digest) init() { d.sha = sha256.New() }

func (d *digest) pass(chunk []byte, _ bool) ([]byte, error) {
	d.sha.Write(chunk)
	d.crc = crc32.Update(d.crc, crc32.IEEETable, chunk)
	d.size += int64(len(chunk))
	return chunk, nil
}

func (d *digest) sum() (sum [32]byte) {
	d.sha.Sum(sum[:0])
	return sum
}

func (d *digest) crcHex() string {
	return hex.EncodeToString([]byte{byte(d.crc >> 24), byte(d.crc >> 16), byte(d.crc >> 8), byte(d.crc)})
}

// pad appends PKCS#7 padding: 1 to 16 bytes, a whole block to a full one.
func pad(b []byte) []byte {
	n := aes.BlockSize - len(b)%aes.BlockSize
	for range n {
		b = append(b, byte(n))
	}
	return b
}

var errPadding = errors.New("wrong key or damaged object")

// unpad removes PKCS#7 padding, every byte of which must be right.
func unpad(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errPadding
	}
	n := int(b[len(b)-1])
	if n < 1 || n > aes.BlockSize || n > len(b) {
		return nil, errPadding
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, errPadding
		}
	}
	return b[:len(b)-n], nil
}

func damaged(why string) error {
	return failure.New(failure.Verification, "bundle_damaged", "decrypt bundle", why,
		"the object is damaged, or the session key belongs to another bundle")
}

// Decrypt undoes Seal with the public key: it writes the plain zip to w and
// gives its SHA-256 and size. The format has no authentication of its own: what
// was written must not be used before the SHA-256 is found equal to the signed
// checksum. A wrong key and a damaged object are one failure, bundle_damaged.
func Decrypt(ctx context.Context, sealed io.Reader, w io.Writer, sessionKey string, pub *rsa.PublicKey) (sum [32]byte, size int64, err error) {
	iv, key, err := RecoverSessionKey(pub, sessionKey)
	if err != nil {
		return sum, 0, err
	}
	return DecryptWith(ctx, sealed, w, iv, key)
}

// DecryptWith is Decrypt with the 16-byte IV and AES key in hand.
func DecryptWith(ctx context.Context, sealed io.Reader, w io.Writer, iv, key []byte) (sum [32]byte, size int64, err error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return sum, 0, err
	}
	var plain digest
	plain.init()
	cbc := cipher.NewCBCDecrypter(block, iv)
	// The padding is in the last block, and only the end tells which one is the
	// last: each chunk's last block waits for the next chunk.
	var held [aes.BlockSize]byte
	holding := false
	open := func(chunk []byte, last bool) ([]byte, error) {
		if len(chunk)%aes.BlockSize != 0 {
			return nil, damaged("its length is not a multiple of 16")
		}
		cbc.CryptBlocks(chunk, chunk)
		chunk = chunk[:len(chunk)+aes.BlockSize]
		if holding {
			copy(chunk[aes.BlockSize:], chunk[:len(chunk)-aes.BlockSize])
			copy(chunk, held[:])
		} else {
			chunk = chunk[:len(chunk)-aes.BlockSize]
		}
		if last {
			out, err := unpad(chunk)
			if err != nil {
				return nil, damaged(err.Error())
			}
			return out, nil
		}
		holding = copy(held[:], chunk[len(chunk)-aes.BlockSize:]) > 0
		return chunk[:len(chunk)-aes.BlockSize], nil
	}
	r := newRelay(ctx, open, plain.pass, writeTo(w))
	n, err := r.ReadFrom(sealed)
	if err == nil && n == 0 {
		err = damaged("it is empty")
	}
	if err != nil {
		r.abort(err)
		return sum, 0, err
	}
	if err := r.Close(); err != nil {
		return sum, 0, err
	}
	if plain.size == 0 {
		return sum, 0, damaged("there is nothing in it")
	}
	return plain.sum(), plain.size, nil
}
