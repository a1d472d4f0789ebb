// Package views holds the console's screens, one file each. A view knows the
// types of core and speaks to the world through the small interfaces of
// Services; it never calls HTTP, SQL or the file system itself.
//
// Update never blocks: whatever may take time is a tea.Cmd (Load) or a job
// (StartJob), and its outcome comes back as a message.
package views

import (
	"context"
	"time"

	"capstan/core/capgo"
	"capstan/core/release"
)

// Services is everything the console asks of the rest of the program. Registry,
// Keys, Releases and Folders must be set. A nil KeyCare, Rotations, Contents, Prober,
// Project, Server, Preferences or Profiles takes the matching actions away, with the reason shown.
type Services struct {
	Registry    Registry
	Keys        Keys
	KeyCare     KeyCare
	Rotations   Rotations
	Releases    Releases
	Folders     Folders
	Contents    Contents
	Prober      Prober
	Project     Project
	Server      Server
	Preferences Preferences
	Profiles    Profiles
}

// Registry is where versions and channels live. *remote.Client satisfies it.
// All methods may be called from several goroutines at once.
type Registry interface {
	About(ctx context.Context) (capgo.About, error)
	Apps(ctx context.Context) ([]capgo.App, error)
	// Bundles lists newest first.
	Bundles(ctx context.Context, appID string) ([]capgo.Bundle, error)
	DeleteBundle(ctx context.Context, appID, name string) error
	Channels(ctx context.Context, appID string) ([]capgo.Channel, error)
	ChangeChannel(ctx context.Context, change capgo.ChannelChange) error
	// Devices gives one page; an empty cursor starts.
	Devices(ctx context.Context, appID, cursor string, limit int) (capgo.DevicePage, error)
	Device(ctx context.Context, appID, deviceID string) (capgo.Device, error)
	// DevicesNamed finds devices by the custom id that their app gave them.
	DevicesNamed(ctx context.Context, appID, customID string) ([]capgo.Device, error)
	// SearchDevices finds devices by a part of their id or custom id; code
	// unsupported where the server cannot.
	SearchDevices(ctx context.Context, appID, fragment string) (capgo.DeviceSearch, error)
	SetOverride(ctx context.Context, appID, deviceID, channel string) error
	ClearOverride(ctx context.Context, appID, deviceID string) error
	// History lists changes newest first; an empty channel means all.
	History(ctx context.Context, appID, channel string) ([]capgo.Change, error)
	Explain(ctx context.Context, request capgo.UpdateRequest) (capgo.Explanation, error)
	// Events lists newest first.
	Events(ctx context.Context, appID, deviceID string) ([]capgo.DeviceEvent, error)
	Summary(ctx context.Context, appID string) (capgo.Summary, error)
	// Plans lists what the server releases by itself; code unsupported when it does not.
	Plans(ctx context.Context, appID string) ([]capgo.ReleasePlan, error)
	// SetPlan replaces the channel's plan.
	SetPlan(ctx context.Context, plan capgo.ReleasePlan) error
	ClearPlan(ctx context.Context, appID, channel string) error
	Freezes(ctx context.Context, appID string) (capgo.Freezes, error)
	// SetFreeze replaces the freeze of its name.
	SetFreeze(ctx context.Context, freeze capgo.Freeze) error
	ClearFreeze(ctx context.Context, appID, name string) error
}

// Key is a key pair as the console shows it. The private half never comes here.
type Key struct {
	AppID       string
	ID          string // 20 characters, as devices report it
	Fingerprint string
	PublicPEM   string
	Store       string // keyring, file, memory, environment, command
	Location    string // where in that store, for people
	Created     time.Time
	LastUsed    time.Time // zero: never
	BackedUp    time.Time // zero: never
	Drilled     time.Time // when a backup was opened and matched; zero: never
}

// KeyStore is a place where a new private key can be kept.
type KeyStore struct {
	Kind string // as Key.Store
	// Unusable says why this store cannot be used here; "" means it can.
	Unusable string
}

// Keys are the signing keys of this machine. An adapter over *keys.Ring satisfies it.
type Keys interface {
	// List gives the keys of an app; an empty appID gives all.
	List(ctx context.Context, appID string) ([]Key, error)
	// Stores lists the stores for a new key, the preferred one first.
	Stores(ctx context.Context) ([]KeyStore, error)
	// Create makes a pair, stores it, reads it back, and only then returns.
	// It never overwrites.
	Create(ctx context.Context, appID, kind string) (Key, error)
}

