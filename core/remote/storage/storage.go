// Package storage keeps sealed bundles where devices can fetch them. One small
// interface, several drivers, one conformance suite (package storagetest) that
// every driver passes.
//
// Open chooses the driver by the URL's scheme:
//
//	file:///srv/www/updates             a folder that a web server publishes
//	capstan+https://updates.example.com a capstan server's own storage
//	s3://bucket/prefix                  Amazon S3 and compatible services
//	https+put://host/folder             whatever stores a PUT
//	sftp://user@host/folder             a folder on an SSH server
//	exec:///path/commands.toml          programs such as rclone
//	gs://bucket/prefix                  Google Cloud Storage, without the build tag lean
//	azblob://container/prefix           Azure Blob Storage, without the build tag lean
//
// Objects are immutable: putting the same content under a name again succeeds
// (Object.Existed), putting other content fails with the code object_exists.
// Where to upload and where devices download are two addresses: the second is
// the public base, and PublicURL names an object there. Credentials never are
// part of a URL.
package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Storage is one place for objects. All methods are safe for concurrent use
// and end early with the context's error.
type Storage interface {
	// Put stores size bytes of src under name. The bytes are hashed on the way
	// and must have the given SHA-256 (hex): else code hash_mismatch, and
	// nothing is stored. A source that is Summed may be compared with its sums
	// instead. progress, which may be nil, hears the number of bytes
	// written to the service so far; it is called from one goroutine at a time
	// and never goes down, except to 0 when an upload starts over. An
	// interrupted Put leaves no object.
	Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(done int64)) (Object, error)
	// Stat describes an object; code object_not_found when there is none.
	Stat(ctx context.Context, name string) (Object, error)
	// Get reads length bytes from offset on; a negative length reads to the
	// end. The caller closes the reader. Code object_not_found when there is
	// none, range_invalid for an offset beyond the end.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Delete removes an object; removing one that is not there succeeds.
	Delete(ctx context.Context, name string) error
	// List gives the objects whose names start with prefix, in no order that
	// counts. Code unsupported where the service cannot.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// PublicURL is where devices download the object.
	PublicURL(name string) string
	// String names the place for people, without credentials.
	String() string
}

// Object is one stored thing.
type Object struct {
	Name   string
	Size   int64  // bytes
	SHA256 string // of the bytes, hex; "" where the service does not tell
	// Existed is set by Put when the same content was there already.
	Existed bool
	Changed time.Time // zero where the service does not tell
}

// Credentials are what a driver needs beyond its URL. Unset ones are looked
// for where the service's own tools keep them.
type Credentials struct {
	// Token opens a capstan server's storage, and is what {token} stands for
	// in a header template.
	Token transport.Secret
	// AccessKey, SecretKey and Session are an S3 key pair.
	AccessKey          string
	SecretKey, Session transport.Secret
	// Headers are templates for the http+put driver: {token}, {sha256}, {size}
	// and {name} are replaced.
	Headers map[string]string
	// UploadURL is a program for the http+put driver that prints the URL to PUT
	// an object to, as a list of arguments: see CheckUploadURL. nil for none.
	UploadURL []string
	// HTTP does the calls; nil for a client with sensible limits.
	HTTP *http.Client
	// StateDir is a folder of this user's for uploads that may be continued after
	// a kill, made when it is needed; "" where they need not be. Only gs keeps its
	// state on this side: the other services know themselves what they have.
	StateDir string
	// AllowHTTP permits plain http to a host that is not this machine.
	AllowHTTP bool
	// Pause waits between attempts; nil sleeps.
	Pause func(ctx context.Context, d time.Duration) error
}

// drivers by scheme; each driver's file adds its own.
var drivers = map[string]func(ctx context.Context, u *url.URL, public string, credentials Credentials) (Storage, error){}

