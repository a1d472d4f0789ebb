package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"capstan/core/failure"
	"capstan/server/management"
	"capstan/server/store"
)

// shaHeader carries the SHA-256 of an object, in hex.
const shaHeader = "X-Content-Sha256"

// incoming holds uploads until they are complete; no object's name reaches it.
const incoming = ".incoming"

// A transfer must move paceBytes within paceTime, or it is cut off: about
// 2 KiB a second, far below the slowest phone network and above a client that
// only holds the connection.
const (
	paceBytes = 64 << 10
	paceTime  = 30 * time.Second
)

// objects is where objects are kept: a folder or a bucket.
type objects interface {
	management.Objects
	serve(w http.ResponseWriter, r *http.Request)
	close() error
}

func openObjects(ctx context.Context, c Config, rows *store.Store) (objects, error) {
	if c.Bucket != "" {
		return openBucket(ctx, c, rows)
	}
	f, err := openFolder(c.ObjectsDir, rows, c.MaxObject)
	if err != nil {
		return nil, err // not a nil folder in an interface
	}
	return f, nil
}

// folder keeps objects as files below one root. An object is written to a file
// of its own, synced, and then linked to its name, so that a name either does
// not exist or has its whole content, and is never overwritten.
type folder struct {
	root *os.Root
	rows *store.Store
	max  int64
}

func openFolder(dir string, rows *store.Store, max int64) (*folder, error) {
	if err := os.MkdirAll(filepath.Join(dir, incoming), 0o700); err != nil {
		return nil, failure.Wrap(err, failure.Failed, "data_dir", "open objects", "choose a folder that this user may write to, with --data")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "data_dir", "open objects", "")
	}
	f := &folder{root: root, rows: rows, max: max}
	f.sweep()
	return f, nil
}

// sweep removes uploads that a killed server left behind.
func (f *folder) sweep() {
	left, err := fs.ReadDir(f.root.FS(), incoming)
	if err != nil {
		return
	}
	for _, entry := range left {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = f.root.Remove(incoming + "/" + entry.Name())
		}
	}
}

func (f *folder) close() error { return f.root.Close() }

