package storage

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["s3"] = openS3 }

// s3 is a bucket of Amazon's or of a compatible service:
//
//	s3://bucket/prefix?endpoint=s3.example.com&region=eu-central-1&path_style=true&profile=ci
//
// Objects larger than a part go up in parts, several at a time. The parts that
// the service has already acknowledged, from an upload that was killed, are
// not sent again; what is compared is their MD5.
type s3 struct {
	core   minio.Core
	bucket string
	prefix string // "" or ending in a slash
	public string
	host   string
	key    string // access key id, scrubbed from texts
	// signed says that the bytes of parts are signed, so that the service
	// notices what changed them on the way: over TLS, and on this machine,
	// nothing can.
	signed bool
}

var _ Storage = (*s3)(nil)

const (
	partSize    = 8 << 20 // bytes; at least 5 MiB in S3
	partWorkers = 4
	maxParts    = 10_000
	// shaMeta is the object's user metadata that holds the SHA-256 of its content.
	shaMeta = "Capstan-Sha256"
	// cacheForever suits objects that never change.
	cacheForever = "public, max-age=31536000, immutable"
)

func openS3(_ context.Context, u *url.URL, public string, c Credentials) (Storage, error) {
	const op = "open the bucket"
	usage := func(hint, format string, args ...any) error {
		return failure.Newf(failure.Usage, "storage_url_malformed", op, hint, format, args...)
	}
	query := u.Query()
	for name := range query {
		switch name {
		case "endpoint", "region", "path_style", "profile":
		default:
			return nil, usage("known are endpoint, region, path_style, profile", "unknown parameter %s", transport.Clean(name))
		}
	}
	if u.Host == "" || u.Port() != "" {
		return nil, usage("write it like s3://bucket/prefix?endpoint=s3.example.com", "no bucket is named")
	}
	endpoint, secure, err := s3Endpoint(query.Get("endpoint"), c.AllowHTTP)
	if err != nil {
		return nil, err
	}
	amazon := strings.HasSuffix(endpoint, ".amazonaws.com")
	lookup := minio.BucketLookupAuto
	switch pathStyle := query.Get("path_style"); {
	case pathStyle == "true" || pathStyle == "" && !amazon:
		lookup = minio.BucketLookupPath
	case pathStyle == "false":
		lookup = minio.BucketLookupDNS
	case pathStyle != "":
		return nil, usage("", "path_style is true or false")
	}
	region := query.Get("region")
	if region == "" && !amazon {
		region = "us-east-1" // what compatible services take; saves a request
	}
	options := &minio.Options{Creds: s3Credentials(c, query.Get("profile"), amazon), Secure: secure, Region: region, BucketLookup: lookup, MaxRetries: transport.DefaultAttempts}
	if c.HTTP != nil && c.HTTP.Transport != nil {
		options.Transport = c.HTTP.Transport
	}
	core, err := minio.NewCore(endpoint, options)
	if err != nil {
		return nil, usage("", "%s", transport.Clean(err.Error()))
	}
	core.SetAppInfo("capstan", strings.TrimPrefix(transport.UserAgent(), "capstan/"))
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := CheckName(prefix); err != nil {
			return nil, err
		}
		prefix += "/"
	}
	if public == "" {
		public = s3Public(endpoint, secure, amazon, u.Host, region, lookup)
		if prefix != "" {
			public = publicURL(public, strings.TrimSuffix(prefix, "/"))
		}
	}
	return &s3{core: *core, bucket: u.Host, prefix: prefix, public: public, host: endpoint, key: c.AccessKey, signed: !secure && !onLoopback(endpoint)}, nil
}

// s3Endpoint splits an endpoint, which may carry a scheme, and refuses plain
// http where credentials could be overheard.
func s3Endpoint(raw string, allowHTTP bool) (host string, secure bool, err error) {
	switch {
	case raw == "":
		return "s3.amazonaws.com", true, nil
	case !strings.Contains(raw, "://"):
		raw = "https://" + raw
	}
	base, err := transport.ParseBase(raw, allowHTTP)
	if err != nil {
		return "", false, err
	}
	if base.Path != "" {
		return "", false, failure.New(failure.Usage, "storage_url_malformed", "open the bucket", "the endpoint is a host, without a path", "")
	}
	return base.Host, base.Scheme == "https", nil
}

