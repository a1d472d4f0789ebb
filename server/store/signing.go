package store

import (
	"crypto/rsa"
	"encoding/hex"
	"strings"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/server/decide"
)

// parsePublic reads the public key of an app: PKCS#1 PEM, RSA-2048, e = 65537.
func parsePublic(pem string) (*rsa.PublicKey, error) { return keys.ParsePublic([]byte(pem)) }

func keyID(key *rsa.PublicKey) string { return keys.KeyID(key) }

// recordedKeys are the public keys of an app: "" for an app without, and a
// second one only while it changes keys.
type recordedKeys struct{ first, second string }

func onRecord(a capgo.App) recordedKeys { return recordedKeys{a.PublicKey, a.SecondPublicKey} }

// of gives the key that a bundle with this key id is to be verified with.
func (k recordedKeys) of(id string) string {
	if k.second != "" && id != "" && pemID(k.second) == id {
		return k.second
	}
	return k.first
}

// verifySeals is verifyFor for a bundle with all its seals, which must be of one
// archive, each for another key on record.
func verifySeals(k recordedKeys, b *Bundle) error {
	if err := verifyFor(k.of(b.KeyID), b); err != nil {
		return err
	}
	const hint = "seal the same archive once for each key that is on record for this app"
	seen := map[string]bool{b.KeyID: true}
	for i, seal := range b.Seals {
		if k.first == "" || seal.KeyID == "" || seen[seal.KeyID] {
			return failure.New(failure.Verification, "encryption_key_mismatch", "", "a further seal of the bundle is not for another key on record", hint)
		}
		seen[seal.KeyID] = true
		if seal.ChecksumV2 == "" || seal.ChecksumV3 == "" {
			return failure.New(failure.Verification, "bundle_unverified", "", "a further seal of the bundle is not signed in both forms", hint)
		}
		sealed := b.with(seal)
		if err := verifyFor(k.of(seal.KeyID), &sealed); err != nil {
			return err
		}
		b.Seals[i].KeyID = sealed.KeyID
	}
	return nil
}

// verifyAny is verifyFor for a bundle of which one seal is enough to be offered:
// after a change of keys, that for the old key no longer verifies. The error is
// that of the bundle's own.
func verifyAny(k recordedKeys, b Bundle) error {
	err := verifyFor(k.of(b.KeyID), &b)
	for _, seal := range b.Seals {
		sealed := b.with(seal)
		if err != nil && verifyFor(k.of(seal.KeyID), &sealed) == nil {
			return nil
		}
	}
	return err
}

// with is the bundle as sealed for another key. Delta files are of one key, the
// bundle's own.
func (b Bundle) with(seal capgo.Seal) Bundle {
	return Bundle{Bundle: b.With(seal)}
}

// verifyFor checks a bundle against the public key of its app ("" for none)
// and fills in what follows from it: the key id and the plain checksum. It is
// the rule that no unsigned bundle of an app with a key on record exists here.
func verifyFor(publicPEM string, b *Bundle) error {
	if publicPEM == "" {
		return nil
	}
	key, err := parsePublic(publicPEM)
	if err != nil {
		return err
	}
	const hint = "seal the bundle with the key that is on record for this app"
	if b.SessionKey == "" {
		return failure.New(failure.Verification, "encryption_required", "", "this app has a public key on record and takes sealed bundles only", hint)
	}
	if b.KeyID != "" && b.KeyID != keys.KeyID(key) {
		return failure.New(failure.Verification, "encryption_key_mismatch", "", "the bundle was sealed with another key than the one on record", hint)
	}
	if _, _, err := bundle.RecoverSessionKey(key, b.SessionKey); err != nil {
		return unverified(err, hint)
	}
	signed := ""
	for i, value := range []string{b.Checksum, b.ChecksumV2, b.ChecksumV3} {
		if value == "" {
			continue
		}
		sum, form, err := bundle.RecoverChecksum(key, value)
		if err != nil {
			return unverified(err, hint)
		}
		if form != bundle.FormV2 && form != bundle.FormV3 {
			return failure.New(failure.Verification, "bundle_unverified", "", "the checksum is not signed", hint)
		}
		if i == 1 && form != bundle.FormV2 || i == 2 && form != bundle.FormV3 {
			return failure.New(failure.Verification, "bundle_unverified", "", "the signed checksum is in the form that other plugins read", hint)
		}
		text := hex.EncodeToString(sum[:])
		if signed != "" && signed != text {
			return failure.New(failure.Verification, "bundle_unverified", "", "the signed checksums speak of different archives", hint)
		}
		signed = text
	}
	if signed == "" {
		return failure.New(failure.Verification, "bundle_unverified", "", "the bundle has no signed checksum", hint)
	}
	if b.PlainChecksum != "" && !strings.EqualFold(b.PlainChecksum, signed) {
		return failure.New(failure.Verification, "bundle_unverified", "", "the signed checksum is not that of the archive", hint)
	}
	for _, file := range b.Manifest {
		if !signedHashes(key, file) {
			return failure.New(failure.Verification, "bundle_unverified", "", "a file of the manifest has no signed hash", hint)
		}
	}
	b.PlainChecksum, b.KeyID = signed, keys.KeyID(key)
	return nil
}

// signedHashes reports whether a file of a manifest has a signed hash, and
// nothing but signed hashes of the same content.
func signedHashes(key *rsa.PublicKey, file decide.ManifestFile) bool {
	var first [32]byte
	seen := false
	for _, value := range []string{file.FileHash, file.FileHashV2, file.FileHashV3} {
		if value == "" {
			continue
		}
		sum, form, err := bundle.RecoverChecksum(key, value)
		if err != nil || (form != bundle.FormV2 && form != bundle.FormV3 && (value != file.FileHash || file.FileHashV2+file.FileHashV3 == "")) {
			return false
		}
		if seen && sum != first {
			return false
		}
		first, seen = sum, true
	}
	return seen
}

func unverified(err error, hint string) error {
	return failure.Wrap(err, failure.Verification, "bundle_unverified", "verify bundle", hint)
}
