package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["file"] = openFile }

// file is a folder. Objects are plain files in it, so that any web server can
// publish it. All of its files are reached through an os.Root: no name, and no
// link that somebody put into the folder, leads out of it.
type file struct {
	dir    string
	public string
	// placing is held where the file system has no links, and "only if it is not
	// there" is a look before a rename.
	placing sync.Mutex
}

var _ Storage = (*file)(nil)

// reservedInFiles are the characters that a file's name cannot have.
var reservedInFiles = map[bool]string{true: `<>:"|?*`}[runtime.GOOS == "windows"]

func openFile(_ context.Context, u *url.URL, public string, _ Credentials) (Storage, error) {
	const op = "open the storage folder"
	dir := filepath.FromSlash(u.Path)
	if runtime.GOOS == "windows" {
		dir = strings.TrimPrefix(dir, `\`) // file:///C:/updates
	}
	if u.Host != "" && u.Host != "localhost" || dir == "" || !filepath.IsAbs(dir) {
		return nil, failure.New(failure.Usage, "storage_url_malformed", op, "not an absolute folder", "write it like file:///srv/www/updates, with three slashes")
	}
	dir = filepath.Clean(dir)
	// The folder is public: world-readable is the point.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fileFailure(op, dir, err)
	}
	return &file{dir: dir, public: public}, nil
}

func (f *file) String() string { return "file://" + filepath.ToSlash(f.dir) }

func (f *file) PublicURL(name string) string {
	if f.public == "" {
		u := url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(f.dir, filepath.FromSlash(name)))}
		return u.String()
	}
	return publicURL(f.public, name)
}

// root opens the folder. Each operation does so anew: a folder that was mounted
// or replaced meanwhile is the one that counts.
func (f *file) root() (*os.Root, error) { return os.OpenRoot(f.dir) }

func (f *file) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	if there, err := f.same(ctx, name, size, sha256Hex); err != nil || there {
		return Object{Name: name, Size: size, SHA256: sha256Hex, Existed: there}, err
	}
	body := newUpload(ctx, src, size, sha256Hex, progress, nil)
	err := f.write(escapeName(name, reservedInFiles), body)
	switch {
	case body.fault(name) != nil:
		return Object{}, body.fault(name)
	case errors.Is(err, fs.ErrExist): // somebody else was faster
		there, err := f.same(ctx, name, size, sha256Hex)
		return Object{Name: name, Size: size, SHA256: sha256Hex, Existed: there}, err
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case err != nil:
		return Object{}, fileFailure("store the object", f.dir, err)
	}
	if progress != nil {
		progress(size)
	}
	return Object{Name: name, Size: size, SHA256: sha256Hex}, nil
}

// same reports whether the object is there with this content; object_exists
// when it is there with another.
func (f *file) same(ctx context.Context, name string, size int64, sha256Hex string) (bool, error) {
	object, err := f.Stat(ctx, name)
	if failure.CodeOf(err) == "object_not_found" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if object.Size != size {
		return false, errExists(name)
	}
	r, err := f.Get(ctx, name, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	sum, _, err := hashOf(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, fileFailure("read the object", f.dir, err)
	}
	if sum != sha256Hex {
		return false, errExists(name)
	}
	return true, nil
}

// write streams body into the file stored. The bytes are on the disk before the
// name appears, and the name before write returns; fs.ErrExist when there is
// such a file already.
func (f *file) write(stored string, body io.Reader) error {
	root, err := f.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(stored), 0o755); err != nil && path.Dir(stored) != "." {
		return err
	}
	temporary, w, err := createTemporary(root, stored)
	if err != nil {
		return err
	}
	defer func() { _ = root.Remove(temporary) }() // what becomes the object has another name by then
	_, err = io.Copy(w, body)
	if err == nil {
		err = w.Sync()
	}
	if closed := w.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := f.place(root, temporary, stored); err != nil {
		return err
	}
	return f.syncFolders(root, stored)
}

// createTemporary makes the file that becomes the object, beside it: a rename
// across file systems is a copy, and fails. The umask decides who may read it,
// as with any file of a web server.
func createTemporary(root *os.Root, stored string) (string, *os.File, error) {
	base := path.Base(stored)
	const suffix = len(".0123456789abcdef.tmp")
	if longest := 255 - suffix; len(base) > longest {
		base = strings.ToValidUTF8(base[:longest], "")
	}
	for {
		name := path.Join(path.Dir(stored), base+"."+strconv.FormatInt(time.Now().UnixNano(), 16)+".tmp")
		w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return name, w, err
		}
	}
}

// place gives the finished file its name, unless there is one of that name. A
// link is refused by the system itself then, whoever else is writing.
func (f *file) place(root *os.Root, temporary, stored string) error {
	err := root.Link(temporary, stored)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	f.placing.Lock()
	defer f.placing.Unlock()
	switch _, err := root.Lstat(stored); {
	case err == nil:
		return fs.ErrExist
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return root.Rename(temporary, stored)
}

// syncFolders makes the new name durable: its folder, and those above it that
// Put may have created.
func (f *file) syncFolders(root *os.Root, stored string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	for dir := path.Dir(stored); ; dir = path.Dir(dir) {
		d, err := root.Open(dir)
		if err != nil {
			return err
		}
		err = d.Sync()
		_ = d.Close()
		if err != nil && !errors.Is(err, syscall.EINVAL) { // some network file systems have no fsync for folders
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

func (f *file) Stat(ctx context.Context, name string) (Object, error) {
	const op = "look at the object"
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	if ctx.Err() != nil {
		return Object{}, ctx.Err()
	}
	root, err := f.root()
	if err != nil {
		return Object{}, fileFailure(op, f.dir, err)
	}
	defer root.Close()
	info, err := root.Stat(escapeName(name, reservedInFiles))
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Object{}, f.translate(ctx, op, name, err)
	}
	return Object{Name: name, Size: info.Size(), Changed: info.ModTime()}, nil
}

func (f *file) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	const op = "read the object"
	object, err := f.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > object.Size || offset == object.Size && offset > 0 {
		return nil, errRange(name, offset)
	}
	root, err := f.root()
	if err != nil {
		return nil, fileFailure(op, f.dir, err)
	}
	defer root.Close()
	opened, err := root.Open(escapeName(name, reservedInFiles))
	if err != nil {
		return nil, f.translate(ctx, op, name, err)
	}
	if length < 0 {
		length = object.Size - offset
	}
	return section{io.NewSectionReader(opened, offset, length), opened}, nil
}

// section reads a part of what it closes.
type section struct {
	io.Reader
	io.Closer
}

func (f *file) Delete(ctx context.Context, name string) error {
	const op = "delete the object"
	if err := CheckName(name); err != nil {
		return err
	}
	root, err := f.root()
	if err != nil {
		return fileFailure(op, f.dir, err)
	}
	defer root.Close()
	if err := root.Remove(escapeName(name, reservedInFiles)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.translate(ctx, op, name, err)
	}
	return nil
}

func (f *file) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := f.walk(ctx, prefix, func(object Object) bool { return isTemporary(object.Name) || yield(object, nil) })
		if err != nil {
			yield(Object{}, f.translate(ctx, "list the objects", prefix, err))
		}
	}
}

// walk visits the files whose names start with prefix until visit gives false.
// What this user may not read is passed over: the folder may be the root of a
// file system, with folders of the system's own.
func (f *file) walk(ctx context.Context, prefix string, visit func(Object) bool) error {
	root, err := f.root()
	if err != nil {
		return err
	}
	defer root.Close()
	stored := escapeName(prefix, reservedInFiles)
	from := "."
	if slash := strings.LastIndexByte(stored, '/'); slash > 0 {
		from = stored[:slash]
	}
	if !fs.ValidPath(from) {
		return nil // no object's name starts so
	}
	return fs.WalkDir(root.FS(), from, func(at string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.ENOTDIR):
			return nil
		case err != nil:
			return err
		case entry.IsDir():
			if at != "." && !strings.HasPrefix(at+"/", stored) && !strings.HasPrefix(stored, at+"/") {
				return fs.SkipDir
			}
			return nil
		case !strings.HasPrefix(at, stored):
			return nil
		}
		info, err := root.Stat(at)
		if err != nil || !info.Mode().IsRegular() {
			return nil // gone by now, or a link that leads nowhere
		}
		if !visit(Object{Name: unescapeName(at), Size: info.Size(), Changed: info.ModTime()}) {
			return fs.SkipAll
		}
		return nil
	})
}

// isTemporary recognises the half-written files of an interrupted Put: the
// object's name, a number of nanoseconds in hexadecimal digits and ".tmp".
func isTemporary(name string) bool {
	rest, ok := strings.CutSuffix(name, ".tmp")
	if !ok {
		return false
	}
	dot := strings.LastIndexByte(rest, '.')
	return dot > 0 && len(rest)-dot > 15 && strings.Trim(rest[dot+1:], "0123456789abcdef") == ""
}

func (f *file) translate(ctx context.Context, op, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return errNotFound(op, name)
	}
	return fileFailure(op, f.dir, err)
}

// fileFailure names what a file system refuses, without the library's wrapping.
func fileFailure(op, dir string, err error) error {
	hint, class, code := "", failure.Failed, "storage_failed"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		code, hint = "storage_full", "free some space, then repeat the command"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		class, code, hint = failure.NotAuthorised, "storage_forbidden", "give this user write access to the folder"
	case errors.Is(err, fs.ErrNotExist):
		class, code, hint = failure.NotFound, "storage_missing", "create the folder, or mount it"
	}
	cause := err
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		cause = path.Err
	case errors.As(err, &link):
		cause = link.Err
	}
	return failure.Newf(class, code, op, hint, "%s: %s", transport.Clean(dir), transport.Clean(cause.Error()))
}