func onLoopback(endpoint string) bool {
	host, _, err := net.SplitHostPort(endpoint)
	return err == nil && transport.IsLoopback(host)
}

// s3Credentials looks where Amazon's own tools look. The machine's role is asked
// for only where Amazon is meant: elsewhere that question would only time out.
func s3Credentials(c Credentials, profile string, amazon bool) *credentials.Credentials {
	if c.AccessKey != "" {
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey.Reveal(), c.Session.Reveal())
	}
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{Profile: profile}}
	if profile != "" { // named on purpose: it comes first
		providers[0], providers[1] = providers[1], providers[0]
	}
	if amazon {
		providers = append(providers, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}})
	}
	return credentials.NewChainCredentials(providers)
}

func s3Public(endpoint string, secure, amazon bool, bucket, region string, lookup minio.BucketLookupType) string {
	scheme := "https"
	if !secure {
		scheme = "http"
	}
	if amazon && region != "" && endpoint == "s3.amazonaws.com" {
		endpoint = "s3." + region + ".amazonaws.com"
	}
	if lookup == minio.BucketLookupPath {
		return scheme + "://" + endpoint + "/" + bucket
	}
	return scheme + "://" + bucket + "." + endpoint
}

func (s *s3) String() string {
	return "s3://" + s.bucket + "/" + s.prefix + " at " + s.host
}

func (s *s3) PublicURL(name string) string { return publicURL(s.public, name) }

func (s *s3) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	done := Object{Name: name, Size: size, SHA256: sha256Hex}
	if there, err := s.same(ctx, name, size, sha256Hex); err != nil || there {
		done.Existed = there
		return done, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	progress(0)
	var err error
	if size <= partSize {
		err = s.putWhole(ctx, name, src, size, sha256Hex)
	} else {
		err = s.putParts(ctx, name, src, size, sha256Hex, progress)
	}
	if err == nil {
		progress(size)
		return done, nil
	}
	if ctx.Err() != nil {
		return Object{}, ctx.Err()
	}
	// Somebody else was faster, or the answer to our own request got lost.
	switch minio.ToErrorResponse(err).Code {
	case "PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload":
		return s.settled(ctx, done, err)
	}
	return Object{}, s.translate("store the object", name, err)
}

// settled waits a moment for the writer who won, then compares.
func (s *s3) settled(ctx context.Context, done Object, cause error) (Object, error) {
	for attempt := 1; ; attempt++ {
		there, err := s.same(ctx, done.Name, done.Size, done.SHA256)
		if err != nil || there {
			done.Existed = there
			return done, err
		}
		if attempt == transport.DefaultAttempts {
			return Object{}, s.translate("store the object", done.Name, cause)
		}
		if err := transport.Sleep(ctx, transport.Backoff(attempt)); err != nil {
			return Object{}, err
		}
	}
}

// same reports whether the object is there with this content; object_exists
// when it is there with another. Objects of other programs carry no SHA-256 and
// are read.
func (s *s3) same(ctx context.Context, name string, size int64, sha256Hex string) (bool, error) {
	object, err := s.Stat(ctx, name)
	switch {
	case failure.CodeOf(err) == "object_not_found":
		return false, nil
	case err != nil:
		return false, err
	case object.Size != size:
		return false, errExists(name)
	case object.SHA256 == "":
		r, err := s.Get(ctx, name, 0, -1)
		if err != nil {
			return false, err
		}
		defer r.Close()
		if object.SHA256, _, err = hashOf(ctx, r); err != nil {
			return false, s.translate("read the object", name, err)
		}
	}
	if object.SHA256 != sha256Hex {
		return false, errExists(name)
	}
	return true, nil
}

func (s *s3) options(sha256Hex string) minio.PutObjectOptions {
	o := minio.PutObjectOptions{
		ContentType:  "application/zip",
		CacheControl: cacheForever,
		UserMetadata: map[string]string{shaMeta: sha256Hex},
	}
	o.SetMatchETagExcept("*") // the service refuses to overwrite, where it can
	return o
}

