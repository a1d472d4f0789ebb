//go:build gs || !lean

package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// cloud is a bucket of Google Cloud Storage or a container of Azure Blob
// Storage. Both take the condition that an object must not exist, and show an
// object only when it is complete.
type cloud struct {
	service  service
	place    string // for people: scheme, bucket and prefix
	host     string
	prefix   string // "" or ending in a slash
	public   string
	reserved string // characters that the service does not take in a key
}

// service is what the two have in common: the calls on objects by their keys.
// Errors are the service's own; status tells what they mean.
type service interface {
	// whole stores content under key if there is nothing yet. pulse has to be
	// read for it, so that a transfer that stands still is noticed.
	whole(ctx context.Context, key string, pulse *pulse, content []byte, sum string) error
	// pieces stores an object that is larger than cloudChunk in a way that goes
	// on after a kill, if there is nothing yet. progress hears the bytes that the
	// service acknowledged.
	pieces(ctx context.Context, key string, src io.ReaderAt, size int64, sum string, progress func(int64)) error
	// stat gives size, time and, where it is known, hash of the object.
	stat(ctx context.Context, key string) (Object, error)
	// open reads from offset on; a negative length reads to the end.
	open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	delete(ctx context.Context, key string) error
	// list gives the objects with their keys as names.
	list(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// status gives the HTTP status behind an error, 0 when there is none.
	status(err error) int
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

// key is what the service knows the object by.
func (c *cloud) key(name string) string { return escapeName(c.prefix+name, c.reserved) }

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
	if size > cloudChunk {
		err = c.service.pieces(ctx, c.key(name), src, size, sha256Hex, progress)
	} else {
		err = c.whole(ctx, name, src, size, sha256Hex)
	}
	switch {
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case failure.CodeOf(err) == "hash_mismatch":
		return Object{}, errHash(name)
	case err != nil:
		if c.isThere(err) {
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

// whole sends a small object in one request. Its hash is checked before
// anything is sent.
func (c *cloud) whole(ctx context.Context, name string, src io.ReaderAt, size int64, sum string) error {
	content := make([]byte, size)
	if err := readPart(src, content, 0, name); err != nil {
		return err
	}
	if digest := sha256.Sum256(content); hex.EncodeToString(digest[:]) != sum {
		return errHash(name)
	}
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	err := c.service.whole(watched, c.key(name), &pulse{section: io.NewSectionReader(bytes.NewReader(content), 0, size), dog: dog}, content, sum)
	if watched.Err() != nil && ctx.Err() == nil {
		return errStall(c.host)
	}
	return err
}

// isThere tells whether the service refused a write because there is an object
// of that name.
func (c *cloud) isThere(err error) bool {
	status := c.service.status(err)
	return status == http.StatusConflict || status == http.StatusPreconditionFailed
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
	err := c.whole(ctx, name, bytes.NewReader(content), int64(len(content)), sha256Hex)
	if c.isThere(err) {
		return false, nil
	}
	return err == nil, c.translate("try to overwrite the object", name, err)
}

func (c *cloud) Stat(ctx context.Context, name string) (Object, error) {
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	object, err := c.service.stat(ctx, c.key(name))
	if err != nil {
		if ctx.Err() != nil {
			return Object{}, ctx.Err()
		}
		return Object{}, c.translate("look at the object", name, err)
	}
	object.Name = name
	if !hexSum.MatchString(object.SHA256) {
		object.SHA256 = ""
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
	r, err := c.service.open(ctx, c.key(name), offset, length)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c.service.status(err) != http.StatusRequestedRangeNotSatisfiable:
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
	err := c.service.delete(ctx, c.key(name))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.service.status(err) == http.StatusNotFound:
		return nil
	}
	return c.translate("delete the object", name, err)
}

func (c *cloud) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for object, err := range c.service.list(ctx, c.key(prefix)) {
			if err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(Object{}, c.translate("list the objects", prefix, err))
				return
			}
			object.Name = strings.TrimPrefix(unescapeName(object.Name), c.prefix)
			if !yield(object, nil) {
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
	status := c.service.status(err)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return failure.Newf(failure.Unavailable, "host_unknown", op, "check the name of the account or host", "the name %s does not resolve", transport.Clean(dns.Name))
	case status == http.StatusUnauthorized:
		return failure.Newf(failure.NotAuthorised, "storage_credentials", op, "log in again with the cloud's own tool, or check the key", "%s does not take the credentials", c.host)
	case status == http.StatusForbidden:
		return failure.Newf(failure.NotAuthorised, "storage_forbidden", op, "check the credentials and the bucket's policy", "%s refuses it", c.host)
	case status == http.StatusNotFound:
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
