// Package decide answers a device. It is pure: an app as it is now, a request,
// an answer with its reason. No I/O, no clock, no database.
//
// The order of checks and the texts are those of Capgo's own server, as
// recorded in testdata (docs/protocol.md lists what is ours on purpose).
package decide

import (
	"sync/atomic"
	"time"

	"capstan/core/capgo"
)

// App is everything an answer may depend on. It is immutable once built: a
// change builds a new one.
type App struct {
	ID                  string
	ExposeMetadata      bool
	AllowDeviceCustomID bool
	// KeyID is the id of the public key on record; "" means the app takes
	// plain bundles. With a key on record no unsigned bundle is ever offered.
	KeyID string
	// SecondKeyID is that of a second public key on record, while the app
	// changes keys; "" when there is none.
	SecondKeyID string
	// Bundles by id, deleted ones included: a channel that points at a deleted
	// bundle does not resolve.
	Bundles map[int64]*Bundle
	// Channels by name, then id.
	Channels []*Channel
	// Overrides by lower-case device id: the channel an operator forced.
	Overrides map[string]int64
	// SelfSet by lower-case device id: the channel that an old plugin
	// (before 5.34, 6.34, 7.34) chose through channel_self.
	SelfSet map[string]int64
}

// Bundle is one version as devices may be offered it.
type Bundle struct {
	ID               int64
	Name             string
	ExternalURL      string // verbatim in the answer
	ObjectKey        string // object in the server's own storage
	Checksum         string // the single value as registered
	PlainChecksum    string // SHA-256 of the zip
	ChecksumV2       string
	ChecksumV3       string
	SessionKey       string
	KeyID            string
	MinUpdateVersion string
	Link             string
	Comment          string
	Deleted          bool
	// Unverified marks a bundle whose signatures did not verify with the app's
	// key. It is never offered: devices hear that they are up to date.
	Unverified bool
	Manifest   []ManifestFile
	// Seals are the same bundle sealed for other keys: equal in everything but
	// the key, what it signs, and the place of the object. The bundle itself is
	// for devices that do not say which key they carry.
	Seals []*Bundle

	// encoded is the manifest as JSON in each form of hash, made when it is
	// first offered: thousands of files are not written out for every device.
	encoded [formV3 + 1]atomic.Pointer[[]byte]
}

// ManifestFile is one file of a delta update in the server's storage.
type ManifestFile struct {
	FileName   string
	FileHash   string // as registered: SHA-256 in hex, or one of its signed forms
	FileHashV2 string // signed, base64; "" when not on record
	FileHashV3 string // signed, hex; "" when not on record
	ObjectKey  string
	URL        string `json:",omitempty"` // verbatim in the answer, instead of ObjectKey
	Size       int64  // bytes as stored
	// Own marks the files that capstan registered: only those named *.br are
	// brotli, and they go out wherever the zip is kept.
	Own bool `json:",omitempty"`
}

// Channel is a named pointer with its rules. BundleID 0 is the store build.
type Channel struct {
	ID       int64
	Name     string
	BundleID int64
	// PlatformBundles replaces BundleID for the platforms it names (ios,
	// android, electron); 0 is the store build there too. A rollout does not
	// reach them.
	PlatformBundles              map[string]int64
	Public                       bool
	IOS, Android, Electron       bool
	AllowDeviceSelfSet           bool
	AllowDev, AllowProd          bool
	AllowDevice, AllowEmulator   bool
	DisableAutoUpdate            capgo.UpdatePolicy
	DisableAutoUpdateUnderNative bool
	Rollout                      *Rollout
}

// Rollout is a second bundle of a channel for a share of its devices.
type Rollout struct {
	ID            string // changes with each rollout; salt of the draw
	BundleID      int64
	PercentageBps int // 0 to 10000
	Enabled       bool
	PausedAt      *time.Time
}