// putWhole stores a small object in one request. Its hash is checked before
// anything is sent, and the service checks it again.
func (s *s3) putWhole(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string) error {
	content := make([]byte, size)
	if err := readPart(src, content, 0, name); err != nil {
		return err
	}
	if digest := sha256.Sum256(content); hex.EncodeToString(digest[:]) != sha256Hex {
		return errHash(name)
	}
	_, err := s.core.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(content), size, "", sha256Hex, s.options(sha256Hex))
	if minio.ToErrorResponse(err).Code == "NotImplemented" { // a service without conditional writes
		o := s.options(sha256Hex)
		o = minio.PutObjectOptions{ContentType: o.ContentType, CacheControl: o.CacheControl, UserMetadata: o.UserMetadata}
		_, err = s.core.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(content), size, "", sha256Hex, o)
	}
	return err
}

// overwrites tries the condition alone. A service that does not know it is
// written to without one, and overwrites.
func (s *s3) overwrites(ctx context.Context, name string, content []byte, sha256Hex string) (bool, error) {
	_, err := s.core.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(content), int64(len(content)), "", sha256Hex, s.options(sha256Hex))
	switch minio.ToErrorResponse(err).Code {
	case "PreconditionFailed", "ConditionalRequestConflict":
		return false, nil
	case "NotImplemented":
		return true, nil
	}
	return err == nil, s.translate("try to overwrite the object", name, err)
}

// readPart fills b from src; a source that is too short has changed.
func readPart(src io.ReaderAt, b []byte, offset int64, name string) error {
	n, err := src.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF || err == nil:
		return errHash(name)
	}
	return errSource(err)
}

// part is one piece on its way, and what its bytes must be.
type part struct {
	number       int // from 1
	offset, size int64
	block        int64    // how many bytes each of the sums is of; the last may be of less
	crcs         []uint32 // CRC-32C of each block
}

// putParts stores a large object. Workers read the parts while they send them,
// so that memory does not grow with their number, and compare each block of a
// part with its sum before the last of it goes out. Where the source knows its
// sums that is the only reading. Else one goroutine reads ahead of the workers,
// for the hash of everything and a sum of each part; the workers then read from
// the system's cache, and notice a source that changes in between.
//
// The object appears with the last request, which is only made when all bytes
// were right. A failed or killed upload stays with the service for the next attempt.
func (s *s3) putParts(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) error {
	each := int64(partSize)
	for size > each*maxParts {
		each += 1 << 20
	}
	upload, have, err := s.beginUpload(ctx, name, sha256Hex)
	if err != nil {
		return err
	}
	count := int((size + each - 1) / each)
	complete := make([]minio.CompletePart, count)

	group, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	feed, halt := context.WithCancelCause(group)
	defer halt(nil)
	parts := make(chan part)
	var acknowledged int64
	var mu sync.Mutex // guards acknowledged, and keeps progress in order
	var workers sync.WaitGroup
	for range min(partWorkers, count) {
		workers.Go(func() {
			for p := range parts {
				etag, err := s.sendPart(group, name, upload, src, p, have[p.number])
				if err != nil {
					if failure.CodeOf(err) == "hash_mismatch" {
						// Parts that are on their way arrive: one that is broken off may
						// be written down after the upload was dropped, and stay.
						halt(err)
					} else {
						stop(err)
					}
					continue // drain, so that the reader never blocks
				}
				complete[p.number-1] = minio.CompletePart{PartNumber: p.number, ETag: etag}
				mu.Lock()
				acknowledged += p.size
				progress(acknowledged)
				mu.Unlock()
			}
		})
	}
	sums, known := sumsOf(src, size, sha256Hex, each)
	total := sha256.New()
	err = func() error {
		buffer := make([]byte, 256<<10)
		for i := range count {
			p := part{number: i + 1, offset: int64(i) * each}
			p.size = min(each, size-p.offset)
			if known {
				first := p.offset / sums.Block
				p.block, p.crcs = sums.Block, sums.CRC[first:first+(p.size+sums.Block-1)/sums.Block]
			} else if err := p.sum(src, buffer, total, name); err != nil {
				return err
			}
			select {
			case parts <- p:
			case <-feed.Done():
				return nil
			}
		}
		if !known && hex.EncodeToString(total.Sum(nil)) != sha256Hex {
			return errHash(name)
		}
		return nil
	}()
	close(parts)
	workers.Wait()
	if err == nil && feed.Err() != nil {
		err = context.Cause(feed)
	}
	if err != nil {
		if failure.CodeOf(err) == "hash_mismatch" {
			s.abort(ctx, name, upload) // these bytes are of no use to anybody
		}
		return err
	}
	o := minio.PutObjectOptions{}
	o.SetMatchETagExcept("*")
	_, err = s.core.CompleteMultipartUpload(ctx, s.bucket, s.prefix+name, upload, complete, o)
	switch minio.ToErrorResponse(err).Code {
	case "NotImplemented":
		_, err = s.core.CompleteMultipartUpload(ctx, s.bucket, s.prefix+name, upload, complete, minio.PutObjectOptions{})
	case "PreconditionFailed":
		s.abort(ctx, name, upload)
	}
	return err
}

