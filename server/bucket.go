package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/server/store"
)

// bucketObjects keeps objects in an S3-compatible service. An upload is first received
// and checked in a folder, so that the service only ever sees whole objects;
// downloads pass through.
type bucketObjects struct {
	storage storage.Storage
	spool   *folder
	rows    *store.Store
	log     *slog.Logger
}

// spoolFolder holds uploads on their way to the bucket.
const spoolFolder = "spool"

func openBucket(ctx context.Context, c Config, rows *store.Store) (objects, error) {
	const op = "open the storage"
	if !strings.HasPrefix(c.Bucket, "s3://") {
		return nil, failure.New(failure.Usage, "storage_unsupported", op, "the server keeps objects in a folder or in an S3-compatible bucket", "write it as s3://bucket/prefix?endpoint=s3.example.com")
	}
	s, err := storage.Open(ctx, c.Bucket, "", storage.Credentials{})
	if err != nil {
		return nil, err
	}
	// The first use connects; a server that cannot reach its objects should
	// say so when it starts, and not to the first device.
	probe, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := s.Stat(probe, "capstan/probe"); err != nil && failure.CodeOf(err) != "object_not_found" {
		return nil, failure.Wrap(err, failure.Unavailable, "storage_failed", op, failure.HintOf(err))
	}
	spool, err := openFolder(filepath.Join(c.DataDir, spoolFolder), rows, c.MaxObject)
	if err != nil {
		return nil, err
	}
	return &bucketObjects{s, spool, rows, c.Log}, nil
}

func (b *bucketObjects) close() error { return b.spool.close() }

// Put implements management.Objects.
func (b *bucketObjects) Put(w http.ResponseWriter, r *http.Request, name string) (int, error) {
	want, err := b.spool.admit(r, name)
	if err != nil {
		return 0, err
	}
	temp, size, err := b.spool.receive(w, r, want)
	if err != nil {
		return 0, err
	}
	defer func() { _ = b.spool.root.Remove(temp) }()
	file, err := b.spool.root.Open(temp)
	if err != nil {
		return 0, storing(err)
	}
	defer file.Close()
	// The client waits while the object goes on to the service: its connection
	// is idle, and not slow.
	progress := func(int64) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * paceTime)) // a server without deadlines has none to move
	}
	progress(0)
	object, err := b.storage.Put(r.Context(), name, file, size, want, progress)
	if err != nil {
		return 0, b.failed(err)
	}
	if err := b.rows.AddObject(r.Context(), store.Object{Name: name, SHA256: want, Size: size}); err != nil {
		return 0, err
	}
	if object.Existed {
		return http.StatusOK, nil
	}
	return http.StatusCreated, nil
}

// failed keeps the refusals that speak of the object; what is wrong between
// server and service is not the client's doing.
func (b *bucketObjects) failed(err error) error {
	switch failure.CodeOf(err) {
	case "object_exists":
		return otherContent()
	case "object_not_found":
		return noObject()
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return failure.Wrap(err, failure.Unavailable, "storage_failed", "reach the storage", "see the server's log")
}

// find describes an object: from its row, or from the bucket when that is also
// written to by other means.
func (b *bucketObjects) find(ctx context.Context, name string) (store.Object, error) {
	if !validName(name) {
		return store.Object{}, noObject()
	}
	object, err := b.rows.Object(ctx, name)
	if failure.CodeOf(err) != "object_not_found" {
		return object, err
	}
	found, err := b.storage.Stat(ctx, name)
	if err != nil {
		return store.Object{}, b.failed(err)
	}
	if found.SHA256 == "" {
		found.SHA256 = nameHash(name)
	}
	return store.Object{Name: name, SHA256: found.SHA256, Size: found.Size}, nil
}

// Head implements management.Objects.
func (b *bucketObjects) Head(w http.ResponseWriter, r *http.Request, name string) error {
	object, err := b.find(r.Context(), name)
	if err != nil {
		return err
	}
	return writeHead(w, object)
}

// Delete implements management.Objects.
func (b *bucketObjects) Delete(ctx context.Context, name string) error {
	if !validName(name) {
		return noObject()
	}
	if err := b.rows.ForgetObject(ctx, name, filesPath+name); err != nil {
		return err
	}
	if err := b.storage.Delete(ctx, name); err != nil {
		return b.failed(err)
	}
	return nil
}

// serve passes a download through.
func (b *bucketObjects) serve(w http.ResponseWriter, r *http.Request) {
	name, ok := requested(w, r)
	if !ok {
		return
	}
	object, err := b.find(r.Context(), name)
	content := &download{ctx: r.Context(), storage: b.storage, name: name, size: object.Size}
	defer content.close()
	if err == nil && r.Method == http.MethodGet {
		// Opened before the headers go out, so that a failure can still be told.
		err = content.open(rangeStart(r, object.Size))
	}
	switch {
	case failure.CodeOf(err) == "object_not_found":
		writeError(w, http.StatusNotFound, "object_not_found", "there is no such object")
		return
	case err != nil:
		if r.Context().Err() == nil {
			b.log.Error("object not read from the storage", "error", err)
		}
		writeError(w, http.StatusServiceUnavailable, "storage_failed", "the object cannot be read now")
		return
	}
	describe(w.Header(), name, nameHash(name))
	if w.Header().Get("ETag") == "" && object.SHA256 != "" {
		w.Header().Set("ETag", `"`+object.SHA256+`"`)
	}
	send(w, r, time.Time{}, content)
}

// rangeStart is where a request for "bytes=N-…" begins; 0 for every other.
func rangeStart(r *http.Request, size int64) int64 {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	if n, err := strconv.ParseInt(first, 10, 64); err == nil && n > 0 && n < size {
		return n
	}
	return 0
}

// download reads an object of the storage from any place on.
type download struct {
	ctx     context.Context
	storage storage.Storage
	name    string
	size    int64
	at      int64 // where the next Read reads
	body    io.ReadCloser
	bodyAt  int64 // where body is
}

func (d *download) open(at int64) error {
	d.close()
	if at >= d.size {
		return nil // nothing will be read
	}
	body, err := d.storage.Get(d.ctx, d.name, at, -1)
	d.body, d.bodyAt = body, at
	return err
}

func (d *download) close() {
	if d.body != nil {
		_ = d.body.Close() // it was only read
		d.body = nil
	}
}

// Seek implements io.Seeker.
func (d *download) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += d.at
	case io.SeekEnd:
		offset += d.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	d.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	if d.at >= d.size {
		return 0, io.EOF
	}
	if d.body == nil || d.bodyAt != d.at {
		if err := d.open(d.at); err != nil {
			return 0, err
		}
	}
	n, err := d.body.Read(p)
	d.at, d.bodyAt = d.at+int64(n), d.bodyAt+int64(n)
	if err == io.EOF && d.at < d.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