// segment is one part of an object's name: what every file system and URL
// takes as it is. A dot at either end is not.
var segment = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+@-]*$`)

func validName(name string) bool {
	if len(name) > 900 {
		return false
	}
	parts := strings.Split(name, "/")
	for _, part := range parts {
		if len(part) > 255 || !segment.MatchString(part) || strings.HasSuffix(part, ".") || strings.Contains(part, "..") {
			return false
		}
	}
	return len(parts) >= 2
}

var hexSHA = regexp.MustCompile(`^[0-9a-f]{64}$`)

// nameHash is the hash that a name carries, "" when none: <app>/<version>/<sha256>.zip.
func nameHash(name string) string {
	stem, _, _ := strings.Cut(path.Base(name), ".")
	if hexSHA.MatchString(stem) {
		return stem
	}
	return ""
}

func noObject() error {
	return failure.New(failure.NotFound, "object_not_found", "", "there is no such object", "")
}

func otherContent() error {
	return failure.New(failure.Conflict, "object_exists", "", "an object of this name has other content", "objects are never overwritten: use another name")
}

// Put streams an upload into place. It gives 201 for a new object and 200 for
// one that is there with the same content. Codes invalid_object_name,
// missing_hash, object_too_large, hash_mismatch, object_exists.
func (f *folder) Put(w http.ResponseWriter, r *http.Request, name string) (int, error) {
	want, err := f.admit(r, name)
	if err != nil {
		return 0, err
	}
	temp, size, err := f.receive(w, r, want)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.root.Remove(temp) }()
	status, err := f.place(temp, name, want)
	if err != nil {
		return 0, err
	}
	if err := f.rows.AddObject(r.Context(), store.Object{Name: name, SHA256: want, Size: size}); err != nil {
		return 0, err
	}
	return status, nil
}

// admit looks at an upload before its body is read, and gives the hash that
// the body must have.
func (f *folder) admit(r *http.Request, name string) (want string, err error) {
	want = strings.ToLower(r.Header.Get(shaHeader))
	switch {
	case !validName(name):
		return "", failure.New(failure.Usage, "invalid_object_name", "", "the object's name holds what not every storage takes", "name it app/version/hash.zip")
	case !hexSHA.MatchString(want):
		return "", failure.New(failure.Usage, "missing_hash", "", "the header "+shaHeader+" is not a SHA-256 in hex", "")
	case nameHash(name) != "" && nameHash(name) != want:
		return "", failure.New(failure.Verification, "hash_mismatch", "", "the object's name carries another hash", "")
	case r.ContentLength > f.max:
		return "", failure.Newf(failure.Usage, "object_too_large", "", "", "the object is larger than %d bytes", f.max)
	}
	if known, err := f.rows.Object(r.Context(), name); err == nil && known.SHA256 != want {
		discard(r)
		return "", otherContent()
	} else if err != nil && failure.CodeOf(err) != "object_not_found" {
		return "", err
	}
	return want, nil
}

// discard reads a little of a body that nobody wants, so that the client hears
// the answer instead of a reset connection.
func discard(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 8<<20) }

// receive writes the body to a synced file of its own and checks its hash.
func (f *folder) receive(w http.ResponseWriter, r *http.Request, want string) (name string, size int64, err error) {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails
	temp := incoming + "/" + hex.EncodeToString(id[:])
	file, err := f.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, storing(err)
	}
	keep := false
	defer func() {
		_ = file.Close()
		if !keep {
			_ = f.root.Remove(temp)
		}
	}()
	sum := sha256.New()
	body := http.MaxBytesReader(w, &paced{r: r.Body, control: http.NewResponseController(w)}, f.max)
	size, err = io.Copy(io.MultiWriter(file, sum), body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return "", 0, failure.Newf(failure.Usage, "object_too_large", "", "", "the object is larger than %d bytes", f.max)
	case err != nil && r.Context().Err() != nil:
		return "", 0, context.Canceled
	case err != nil:
		return "", 0, storing(err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != want {
		return "", 0, failure.New(failure.Verification, "hash_mismatch", "", "the bytes that arrived have another hash", "send them again")
	}
	if err := file.Sync(); err != nil {
		return "", 0, storing(err)
	}
	keep = true
	return temp, size, nil
}

func storing(err error) error {
	code, hint := "storage_failed", "see the server's log and the volume of its data directory"
	if isFull(err) {
		code, hint = "disk_full", "free space on the volume of the server's data directory"
	}
	return failure.Wrap(err, failure.Unavailable, code, "store the object", hint)
}

// place gives a complete file its name, unless the name is taken.
func (f *folder) place(temp, name, want string) (int, error) {
	dir := path.Dir(name)
	if err := f.root.MkdirAll(dir, 0o700); err != nil {
		return 0, storing(err)
	}
	err := f.root.Link(temp, name)
	if errors.Is(err, fs.ErrExist) {
		return f.compare(name, want)
	}
	if err != nil {
		return 0, storing(err)
	}
	for at := dir; ; at = path.Dir(at) {
		if err := f.syncDir(at); err != nil {
			return 0, storing(err)
		}
		if at == "." {
			return http.StatusCreated, nil
		}
	}
}

// compare reads a file that has the name already: its row may have been lost
// with the server that wrote it.
func (f *folder) compare(name, want string) (int, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return 0, storing(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return 0, storing(err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != want {
		return 0, otherContent()
	}
	return http.StatusOK, nil
}

// Head gives size and hash of an object in the headers.
func (f *folder) Head(w http.ResponseWriter, r *http.Request, name string) error {
	if !validName(name) {
		return noObject()
	}
	object, err := f.rows.Object(r.Context(), name)
	if failure.CodeOf(err) == "object_not_found" {
		// A folder that is also written to by other means has files without rows.
		info, statErr := f.root.Stat(name)
		if statErr != nil || !info.Mode().IsRegular() {
			return noObject()
		}
		object, err = store.Object{Name: name, SHA256: nameHash(name), Size: info.Size()}, nil
	}
	if err != nil {
		return err
	}
	return writeHead(w, object)
}

func writeHead(w http.ResponseWriter, object store.Object) error {
	if object.SHA256 != "" {
		w.Header().Set(shaHeader, object.SHA256)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(object.Size, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// Delete removes an object, unless a bundle has it: code object_in_use.
func (f *folder) Delete(ctx context.Context, name string) error {
	if !validName(name) {
		return noObject()
	}
	if err := f.rows.ForgetObject(ctx, name, filesPath+name); err != nil {
		return err
	}
	if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storing(err)
	}
	return nil
}

// filesPath is where objects are public.
const filesPath = "/files/"

// serve answers a public download. Names that are no object's, whatever else
// they may lead to, are 404.
func (f *folder) serve(w http.ResponseWriter, r *http.Request) {
	name, ok := requested(w, r)
	if !ok {
		return
	}
	file, err := f.root.Open(name)
	if err != nil {
		f.unreadable(w, err)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		writeError(w, http.StatusNotFound, "object_not_found", "there is no such object")
		return
	}
	describe(w.Header(), name, nameHash(name))
	if w.Header().Get("ETag") == "" {
		w.Header().Set("ETag", `"`+strconv.FormatInt(info.Size(), 36)+"-"+strconv.FormatInt(info.ModTime().UnixNano(), 36)+`"`)
	}
	send(w, r, info.ModTime(), file)
}

// requested reads the name of a download; what is none is answered.
func requested(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", "objects are read with GET and HEAD")
		return "", false
	}
	name = strings.TrimPrefix(r.URL.Path, filesPath)
	if !validName(name) {
		writeError(w, http.StatusNotFound, "object_not_found", "there is no such object")
		return "", false
	}
	return name, true
}

// describe sets the headers of a download. sum is the SHA-256 that the name
// stands for, "" when the name could come to mean other content.
func describe(h http.Header, name, sum string) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "application/octet-stream")
	if strings.HasSuffix(name, ".zip") {
		h.Set("Content-Type", "application/zip")
	}
	h.Set("Content-Disposition", "attachment")
	h.Set("Cache-Control", "public, max-age=60")
	if sum != "" {
		h.Set("ETag", `"`+sum+`"`)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
}

// send writes a download, or the part of it that was asked for.
func send(w http.ResponseWriter, r *http.Request, changed time.Time, content io.ReadSeeker) {
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // one range is all that a device asks for
	}
	http.ServeContent(&pacedWriter{ResponseWriter: w, control: http.NewResponseController(w)}, r, "", changed, content)
}

func (f *folder) unreadable(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrPermission) || isIO(err) {
		writeError(w, http.StatusServiceUnavailable, "storage_failed", "the object cannot be read now")
		return
	}
	writeError(w, http.StatusNotFound, "object_not_found", "there is no such object")
}

// isIO tells a failing disk from a name that does not exist.
func isIO(err error) bool {
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) && isDeviceFault(err)
}

// paced reads a body whose sender must keep up the pace.
type paced struct {
	r       io.Reader
	control *http.ResponseController
	left    int
}

func (p *paced) Read(b []byte) (int, error) {
	if p.left <= 0 {
		p.left = paceBytes
		deadline := time.Now().Add(paceTime)
		// A server that cannot set deadlines has its global ones.
		_ = p.control.SetReadDeadline(deadline)
		_ = p.control.SetWriteDeadline(deadline.Add(paceTime))
	}
	n, err := p.r.Read(b)
	p.left -= n
	return n, err
}

func (p *paced) Close() error { return nil }

// pacedWriter writes to a client that must keep up the pace.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	left    int
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	if p.left <= 0 {
		p.left = paceBytes
		_ = p.control.SetWriteDeadline(time.Now().Add(paceTime))
	}
	n, err := p.ResponseWriter.Write(b)
	p.left -= n
	return n, err
}

func (p *pacedWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
