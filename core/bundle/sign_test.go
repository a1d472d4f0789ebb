package bundle

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"capstan/core/failure"
	"capstan/core/keys"
)

// rawSign applies the private operation to any 256 bytes, padded rightly or not.
func rawSign(key *rsa.PrivateKey, em []byte) []byte {
	return new(big.Int).Exp(new(big.Int).SetBytes(em), key.D, key.N).FillBytes(make([]byte, keyBytes))
}

// block is a well-formed type-1 block around a payload.
func block(payload []byte) []byte {
	em := bytes.Repeat([]byte{0xff}, keyBytes)
	em[0], em[1] = 0, 1
	em[keyBytes-len(payload)-1] = 0
	copy(em[keyBytes-len(payload):], payload)
	return em
}

// TestTypeOneIsStrict takes every deviation from the padding that some lenient
// reader lets through, for each length of payload.
func TestTypeOneIsStrict(t *testing.T) {
	key := testKey()
	cases := 0
	refuse := func(what string, em []byte, want int) {
		t.Helper()
		cases++
		if _, err := recoverPayload(&key.PublicKey, rawSign(key, em), want); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	for _, want := range []int{sessionKeyBytes, 32, v2PayloadBytes} {
		payload := bytes.Repeat([]byte{0xa5}, want)
		good := block(payload)
		got, err := recoverPayload(&key.PublicKey, rawSign(key, good), want)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes: %v", want, err)
		}
		for at := range keyBytes - want { // every byte of the padding
			em := bytes.Clone(good)
			em[at] ^= 0x01
			if at == 0 {
				continue // at or above the modulus for most keys; below
			}
			refuse(fmt.Sprintf("flip at %d, %d bytes", at, want), em, want)
		}
		for _, kind := range []byte{0, 2, 3, 0xff} {
			em := bytes.Clone(good)
			em[1] = kind
			refuse(fmt.Sprintf("type %d", kind), em, want)
		}
		for _, other := range []int{0, 1, want - 1, want + 1, 64, 200, 244} {
			refuse(fmt.Sprintf("payload of %d bytes for %d", other, want), block(bytes.Repeat([]byte{0xa5}, other)), want)
		}
		for zeros := 1; zeros < 12; zeros++ { // padding that ends early, so that a scan for 00 finds more payload
			em := bytes.Clone(good)
			em[keyBytes-want-1-zeros] = 0
			refuse(fmt.Sprintf("a zero %d before the end of the padding", zeros), em, want)
		}
		short := make([]byte, keyBytes) // 00 01 00 payload …
		short[1] = 1
		copy(short[3:], payload)
		refuse("no padding", short, want)
	}
	signed := rawSign(key, block(make([]byte, 16)))
	for n := range keyBytes + 4 {
		if n == keyBytes {
			continue
		}
		value := make([]byte, n)
		copy(value, signed)
		cases++
		if _, err := recoverPayload(&key.PublicKey, value, 16); err == nil {
			t.Errorf("%d bytes are accepted", n)
		}
	}
	for _, d := range []int64{0, 1, 2, 1000} { // the value plus the modulus, and the modulus itself
		v := new(big.Int).Add(key.N, big.NewInt(d))
		if v.BitLen() > keyBits {
			continue
		}
		cases++
		if _, err := recoverPayload(&key.PublicKey, v.FillBytes(make([]byte, keyBytes)), 16); err == nil {
			t.Errorf("n + %d is accepted", d)
		}
	}
	if cases < 600 {
		t.Errorf("%d cases, want at least 600", cases)
	}
}

