package bundle

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, name), into); err != nil {
		t.Fatal(name, err)
	}
}

func privateKey(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(readFile(t, name))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// sealFixed seals with a given IV and session key, as the known answers were made.
func sealFixed(t testing.TB, key *rsa.PrivateKey, iv, session, plain []byte) (Sealed, []byte) {
	t.Helper()
	var object bytes.Buffer
	s, err := newSealingWith(context.Background(), &object, key, iv, session)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.relay.Write(plain); err != nil {
		t.Fatal(err)
	}
	sealed, err := s.finish()
	if err != nil {
		t.Fatal(err)
	}
	return sealed, object.Bytes()
}

type knownAnswers struct {
	KeyID string `json:"keyId"`
	Zip   struct{ File, SHA256, CRC32 string }
	Sum   struct {
		V2    string `json:"v2_base64"`
		V2Raw string `json:"v2_plaintext_hex"`
		V3    string `json:"v3_hex"`
		V3B64 string `json:"v3_raw_as_base64_also_accepted_by_ge_7_30"`
	} `json:"checksum"`
	Sessions []struct {
		ID            string
		SessionKeyHex string
		IVHex         string `json:"ivHex"`
		IVSessionKey  string `json:"ivSessionKey"`
		EncryptedZip  struct{ File, SHA256 string }
		AESKat        struct{ Plain, CipherHex, Plain16, Cipher16Hex string }
		Manifest      []struct {
			FileName, PlainUTF8, SHA256, BrotliHex, StoredHex string
			Name                                              string `json:"file_name"`
			HashV3                                            string `json:"file_hash_v3"`
			HashV2                                            string `json:"file_hash_v2"`
		}
	}
	V1 struct {
		SessionKeyHex, IVHex, IVSessionKey, ChecksumCRC32, EncryptedZipSHA256 string
	}
}

func TestKnownAnswers(t *testing.T) {
	var want knownAnswers
	readJSON(t, "capgo-crypto/vectors.json", &want)
	key := privateKey(t, "capgo-crypto/test_key_v2.pem")
	pub := &key.PublicKey
	plain := readFile(t, "capgo-crypto/"+want.Zip.File)
	if len(want.Sessions) != 2 {
		t.Fatalf("%d sessions", len(want.Sessions))
	}
	for _, s := range want.Sessions {
		t.Run(s.ID, func(t *testing.T) {
			iv, session := unhex(t, s.IVHex), unhex(t, s.SessionKeyHex)
			got, object := sealFixed(t, key, iv, session, plain)
			equal(t, "session key", got.SessionKey, s.IVSessionKey)
			equal(t, "object", hexSum(object), s.EncryptedZip.SHA256)
			equal(t, "object hash", got.ObjectSHA256, s.EncryptedZip.SHA256)
			if !bytes.Equal(object, readFile(t, "capgo-crypto/"+s.EncryptedZip.File)) {
				t.Error("the object differs from the file")
			}
			equal(t, "V2", got.ChecksumV2, want.Sum.V2)
			equal(t, "V3", got.ChecksumV3, want.Sum.V3)
			equal(t, "SHA-256", got.PlainChecksum, want.Zip.SHA256)
			equal(t, "CRC-32", got.CRC32, want.Zip.CRC32)
			equal(t, "key id", got.KeyID, want.KeyID)

			var back bytes.Buffer
			sum, _, err := Decrypt(context.Background(), bytes.NewReader(object), &back, s.IVSessionKey, pub)
			if err != nil || !bytes.Equal(back.Bytes(), plain) || hex.EncodeToString(sum[:]) != want.Zip.SHA256 {
				t.Errorf("decrypting: %v", err)
			}
			for text, cipher := range map[string]string{s.AESKat.Plain: s.AESKat.CipherHex, s.AESKat.Plain16: s.AESKat.Cipher16Hex} {
				_, object := sealFixed(t, key, iv, session, []byte(text))
				equal(t, "ciphertext of "+text, hex.EncodeToString(object), cipher)
			}
			for _, m := range s.Manifest {
				stored, content := []byte(m.PlainUTF8), []byte(m.PlainUTF8)
				if m.BrotliHex != "" {
					stored = unhex(t, m.BrotliHex)
					content = []byte(strings.Repeat("export const a=1;console.log(a);\n", 400))
					var unpacked bytes.Buffer
					if _, err := unpacked.ReadFrom(brotli.NewReader(bytes.NewReader(stored))); err != nil || !bytes.Equal(unpacked.Bytes(), content) {
						t.Errorf("%s: brotli: %v", m.Name, err)
					}
				}
				equal(t, m.Name+" SHA-256", hexSum(content), m.SHA256)
				v2, v3, err := SignChecksum(key, sha256.Sum256(content))
				if err != nil {
					t.Fatal(err)
				}
				equal(t, m.Name+" V3", v3, m.HashV3)
				if m.HashV2 != "" {
					equal(t, m.Name+" V2", v2, m.HashV2)
				}
				_, object := sealFixed(t, key, iv, session, stored)
				equal(t, m.Name+" stored", hex.EncodeToString(object), m.StoredHex)
			}
		})
	}
	equal(t, "V2 payload", hex.EncodeToString(v2Payload(sha256.Sum256(plain))), want.Sum.V2Raw)
	// The same hashes signed together, as a delta update has them signed.
	sums, sessions := [][32]byte{sha256.Sum256(plain)}, want.Sessions
	for _, s := range sessions {
		for _, m := range s.Manifest {
			sums = append(sums, [32]byte(unhex(t, m.SHA256)))
		}
	}
	signed, err := signSums(keys.NewSigner(key), sums)
	if err != nil {
		t.Fatal(err)
	}
	v2, v3 := signed[0].texts()
	equal(t, "V2, signed together", v2, want.Sum.V2)
	equal(t, "V3, signed together", v3, want.Sum.V3)
	signed = signed[1:]
	for _, s := range sessions {
		for i, m := range s.Manifest {
			v2, v3 := signed[i].texts()
			equal(t, m.Name+" V3, signed together", v3, m.HashV3)
			if m.HashV2 != "" {
				equal(t, m.Name+" V2, signed together", v2, m.HashV2)
			}
		}
		signed = signed[len(s.Manifest):]
	}
	for value, form := range map[string]Form{want.Sum.V2: FormV2, want.Sum.V3: FormV3, want.Sum.V3B64: FormV3Base64, want.Zip.SHA256: FormSHA256} {
		sum, got, err := RecoverChecksum(pub, value)
		if err != nil || got != form || hex.EncodeToString(sum[:]) != want.Zip.SHA256 {
			t.Errorf("%s reads as %s, %x: %v", form, got, sum, err)
		}
	}
	sum, form, err := RecoverChecksum(nil, want.Zip.CRC32)
	if err != nil || form != FormCRC32 || hex.EncodeToString(sum[:4]) != want.Zip.CRC32 {
		t.Errorf("CRC-32 reads as %s, %x: %v", form, sum, err)
	}

	app := privateKey(t, "capgo-crypto/test_key_v1.pem")
	iv, session, err := RecoverSessionKeyV1(app, want.V1.IVSessionKey)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "V1 IV", hex.EncodeToString(iv), want.V1.IVHex)
	equal(t, "V1 session key", hex.EncodeToString(session), want.V1.SessionKeyHex)
	_, object := sealFixed(t, key, iv, session, plain)
	equal(t, "V1 object", hexSum(object), want.V1.EncryptedZipSHA256)
	if _, _, err := RecoverSessionKeyV1(key, want.V1.IVSessionKey); failure.CodeOf(err) != "session_key_refused" {
		t.Errorf("V1 session key with another key: %v", err)
	}
}

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %s, want %s", what, got, want)
	}
}