// Open gives the storage that rawURL names. publicBase is the address under
// which devices find the objects; "" lets the driver derive it where it can.
// It connects to nothing; the first use does.
func Open(ctx context.Context, rawURL, publicBase string, credentials Credentials) (Storage, error) {
	const op = "open the storage"
	u, err := url.Parse(strings.TrimSpace(rawURL))
	if err != nil || u.Scheme == "" {
		return nil, failure.New(failure.Usage, "storage_url_malformed", op, "the storage is no complete URL", "write it like file:///srv/www/updates or capstan+https://updates.example.com")
	}
	if u.User != nil {
		if _, has := u.User.Password(); has || u.Scheme != "sftp" {
			return nil, failure.New(failure.Usage, "url_with_secret", op, "credentials do not belong into the storage's URL", "put them into the environment or the keyring")
		}
	}
	open, known := drivers[u.Scheme]
	if !known && (u.Scheme == "gs" || u.Scheme == "azblob") {
		return nil, failure.Newf(failure.Usage, "storage_not_built", op, "use a build without the tag lean", "this build has no driver for %q", u.Scheme)
	}
	if !known {
		return nil, failure.Newf(failure.Usage, "storage_unknown", op, "known are "+strings.Join(Schemes(), ", "), "no driver for %q", u.Scheme)
	}
	if publicBase != "" {
		if err := checkPublic(op, publicBase); err != nil {
			return nil, err
		}
	}
	return open(ctx, u, strings.TrimRight(publicBase, "/"), credentials)
}

// Schemes lists the URL schemes that Open knows, sorted.
func Schemes() []string {
	var names []string
	for name := range drivers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkPublic refuses a public base from which no device would download.
func checkPublic(op, base string) error {
	u, err := url.Parse(base)
	if err == nil && u.User == nil && u.RawQuery == "" && u.Fragment == "" && u.Host != "" &&
		(u.Scheme == "https" || u.Scheme == "http") {
		return nil
	}
	return failure.New(failure.Usage, "public_url_malformed", op, "the public URL is no plain web address", "write it like https://cdn.example.com/updates")
}

// maxName is the longest object name in bytes: S3 allows 1024.
const maxName = 900

// CheckName refuses a name that some service or file system would read
// differently: names are relative paths of non-empty segments, in UTF-8.
func CheckName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "it is empty"
	case len(name) > maxName:
		why = "it is longer than 900 bytes"
	case !utf8.ValidString(name):
		why = "it is not UTF-8"
	case strings.Contains(name, `\`):
		why = "it holds a backslash"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		why = "it holds a control character"
	default:
		for _, segment := range strings.Split(name, "/") {
			switch {
			case segment == "":
				why = "a part of the path is empty"
			case len(segment) > 255:
				why = "a part of the path is longer than 255 bytes"
			case strings.HasSuffix(segment, "."):
				why = "a part of the path ends in a dot"
			case strings.TrimSpace(segment) != segment:
				why = "a part of the path starts or ends in white space"
			}
		}
	}
	if why == "" {
		return nil
	}
	return failure.Newf(failure.Usage, "object_name_invalid", "name the object", "", "the name %q cannot be used: %s", transport.Clean(name), why)
}

// publicURL joins a base and an object's name, escaping each part of it.
func publicURL(base, name string) string {
	if base == "" {
		return ""
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return base + "/" + strings.Join(parts, "/")
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkPut refuses a Put that cannot be right before anything is sent.
func checkPut(name string, size int64, sha256Hex string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if size < 0 || !hexSum.MatchString(sha256Hex) {
		return failure.New(failure.Usage, "object_hash_malformed", "store the object", "size or SHA-256 of the object is not given properly", "")
	}
	if size == 0 && sha256Hex != emptySHA256 {
		return errHash(name)
	}
	return nil
}

// emptySHA256 is the SHA-256 of no bytes.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// hashOf reads all of src.
func hashOf(ctx context.Context, src io.Reader) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, &contextReader{ctx: ctx, r: src})
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// contextReader ends with the context's error.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// The failures that all drivers share.

func errNotFound(op, name string) error {
	return failure.Newf(failure.NotFound, "object_not_found", op, "", "there is no object %s", transport.Clean(name))
}

func errExists(name string) error {
	return failure.Newf(failure.Conflict, "object_exists", "store the object", "objects never change: release under a new version",
		"%s exists with other content", transport.Clean(name))
}

func errHash(name string) error {
	return failure.Newf(failure.Verification, "hash_mismatch", "store the object", "the file changed while it was read, or the transfer damaged it: seal the bundle again",
		"the bytes of %s do not have the expected SHA-256", transport.Clean(name))
}

func errRange(name string, offset int64) error {
	return failure.Newf(failure.Usage, "range_invalid", "read the object", "", "%s ends before byte %d", transport.Clean(name), offset)
}

func errUnsupported(op, why string) error {
	return failure.New(failure.Failed, "unsupported", op, why, "")
}

func none(err error) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) { yield(Object{}, err) }
}
