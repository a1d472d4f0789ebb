package device

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"

	"capstan/core/bundle"
)

const (
	pemHeader = "-----BEGIN RSA PUBLIC KEY-----"
	pemFooter = "-----END RSA PUBLIC KEY-----"
)

var (
	errPadding   = errors.New("the padding is wrong")
	errRSA       = errors.New("the public key does not open the signed value")
	errKeyFormat = errors.New("not a PKCS#1 public key")
)

// loadPublic reads a public key as the plugin does: white space is ignored (by
// an older iOS line feeds alone), and between header and footer stands the
// base64 of a PKCS#1 key. It is laxer than a PEM parser and knows no other format.
func (g Generation) loadPublic(text []byte) (*rsa.PublicKey, error) {
	s := strings.ReplaceAll(string(text), "\n", "")
	if !g.StrictPEM {
		s = strings.Join(strings.Fields(s), "")
	}
	for _, line := range []string{pemHeader, pemFooter} {
		s = strings.ReplaceAll(s, line, "")
		s = strings.ReplaceAll(s, strings.ReplaceAll(line, " ", ""), "")
	}
	if g.StrictPEM && strings.ContainsAny(s, "\r \t") {
		return nil, errKeyFormat
	}
	der, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errKeyFormat
	}
	pub, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, errKeyFormat
	}
	return pub, nil
}

// decodeBase64 reads base64 as the platform does: Android skips what is not in
// the alphabet and needs no padding, iOS takes the exact form only.
func (g Generation) decodeBase64(s string) ([]byte, error) {
	if g.StrictBase64 {
		if strings.ContainsAny(s, "\r\n") { // which Strict still skips
			return nil, errors.New("line breaks in base64")
		}
		return base64.StdEncoding.Strict().DecodeString(s)
	}
	kept := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '+', r == '/':
			return r
		}
		return -1
	}, strings.TrimRight(s, "=\r\n "))
	return base64.RawStdEncoding.DecodeString(kept)
}

// open undoes the private-key operation: PKCS#1 v1.5 type 1.
func (g Generation) open(pub *rsa.PublicKey, sealed []byte) ([]byte, error) {
	size := pub.Size()
	if len(sealed) > size {
		return nil, fmt.Errorf("%d bytes are longer than the key", len(sealed))
	}
	c := new(big.Int).SetBytes(sealed)
	if c.Cmp(pub.N) >= 0 {
		return nil, errRSA
	}
	block := c.Exp(c, big.NewInt(int64(pub.E)), pub.N).FillBytes(make([]byte, size))
	if block[0] != 0 || block[1] != 1 {
		return nil, errRSA
	}
	end := bytes.IndexByte(block[2:], 0)
	if end < 0 {
		return nil, errRSA
	}
	if !g.LenientRSA {
		if end < 8 {
			return nil, errRSA
		}
		for _, b := range block[2 : 2+end] {
			if b != 0xff {
				return nil, errRSA
			}
		}
	}
	return block[2+end+1:], nil
}

// sessionKey opens "base64(IV):base64(RSA(key))". found is false where the
// plugin goes on without decrypting: no key in the app, not two parts, or a
// public key that does not begin with the PKCS#1 header.
func (d *Device) sessionKey(field string) (iv, key []byte, found bool, err error) {
	if len(d.PublicKey) == 0 || !validSessionKey(field) || !bytes.HasPrefix(d.PublicKey, []byte(pemHeader)) {
		return nil, nil, false, nil
	}
	left, right, _ := strings.Cut(field, ":")
	iv, err = d.generation.decodeBase64(left)
	if err != nil || len(iv) != aes.BlockSize {
		return nil, nil, true, errors.New("the IV is not 16 bytes in base64")
	}
	sealed, err := d.generation.decodeBase64(right)
	if err != nil {
		return nil, nil, true, errors.New("the session key is not base64")
	}
	pub, err := d.generation.loadPublic(d.PublicKey)
	if err != nil {
		return nil, nil, true, err
	}
	key, err = d.generation.open(pub, sealed)
	if err != nil {
		return nil, nil, true, err
	}
	return iv, key, true, d.keyLength(key)
}

func (d *Device) keyLength(key []byte) error {
	if d.generation.SessionKey16 && len(key) != 16 {
		return fmt.Errorf("the session key has %d bytes, this plugin takes 16", len(key))
	}
	if _, err := aes.NewCipher(key); err != nil {
		return fmt.Errorf("the session key has %d bytes", len(key))
	}
	return nil
}

