package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"capstan/core/failure"
)

// badKey is a text that must be refused, with the code and the words that the
// refusal must carry.
type badKey struct {
	name string
	text []byte
	code string
	says string
}

// refusal checks what every refusal must be: coded, one line, and silent about
// the text itself.
func refusal(t testing.TB, err error, text []byte) {
	t.Helper()
	f, ok := failure.Find(err)
	if !ok || (f.Code != "key_malformed" && f.Code != "key_weak") || f.Class != failure.Usage {
		t.Errorf("refused with %v", err)
	}
	said := err.Error() + failure.HintOf(err)
	if strings.ContainsAny(said, "\n\r\x1b\x00") {
		t.Errorf("the refusal has control characters: %q", said)
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) >= 40 && !bytes.HasPrefix(line, []byte("-----")) && strings.Contains(said, string(line)) {
			t.Errorf("the refusal quotes the text: %q", said)
		}
	}
}

func TestBadKeysAreRefusedWithTheReason(t *testing.T) {
	private, public := badPrivate(t), badPublic(t)
	if n := len(private) + len(public); n < 120 {
		t.Fatalf("%d bad inputs, want at least 120", n)
	} else {
		t.Logf("%d bad inputs", n)
	}
	names := map[string]bool{}
	check := func(half string, c badKey, err error) {
		t.Helper()
		name := half + " " + c.name
		if names[name] {
			t.Errorf("%s stands twice in the table", name)
		}
		names[name] = true
		if err == nil {
			t.Errorf("%s is accepted", name)
			return
		}
		refusal(t, err, c.text)
		if failure.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (%s), want %s with %q", name, err, failure.CodeOf(err), c.code, c.says)
		}
	}
	for _, c := range private {
		_, err := ParsePrivate(c.text)
		check("private", c, err)
	}
	for _, c := range public {
		_, err := ParsePublic(c.text)
		check("public", c, err)
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func mustDER(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// parts are the numbers of a private key, to be bent.
type parts struct {
	Version                     int
	N, E, D, P, Q, Dp, Dq, Qinv *big.Int
}

// fromPrimes computes every part of a key from its primes and exponent.
func fromPrimes(p, q *big.Int, e int64) parts {
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	d := new(big.Int).ModInverse(big.NewInt(e), new(big.Int).Mul(p1, q1))
	if d == nil { // not a valid exponent for these primes; any number will do
		d = new(big.Int).Sub(new(big.Int).Mul(p1, q1), one)
	}
	qinv := new(big.Int).ModInverse(q, p)
	if qinv == nil {
		qinv = big.NewInt(1)
	}
	return parts{0, new(big.Int).Mul(p, q), big.NewInt(e), d, p, q, new(big.Int).Mod(d, p1), new(big.Int).Mod(d, q1), qinv}
}

// oddPrimes are primes of unusual sizes and kinds, found beforehand because
// finding them takes long: those named roca1024 are of the form that the flawed
// generator of CVE-2017-15361 made, those named near1024 follow each other.
var oddPrimes = sync.OnceValues(func() (map[string]*big.Int, error) {
	text, err := os.ReadFile(filepath.Join("testdata", "odd_primes.txt"))
	if err != nil {
		return nil, err
	}
	primes := map[string]*big.Int{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if p, ok := new(big.Int).SetString(value, 16); ok {
			primes[name] = p
		}
	}
	return primes, nil
})

func prime(t testing.TB, name string) *big.Int {
	t.Helper()
	primes, err := oddPrimes()
	if err != nil || primes[name] == nil {
		t.Fatalf("prime %s: %v", name, err)
	}
	return primes[name]
}

// oddPrivate and oddPublic are the two halves of a key of two such primes.
func oddPrivate(t testing.TB, p, q string) []byte {
	return block(privateType, mustDER(t, fromPrimes(prime(t, p), prime(t, q), Exponent)))
}

func oddPublic(t testing.TB, p, q string) []byte {
	return block(publicType, mustDER(t, pkcs1Public{new(big.Int).Mul(prime(t, p), prime(t, q)), big.NewInt(Exponent)}))
}

// texts bends the text of a good key, in ways that do not depend on which half
// it is.
func texts(good []byte) []badKey {
	s := string(good)
	lines := strings.Split(strings.TrimSpace(s), "\n")
	body := strings.Join(lines[1:len(lines)-1], "\n")
	utf16Text := func(bom []byte, order func(uint16) []byte) []byte {
		out := bytes.Clone(bom)
		for _, u := range utf16.Encode([]rune(s)) {
			out = append(out, order(u)...)
		}
		return out
	}
	little := func(u uint16) []byte { return []byte{byte(u), byte(u >> 8)} }
	big := func(u uint16) []byte { return []byte{byte(u >> 8), byte(u)} }
	const m = "key_malformed"
	bad := []badKey{
		{"empty", nil, m, "empty"},
		{"blank", []byte(" \n\t\r\n"), m, "empty"},
		{"huge", bytes.Repeat([]byte("x"), 1<<20), m, "far more than a key"},
		{"byte order mark", append([]byte("\xef\xbb\xbf"), good...), m, "byte order mark"},
		{"UTF-16 little endian", utf16Text([]byte("\xff\xfe"), little), m, "UTF-16"},
		{"UTF-16 big endian", utf16Text([]byte("\xfe\xff"), big), m, "UTF-16"},
		{"UTF-16 without mark", utf16Text(nil, little), m, "zero bytes"},
		{"zero byte at the end", append(bytes.Clone(good), 0), m, "zero bytes"},
		{"body only", []byte(body), m, "no PEM BEGIN line"},
		{"prose", []byte("the key is in the safe"), m, "no PEM BEGIN line"},
		{"path instead of a key", []byte("./.capgo_key_v2"), m, "no PEM BEGIN line"},
		{"JSON", []byte(`{"key":"MIIB"}`), m, "no PEM BEGIN line"},
		{"text before", append([]byte("# my key\n"), good...), m, "before the BEGIN line"},
		{"text after", append(bytes.Clone(good), "# my key\n"...), m, "after the END line"},
		{"quoted", []byte(`"` + strings.TrimSpace(s) + `"`), m, "before the BEGIN line"},
		{"the same key twice", append(bytes.Clone(good), good...), m, "2 PEM blocks"},
		{"three keys", bytes.Repeat(good, 3), m, "3 PEM blocks"},
		{"carriage returns alone", []byte(strings.ReplaceAll(s, "\n", "\r")), m, "carriage returns"},
		{"line breaks written out", []byte(strings.ReplaceAll(s, "\n", `\n`)), m, `written out as \n`},
		{"no BEGIN line", []byte(strings.Join(lines[1:], "\n")), m, "no PEM BEGIN line"},
		{"no END line", []byte(strings.Join(lines[:len(lines)-1], "\n")), m, "no END line"},
		{"BEGIN and END alone", []byte(lines[0] + "\n" + lines[len(lines)-1] + "\n"), m, ""},
		{"header lines", []byte(lines[0] + "\nComment: mine\n\n" + body + "\n" + lines[len(lines)-1] + "\n"), m, "header lines"},
		{"encrypted in the old way", []byte(lines[0] + "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n" + body + "\n" + lines[len(lines)-1] + "\n"), m, "old passphrase scheme"},
		{"END of another type", []byte(strings.Replace(s, "-----END RSA", "-----END DSA", 1)), m, "damaged"},
		{"four dashes", []byte(strings.Replace(s, "-----\n", "----\n", 1)), m, "damaged"},
		{"lower case BEGIN", []byte(strings.ToLower(lines[0]) + "\n" + body + "\n" + lines[len(lines)-1]), m, "no PEM BEGIN line"},
		{"a letter outside base64", []byte(strings.Replace(s, body[100:101], "!", 1)), m, ""},
		{"a umlaut in the body", []byte(lines[0] + "\n" + body[:50] + "ü" + body[52:] + "\n" + lines[len(lines)-1]), m, "damaged"},
		{"a missing letter", []byte(lines[0] + "\n" + body[:50] + body[51:] + "\n" + lines[len(lines)-1]), m, "damaged"},
		{"wrapped with >", []byte("> " + strings.ReplaceAll(s, "\n", "\n> ")), m, "before the BEGIN line"},
		{"certificate", block("CERTIFICATE", []byte{0x30, 0}), m, "certificate"},
		{"certificate request", block("CERTIFICATE REQUEST", []byte{0x30, 0}), m, "certificate"},
		{"EC key", block("EC PRIVATE KEY", []byte{0x30, 0}), m, "not RSA"},
		{"DSA key", block("DSA PRIVATE KEY", []byte{0x30, 0}), m, "not RSA"},
		{"OpenSSH key", block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00")), m, "OpenSSH"},
		{"SSH public key", []byte("ssh-rsa AAAAB3NzaC1yc2E= me@host"), m, "SSH public key"},
		{"PuTTY key", []byte("PuTTY-User-Key-File-3: ssh-rsa\n"), m, "PuTTY"},
		{"PGP key", block("PGP PRIVATE KEY BLOCK", []byte{1}), m, "PGP"},
		{"age file", []byte("age-encryption.org/v1\n-> X25519 x\n"), m, "encrypted with age"},
		{"armored age file", block("AGE ENCRYPTED FILE", []byte("age")), m, "encrypted with age"},
		{"unknown block", block("SECRET RECIPE", []byte{1}), m, "SECRET RECIPE"},
		{"block with a hostile name", block("\x1b[31mKEY", []byte{1}), m, ""},
		{"encrypted PKCS#8", block("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), m, ""},
	}
	// cut after every few lines, and once in each line's middle
	for _, at := range []int{20, 60, 150, 300, len(s) - 40, len(s) - 10} {
		bad = append(bad, badKey{fmt.Sprintf("cut at %d", at), good[:at], m, ""})
	}
	return bad
}

// ders bends the inside of a good block.
func ders(kind string, der []byte) []badKey {
	const m = "key_malformed"
	insert := func(at int, b ...byte) []byte { return append(append(bytes.Clone(der[:at]), b...), der[at:]...) }
	bad := []badKey{
		{"inside: nothing", block(kind, nil), m, ""},
		{"inside: one byte", block(kind, []byte{0x30}), m, "does not hold"},
		{"inside: empty sequence", block(kind, []byte{0x30, 0}), m, "does not hold"},
		{"inside: text", block(kind, []byte("not a key at all")), m, "does not hold"},
		{"inside: an octet string", block(kind, []byte{4, 2, 1, 2}), m, "does not hold"},
		{"inside: a byte after", block(kind, append(bytes.Clone(der), 0)), m, "after the key inside the block"},
		{"inside: twice", block(kind, append(bytes.Clone(der), der...)), m, "after the key inside the block"},
		{"inside: the length too long", block(kind, insert(4, 0)[:len(der)]), m, ""},
		{"inside: indefinite length", block(kind, append([]byte{0x30, 0x80}, append(bytes.Clone(der[4:]), 0, 0)...)), m, "does not hold"},
		{"inside: another tag", block(kind, append([]byte{0x31}, der[1:]...)), m, "does not hold"},
	}
	for _, n := range []int{4, 16, 128, 255, len(der) - 1} {
		bad = append(bad, badKey{fmt.Sprintf("inside: cut at %d", n), block(kind, der[:n]), m, "does not hold"})
	}
	return bad
}

// badPrivate are the private keys that must be refused.
func badPrivate(t testing.TB) []badKey {
	t.Helper()
	_, good := testPair(t, 0)
	_, second := testPair(t, 1)
	goodBlock, _ := pem.Decode(good)
	var k parts
	if _, err := asn1.Unmarshal(goodBlock.Bytes, &k); err != nil {
		t.Fatal(err)
	}
	var other parts
	secondBlock, _ := pem.Decode(second)
	if _, err := asn1.Unmarshal(secondBlock.Bytes, &other); err != nil {
		t.Fatal(err)
	}
	bend := func(name, says string, edit func(*parts)) badKey {
		bent := k
		edit(&bent)
		return badKey{name, block(privateType, mustDER(t, bent)), "key_weak", says}
	}
	number := func(name, says string, p parts) badKey {
		return badKey{name, block(privateType, mustDER(t, p)), "key_weak", says}
	}
	plus := func(x *big.Int, n int64) *big.Int { return new(big.Int).Add(x, big.NewInt(n)) }
	flip := func(x *big.Int, bit int) *big.Int { return new(big.Int).SetBit(x, bit, x.Bit(bit)^1) }
	goodKey, err := ParsePrivate(good)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(goodKey)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&goodKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalPKCS8PrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	composite := new(big.Int).Mul(prime(t, "prime512a"), prime(t, "prime512b"))
	three := struct {
		Version                     int
		N, E, D, P, Q, Dp, Dq, Qinv *big.Int
		More                        []struct{ R, D, T *big.Int }
	}{1, k.N, k.E, k.D, k.P, k.Q, k.Dp, k.Dq, k.Qinv, []struct{ R, D, T *big.Int }{{big.NewInt(3), big.NewInt(1), big.NewInt(1)}}}

	const m, w = "key_malformed", "key_weak"
	bad := append(texts(good), ders(privateType, goodBlock.Bytes)...)
	bad = append(bad,
		badKey{"two different keys", append(bytes.Clone(good), second...), m, "2 PEM blocks"},
		badKey{"private and public half in one file", append(bytes.Clone(good), EncodePublic(&goodKey.PublicKey)...), m, "2 PEM blocks"},
		badKey{"PKCS#8", block("PRIVATE KEY", pkcs8), m, "PKCS#8"},
		badKey{"PKCS#8 labelled PKCS#1", block(privateType, pkcs8), m, "holds a PKCS#8 key"},
		badKey{"Ed25519 labelled PKCS#1", block(privateType, ed), m, "holds a PKCS#8 key"},
		badKey{"P-256 labelled PKCS#1", block(privateType, ec), m, "holds a PKCS#8 key"},
		badKey{"PKCS#1 labelled PKCS#8", block("PRIVATE KEY", goodBlock.Bytes), m, "PKCS#8"},
		badKey{"public half", EncodePublic(&goodKey.PublicKey), m, "a private one is wanted"},
		badKey{"SPKI public half", block("PUBLIC KEY", spki), m, "a private one is wanted"},
		badKey{"public half labelled private", block(privateType, mustDER(t, pkcs1Public{k.N, k.E})), m, "does not hold"},
		badKey{"512 bits", oddPrivate(t, "prime256a", "prime256b"), w, "512 bits"},
		badKey{"768 bits", oddPrivate(t, "prime384a", "prime384b"), w, "768 bits"},
		badKey{"1024 bits", oddPrivate(t, "prime512a", "prime512b"), w, "1024 bits"},
		badKey{"2047 bits", oddPrivate(t, "short2047a", "short2047b"), w, "2047 bits"},
		badKey{"2049 bits", oddPrivate(t, "prime1025a", "prime1024b"), w, "2049 bits"},
		badKey{"3072 bits", oddPrivate(t, "prime1536a", "prime1536b"), w, "3072 bits"},
		badKey{"4096 bits", oddPrivate(t, "prime2048a", "prime2048b"), w, "4096 bits"},
		number("e = 3", "exponent is 3", fromPrimes(k.P, k.Q, 3)),
		number("e = 17", "exponent is 17", fromPrimes(k.P, k.Q, 17)),
		number("e = 257", "exponent is 257", fromPrimes(k.P, k.Q, 257)),
		number("e = 65539", "exponent is 65539", fromPrimes(k.P, k.Q, 65539)),
		bend("e = 1", "exponent is 1", func(p *parts) { p.E = big.NewInt(1) }),
		bend("e = 2", "exponent is 2", func(p *parts) { p.E = big.NewInt(2) }),
		bend("e even", "exponent is 65536", func(p *parts) { p.E = big.NewInt(65536) }),
		bend("e of 65 bits", "exponent has 65 bits", func(p *parts) { p.E = new(big.Int).Lsh(one, 64) }),
		bend("e as large as the modulus", "bits; it must be", func(p *parts) { p.E = plus(p.N, -2) }),
		bend("shared modulus: e and d of another user", "exponent is 65539", func(p *parts) { *p = fromPrimes(k.P, k.Q, 65539); p.N = k.N }),
		bend("shared modulus: d of another key", "does not belong", func(p *parts) { p.D = other.D; p.Dp = other.Dp; p.Dq = other.Dq }),
		bend("modulus of another key", "not the product", func(p *parts) { p.N = other.N }),
		bend("one prime of another key", "not the product", func(p *parts) { p.P = other.P }),
		bend("primes of another key", "not the product", func(p *parts) { p.P, p.Q = other.P, other.Q }),
		bend("modulus even", "even", func(p *parts) { p.N = flip(p.N, 0) }),
		bend("modulus with a small factor", "small factor", func(p *parts) { p.N = multipleOf(4093, p.N) }),
		number("one prime a square's root", "so close", fromPrimes(k.P, k.P, Exponent)),
		number("primes next to each other", "so close", fromPrimes(prime(t, "near1024a"), prime(t, "near1024b"), Exponent)),
		number("mark of ROCA", "ROCA", fromPrimes(prime(t, "roca1024a"), prime(t, "roca1024b"), Exponent)),
		number("a factor that is not prime", "is not a prime number", fromPrimes(k.P, composite, Exponent)),
		number("primes of unequal size", "bits instead of", fromPrimes(prime(t, "prime1000a"), prime(t, "prime1048b"), Exponent)),
		bend("primes 1 and N", "1 and 2048 bits", func(p *parts) { p.P, p.Q = big.NewInt(1), p.N }),
		bend("primes swapped without their exponents", "exponents of the two primes", func(p *parts) { p.P, p.Q = p.Q, p.P }),
		bend("d one too large", "does not belong", func(p *parts) { p.D = plus(p.D, 1) }),
		bend("d with a bit flipped", "does not belong", func(p *parts) { p.D = flip(p.D, 700) }),
		bend("d tiny", "so small", func(p *parts) { p.D = big.NewInt(65537) }),
		bend("d larger than the modulus", "larger than the modulus", func(p *parts) { p.D = new(big.Int).Add(p.D, new(big.Int).Lsh(p.N, 1)) }),
		bend("d mod p-1 wrong", "exponents of the two primes", func(p *parts) { p.Dp = plus(p.Dp, 2) }),
		bend("d mod q-1 wrong", "exponents of the two primes", func(p *parts) { p.Dq = flip(p.Dq, 3) }),
		bend("coefficient wrong", "coefficient", func(p *parts) { p.Qinv = plus(p.Qinv, 1) }),
		bend("version 1", "more than two primes", func(p *parts) { p.Version = 1 }),
		bend("version 7", "more than two primes", func(p *parts) { p.Version = 7 }),
		badKey{"three primes", block(privateType, mustDER(t, three)), w, "more than two primes"},
	)
	for name, edit := range map[string]func(*parts){
		"N": func(p *parts) { p.N = new(big.Int).Neg(p.N) }, "E": func(p *parts) { p.E = big.NewInt(-65537) },
		"D": func(p *parts) { p.D = new(big.Int).Neg(p.D) }, "P": func(p *parts) { p.P = new(big.Int).Neg(p.P); p.Q = new(big.Int).Neg(p.Q) },
		"Dp": func(p *parts) { p.Dp = big.NewInt(0) }, "Dq": func(p *parts) { p.Dq = big.NewInt(-1) }, "Qinv": func(p *parts) { p.Qinv = big.NewInt(0) },
	} {
		c := bend("not positive: "+name, "not a positive number", edit)
		c.code = m
		bad = append(bad, c)
	}
	return bad
}

// badPublic are the public keys that must be refused.
func badPublic(t testing.TB) []badKey {
	t.Helper()
	good, err := os.ReadFile(filepath.Join("testdata", "capgo_key_v2.pub"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join("testdata", "second_key_v2.pub"))
	if err != nil {
		t.Fatal(err)
	}
	goodBlock, _ := pem.Decode(good)
	key, err := ParsePublic(good)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_, private := testPair(t, 0)
	number := func(name, says string, n, e *big.Int) badKey {
		return badKey{name, block(publicType, mustDER(t, pkcs1Public{n, e})), "key_weak", says}
	}
	e := big.NewInt(Exponent)
	const m, w = "key_malformed", "key_weak"
	bad := append(texts(good), ders(publicType, goodBlock.Bytes)...)
	// the modulus written with a needless leading zero byte: not canonical DER
	fat := append([]byte{2, 0x82, 1, 2, 0, 0}, key.N.Bytes()...)
	fat = append(fat, 2, 3, 1, 0, 1)
	fat = append([]byte{0x30, 0x82, byte(len(fat) >> 8), byte(len(fat))}, fat...)
	bad = append(bad,
		badKey{"two different keys", append(bytes.Clone(good), second...), m, "2 PEM blocks"},
		badKey{"SPKI", block("PUBLIC KEY", spki), m, "SPKI"},
		badKey{"SPKI labelled PKCS#1", block(publicType, spki), m, "holds an SPKI key"},
		badKey{"private half", private, m, "a public one is wanted"},
		badKey{"PKCS#8 private key", block("PRIVATE KEY", []byte{0x30, 0}), m, "a public one is wanted"},
		badKey{"needless leading zero", block(publicType, fat), m, "does not hold"},
		badKey{"the body as one base64 string", []byte(base64.StdEncoding.EncodeToString(goodBlock.Bytes)), m, "no PEM BEGIN line"},
		badKey{"1024 bits", oddPublic(t, "prime512a", "prime512b"), w, "1024 bits"},
		badKey{"2047 bits", oddPublic(t, "short2047a", "short2047b"), w, "2047 bits"},
		badKey{"2049 bits", oddPublic(t, "prime1025a", "prime1024b"), w, "2049 bits"},
		badKey{"4096 bits", oddPublic(t, "prime2048a", "prime2048b"), w, "4096 bits"},
		number("e = 3", "exponent is 3", key.N, big.NewInt(3)),
		number("e = 17", "exponent is 17", key.N, big.NewInt(17)),
		number("e = 1", "exponent is 1", key.N, one),
		number("e huge", "bits; it must be", key.N, new(big.Int).Lsh(one, 512)),
		number("modulus even", "even", new(big.Int).SetBit(key.N, 0, 0), e),
		number("modulus a prime", "is a prime number", prime(t, "prime2048a"), e),
		number("modulus a square", "so close", new(big.Int).Mul(prime(t, "near1024a"), prime(t, "near1024a")), e),
		number("close primes", "so close", new(big.Int).Mul(prime(t, "near1024a"), prime(t, "near1024b")), e),
		number("mark of ROCA", "ROCA", new(big.Int).Mul(prime(t, "roca1024a"), prime(t, "roca1024b")), e),
		number("modulus all ones", "small factor", new(big.Int).Sub(new(big.Int).Lsh(one, 2048), one), e),
		number("modulus with the factor 3", "small factor", multipleOf(3, key.N), e),
		number("modulus with the factor 4093", "small factor", multipleOf(4093, key.N), e),
	)
	for name, c := range map[string]pkcs1Public{"modulus": {new(big.Int).Neg(key.N), e}, "modulus zero": {new(big.Int), e}, "exponent": {key.N, big.NewInt(-3)}, "exponent zero": {key.N, new(big.Int)}} {
		bad = append(bad, badKey{"not positive: " + name, block(publicType, mustDER(t, c)), m, "not a positive number"})
	}
	return bad
}

// multipleOf gives the largest odd multiple of a small factor that is not above n.
func multipleOf(factor int64, n *big.Int) *big.Int {
	m := new(big.Int).Sub(n, new(big.Int).Mod(n, big.NewInt(factor)))
	if m.Bit(0) == 0 {
		m.Sub(m, big.NewInt(factor))
	}
	return m
}