// TestFixedKey reproduces what the real Capgo CLI made with a fixed key and IV.
func TestFixedKey(t *testing.T) {
	var want struct {
		AESKeyHex, IVHex, SHA256Plain, SHA256Encrypted, IVSessionKey, ChecksumV3hex, ChecksumV2base64, CRC32Plain, KeyID, PlainZip string
	}
	readJSON(t, "capgo-cli/kat.json", &want)
	key := privateKey(t, "capgo-cli/key_v2.pem")
	got, object := sealFixed(t, key, unhex(t, want.IVHex), unhex(t, want.AESKeyHex), readFile(t, "capgo-cli/"+want.PlainZip))
	equal(t, "session key", got.SessionKey, want.IVSessionKey)
	equal(t, "V3", got.ChecksumV3, want.ChecksumV3hex)
	equal(t, "V2", got.ChecksumV2, want.ChecksumV2base64)
	equal(t, "SHA-256", got.PlainChecksum, want.SHA256Plain)
	equal(t, "CRC-32", got.CRC32, want.CRC32Plain)
	equal(t, "object", got.ObjectSHA256, want.SHA256Encrypted)
	equal(t, "key id", got.KeyID, want.KeyID)
	if !bytes.Equal(object, readFile(t, "capgo-cli/tampered/enc.zip")) {
		t.Error("the object differs from the file")
	}
}

