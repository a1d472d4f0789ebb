package device

import (
	"github.com/Masterminds/semver/v3"

	"capstan/core/bundle"
	"capstan/core/failure"
)

// Platforms that a Device can stand for.
const (
	Android = "android"
	IOS     = "ios"
)

// reading is how a generation reads an answer that offers nothing.
type reading string

const (
	// readQuiet: a message, and every failed request, ends quietly.
	readQuiet reading = "quiet"
	// readLoud: a message, and every failed request, counts as a failed download.
	readLoud reading = "loud"
	// readRefusal: an error or a message is a refusal without a failure event; only a failed request counts.
	readRefusal reading = "refusal"
	// readError: the presence of error counts as a failed download.
	readError reading = "error"
	// readKind: error or kind present; kind decides between quiet and failed.
	readKind reading = "kind"
)

// brotliRule says which files of a manifest a generation decodes.
type brotliRule string

const (
	brotliNever  brotliRule = ""       // no manifest support
	brotliAlways brotliRule = "always" // every file, and the name is kept as it is
	brotliSuffix brotliRule = "suffix" // files named *.br, the suffix is cut off
)

// Generation is what one range of plugin versions does on one platform. It is
// comparable: two versions with equal Generations behave alike.
//
// Measured on the unchanged Android code of 20 versions from 4.61.11 to
// 8.51.23; iOS as read in source. The measurements are the test's tables in testdata.
type Generation struct {
	Platform string

	// Reading an answer.
	Reading         reading
	MessageStops    bool // a message next to a bundle stops the update
	URLBeforeBuilt  bool // wants a url even with version "builtin"
	BadURLGoesOn    bool // a bad url is noticed and downloaded nevertheless
	NullSessionKey  bool // session_key: null reads as ""
	NativeName      bool // version_name on the store build is the native version, not "builtin"
	RefusesSilently bool // a missing session key or checksum ends without event

	// Keys and checksums.
	PrivateKeyInApp   bool // first scheme: session key under RSA-OAEP, checksum not signed
	PrivateKeyRefused bool // a left-over private key in the config refuses every bundle
	PublicKeyInApp    bool // second scheme: signed session key and checksum
	// Plain is the checksum computed of a bundle without session key; with
	// bundle.FormNone nothing is computed and only an empty checksum matches.
	Plain bundle.Form
	// Signed is bundle.FormV2 or bundle.FormV3; bundle.FormNone when PublicKeyInApp is false.
	Signed            bundle.Form
	Signature256      bool // a signed checksum must have 256 bytes
	SessionKey16      bool // AES-128 only
	RefusesEmpty      bool // an empty file under encryption is refused
	ChecksumWithKey   bool // a public key demands a checksum
	ChecksumAlways    bool // a checksum is demanded of every zip
	SessionKeyWithKey bool // a public key demands a session key
	StrictBase64      bool
	StrictPEM         bool // a public key with CRLF line ends cannot be read
	LenientRSA        bool // takes any filling between 00 01 and 00
	KeyMustLoad       bool // an unreadable public key ends the app at start

	// Archive and files.
	StrictPaths      bool // backslashes and absolute names are refused
	Brotli           brotliRule
	FileDecryption   bool
	FileHashBroken   bool // compares MD5 with SHA-256: every manifest fails
	FileHashAnyCase  bool
	FilePathsChecked bool
	Central          bool // reads the zip's central directory, as iOS does
	ChecksumOfList   bool // decrypts the answer's checksum even for a manifest

	// Network.
	DiesSilently bool // the download service dies on an error and tells nobody
	Resumes      bool // a broken zip download goes on where it stopped
	WallClock    bool // a whole download has response timeout + 5 s

	// Requests.
	SendsChannel     bool
	KeyIDLength      int // 0, 4 or 20 characters of key_id
	SendsSource      bool
	StatsBatch       bool // stats go out as an array
	StatsOldVersion  bool
	StatsByStatus    bool // a refusal with a 2xx status is not reported as download_fail
	ChannelOnDevice  bool // setChannel stores the channel on the device, unsetChannel asks nobody
	LatchesOn429     bool // any 429 stops stats and channel calls until restart
	HonoursRetryHint bool // a 429 counts with a Retry-After only
}

// forZip keeps what the installation of a zip depends on and leaves out the
// rest: how answers are read, what requests hold, how manifests are taken. Two
// generations that are equal for a zip come to the same verdict on every zip.
func (g Generation) forZip() Generation {
	return Generation{
		Platform: g.Platform, PrivateKeyInApp: g.PrivateKeyInApp, PrivateKeyRefused: g.PrivateKeyRefused, PublicKeyInApp: g.PublicKeyInApp,
		Plain: g.Plain, Signed: g.Signed, Signature256: g.Signature256, SessionKey16: g.SessionKey16, RefusesEmpty: g.RefusesEmpty,
		ChecksumWithKey: g.ChecksumWithKey, ChecksumAlways: g.ChecksumAlways, SessionKeyWithKey: g.SessionKeyWithKey,
		StrictBase64: g.StrictBase64, StrictPEM: g.StrictPEM, LenientRSA: g.LenientRSA, KeyMustLoad: g.KeyMustLoad,
		StrictPaths: g.StrictPaths, Central: g.Central,
	}
}

