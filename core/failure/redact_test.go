package failure

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
	one := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: pkcs1}))
	eight := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	bare := base64.StdEncoding.EncodeToString(pkcs1)
	for name, text := range map[string]string{
		"PKCS#1":                     one,
		"PKCS#8":                     eight,
		"quoted":                     fmt.Sprintf("unknown command %q for capstan", one),
		"written-out line breaks":    strings.ReplaceAll(one, "\n", `\n`),
		"cut off":                    one[:900],
		"without its first dashes":   "unknown flag: " + strings.TrimLeft(one, "-"),
		"Windows line ends":          strings.ReplaceAll(eight, "\n", "\r\n"),
		"bare base64":                "the value " + bare + " is no version",
		"bare base64 of PKCS#8":      base64.StdEncoding.EncodeToString(pkcs8),
		"bare base64 over lines":     bare[:64] + "\n" + bare[64:128] + "\n" + bare[128:],
		"in JSON":                    fmt.Sprintf(`{"privateKey": %q, "next": 1}`, one),
		"an unknown sort of private": "-----BEGIN FANCY PRIVATE KEY-----\n" + bare[64:] + "\n-----END FANCY PRIVATE KEY-----",
	} {
		got := Redact("before " + text)
		if !strings.HasPrefix(got, "before ") || !strings.Contains(got, Redacted) || !HoldsSecret(text) {
			t.Errorf("%s: %.80q", name, got)
		}
		for i := 64; i+40 < len(bare); i += 40 {
			if strings.Contains(got, bare[i:i+40]) {
				t.Errorf("%s: a piece of the key is left", name)
			}
		}
	}
	if got := Redact(one + "after"); got != Redacted+"\nafter" {
		t.Errorf("what follows a key: %q", got)
	}
	if got := Redact("AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGW x"); got != Redacted+" x" {
		t.Errorf("an age identity: %q", got)
	}
	for _, text := range []string{
		"", "the key is PKCS#8 (BEGIN PRIVATE KEY); the Capgo tools read PKCS#1 only", string(public),
		base64.StdEncoding.EncodeToString(public), "MIIBCgKCAQEA6lG/w0xP", "it starts with AGE-SECRET-KEY-", "name the private key file, .capgo_key_v2",
	} {
		if Redact(text) != text || HoldsSecret(text) {
			t.Errorf("%.60q was changed to %q", text, Redact(text))
		}
	}
}