// KeyCare moves keys in and out of their stores. Its methods may ask for a
// passphrase while they run, and wait for it.
type KeyCare interface {
	// Import takes the private key in a file into a store. What is odd about it
	// and did not stop it comes as findings.
	Import(ctx context.Context, appID, path, kind string) (Key, []Finding, error)
	// Export writes a private key to a new file, encrypted under a passphrase.
	Export(ctx context.Context, key Key, path string) error
	// Backup writes all keys of an app to one new file, encrypted under a passphrase.
	Backup(ctx context.Context, appID, path string) error
	// Drill opens a backup and lets every key in it sign, without restoring any.
	Drill(ctx context.Context, path string) ([]Drilled, error)
	// Remove deletes the private half from its store for good.
	Remove(ctx context.Context, key Key) error
}

// Drilled is a key that a backup was proven to hold.
type Drilled struct {
	AppID, KeyID string
	Known        bool // it is the key that this machine has, byte by byte
}

// Finding is one thing that an inspection noticed.
type Finding struct {
	Level string // ok, warn or block
	Code  string
	Text  string
	Hint  string
}

// FolderReport says whether a folder is a web build, and what it holds.
type FolderReport struct {
	Dir      string // absolute
	Build    bool   // false when a finding blocks
	Files    int
	Bytes    int64
	Findings []Finding
}

// Folders is the part of the file system that the directory picker shows.
type Folders interface {
	// Complete lists the folders whose path starts with prefix, at most limit.
	Complete(ctx context.Context, prefix string, limit int) ([]string, error)
	// Recent lists the folders released before, newest first.
	Recent(ctx context.Context) ([]string, error)
	// Inspect is bundle.Preflight without side effects. A folder that is no
	// build is a report with a blocking finding, not an error.
	Inspect(ctx context.Context, dir string) (FolderReport, error)
}

// ReleaseRequest is what a release starts from.
type ReleaseRequest struct {
	AppID   string
	Dir     string // build folder
	Channel string
	Version string // "" lets the pipeline choose the next free one
	KeyID   string
	Delta   bool // upload the single files too, so that devices fetch only what changed
	// Resume is the id of an unfinished release to continue; the other fields are then ignored.
	Resume string
}

// Prepared is a release that is registered and proven, and not yet live.
type Prepared struct {
	ID      string // of the release, names its journal
	AppID   string
	Version string
	Channel string
	// Live is what the channel pointed at when the release was prepared, and
	// Revision the channel's revision then: Promote refuses when it moved.
	Live     string
	Revision int64
	Size     int64 // bytes of the object in storage
	Files    int
	Checksum string
	URL      string
	KeyID    string
	// MinNative is the lowest native version that may take it; "" when there is none.
	MinNative string
	Diff      *Diff // against the live bundle; nil when Contents has to be asked
	// Reason goes into the history with the promotion; in a freeze it needs one.
	Reason string
	// Proof says what each generation of the plugin did with the object.
	Proof []Proof
}

// Proof is what one plugin version on one platform did with a bundle.
type Proof struct {
	Plugin, Platform string
	// Delta is set when it took the single files instead of the zip.
	Delta     bool
	Form      string // of the checksum that such a device is given: v2, v3, sha256, crc32
	Offered   bool   // false: it can read no form of the bundle, and is not offered it
	Installed bool
	Code      string // why not: the plugin's own stats action
	Reason    string
}

// File is one file of a bundle. Packed is its size in the zip.
type File struct {
	Path          string
	Bytes, Packed int64
}

// Inventory is what is in a bundle.
type Inventory struct {
	Name    string
	Files   []File // by path
	Bytes   int64  // of all files, unpacked
	Origins []string
}

// Contents looks into registered bundles. Both methods download what they have
// not seen yet; they may take as long as that takes.
type Contents interface {
	Files(ctx context.Context, appID, name string) (Inventory, error)
	// Compare says what changes from one bundle to another.
	Compare(ctx context.Context, appID, from, to string) (Diff, error)
}