// forDelta is forZip for the installation of a delta update.
func (g Generation) forDelta() Generation {
	d := g.forZip()
	d.Brotli, d.FileDecryption, d.FileHashBroken, d.FileHashAnyCase = g.Brotli, g.FileDecryption, g.FileHashBroken, g.FileHashAnyCase
	d.FilePathsChecked, d.ChecksumOfList = g.FilePathsChecked, g.ChecksumOfList
	return d
}

// span is a half-open range of versions; without to it is open.
type span struct{ from, to *semver.Version }

func (s span) holds(v *semver.Version) bool {
	return !v.LessThan(s.from) && (s.to == nil || v.LessThan(s.to))
}

// between makes spans of pairs of versions; an empty last one leaves the end open.
func between(versions ...string) []span {
	var spans []span
	for i := 0; i < len(versions); i += 2 {
		s := span{from: semver.MustParse(versions[i])}
		if versions[i+1] != "" {
			s.to = semver.MustParse(versions[i+1])
		}
		spans = append(spans, s)
	}
	return spans
}

func within(v *semver.Version, spans []span) bool {
	for _, s := range spans {
		if s.holds(v) {
			return true
		}
	}
	return false
}

// Ranges that do not follow the 8.x line.
var (
	// The first scheme.
	privateKeyInApp = between("0.0.0", "5.10.0", "6.0.0", "6.28.0", "7.0.0", "7.0.2")
	publicKeyInApp  = between("5.10.0", "6.0.0", "6.1.18", "7.0.0", "7.0.2", "9.0.0")

	plainCRC32 = between("0.0.0", "5.10.0", "6.0.0", "6.14.28", "7.0.0", "7.0.2")
	// Computed only for encrypted bundles, so that a plain one matches "" alone.
	plainNothing = between("6.39.0", "6.40.0", "7.0.2", "7.0.30")

	quietMessages = between("0.0.0", "5.5.0", "7.0.0", "7.0.2")
	loudMessages  = between("5.5.0", "5.30.0", "6.0.0", "6.14.25")
	refusals      = between("6.14.25", "6.30.0")
	urlFirst      = between("0.0.0", "5.30.0", "6.0.0", "6.2.0", "7.0.0", "7.0.2")
	messageStops  = between("7.0.2", "7.17.0")

	manifests      = between("5.10.0", "6.0.0", "6.3.0", "7.0.0", "7.0.2", "9.0.0")
	brotliEvery    = between("6.3.0", "6.14.28", "7.0.2", "7.0.38")
	fileDecryption = between("5.10.0", "6.0.0", "6.10.0", "7.0.0", "7.0.2", "9.0.0")
	md5Hashes      = between("7.9.0", "7.18.15")

	checksumWithKey   = between("5.43.0", "6.0.0", "6.14.28", "7.0.0", "7.2.15", "9.0.0")
	privateKeyRefused = between("6.39.0", "6.40.0")
	diesSilently      = between("6.3.0", "6.4.0")
	sendsChannel      = between("5.5.0", "9.0.0")
	sendsOldVersion   = between("5.9.0", "9.0.0")
	latches           = between("6.14.28", "7.0.0", "7.23.8", "9.0.0")
	channelOnDevice   = between("5.34.0", "6.0.0", "6.34.0", "7.0.0", "7.34.0", "9.0.0")
)

// Versions whose number says nothing about their code, and the code that they carry.
var (
	strays = map[string]*semver.Version{
		"7.0.0": semver.MustParse("5.0.0"), "9.0.0": semver.MustParse("5.0.0"), "10.0.0": semver.MustParse("5.0.0"),
	}
	// A version from after those that were measured counts as the newest of them.
	newest = semver.MustParse("8.51.23")
)

// lineOf maps a version to the 8.x release whose code it carries: the back-ports
// of 5.30, 6.30 and 7.30 onwards keep the minor and patch number. nil for
// versions from before that.
func lineOf(v *semver.Version) *semver.Version {
	switch {
	case v.Major() == 8:
		return v
	case v.Major() >= 5 && v.Major() <= 7 && !v.LessThan(semver.New(v.Major(), 30, 0, "", "")):
		return semver.New(8, v.Minor(), v.Patch(), v.Prerelease(), "")
	}
	return nil
}