// beginUpload continues the newest unfinished upload of the object, with what
// the service has of it by part number, or begins one. Only a name that carries
// its content's hash is continued: there the bytes must be the same.
func (s *s3) beginUpload(ctx context.Context, name, sha256Hex string) (id string, have map[int]minio.ObjectPart, err error) {
	if strings.Contains(name, sha256Hex) {
		found, err := s.core.ListMultipartUploads(ctx, s.bucket, s.prefix+name, "", "", "", 100)
		if err == nil { // a service that cannot list them starts over
			var newest time.Time
			for _, u := range found.Uploads {
				if u.Key == s.prefix+name && !u.Initiated.Before(newest) {
					id, newest = u.UploadID, u.Initiated
				}
			}
		} else if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
	}
	if id != "" {
		if have, err = s.partsOf(ctx, name, id); err == nil {
			return id, have, nil
		}
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
	}
	// The condition belongs to the request that makes the object appear.
	o := s.options(sha256Hex)
	o = minio.PutObjectOptions{ContentType: o.ContentType, CacheControl: o.CacheControl, UserMetadata: o.UserMetadata}
	id, err = s.core.NewMultipartUpload(ctx, s.bucket, s.prefix+name, o)
	return id, nil, err
}

func (s *s3) partsOf(ctx context.Context, name, id string) (map[int]minio.ObjectPart, error) {
	have := map[int]minio.ObjectPart{}
	for marker := 0; ; {
		page, err := s.core.ListObjectParts(ctx, s.bucket, s.prefix+name, id, marker, 1000)
		if err != nil {
			return nil, err
		}
		for _, p := range page.ObjectParts {
			have[p.PartNumber] = p
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			return have, nil
		}
		marker = page.NextPartNumberMarker
	}
}

// sum reads the part for its sum, and adds it to the total.
func (p *part) sum(src io.ReaderAt, buffer []byte, total io.Writer, name string) error {
	crc := uint32(0)
	for done := int64(0); done < p.size; {
		b := buffer[:min(int64(len(buffer)), p.size-done)]
		if err := readPart(src, b, p.offset+done, name); err != nil {
			return err
		}
		crc = crc32.Update(crc, castagnoli, b)
		_, _ = total.Write(b) // hashes do not fail
		done += int64(len(b))
	}
	p.block, p.crcs = p.size, []uint32{crc}
	return nil
}

// sendPart sends one part, unless the service has exactly these bytes.
func (s *s3) sendPart(ctx context.Context, name, upload string, src io.ReaderAt, p part, have minio.ObjectPart) (etag string, err error) {
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	body := &pulse{section: io.NewSectionReader(src, p.offset, p.size), dog: dog, block: p.block, sums: p.crcs}
	if have.ETag != "" && have.Size == p.size {
		sum := md5.New()
		switch _, err := io.Copy(sum, body); {
		case body.differs():
			return "", errHash(name)
		case err != nil:
			return "", errSource(err)
		case hex.EncodeToString(sum.Sum(nil)) == strings.Trim(have.ETag, `"`):
			return have.ETag, nil
		}
	}
	// Over plain http the library signs the bytes while it sends them.
	o := minio.PutObjectPartOptions{}
	if !s.signed {
		o = minio.PutObjectPartOptions{Sha256Hex: "UNSIGNED-PAYLOAD", DisableContentSha256: true} // S3's word for it
	}
	sent, err := s.core.PutObjectPart(watched, s.bucket, s.prefix+name, upload, p.number, body, p.size, o)
	switch {
	case body.differs():
		return "", errHash(name)
	case err == nil:
		return sent.ETag, nil
	case ctx.Err() != nil:
		return "", err
	case body.broken() != nil:
		return "", errSource(body.broken())
	case watched.Err() != nil:
		return "", errStall(s.host)
	}
	return "", err
}