// Diff compares two bundles, file by file.
type Diff struct {
	From, To                string
	Added, Removed, Changed int
	Same                    int // files that are equal
	// BytesBefore and BytesAfter are sums of uncompressed file sizes.
	BytesBefore, BytesAfter int64
	DeltaBytes              int64      // what a delta update transfers, estimated; 0 when unknown
	Files                   []DiffFile // largest change first
	// NewOrigins are hosts that the new build names and the old one did not.
	NewOrigins []string
	// NewNativeCalls are native plugins that only the new build asks for.
	NewNativeCalls []string
}

// DiffFile is one line of a Diff. Before or After is -1 where the file is absent.
type DiffFile struct {
	Path          string
	Before, After int64
}

// Unfinished is a release whose journal says that it did not end.
type Unfinished struct {
	ID      string
	AppID   string
	Version string
	Channel string
	Stage   release.StageName // the stage that did not finish
	At      time.Time
}

// Releases takes a build folder to a channel, in two phases, so that the
// operator sees what promoting would do before it happens.
type Releases interface {
	// NextVersion proposes a version for a release of dir to channel.
	NextVersion(ctx context.Context, appID, dir string) (string, error)
	// Prepare runs preflight, seal, upload, prove and register. Events come in
	// order from one goroutine; emit never blocks for long. A cancelled ctx
	// stops it, leaving a journal that Resume continues.
	Prepare(ctx context.Context, request ReleaseRequest, emit func(release.Event)) (Prepared, error)
	// Promote points the channel at the prepared version, comparing with
	// Prepared.Revision, and lets a simulated device take it (Result.Device).
	Promote(ctx context.Context, prepared Prepared, emit func(release.Event)) (release.Result, error)
	// Unfinished lists releases that can be resumed, newest first.
	Unfinished(ctx context.Context, appID string) ([]Unfinished, error)
}

// Prober lets a simulated device ask the server now.
type Prober interface {
	// Check asks as a new device on the channel and does what the plugin would
	// do with the answer, reporting each step as a release.EventStep.
	Check(ctx context.Context, appID, channel string, emit func(release.Event)) (release.DeviceResult, error)
}

// Edit is a planned change of a project's configuration file.
type Edit struct {
	Path    string // file that would change
	Diff    string // unified diff
	Snippet string // what to paste by hand, when the file cannot be edited
	// Apply writes the file. nil when it cannot be edited.
	Apply func(ctx context.Context) error
}

// Project is the Capacitor project around the console.
type Project interface {
	// PlanKey plans putting a public key into the plugin's configuration. An
	// Edit without Diff and Snippet means that it is there already.
	PlanKey(ctx context.Context, publicPEM string) (Edit, error)
	// Doctor looks at everything that a release depends on.
	Doctor(ctx context.Context) ([]Finding, error)
}

// ServerStatus is a local update server at one moment.
type ServerStatus struct {
	Version   string
	Address   string // base URL on this machine
	PublicURL string // base URL for devices
	DataDir   string
	Started   time.Time
	Requests  []float64 // requests a second, one value a second, oldest first, last 60
	Total     int64     // requests since start
	Devices   int64
	Log       []string // last lines, oldest first
}

// Server is the update server that runs beside the console.
type Server interface {
	Status(ctx context.Context) (ServerStatus, error)
}

// Settings are what the console remembers between runs.
type Settings struct {
	Theme   string // auto, dark, light, mono, high-contrast, colour-blind
	Lang    string // en, es
	Profile string
	// Profiles lists what can be chosen; read only.
	Profiles []Profile
}

// Profile is one place to release to.
type Profile struct {
	Name, Server, Storage, Channel string
	PublicURL                      string // of the storage, for devices; "" where the storage knows it
}

// Profiles sets up places to release to.
type Profiles interface {
	// Drivers lists the URL schemes of the storages in this build.
	Drivers() []string
	// Try asks the server who it is, and writes, downloads and deletes a small
	// object as a release and a device would. A finding that blocks means that
	// devices could not download.
	Try(ctx context.Context, p Profile) ([]Finding, error)
	// Save keeps a profile in the project's file, or with mine in the user's
	// own, and gives the file's path.
	Save(ctx context.Context, p Profile, mine bool) (path string, err error)
}

// Preferences loads and saves Settings.
type Preferences interface {
	Load(ctx context.Context) (Settings, error)
	Save(ctx context.Context, s Settings) error
}
