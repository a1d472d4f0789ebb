// Package bundle makes and reads what a device downloads: a zip of the web
// build, encrypted and signed so that the Capgo updater plugin takes it as its
// own.
//
// PackSealed goes from a folder to the sealed object in one streaming pass and
// returns everything a server has to know about it; Pack makes the plain zip
// and Seal encrypts an existing one. Decrypt, RecoverSessionKey and
// RecoverChecksum are the device's side. OpenArchive and CheckArchive read zips
// that somebody else made, and refuse all that some device would read
// differently; Unpack writes one to a folder. Preflight looks at a build folder
// before it is packed. BuildManifest makes the files of a delta update.
//
// The private key never comes in here: signing takes a crypto.Signer, the rest
// the public key. The format is described in docs/format.md.
//
// Packing is deterministic: the same tree, options and version of this package
// give the same bytes on every machine. The bytes may change from one version
// of capstan to the next; the format does not.
package bundle

import (
	"github.com/Masterminds/semver/v3"
)

// Form names one of the shapes in which a checksum travels.
type Form string

// The forms. Which one a device wants depends on its plugin version alone.
const (
	// FormNone is no form: a bundle of the kind in question cannot be offered.
	FormNone Form = ""
	// FormV2 is the hex text of the SHA-256 read as base64 (48 bytes), signed, in base64: 344 characters.
	FormV2 Form = "v2"
	// FormV3 is the SHA-256 signed, in lower-case hex: 512 characters.
	FormV3 Form = "v3"
	// FormV3Base64 is FormV3's signature in base64. Newer plugins read it; it is never written.
	FormV3Base64 Form = "v3-base64"
	// FormSHA256 is the unsigned SHA-256 in lower-case hex: 64 characters.
	FormSHA256 Form = "sha256"
	// FormCRC32 is the unsigned CRC-32 (IEEE) in lower-case hex: 8 characters.
	FormCRC32 Form = "crc32"
)

// FormFor gives the form in which a device with that plugin wants the checksum
// of a signed bundle: FormV3, FormV2, or FormNone where the plugin cannot read
// a signed bundle at all. A version that is not semver gives FormNone.
//
// Pre-releases sort below their release, so 7.30.0-beta.1 still wants FormV2.
// 9.0.0 and 10.0.0 are stray publications of the oldest code.
func FormFor(pluginVersion string) Form {
	v, err := semver.StrictNewVersion(pluginVersion)
	if err != nil {
		return FormNone
	}
	switch {
	case stray(v), v.Major() < 5, before(v, 5, 10, 0):
		return FormNone
	case v.Major() == 6 && before(v, 6, 1, 18), v.Major() == 7 && before(v, 7, 0, 2):
		return FormNone
	case v.Major() <= 7 && before(v, v.Major(), 30, 0):
		return FormV2
	}
	return FormV3
}

// PlainFormFor gives the form in which a device with that plugin wants the
// checksum of an unsigned bundle: FormSHA256 or FormCRC32. FormNone means that
// no value works: some Android plugins compute none and refuse every checksum,
// and a version that is not semver says nothing.
func PlainFormFor(pluginVersion, platform string) Form {
	v, err := semver.StrictNewVersion(pluginVersion)
	if err != nil {
		return FormNone
	}
	switch {
	case stray(v), v.Major() < 5, before(v, 5, 10, 0):
		return FormCRC32
	case v.Major() == 6 && before(v, 6, 14, 28), v.Major() == 7 && before(v, 7, 0, 2):
		return FormCRC32
	case v.Equal(semver.New(6, 39, 0, "", "")):
		return FormNone // compares with an empty value, whatever it was given
	case v.Major() == 7 && before(v, 7, 0, 30) && platform == "android":
		return FormNone
	}
	return FormSHA256
}

// TakesManifest says whether a device with that plugin can install a delta
// update whose compressed files carry the suffix ".br".
//
// 7.9 to 7.18 compare the wrong digest and refuse every file; older ones decode
// every file as brotli.
func TakesManifest(pluginVersion string) bool {
	v, err := semver.StrictNewVersion(pluginVersion)
	if err != nil || stray(v) {
		return false
	}
	switch v.Major() {
	case 5:
		return !before(v, 5, 10, 0)
	case 6:
		return !before(v, 6, 14, 28)
	case 7:
		return !before(v, 7, 0, 38) && (before(v, 7, 9, 0) || !before(v, 7, 18, 15))
	}
	return v.Major() >= 8
}

// stray reports the two versions whose number says nothing about their code.
func stray(v *semver.Version) bool {
	return v.Minor() == 0 && v.Patch() == 0 && (v.Major() == 9 || v.Major() == 10)
}

func before(v *semver.Version, major, minor, patch uint64) bool {
	return v.LessThan(semver.New(major, minor, patch, "", ""))
}

// Sealed is what is known about a sealed object when its last byte is written.
type Sealed struct {
	// SessionKey is base64(IV) ":" base64(signed AES key): 369 characters.
	SessionKey string `json:"sessionKey"`
	// KeyID is the first 20 base64 characters of the public key.
	KeyID string `json:"keyId"`
	// PlainChecksum is the SHA-256 of the zip before encryption, in hex.
	PlainChecksum string `json:"plainChecksum"`
	// CRC32 is the CRC-32 of the zip before encryption, in hex.
	CRC32      string `json:"crc32"`
	ChecksumV2 string `json:"checksumV2"`
	ChecksumV3 string `json:"checksumV3"`
	// PlainSize is the length of the zip, ObjectSize that of the encrypted object.
	PlainSize  int64 `json:"plainSize"`
	ObjectSize int64 `json:"objectSize"`
	// ObjectSHA256 is the SHA-256 of the encrypted object, in hex.
	ObjectSHA256 string `json:"objectSha256"`
	// Files and RawSize count the packed files and their bytes; both are 0
	// when an existing zip was sealed.
	Files   int   `json:"files,omitempty"`
	RawSize int64 `json:"rawSize,omitempty"`
}

// Checksum gives the value for one form, or "" for a form that is not written.
func (s Sealed) Checksum(f Form) string {
	switch f {
	case FormV2:
		return s.ChecksumV2
	case FormV3:
		return s.ChecksumV3
	case FormSHA256:
		return s.PlainChecksum
	case FormCRC32:
		return s.CRC32
	}
	return ""
}