// TestPaddingIsStrict takes every last byte and every wrong byte before it.
func TestPaddingIsStrict(t *testing.T) {
	key, iv := newSessionKey(), newIV()
	c, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(padded []byte) []byte {
		out := make([]byte, len(padded))
		cipher.NewCBCEncrypter(c, iv).CryptBlocks(out, padded)
		return out
	}
	opens := func(object []byte) bool {
		_, _, err := DecryptWith(context.Background(), bytes.NewReader(object), io.Discard, iv, key)
		if err != nil && failure.CodeOf(err) != "bundle_damaged" {
			t.Errorf("refused as %s", failure.CodeOf(err))
		}
		return err == nil
	}
	for _, blocks := range []int{1, 2, 3} {
		for last := range 256 {
			padded := bytes.Repeat([]byte{0x55}, blocks*16)
			padded[len(padded)-1] = byte(last)
			good := last == 1
			if opens(seal(padded)) != good {
				t.Errorf("%d blocks, last byte %d: accepted is %v", blocks, last, !good)
			}
		}
		for n := 1; n <= 16; n++ { // TestSealBlockEdges has the edges of the relay's chunks
			padded := bytes.Repeat([]byte{0x55}, blocks*16)
			copy(padded[len(padded)-n:], bytes.Repeat([]byte{byte(n)}, n))
			if want := blocks*16 > n; opens(seal(padded)) != want { // nothing inside is refused too
				t.Errorf("%d blocks, padding %d: accepted is %v", blocks, n, !want)
			}
			for wrong := 1; wrong < n; wrong++ {
				padded[len(padded)-1-wrong] ^= 0x80
				if opens(seal(padded)) {
					t.Errorf("%d blocks, padding %d with a wrong byte is accepted", blocks, n)
				}
				padded[len(padded)-1-wrong] ^= 0x80
			}
		}
		for cut := 1; cut < 16; cut++ {
			padded := bytes.Repeat([]byte{1}, blocks*16)
			if opens(seal(padded)[:blocks*16-cut]) {
				t.Errorf("%d blocks less %d bytes are accepted", blocks, cut)
			}
		}
	}
}

func TestSessionKeyText(t *testing.T) {
	key := testKey()
	iv, session := newIV(), newSessionKey()
	good, err := sessionKeyText(key, iv, session)
	if err != nil || len(good) != 369 {
		t.Fatalf("%d characters: %v", len(good), err)
	}
	gotIV, got, err := RecoverSessionKey(&key.PublicKey, good)
	if err != nil || !bytes.Equal(gotIV, iv) || !bytes.Equal(got, session) {
		t.Fatalf("does not read back: %v", err)
	}
	left, right, _ := strings.Cut(good, ":")
	raw, _ := base64.StdEncoding.DecodeString(right)
	b64 := base64.StdEncoding.EncodeToString
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := sessionKeyText(other, iv, session)
	aes256, _ := sign(key, make([]byte, 32))
	for what, test := range map[string]struct{ text, code string }{
		"empty":                 {"", "session_key_malformed"},
		"no colon":              {left + right, "session_key_malformed"},
		"three parts":           {good + ":" + left, "session_key_malformed"},
		"parts swapped":         {right + ":" + left, "session_key_malformed"},
		"short IV":              {b64(iv[:12]) + ":" + right, "session_key_malformed"},
		"long IV":               {b64(append(iv, 0)) + ":" + right, "session_key_malformed"},
		"no padding":            {strings.TrimRight(left, "=") + ":" + strings.TrimRight(right, "="), "session_key_malformed"},
		"URL alphabet":          {left + ":" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 256)), "session_key_malformed"},
		"line breaks":           {left + ":" + right[:76] + "\n" + right[76:], "session_key_malformed"},
		"trailing space":        {good + " ", "session_key_malformed"},
		"loose last bits":       {left[:21] + "B==" + ":" + right, "session_key_malformed"},
		"255 bytes":             {left + ":" + b64(raw[:255]), "session_key_malformed"},
		"257 bytes":             {left + ":" + b64(append(bytes.Clone(raw), 0)), "session_key_malformed"},
		"flipped bit":           {left + ":" + b64(append([]byte{raw[0] ^ 1}, raw[1:]...)), "session_key_refused"},
		"another key":           {stranger, "session_key_refused"},
		"AES-256":               {left + ":" + b64(aes256), "session_key_refused"},
		"encrypted, not signed": {left + ":" + b64(mustEncrypt(t, &key.PublicKey, session)), "session_key_refused"},
	} {
		if _, _, err := RecoverSessionKey(&key.PublicKey, test.text); failure.CodeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", what, err, test.code)
		}
	}
}