// TestArtefactsOfTheCapgoCLI opens everything that the real CLI made.
func TestArtefactsOfTheCapgoCLI(t *testing.T) {
	key := privateKey(t, "capgo-cli/key_v2.pem")
	for folder, form := range map[string]Form{"cli-8.68.1_for-plugin-7.9.2": FormV2, "cli-8.68.1_for-plugin-8.51.23": FormV3} {
		t.Run(folder, func(t *testing.T) {
			var zip, enc struct{ Checksum, IVSessionKey string }
			readJSON(t, "capgo-cli/"+folder+"/zip.json", &zip)
			readJSON(t, "capgo-cli/"+folder+"/encrypt.json", &enc)
			plain, object := readFile(t, "capgo-cli/"+folder+"/plain.zip"), readFile(t, "capgo-cli/"+folder+"/encrypted.zip")
			sum, got, err := RecoverChecksum(&key.PublicKey, enc.Checksum)
			if err != nil || got != form || hex.EncodeToString(sum[:]) != zip.Checksum {
				t.Fatalf("checksum reads as %s, %x: %v", got, sum, err)
			}
			var back bytes.Buffer
			opened, _, err := Decrypt(context.Background(), bytes.NewReader(object), &back, enc.IVSessionKey, &key.PublicKey)
			if err != nil || opened != sum || !bytes.Equal(back.Bytes(), plain) {
				t.Fatalf("decrypting: %v", err)
			}
			checkSampleApp(t, back.Bytes())
			sealed, err := Seal(context.Background(), bytes.NewReader(plain), &bytes.Buffer{}, key, nil)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "checksum", sealed.Checksum(form), enc.Checksum)
		})
	}
	t.Run("first scheme", func(t *testing.T) {
		const folder = "capgo-cli/cli-4.34.6_v1/"
		printed := regexp.MustCompile(`ivSessionKey: (\S+)`).FindSubmatch(readFile(t, folder+"encrypt.txt"))
		iv, session, err := RecoverSessionKeyV1(privateKey(t, folder+"key_v1"), string(printed[1]))
		if err != nil {
			t.Fatal(err)
		}
		var back bytes.Buffer
		if _, _, err := DecryptWith(context.Background(), bytes.NewReader(readFile(t, folder+"encrypted.zip")), &back, iv, session); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Bytes(), readFile(t, folder+"plain.zip")) {
			t.Error("decrypting gave another zip")
		}
		var zip struct{ Checksum string }
		readJSON(t, folder+"zip.txt", &zip)
		var d digest
		d.init()
		d.pass(back.Bytes(), true)
		equal(t, "CRC-32", d.crcHex(), zip.Checksum)
		checkSampleApp(t, back.Bytes())
	})
}