// pulse is the body of a part: it tells the watchdog about every read, compares
// what it reads with what it should be, and remembers when the source fails. It
// can be read again, for another attempt.
type pulse struct {
	section *io.SectionReader
	dog     *watchdog
	block   int64    // how many bytes each of the sums is of; the last may be of less
	sums    []uint32 // CRC-32C of each block; nil compares nothing

	mu      sync.Mutex // net/http may still read when the call has ended
	at      int64      // bytes read since the last Seek
	crc     uint32     // of these, or of those in the block under way
	changed bool
	fault   error
}

// Read hands out the next bytes. The last ones of a block are only handed out
// when all of the block was right: a service never gets a whole part of wrong bytes.
func (p *pulse) Read(b []byte) (int, error) {
	p.dog.alive()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sums != nil {
		b = b[:min(int64(len(b)), p.block-p.at%p.block)]
	}
	n, err := p.section.Read(b)
	p.crc = crc32.Update(p.crc, castagnoli, b[:n])
	p.at += int64(n)
	if err != nil && err != io.EOF {
		p.fault = err
	}
	if p.sums == nil {
		return n, err
	}
	whole := n > 0 && (p.at%p.block == 0 || p.at == p.section.Size())
	if whole && p.crc != p.sums[(p.at-1)/p.block] || err == io.EOF && p.at < p.section.Size() { // or the file shrank
		p.changed = true
		p.dog.giveUp() // another attempt would read the same
		return 0, errHash("the object")
	}
	if whole {
		p.crc = 0
	}
	return n, err
}

// Seek goes back to the start before another attempt, and is only used so.
func (p *pulse) Seek(offset int64, whence int) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, err := p.section.Seek(offset, whence)
	if at == 0 {
		p.at, p.crc = 0, 0
	}
	return at, err
}

// sum is the CRC-32C of what was read, where nothing is compared.
func (p *pulse) sum() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crc
}

// differs reports whether the bytes were not what they should be.
func (p *pulse) differs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *pulse) broken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// abort drops an unfinished upload, also when ctx has ended. Parts that the
// service is still writing may outlive the request: it is repeated until the
// upload is gone. What stays all the same is found by Leftovers.
func (s *s3) abort(ctx context.Context, name, upload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	for attempt := 1; attempt <= transport.DefaultAttempts; attempt++ {
		_ = s.core.AbortMultipartUpload(ctx, s.bucket, s.prefix+name, upload)
		if transport.Sleep(ctx, transport.Backoff(attempt)) != nil {
			return
		}
		if _, err := s.partsOf(ctx, name, upload); minio.ToErrorResponse(err).Code == "NoSuchUpload" {
			return
		}
	}
}

func (s *s3) Stat(ctx context.Context, name string) (Object, error) {
	const op = "look at the object"
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		if ctx.Err() != nil {
			return Object{}, ctx.Err()
		}
		return Object{}, s.translate(op, name, err)
	}
	object := Object{Name: name, Size: info.Size, Changed: info.LastModified}
	for key, value := range info.UserMetadata {
		if strings.EqualFold(key, shaMeta) && hexSum.MatchString(value) {
			object.SHA256 = value
		}
	}
	return object, nil
}

func (s *s3) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
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
	o := minio.GetObjectOptions{}
	if offset > 0 || length > 0 {
		ranges := "bytes=" + strconv.FormatInt(offset, 10) + "-"
		if length > 0 {
			ranges += strconv.FormatInt(offset+length-1, 10)
		}
		o.Set("Range", ranges)
	}
	r, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return nil, errRange(name, offset)
		}
		return nil, s.translate(op, name, err)
	}
	return r, nil
}

