// Package keys makes, keeps and uses the RSA key pairs that sign live updates.
//
// A pair is RSA-2048 with e = 65537, written as PKCS#1 PEM: the only form that
// every generation of the updater plugin and the Capgo CLI read. The private
// half lives in a Store (the system keyring, a passphrase-encrypted file, the
// environment, an external command, memory, or a PKCS#11 token when built with
// that tag); the Ring remembers, in an index file without secrets, which store
// holds which key. Nothing falls back from one store to another by itself, and
// a locked store is never taken for an absent key.
//
// Start with NewRing, then Create or Import, and Signer to seal a bundle. The
// other packages only ever see a crypto.Signer.
//
// What a store does not protect against: a process that runs as the same user
// can ask an unlocked keyring, or read this process's memory.
//
// The index file, the key files and the backups carry a format version; later
// releases keep reading what this one wrote.
package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"capstan/core/failure"
)

// Bits is the only modulus size the updater plugin accepts: it checks for RSA
// blocks of exactly 256 bytes.
const Bits = 2048

// Exponent is the only public exponent that capstan accepts.
const Exponent = 65537

// The PEM block types of PKCS#1.
const (
	privateType = "RSA PRIVATE KEY"
	publicType  = "RSA PUBLIC KEY"
)

// maxPEM bounds what is read as key text: an RSA-2048 private key has fewer
// than 1 700 bytes, so this leaves room to recognise and name larger ones.
const maxPEM = 64 << 10

// Generate makes a new key pair.
func Generate() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, Bits)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "key_generation", "generate key", "")
	}
	return key, nil
}

// EncodePrivate writes the private half as PKCS#1 PEM, in the bytes that
// Node's crypto module writes for the same key.
func EncodePrivate(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// EncodePublic writes the public half as PKCS#1 PEM: 426 bytes for RSA-2048.
func EncodePublic(key *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: x509.MarshalPKCS1PublicKey(key)})
}

// KeyID is the short name of a key that devices and servers exchange: the
// first 20 characters of the base64 text of the PKCS#1 public key. The first
// twelve are the same for every RSA-2048 key; the rest identify it.
func KeyID(key *rsa.PublicKey) string {
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(key))[:20]
}

// Fingerprint is the SHA-256 of the PKCS#1 public key, for people to compare:
// "SHA256:" and 43 characters of unpadded base64.
func Fingerprint(key *rsa.PublicKey) string {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// ParsePublic reads a public key: one PKCS#1 block, nothing before or after it,
// that satisfies the key policy. Windows line ends are read. Refusals have the
// code key_malformed or key_weak, say why, and hint at the cure.
func ParsePublic(text []byte) (*rsa.PublicKey, error) {
	const op = "read public key"
	der, err := decode(op, text, publicType)
	if err != nil {
		return nil, err
	}
	return publicFromDER(op, der)
}

// ParsePrivate reads a private key: one PKCS#1 block, nothing before or after
// it, that satisfies the key policy. Windows line ends are read. Refusals have
// the code key_malformed or key_weak, say why, and hint at the cure; they never
// contain a part of the text.
func ParsePrivate(text []byte) (*rsa.PrivateKey, error) {
	const op = "read private key"
	der, err := decode(op, text, privateType)
	if err != nil {
		return nil, err
	}
	return privateFromDER(op, der)
}

// malformed is the refusal of a text that is not a key in the right form.
func malformed(op, hint, format string, args ...any) error {
	return failure.Newf(failure.Usage, "key_malformed", op, hint, format, args...)
}

// Cures that several refusals share.
const (
	hintConvertPrivate = "capstan key import converts it; or: openssl rsa -in key.pem -traditional -out .capgo_key_v2"
	hintConvertPublic  = "make it from the private key: openssl rsa -in .capgo_key_v2 -RSAPublicKey_out -out .capgo_key_v2.pub"
	hintNewKey         = "make a new pair with capstan key create"
	hintCopyAgain      = "copy the whole file again, from its BEGIN line to its END line"
)

// decode checks everything about the text that is not inside the key, and
// gives the block's bytes. Each refusal names what the text is instead.
func decode(op string, text []byte, want string) ([]byte, error) {
	block, err := oneBlock(op, text)
	if err != nil {
		return nil, err
	}
	if block.Type != want {
		return nil, wrongType(op, block.Type, want)
	}
	if len(block.Headers) != 0 {
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, malformed(op, "decrypt it first: openssl rsa -in key.pem -traditional -out .capgo_key_v2", "the key is encrypted with OpenSSL's old passphrase scheme")
		}
		return nil, malformed(op, "remove the lines between BEGIN and the key", "the PEM block has header lines")
	}
	return block.Bytes, nil
}

