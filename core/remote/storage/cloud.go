//go:build gs || !lean

package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// cloud is a bucket of Google Cloud Storage or a container of Azure Blob
// Storage. Both take the condition that an object must not exist, and show an
// object only when it is complete.
type cloud struct {
	bucket *blob.Bucket
	place  string // for people: scheme, bucket and prefix
	host   string
	prefix string // "" or ending in a slash
	public string
	status func(error) int // HTTP status of the client's error, 0 when there is none
	// pieces sends large objects so that an upload can be continued; nil where
	// the service cannot.
	pieces pieces
}

// pieces is an upload that goes on after a kill. progress hears the bytes that
// the service acknowledged.
type pieces interface {
	takes(key string, size int64) bool
	send(ctx context.Context, key string, src io.ReaderAt, size int64, sum string, progress func(int64)) error
}

var (
	_ Storage     = (*cloud)(nil)
	_ conditional = (*cloud)(nil)
)

const (
	// cloudSum is the object's metadata that holds the SHA-256 of its content:
	// Azure wants an identifier.
	cloudSum   = "capstansha256"
	cloudChunk = 8 << 20 // bytes that one request carries
)

// cloudPrefix reads the path of the storage's URL.
func cloudPrefix(u *url.URL) (string, error) {
	if u.Host == "" || u.Port() != "" || u.RawQuery != "" {
		return "", failure.Newf(failure.Usage, "storage_url_malformed", "open the bucket", "write it like "+u.Scheme+"://bucket/prefix", "not a bucket and a folder in it")
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix == "" {
		return "", nil
	}
	return prefix + "/", CheckName(prefix)
}

func (c *cloud) String() string { return c.place }

func (c *cloud) PublicURL(name string) string { return publicURL(c.public, name) }

func (c *cloud) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	done := Object{Name: name, Size: size, SHA256: sha256Hex}
	if there, err := c.same(ctx, name, size, sha256Hex); err != nil || there {
		done.Existed = there
		return done, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	progress(0)
	var err error
	if c.pieces != nil && c.pieces.takes(c.prefix+name, size) {
		err = c.pieces.send(ctx, c.prefix+name, src, size, sha256Hex, progress)
	} else {
		err = c.write(ctx, name, src, size, sha256Hex, progress)
	}
	switch {
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case failure.CodeOf(err) == "hash_mismatch":
		return Object{}, errHash(name)
	case err != nil:
		code := gcerrors.Code(err)
		if status := c.status(err); code == gcerrors.FailedPrecondition || status == http.StatusConflict || status == http.StatusPreconditionFailed {
			// Somebody else was faster, or our own answer got lost.
			if there, err := c.same(ctx, name, size, sha256Hex); err != nil || there {
				done.Existed = there
				return done, err
			}
		}
		return Object{}, c.translate("store the object", name, err)
	}
	progress(size)
	return done, nil
}

// write sends the bytes; the object appears when the last of them is taken. It
// is Upload and not a Writer, because Azure's Writer can panic when it is
// closed after a cancelled write.
func (c *cloud) write(ctx context.Context, name string, src io.ReaderAt, size int64, sum string, progress func(int64)) error {
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	body := newUpload(watched, src, size, sum, progress, dog)
	sending, abandon := context.WithCancel(watched)
	defer abandon()
	err := c.bucket.Upload(sending, c.prefix+name, &abandoning{body, abandon}, &blob.WriterOptions{
		BufferSize: cloudChunk, MaxConcurrency: partWorkers, IfNotExist: true,
		ContentType: "application/zip", CacheControl: cacheForever, Metadata: map[string]string{cloudSum: sum},
	})
	switch {
	case body.fault(name) != nil:
		return body.fault(name)
	case watched.Err() != nil && ctx.Err() == nil:
		return errStall(c.host)
	}
	return err
}

// abandoning cancels the upload before it passes on that the source is no good:
// Google's client would complete the object with what it has.
type abandoning struct {
	from    io.Reader
	abandon func()
}

func (a *abandoning) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	if err != nil && err != io.EOF {
		a.abandon()
	}
	return n, err
}

