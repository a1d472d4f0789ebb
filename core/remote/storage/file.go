package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["file"] = openFile }

// file is a folder. Objects are plain files in it, so that any web server can
// publish it.
type file struct {
	dir    string
	public string
	bucket *blob.Bucket
}

var _ Storage = (*file)(nil)

func openFile(_ context.Context, u *url.URL, public string, _ Credentials) (Storage, error) {
	const op = "open the storage folder"
	dir := filepath.FromSlash(u.Path)
	if runtime.GOOS == "windows" {
		dir = strings.TrimPrefix(dir, `\`) // file:///C:/updates
	}
	if u.Host != "" && u.Host != "localhost" || dir == "" || !filepath.IsAbs(dir) {
		return nil, failure.New(failure.Usage, "storage_url_malformed", op, "not an absolute folder", "write it like file:///srv/www/updates, with three slashes")
	}
	// The folder is public: world-readable is the point.
	bucket, err := fileblob.OpenBucket(dir, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o755,
		NoTempDir: true, // a rename across file systems is a copy, and fails
		Metadata:  fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fileFailure(op, dir, err)
	}
	return &file{dir: dir, public: public, bucket: bucket}, nil
}

func (f *file) String() string { return "file://" + filepath.ToSlash(f.dir) }

func (f *file) PublicURL(name string) string {
	if f.public == "" {
		u := url.URL{Scheme: "file", Path: filepath.ToSlash(f.path(name))}
		return u.String()
	}
	return publicURL(f.public, name)
}

func (f *file) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

func (f *file) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	if there, err := f.same(ctx, name, size, sha256Hex); err != nil || there {
		return Object{Name: name, Size: size, SHA256: sha256Hex, Existed: there}, err
	}
	body := newUpload(ctx, src, size, sha256Hex, progress, nil)
	err := f.write(ctx, name, body)
	switch {
	case body.fault(name) != nil:
		return Object{}, body.fault(name)
	case gcerrors.Code(err) == gcerrors.FailedPrecondition: // somebody else was faster
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

// write streams body into the object. The bytes are on the disk before the
// name appears, and the name before write returns.
func (f *file) write(ctx context.Context, name string, body io.Reader) error {
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	var handle *os.File
	w, err := f.bucket.NewWriter(ctx, name, &blob.WriterOptions{
		ContentType: "application/zip",
		IfNotExist:  true,
		BeforeWrite: func(as func(any) bool) error {
			as(&handle)
			return nil
		},
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, body)
	if err == nil && handle != nil {
		err = handle.Sync()
	}
	if err != nil {
		abort() // makes Close discard the temporary file
		_ = w.Close()
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.syncFolders(name)
}

// syncFolders makes the new name durable: its folder, and those above it that
// Put may have created.
func (f *file) syncFolders(name string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	for dir := filepath.Dir(f.path(name)); ; dir = filepath.Dir(dir) {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		err = d.Sync()
		_ = d.Close()
		if err != nil && !errors.Is(err, syscall.EINVAL) { // some network file systems have no fsync for folders
			return err
		}
		if dir == f.dir || len(dir) <= len(f.dir) {
			return nil
		}
	}
}

func (f *file) Stat(ctx context.Context, name string) (Object, error) {
	const op = "look at the object"
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	a, err := f.bucket.Attributes(ctx, name)
	if err != nil {
		return Object{}, f.translate(ctx, op, name, err)
	}
	return Object{Name: name, Size: a.Size, Changed: a.ModTime}, nil
}

func (f *file) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	object, err := f.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > object.Size || offset == object.Size && offset > 0 {
		return nil, errRange(name, offset)
	}
	r, err := f.bucket.NewRangeReader(ctx, name, offset, length, nil)
	if err != nil {
		return nil, f.translate(ctx, "read the object", name, err)
	}
	return r, nil
}

func (f *file) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := f.bucket.Delete(ctx, name)
	if err == nil || gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return f.translate(ctx, "delete the object", name, err)
}

func (f *file) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		rows := f.bucket.List(&blob.ListOptions{Prefix: prefix})
		for {
			row, err := rows.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Object{}, f.translate(ctx, "list the objects", prefix, err))
				return
			}
			if isTemporary(row.Key) {
				continue
			}
			if !yield(Object{Name: row.Key, Size: row.Size, Changed: row.ModTime}, nil) {
				return
			}
		}
	}
}

// isTemporary recognises the half-written files of an interrupted Put: the
// object's name, a number of nanoseconds and ".tmp".
func isTemporary(name string) bool {
	rest, ok := strings.CutSuffix(name, ".tmp")
	if !ok {
		return false
	}
	dot := strings.LastIndexByte(rest, '.')
	return dot > 0 && len(rest)-dot > 15 && strings.Trim(rest[dot+1:], "0123456789") == ""
}

func (f *file) translate(ctx context.Context, op, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case gcerrors.Code(err) == gcerrors.NotFound:
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
	if errors.As(err, &path) {
		cause = path.Err
	}
	return failure.Newf(class, code, op, hint, "%s: %s", transport.Clean(dir), transport.Clean(cause.Error()))
}