// oneBlock gives the only PEM block of a text that holds nothing else.
func oneBlock(op string, text []byte) (*pem.Block, error) {
	switch {
	case len(text) > maxPEM:
		return nil, malformed(op, "", "the text has %d bytes, far more than a key", len(text))
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return nil, malformed(op, "save the file as UTF-8 without a byte order mark", "the text starts with a byte order mark")
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return nil, malformed(op, "save the file as plain ASCII or UTF-8", "the text is UTF-16")
	case bytes.IndexByte(text, 0) >= 0:
		return nil, malformed(op, "", "the text contains zero bytes: it is not PEM")
	}
	text = bytes.TrimSpace(text)
	begins := bytes.Count(text, []byte("-----BEGIN "))
	switch {
	case len(text) == 0:
		return nil, malformed(op, hintCopyAgain, "the text is empty")
	case bytes.HasPrefix(text, []byte("age-encryption.org/")), bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE")):
		return nil, malformed(op, "capstan key restore opens backups, capstan key import opens exports", "the file is encrypted with age")
	case bytes.HasPrefix(text, []byte("ssh-rsa ")):
		return nil, malformed(op, hintConvertPublic, "this is an SSH public key")
	case bytes.HasPrefix(text, []byte("PuTTY-User-Key-File")):
		return nil, malformed(op, hintNewKey, "this is a PuTTY key")
	case begins == 0:
		return nil, malformed(op, hintCopyAgain, "there is no PEM BEGIN line")
	case begins > 1:
		return nil, malformed(op, "keep one key a file", "there are %d PEM blocks instead of one", begins)
	case !bytes.HasPrefix(text, []byte("-----BEGIN ")):
		return nil, malformed(op, "remove what stands before the BEGIN line", "there is text before the BEGIN line")
	case bytes.Count(text, []byte("-----END ")) == 0:
		return nil, malformed(op, hintCopyAgain, "the key is cut off: there is no END line")
	case bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') >= 0:
		return nil, malformed(op, "convert the line ends to line feeds", "the lines end in carriage returns alone")
	case bytes.Contains(text, []byte(`\n`)):
		return nil, malformed(op, "replace each \\n by a real line break", "the line breaks are written out as \\n")
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, malformed(op, hintCopyAgain, "the PEM block is damaged (base64 text, BEGIN and END lines do not fit together)")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, malformed(op, "remove what stands after the END line", "there is text after the END line")
	}
	return block, nil
}

// wrongType names what a block is, and how to get what is wanted from it.
func wrongType(op, got, want string) error {
	private := want == privateType
	switch got {
	case "PRIVATE KEY":
		if private {
			return malformed(op, hintConvertPrivate, "the key is PKCS#8 (BEGIN PRIVATE KEY); the Capgo tools read PKCS#1 only")
		}
		return malformed(op, hintConvertPublic, "this is a private key, a public one is wanted")
	case "ENCRYPTED PRIVATE KEY":
		return malformed(op, "decrypt it first: openssl rsa -in key.pem -traditional -out .capgo_key_v2", "the key is an encrypted PKCS#8 file")
	case "PUBLIC KEY":
		if private {
			return malformed(op, "name the private key file, .capgo_key_v2", "this is a public key, a private one is wanted")
		}
		return malformed(op, hintConvertPublic, "the key is SPKI (BEGIN PUBLIC KEY), which makes apps fail at start")
	case privateType:
		return malformed(op, hintConvertPublic, "this is a private key, a public one is wanted")
	case publicType:
		return malformed(op, "name the private key file, .capgo_key_v2", "this is a public key, a private one is wanted")
	case "OPENSSH PRIVATE KEY":
		return malformed(op, hintNewKey, "this is an OpenSSH key; a signing key for updates should not be a login key")
	case "EC PRIVATE KEY", "EC PARAMETERS", "DSA PRIVATE KEY":
		return malformed(op, hintNewKey, "the key is not RSA")
	case "CERTIFICATE", "CERTIFICATE REQUEST", "TRUSTED CERTIFICATE":
		return malformed(op, hintNewKey, "this is a certificate, not a key")
	case "PGP PRIVATE KEY BLOCK", "PGP PUBLIC KEY BLOCK", "PGP MESSAGE":
		return malformed(op, hintNewKey, "this is PGP material, not a PKCS#1 key")
	}
	return malformed(op, "", "the PEM block is a %s, not a %s", clean(got), want)
}

// clean makes text from outside fit for a message: short, one line, printable.
func clean(s string) string {
	if strings.Contains(s, "PRIVATE KEY") || strings.Contains(s, "AGE-SECRET-KEY-") {
		return "(a secret)" // somebody put one where a name belongs
	}
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 160 {
		s = string(r[:160]) + "…"
	}
	return s
}

// describe is how messages name a key: its id.
func describe(key *rsa.PublicKey) string { return fmt.Sprintf("key %s", KeyID(key)) }