func mustEncrypt(t *testing.T, pub *rsa.PublicKey, b []byte) []byte {
	t.Helper()
	out, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestChecksumText(t *testing.T) {
	key := testKey()
	sum := sha256.Sum256([]byte("x"))
	v2, v3, err := SignChecksum(key, sum)
	if err != nil || len(v2) != 344 || len(v3) != 512 {
		t.Fatalf("%d and %d characters: %v", len(v2), len(v3), err)
	}
	raw, _ := hex.DecodeString(v3)
	notHex, _ := sign(key, bytes.Repeat([]byte{0xff}, v2PayloadBytes)) // base64 of it is no hex text
	for what, test := range map[string]struct{ text, code string }{
		"empty":               {"", "checksum_malformed"},
		"upper case":          {strings.ToUpper(v3), "checksum_malformed"},
		"one digit short":     {v3[1:], "checksum_malformed"},
		"upper-case SHA-256":  {strings.ToUpper(hex.EncodeToString(sum[:])), "checksum_malformed"},
		"SHA-1":               {strings.Repeat("a", 40), "checksum_malformed"},
		"V2 without padding":  {strings.TrimRight(v2, "="), "checksum_malformed"},
		"V2 with line breaks": {v2[:76] + "\n" + v2[76:], "checksum_malformed"},
		"flipped digit":       {"0" + string("123456789abcdef0"[strings.IndexByte("0123456789abcdef", v3[1])]) + v3[2:], "checksum_refused"},
		"V2 of no hex text":   {base64.StdEncoding.EncodeToString(notHex), "checksum_refused"},
		"a session key":       {hex.EncodeToString(rawSign(key, block(newSessionKey()))), "checksum_refused"},
		"hex text signed":     {hex.EncodeToString(rawSign(key, block([]byte(hex.EncodeToString(sum[:]))))), "checksum_refused"},
		"CRC-32 signed":       {hex.EncodeToString(rawSign(key, block(sum[:4]))), "checksum_refused"},
	} {
		if _, _, err := RecoverChecksum(&key.PublicKey, test.text); failure.CodeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", what, err, test.code)
		}
	}
	if got, form, err := RecoverChecksum(&key.PublicKey, base64.StdEncoding.EncodeToString(raw)); err != nil || form != FormV3Base64 || got != sum {
		t.Errorf("V3 in base64 reads as %s: %v", form, err)
	}
	if _, _, err := RecoverChecksum(nil, v3); failure.CodeOf(err) != "key_unsuitable" {
		t.Errorf("without a key: %v", err)
	}
}

func TestSessionKeysHaveNoZeroByte(t *testing.T) {
	for range 5000 {
		if key := newSessionKey(); bytes.IndexByte(key, 0) >= 0 || len(key) != 16 {
			t.Fatalf("drew %x", key)
		}
	}
}

// lyingSigner answers with something else than a signature.
type lyingSigner struct{ crypto.Signer }

func (l lyingSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, keyBytes), nil
}

func TestUnsuitableSigners(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for code, signer := range map[string]crypto.Signer{"key_unsuitable": small, "sign_failed": lyingSigner{testKey()}} {
		var out bytes.Buffer
		if _, err := Seal(context.Background(), strings.NewReader("x"), &out, signer, nil); failure.CodeOf(err) != code || out.Len() > 0 {
			t.Errorf("%v, %d bytes written; want %s", err, out.Len(), code)
		}
	}
}

// batchSigner answers as it was told to.
type batchSigner struct {
	crypto.Signer
	err error
}

func (b batchSigner) SignBatch(payloads [][]byte) ([][]byte, error) {
	return make([][]byte, len(payloads)), b.err
}