func (c *cloud) same(ctx context.Context, name string, size int64, sha256Hex string) (bool, error) {
	object, err := c.Stat(ctx, name)
	switch {
	case failure.CodeOf(err) == "object_not_found":
		return false, nil
	case err != nil:
		return false, err
	case object.Size != size:
		return false, errExists(name)
	case object.SHA256 == "": // of another program
		r, err := c.Get(ctx, name, 0, -1)
		if err != nil {
			return false, err
		}
		defer r.Close()
		if object.SHA256, _, err = hashOf(ctx, r); err != nil {
			return false, c.translate("read the object", name, err)
		}
	}
	if object.SHA256 != sha256Hex {
		return false, errExists(name)
	}
	return true, nil
}

// overwrites tries the condition alone.
func (c *cloud) overwrites(ctx context.Context, name string, content []byte, sha256Hex string) (bool, error) {
	err := c.write(ctx, name, bytes.NewReader(content), int64(len(content)), sha256Hex, nil)
	if status := c.status(err); gcerrors.Code(err) == gcerrors.FailedPrecondition || status == http.StatusConflict || status == http.StatusPreconditionFailed {
		return false, nil
	}
	return err == nil, c.translate("try to overwrite the object", name, err)
}

func (c *cloud) Stat(ctx context.Context, name string) (Object, error) {
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	attributes, err := c.bucket.Attributes(ctx, c.prefix+name)
	if err != nil {
		if ctx.Err() != nil {
			return Object{}, ctx.Err()
		}
		return Object{}, c.translate("look at the object", name, err)
	}
	object := Object{Name: name, Size: attributes.Size, Changed: attributes.ModTime}
	if sum := attributes.Metadata[cloudSum]; hexSum.MatchString(sum) {
		object.SHA256 = sum
	}
	return object, nil
}

func (c *cloud) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	const op = "read the object"
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, errRange(name, offset)
	}
	if length == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	r, err := c.bucket.NewRangeReader(ctx, c.prefix+name, offset, length, nil)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c.status(err) != http.StatusRequestedRangeNotSatisfiable:
		return nil, c.translate(op, name, err)
	}
	if object, err := c.Stat(ctx, name); err == nil && object.Size == offset {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return nil, errRange(name, offset)
}

func (c *cloud) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := c.bucket.Delete(ctx, c.prefix+name)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case gcerrors.Code(err) == gcerrors.NotFound:
		return nil
	}
	return c.translate("delete the object", name, err)
}

func (c *cloud) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		rows := c.bucket.List(&blob.ListOptions{Prefix: c.prefix + prefix})
		for {
			row, err := rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Object{}, c.translate("list the objects", prefix, err))
				return
			}
			if !yield(Object{Name: strings.TrimPrefix(row.Key, c.prefix), Size: row.Size, Changed: row.ModTime}, nil) {
				return
			}
		}
	}
}

// translate turns the clients' errors into failures. Their texts run over many
// lines and repeat requests: only what they mean is told.
func (c *cloud) translate(op, name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ours := failure.Find(err); ours {
		return err
	}
	var dns *net.DNSError
	var network net.Error
	status := c.status(err)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return failure.Newf(failure.Unavailable, "host_unknown", op, "check the name of the account or host", "the name %s does not resolve", transport.Clean(dns.Name))
	case status == http.StatusUnauthorized:
		return failure.Newf(failure.NotAuthorised, "storage_credentials", op, "log in again with the cloud's own tool, or check the key", "%s does not take the credentials", c.host)
	case status == http.StatusForbidden, gcerrors.Code(err) == gcerrors.PermissionDenied:
		return failure.Newf(failure.NotAuthorised, "storage_forbidden", op, "check the credentials and the bucket's policy", "%s refuses it", c.host)
	case gcerrors.Code(err) == gcerrors.NotFound, status == http.StatusNotFound:
		return errNotFound(op, name)
	case status == http.StatusTooManyRequests, status >= 500:
		return failure.Newf(failure.Unavailable, "remote_unreachable", op, "the service has a problem: repeat the command in a moment", "%s answers with HTTP %d", c.host, status)
	case errors.As(err, &network), status == 0 && isNetwork(err):
		return failure.Newf(failure.Unavailable, "remote_unreachable", op, "check the network, then repeat the command", "%s did not answer", c.host)
	case status == 0:
		return failure.Newf(failure.NotAuthorised, "storage_credentials", op, "log in with the cloud's own tool, or set its variables", "no credentials for %s could be used", c.host)
	}
	return failure.Newf(failure.Failed, "storage_failed", op, "", "%s answers with HTTP %d", c.host, status)
}