// GenerationOf tells what a plugin version does on a platform. The version must
// be semver; the platform "android" or "ios". Failures are class Usage with the
// codes plugin_version_malformed and platform_unknown.
func GenerationOf(pluginVersion, platform string) (Generation, error) {
	v, err := semver.StrictNewVersion(pluginVersion)
	if err != nil {
		return Generation{}, failure.Newf(failure.Usage, "plugin_version_malformed", "",
			"give the exact version of @capgo/capacitor-updater, for example 8.51.23", "%q is not a plugin version", pluginVersion)
	}
	if platform != Android && platform != IOS {
		return Generation{}, failure.Newf(failure.Usage, "platform_unknown", "", "use android or ios", "platform %q is not known", platform)
	}
	switch stray := strays[v.String()]; {
	case stray != nil:
		v = stray
	case v.Major() > 8:
		v = newest
	}
	line := lineOf(v)
	since := func(minor, patch uint64) bool {
		return line != nil && !line.LessThan(semver.New(8, minor, patch, "", ""))
	}

	g := Generation{
		Platform:          platform,
		Reading:           readingOf(v, since),
		MessageStops:      within(v, messageStops),
		URLBeforeBuilt:    within(v, urlFirst),
		BadURLGoesOn:      within(v, quietMessages),
		NullSessionKey:    since(51, 23),
		NativeName:        since(45, 0),
		RefusesSilently:   since(51, 23),
		PrivateKeyInApp:   within(v, privateKeyInApp),
		PrivateKeyRefused: within(v, privateKeyRefused),
		PublicKeyInApp:    within(v, publicKeyInApp),
		Plain:             bundle.FormSHA256,
		Signature256:      since(41, 3),
		SessionKey16:      since(51, 22),
		RefusesEmpty:      since(51, 0),
		ChecksumWithKey:   within(v, checksumWithKey),
		ChecksumAlways:    since(51, 23),
		SessionKeyWithKey: since(51, 23),
		KeyMustLoad:       since(41, 6),
		StrictPaths:       since(47, 0),
		Brotli:            brotliOf(v),
		FileDecryption:    within(v, fileDecryption),
		FileHashBroken:    within(v, md5Hashes),
		FileHashAnyCase:   since(47, 0),
		FilePathsChecked:  since(47, 0),
		DiesSilently:      within(v, diesSilently),
		Resumes:           since(51, 0),
		SendsChannel:      within(v, sendsChannel),
		KeyIDLength:       keyIDLength(v, since),
		SendsSource:       since(50, 0),
		StatsBatch:        since(42, 0),
		StatsOldVersion:   within(v, sendsOldVersion),
		StatsByStatus:     since(0, 0) && !since(45, 11),
		ChannelOnDevice:   within(v, channelOnDevice),
		LatchesOn429:      within(v, latches) && !since(51, 5),
		HonoursRetryHint:  since(51, 5),
	}
	switch {
	case within(v, plainNothing) && platform == Android:
		g.Plain = bundle.FormNone
	case within(v, plainCRC32):
		g.Plain = bundle.FormCRC32
	}
	if g.PublicKeyInApp {
		g.Signed = bundle.FormV2
		if since(0, 0) {
			g.Signed = bundle.FormV3
		}
	}
	if platform == IOS {
		g.asIOS(since)
	}
	return g, nil
}

// asIOS turns the Android rules into those of iOS where the two differ.
func (g *Generation) asIOS(since func(minor, patch uint64) bool) {
	g.Central = true
	g.StrictBase64 = true
	g.StrictPEM = !since(51, 16)
	g.SessionKey16 = g.PublicKeyInApp
	g.LenientRSA = !since(51, 16)
	g.Signature256 = g.PublicKeyInApp
	g.RefusesEmpty = g.PublicKeyInApp
	g.ChecksumWithKey = g.PublicKeyInApp
	g.ChecksumOfList = g.PublicKeyInApp && !since(51, 23)
	g.StrictPaths = true // backslashes are refused in every version read
	g.FileHashAnyCase = false
	g.FileHashBroken = false
	g.PrivateKeyRefused = false
	g.NullSessionKey = true // a typed decoder takes null for absent
	g.DiesSilently = false
	g.Resumes = false
	g.WallClock = since(45, 11)
}

func readingOf(v *semver.Version, since func(minor, patch uint64) bool) reading {
	switch {
	case since(45, 11):
		return readKind
	case within(v, quietMessages):
		return readQuiet
	case within(v, loudMessages):
		return readLoud
	case within(v, refusals):
		return readRefusal
	}
	return readError
}

func brotliOf(v *semver.Version) brotliRule {
	switch {
	case within(v, brotliEvery):
		return brotliAlways
	case within(v, manifests):
		return brotliSuffix
	}
	return brotliNever
}

func keyIDLength(v *semver.Version, since func(minor, patch uint64) bool) int {
	switch {
	case since(40, 8):
		return 20
	case v.Major() == 7: // the back-ports up to 7.36 send none
		return 0
	case since(2, 0):
		return 4
	}
	return 0
}