// A signer that signs several payloads together gives what one gives that signs
// them one by one, and its refusals have the same codes.
func TestSignedTogether(t *testing.T) {
	var sums [][32]byte
	for i := range 11 {
		sums = append(sums, sha256.Sum256([]byte{byte(i)}))
	}
	for n := range sums {
		one, err := signSums(struct{ crypto.Signer }{testKey()}, sums[:n])
		if err != nil {
			t.Fatal(err)
		}
		together, err := signSums(keys.NewSigner(testKey()), sums[:n])
		if err != nil || !reflect.DeepEqual(one, together) {
			t.Errorf("%d hashes: other signatures (%v)", n, err)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for code, signer := range map[string]crypto.Signer{
		"key_unsuitable": batchSigner{small, nil}, "sign_failed": batchSigner{testKey(), errors.New("out of order")},
	} {
		if signed, err := signSums(signer, sums); failure.CodeOf(err) != code || signed != nil {
			t.Errorf("%v; want %s", err, code)
		}
	}
}

func TestFormFor(t *testing.T) {
	for version, want := range map[string][3]any{
		// signed, plain on Android, delta
		"4.61.11": {FormNone, FormCRC32, false}, "5.9.5": {FormNone, FormCRC32, false}, "5.10.0": {FormV2, FormSHA256, true}, "5.29.9": {FormV2, FormSHA256, true},
		"5.30.0": {FormV3, FormSHA256, true}, "5.50.2": {FormV3, FormSHA256, true}, "6.0.21": {FormNone, FormCRC32, false}, "6.1.17": {FormNone, FormCRC32, false},
		"6.1.18": {FormV2, FormCRC32, false}, "6.3.0": {FormV2, FormCRC32, false}, "6.14.26": {FormV2, FormCRC32, false}, "6.14.28": {FormV2, FormSHA256, true},
		"6.25.0": {FormV2, FormSHA256, true}, "6.30.0": {FormV3, FormSHA256, true}, "6.39.0": {FormV3, FormNone, true}, "6.51.16": {FormV3, FormSHA256, true},
		"7.0.0": {FormNone, FormCRC32, false}, "7.0.1": {FormNone, FormCRC32, false}, "7.0.2": {FormV2, FormNone, false}, "7.0.29": {FormV2, FormNone, false},
		"7.0.30": {FormV2, FormSHA256, false}, "7.0.38": {FormV2, FormSHA256, true}, "7.9.2": {FormV2, FormSHA256, false}, "7.27.8": {FormV2, FormSHA256, true},
		"7.29.9": {FormV2, FormSHA256, true}, "7.30.0-beta.1": {FormV2, FormSHA256, true}, "7.30.0": {FormV3, FormSHA256, true}, "7.42.9": {FormV3, FormSHA256, true},
		"8.0.0": {FormV3, FormSHA256, true}, "8.51.23": {FormV3, FormSHA256, true}, "9.0.0": {FormNone, FormCRC32, false}, "10.0.0": {FormNone, FormCRC32, false},
		"9.1.0": {FormV3, FormSHA256, true}, "": {FormNone, FormNone, false}, "^8.51.0": {FormNone, FormNone, false}, "latest": {FormNone, FormNone, false}, "8.51": {FormNone, FormNone, false},
	} {
		if got := [3]any{FormFor(version), PlainFormFor(version, "android"), TakesManifest(version)}; got != want {
			t.Errorf("%s: %v, want %v", version, got, want)
		}
	}
	if got := PlainFormFor("7.0.10", "ios"); got != FormSHA256 {
		t.Errorf("7.0.10 on iOS: %s", got)
	}
}

func FuzzSessionKey(f *testing.F) {
	key := testKey()
	good, err := sessionKeyText(key, newIV(), newSessionKey())
	if err != nil {
		f.Fatal(err)
	}
	left, right, _ := strings.Cut(good, ":")
	for _, s := range []string{good, left, right, left + ":", ":" + right, ":", "", good + "\n", left + ":" + left} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		iv, session, err := RecoverSessionKey(&key.PublicKey, s)
		if err == nil && (len(iv) != 16 || len(session) != 16 || len(s) != 369) {
			t.Errorf("%q gives %d and %d bytes", s, len(iv), len(session))
		}
		if code := failure.CodeOf(err); err != nil && code != "session_key_malformed" && code != "session_key_refused" {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func FuzzChecksum(f *testing.F) {
	key := testKey()
	sum := sha256.Sum256(nil)
	v2, v3, err := SignChecksum(key, sum)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{v2, v3, hex.EncodeToString(sum[:]), "00000000", "", strings.ToUpper(v3), v3[1:], v2[1:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, form, err := RecoverChecksum(&key.PublicKey, s)
		if err == nil && (form == FormV2 || form == FormV3) && got != sum {
			t.Errorf("%q verifies as %x", s, got)
		}
		if code := failure.CodeOf(err); err != nil && code != "checksum_malformed" && code != "checksum_refused" {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// FuzzDecrypt feeds any bytes to the decryptor: it gives back what was sealed or refuses.
func FuzzDecrypt(f *testing.F) {
	iv, key := make([]byte, 16), bytes.Repeat([]byte{7}, 16)
	for _, n := range []int{0, 1, 15, 16, 17, 32, 100} {
		f.Add(make([]byte, n))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		var out bytes.Buffer
		sum, size, err := DecryptWith(context.Background(), bytes.NewReader(object), &out, iv, key)
		if err != nil {
			if failure.CodeOf(err) != "bundle_damaged" {
				t.Error(err)
			}
			return
		}
		if size != int64(out.Len()) || sum != sha256.Sum256(out.Bytes()) || len(object) != (out.Len()/16+1)*16 {
			t.Errorf("%d bytes give %d", len(object), out.Len())
		}
	})
}