func (s *s3) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err = s.translate("delete the object", name, err); failure.CodeOf(err) == "object_not_found" {
		return nil
	}
	return err
}

func (s *s3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		ctx, stop := context.WithCancel(ctx) // ends the listing's goroutine on an early end
		defer stop()
		for row := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
			if row.Err != nil {
				yield(Object{}, s.translate("list the objects", prefix, row.Err))
				return
			}
			if strings.HasSuffix(row.Key, "/") { // a folder's marker
				continue
			}
			if !yield(Object{Name: strings.TrimPrefix(row.Key, s.prefix), Size: row.Size, Changed: row.LastModified}, nil) {
				return
			}
		}
	}
}

// Leftovers lists the uploads that were begun and not finished.
func (s *s3) Leftovers(ctx context.Context) ([]Leftover, error) {
	var all []Leftover
	for u := range s.core.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		if u.Err != nil {
			return nil, s.translate("list unfinished uploads", s.prefix, u.Err)
		}
		all = append(all, Leftover{Name: strings.TrimPrefix(u.Key, s.prefix), ID: u.UploadID, Started: u.Initiated, Size: u.Size})
	}
	return all, nil
}

// Discard drops an unfinished upload.
func (s *s3) Discard(ctx context.Context, l Leftover) error {
	err := s.core.AbortMultipartUpload(ctx, s.bucket, s.prefix+l.Name, l.ID)
	if minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		return nil
	}
	return s.translate("drop the unfinished upload", l.Name, err)
}

// translate turns the library's errors into failures.
func (s *s3) translate(op, name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ours := failure.Find(err); ours {
		return err
	}
	r := minio.ToErrorResponse(err)
	say := func(class failure.Class, code, hint string) error {
		text := r.Message
		if text == "" {
			text = err.Error()
		}
		if s.key != "" {
			text = strings.ReplaceAll(text, s.key, "[access key]")
		}
		return failure.Newf(class, code, op, hint, "%s: %s", s.host, transport.Clean(text))
	}
	switch r.Code {
	case "NoSuchKey", "NotFound":
		return errNotFound(op, name)
	case "NoSuchBucket":
		return say(failure.NotFound, "bucket_missing", fmt.Sprintf("create the bucket %s, or correct its name", transport.Clean(s.bucket)))
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return say(failure.NotAuthorised, "storage_forbidden", "the credentials are valid but may not do this: widen the bucket's policy")
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed":
		return say(failure.NotAuthorised, "storage_credentials", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws, and the region")
	case "ExpiredToken", "TokenRefreshRequired":
		return say(failure.NotAuthorised, "storage_credentials_expired", "renew the credentials, then repeat the command: parts that were sent stay")
	case "RequestTimeTooSkewed":
		return say(failure.NotAuthorised, "clock_skew", "set this machine's clock")
	case "EntityTooLarge":
		return say(failure.Failed, "too_large", "the service does not take objects of this size")
	case "XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch":
		return errHash(name)
	case "QuotaExceeded", "XMinioStorageFull":
		return say(failure.Failed, "storage_full", "free some space, then repeat the command")
	}
	switch {
	case r.StatusCode == http.StatusNotFound:
		return errNotFound(op, name)
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		return say(failure.NotAuthorised, "storage_forbidden", "check the credentials and the bucket's policy")
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500 && r.StatusCode != http.StatusNotImplemented:
		return say(failure.Unavailable, "remote_unreachable", "the service has a problem: repeat the command in a moment")
	case r.StatusCode != 0 && r.Code != "" && !isNetwork(err):
		return say(failure.Failed, "storage_failed", "")
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return failure.Newf(failure.Unavailable, "host_unknown", op, "check the endpoint in the storage's URL", "the name %s does not resolve", s.host)
	}
	if isNetwork(err) {
		return failure.Newf(failure.Unavailable, "remote_unreachable", op, "check the network and the endpoint, then repeat the command", "%s did not answer: %s", s.host, transport.Clean(lastCause(err)))
	}
	return say(failure.Failed, "storage_failed", "")
}

func isNetwork(err error) bool {
	var n net.Error
	var u *url.Error
	return errors.As(err, &n) || errors.As(err, &u) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// lastCause drops the wrapping, which repeats method and URL.
func lastCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