// privateSessionKey is sessionKey of the first scheme: RSA-OAEP with SHA-256
// under the private key that the app carries.
func (d *Device) privateSessionKey(field string) (iv, key []byte, found bool, err error) {
	left, right, ok := strings.Cut(field, ":")
	if !d.hasPrivateKey() || field == "" {
		return nil, nil, false, nil
	}
	if !ok {
		return nil, nil, true, errors.New("the session key has no colon")
	}
	right, _, _ = strings.Cut(right, ":")
	iv, err = d.generation.decodeBase64(left)
	if err != nil || len(iv) != aes.BlockSize {
		return nil, nil, true, errors.New("the IV is not 16 bytes in base64")
	}
	sealed, err := d.generation.decodeBase64(right)
	if err != nil {
		return nil, nil, true, errors.New("the session key is not base64")
	}
	var private crypto.Decrypter = d.AppKey
	if len(d.PrivateKey) > 0 {
		block, _ := pem.Decode(d.PrivateKey)
		if block == nil {
			return nil, nil, true, errors.New("the private key in the app is not a PEM")
		}
		if private, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, nil, true, errors.New("the private key in the app is not PKCS#1")
		}
	}
	key, err = private.Decrypt(rand.Reader, sealed, &rsa.OAEPOptions{Hash: crypto.SHA256})
	if err != nil {
		return nil, nil, true, errors.New("the private key does not open the session key")
	}
	return iv, key, true, d.keyLength(key)
}

func (d *Device) hasPrivateKey() bool { return len(d.PrivateKey) > 0 || d.AppKey != nil }

// signedChecksum opens a signed checksum: what the SHA-256 in hex must be.
// Without a public key the value is what it is.
func (d *Device) signedChecksum(value string) (string, error) {
	if len(d.PublicKey) == 0 {
		return value, nil
	}
	pub, err := d.generation.loadPublic(d.PublicKey)
	if err != nil {
		return "", err
	}
	g := d.generation
	if g.Signed == bundle.FormV3 {
		sealed, err := hex.DecodeString(value)
		if err != nil || value == "" {
			if sealed, err = g.decodeBase64(value); err != nil {
				return "", errors.New("the checksum is neither hex nor base64")
			}
		}
		if g.Signature256 && len(sealed) != 256 {
			return "", fmt.Errorf("the checksum is not signed: %d bytes, not 256", len(sealed))
		}
		sum, err := g.open(pub, sealed)
		return hex.EncodeToString(sum), err
	}
	sealed, err := g.decodeBase64(value)
	if err != nil {
		return "", errors.New("the checksum is not base64")
	}
	sum, err := g.open(pub, sealed)
	return base64.StdEncoding.EncodeToString(sum), err
}

// plainChecksum is the checksum that this generation computes of a bundle
// without session key.
func plainChecksum(form bundle.Form, r io.Reader) (string, error) {
	switch form {
	case bundle.FormNone:
		return "", nil
	case bundle.FormCRC32:
		h := crc32.NewIEEE()
		_, err := io.Copy(h, r)
		return fmt.Sprintf("%08x", h.Sum32()), err
	}
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

// decrypt undoes AES-CBC with PKCS#7 as a stream and gives the bytes written.
// The last block is held back until the end is known.
func decrypt(ctx context.Context, r io.Reader, w io.Writer, iv, key []byte) (int64, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return 0, err
	}
	mode := cipher.NewCBCDecrypter(block, iv)
	buf := make([]byte, 64<<10)
	held := make([]byte, 0, aes.BlockSize)
	var written int64
	for {
		if err := ctx.Err(); err != nil {
			return written, err
		}
		n, readErr := io.ReadFull(r, buf)
		if n%aes.BlockSize != 0 {
			return written, errors.New("the encrypted bytes do not fill their last block")
		}
		if n > 0 {
			if _, err := w.Write(held); err != nil {
				return written, err
			}
			written += int64(len(held))
			mode.CryptBlocks(buf[:n], buf[:n])
			if _, err := w.Write(buf[:n-aes.BlockSize]); err != nil {
				return written, err
			}
			written += int64(n - aes.BlockSize)
			held = append(held[:0], buf[n-aes.BlockSize:n]...)
		}
		switch {
		case readErr == nil:
			continue
		case errors.Is(readErr, io.EOF), errors.Is(readErr, io.ErrUnexpectedEOF):
		default:
			return written, readErr
		}
		break
	}
	if len(held) == 0 { // Java decrypts nothing to nothing
		return written, nil
	}
	pad := int(held[len(held)-1])
	if pad < 1 || pad > aes.BlockSize {
		return written, errPadding
	}
	for _, b := range held[len(held)-pad:] {
		if int(b) != pad {
			return written, errPadding
		}
	}
	rest := held[:len(held)-pad]
	n, err := w.Write(rest)
	return written + int64(n), err
}