// checkSampleApp opens a zip of the ten-file app.
func checkSampleApp(t *testing.T, b []byte) {
	t.Helper()
	a, err := CheckArchive(context.Background(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int64{}
	for _, f := range a.Files {
		names[f.Name] = f.Size
	}
	for name, size := range map[string]int64{".hidden": 5, "assets/empty.txt": 0, "assets/img/noise.png": 288000, "assets/one.bin": 1, "assets/with space (1).json": 7, "assets/ümläut-ñ-日本.txt": 6} {
		if got, ok := names[name]; !ok || got != size {
			t.Errorf("%s has %d bytes, want %d", name, got, size)
		}
	}
	if len(names) != 10 {
		t.Errorf("%d files, want 10", len(names))
	}
}

func TestTamperedObjectsAreRefused(t *testing.T) {
	var kat struct{ IVSessionKey, ChecksumV3hex string }
	readJSON(t, "capgo-cli/kat.json", &kat)
	key := privateKey(t, "capgo-cli/key_v2.pem")
	want, _, err := RecoverChecksum(&key.PublicKey, kat.ChecksumV3hex)
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]string{
		"t1.zip": "checksum differs", "t2.zip": "bundle_damaged", "t3.zip": "bundle_damaged", "t4.zip": "bundle_damaged",
		"t14.zip": "bundle_damaged", "empty.bin": "bundle_damaged", "enc.zip": "",
	} {
		var out bytes.Buffer
		sum, _, err := Decrypt(context.Background(), bytes.NewReader(readFile(t, "capgo-cli/tampered/"+name)), &out, kat.IVSessionKey, &key.PublicKey)
		got := ""
		switch {
		case err != nil:
			got = failure.CodeOf(err)
		case sum != want:
			got = "checksum differs"
		}
		equal(t, name, got, code)
	}
}

// TestPluginContract runs the plugin's own cases on the verifying side.
func TestPluginContract(t *testing.T) {
	type testCase struct {
		ID    string
		Input struct{ CiphertextHex, ChecksumHex, PublicKeyPem string }
		Want  struct {
			PlaintextHex, DecryptedHex, KeyID string
			Loads                             bool
		} `json:"expect"`
	}
	var contract struct {
		PublicKeyPem                                                                           string
		RSAPublicDecrypt, DecryptChecksum, CalcKeyID, RSAPublicKeyLoad, DecryptChecksumInvalid []testCase
	}
	readJSON(t, "plugin-contract/crypto-rsa.json", &contract)
	load := func(text string) *rsa.PublicKey {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil
		}
		pub, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil
		}
		return pub
	}
	pub := load(contract.PublicKeyPem)
	ran := 0
	for _, c := range contract.RSAPublicDecrypt {
		got, err := recoverPayload(pub, unhex(t, c.Input.CiphertextHex), len(c.Want.PlaintextHex)/2)
		if err != nil {
			t.Error(c.ID, err)
		}
		equal(t, c.ID, hex.EncodeToString(got), c.Want.PlaintextHex)
		ran++
	}
	for _, c := range contract.DecryptChecksum {
		sum, form, err := RecoverChecksum(pub, c.Input.ChecksumHex)
		if err != nil || form != FormV3 {
			t.Error(c.ID, form, err)
		}
		equal(t, c.ID, hex.EncodeToString(sum[:]), c.Want.DecryptedHex)
		ran++
	}
	for _, c := range contract.CalcKeyID {
		equal(t, c.ID, keyID(load(c.Input.PublicKeyPem)), c.Want.KeyID)
		ran++
	}
	for _, c := range contract.RSAPublicKeyLoad {
		if loads := CheckPublic(load(c.Input.PublicKeyPem)) == nil; loads != c.Want.Loads {
			t.Errorf("%s: loads is %v", c.ID, loads)
		}
		ran++
	}
	for _, c := range contract.DecryptChecksumInvalid {
		if _, _, err := RecoverChecksum(pub, c.Input.ChecksumHex); err == nil {
			t.Errorf("%s is accepted", c.ID)
		}
		ran++
	}
	if ran != 7 {
		t.Errorf("%d cases ran, want 7", ran)
	}

	var core struct {
		UpdateResponseKind []struct {
			ID    string
			Input struct{ Kind *string }
			Want  struct{ Kind string } `json:"expect"`
		}
	}
	readJSON(t, "plugin-contract/core.json", &core)
	kept := map[string]bool{string(capgo.KindUpToDate): true, string(capgo.KindBlocked): true, string(capgo.KindFailed): true}
	for _, c := range core.UpdateResponseKind {
		got := string(capgo.KindFailed)
		if c.Input.Kind != nil && kept[*c.Input.Kind] {
			got = *c.Input.Kind
		}
		equal(t, c.ID, got, c.Want.Kind)
	}
	if len(core.UpdateResponseKind) != 6 {
		t.Errorf("%d kinds, want 6", len(core.UpdateResponseKind))
	}
}

// TestUnusualZips says of each structure whether it is accepted.
func TestUnusualZips(t *testing.T) {
	want := map[string]string{
		"go-backslash.zip": "zip_backslash", "go-corrupt.zip": "zip_crc", "go-deflate-dd.zip": "", "go-dirs.zip": "", "go-dup.zip": "zip_duplicate",
		"go-empty.zip": "zip_empty", "go-leadingslash.zip": "zip_absolute", "go-prefixed.zip": "zip_prepended", "go-raw-store-nodd.zip": "",
		"go-store-dd.zip": "zip_descriptor", "go-symlink.zip": "zip_symlink", "go-traversal.zip": "zip_traversal", "go-truncated.zip": "zip_truncated",
		"go-wrapped.zip": "", "go-zstd93.zip": "zip_method", "infozip-store.zip": "", "infozip-stream.zip": "", "infozip.zip": "",
	}
	files, err := filepath.Glob("testdata/capgo-cli/zips/*.zip")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d files, want %d", len(files), len(want))
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = CheckArchive(context.Background(), bytes.NewReader(b), int64(len(b)))
		got := ""
		if err != nil {
			got = failure.CodeOf(err)
		}
		equal(t, filepath.Base(file), got, want[filepath.Base(file)])
	}
}
