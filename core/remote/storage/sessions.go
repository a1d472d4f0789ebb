//go:build gs || !lean

package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2/maybe"

	"capstan/core/remote/transport"
)

// session is an unfinished upload to Google Cloud Storage, as it is kept in a
// file. The service drops one after a week. Whoever knows its address may write
// the object: the file is the user's alone.
type session struct {
	URL   string    `json:"url"`
	SHA   string    `json:"sha256"`
	Size  int64     `json:"size"`
	Begun time.Time `json:"begun"`
}

// sessionLife is how long an upload may be continued: a day less than Google says.
const sessionLife = 6 * 24 * time.Hour

// pieces stores a large object through a resumable upload: the service gives an
// address, takes the bytes in order, and tells how many it has. What it has
// after a kill is not sent again, because the address is kept in a file.
// (https://cloud.google.com/storage/docs/performing-resumable-uploads)
func (g *googleBucket) pieces(ctx context.Context, key string, src io.ReaderAt, size int64, sum string, progress func(int64)) error {
	// The hash is right before anything is sent; the CRC lets the service notice
	// a source that changes after that.
	crc := crc32.New(castagnoli)
	got, _, err := hashOf(ctx, io.TeeReader(io.NewSectionReader(src, 0, size), crc))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return errSource(err)
	case got != sum:
		return errHash(key)
	}
	kept := g.sessionFile(key)
	at, done, err := g.continued(ctx, kept, size, sum)
	if err != nil {
		return err
	}
	if at == "" {
		if at, err = g.begin(ctx, key, size, sum, crc.Sum32(), kept); err != nil {
			return err
		}
	}
	err = g.send(ctx, at, src, done, size, progress)
	switch g.status(err) {
	case http.StatusBadRequest:
		forget(kept)
		return errHash(key) // the service's CRC is another
	case http.StatusNotFound, http.StatusGone, http.StatusPreconditionFailed:
		forget(kept) // it ended without us
	}
	if err == nil {
		forget(kept)
	}
	return err
}

// begin asks for an upload's address and keeps it.
func (g *googleBucket) begin(ctx context.Context, key string, size int64, sum string, crc uint32, kept string) (string, error) {
	resource, err := json.Marshal(described(key, sum, crc))
	if err != nil {
		return "", err
	}
	answer, err := g.do(ctx, googleCall{
		method: http.MethodPost, url: g.uploads("resumable"), body: bytes.NewReader(resource), size: int64(len(resource)),
		header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}, "X-Upload-Content-Type": {"application/zip"}, "X-Upload-Content-Length": {strconv.FormatInt(size, 10)}},
	})
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	at, err := answer.Location()
	if err != nil {
		return "", err
	}
	if err := keep(kept, session{URL: at.String(), SHA: sum, Size: size, Begun: time.Now().UTC()}); err != nil {
		return "", err
	}
	return at.String(), nil
}

// continued gives the address of the upload that was begun for these bytes and
// how many of them the service has; "" when there is none to go on with.
func (g *googleBucket) continued(ctx context.Context, kept string, size int64, sum string) (at string, done int64, err error) {
	content, err := os.ReadFile(kept)
	if err != nil {
		return "", 0, nil
	}
	var s session
	if json.Unmarshal(content, &s) != nil || s.Size != size || s.SHA != sum || time.Since(s.Begun) > sessionLife || !g.isOwn(s.URL) {
		forget(kept)
		return "", 0, nil
	}
	done, err = g.has(ctx, s.URL, size)
	if status := g.status(err); status == http.StatusNotFound || status == http.StatusGone || status == http.StatusBadRequest {
		forget(kept) // the service knows it no more
		return "", 0, nil
	}
	return s.URL, done, err
}

// isOwn tells whether an address is the service's: what a file says is not sent
// anywhere else.
func (g *googleBucket) isOwn(address string) bool {
	kept, err := url.Parse(address)
	base, baseErr := url.Parse(g.base)
	return err == nil && baseErr == nil && kept.Scheme == base.Scheme && (kept.Host == base.Host || g.tokens != nil && strings.HasSuffix(kept.Host, ".googleapis.com"))
}

// has asks how many bytes the service has; size when the object is there.
func (g *googleBucket) has(ctx context.Context, at string, size int64) (int64, error) {
	answer, err := g.do(ctx, googleCall{method: http.MethodPut, url: at, also: http.StatusPermanentRedirect,
		header: http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", size)}}})
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return acknowledged(answer, size), nil
}

// acknowledged reads how many bytes the service has from its answer, in the form
// "bytes=0-LAST"; none without a range. As long as the service waits for more it
// does not have all: the last byte, sent again, ends the upload.
func acknowledged(answer *http.Response, size int64) int64 {
	if answer.StatusCode != http.StatusPermanentRedirect {
		return size
	}
	_, last, _ := strings.Cut(answer.Header.Get("Range"), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n < 0 || n >= size {
		return 0
	}
	return min(n+1, size-1)
}

// send sends the bytes from done on, a chunk at a time. When one gets lost on
// the way the service is asked what it has, and a few chunks may get lost in a
// row before the upload is given up.
func (g *googleBucket) send(ctx context.Context, at string, src io.ReaderAt, done, size int64, progress func(int64)) error {
	progress(done)
	for lost := 0; done < size; {
		n, err := g.chunk(ctx, at, src, done, size)
		switch status := g.status(err); {
		case err == nil && n > done:
			done, lost = n, 0
			progress(done)
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil: // it took nothing
		case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500, status == 0 && isNetwork(err):
		default:
			return err
		}
		if lost++; lost == transport.DefaultAttempts {
			if err == nil {
				err = errStall("Google Cloud Storage")
			}
			return err
		}
		if err := g.pause(ctx, transport.Backoff(lost)); err != nil {
			return err
		}
		if done, err = g.has(ctx, at, size); err != nil {
			return err
		}
	}
	return nil
}

// chunk sends one chunk and gives how many bytes the service has then.
func (g *googleBucket) chunk(ctx context.Context, at string, src io.ReaderAt, done, size int64) (int64, error) {
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	end := min(done+cloudChunk, size)
	body := &pulse{section: io.NewSectionReader(src, done, end-done), dog: dog}
	answer, err := g.do(watched, googleCall{
		method: http.MethodPut, url: at, body: body, size: end - done, once: true, also: http.StatusPermanentRedirect,
		header: http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", done, end-1, size)}, "Content-Type": {"application/zip"}},
	})
	switch {
	case err == nil:
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
		return acknowledged(answer, size), nil
	case body.broken() != nil:
		return done, errSource(body.broken())
	case watched.Err() != nil && ctx.Err() == nil:
		return done, errStall("Google Cloud Storage")
	}
	return done, err
}

// sessionFile is where the upload of an object is remembered; "" for nowhere.
func (g *googleBucket) sessionFile(key string) string {
	if g.sessions == "" {
		return ""
	}
	name := sha256.Sum256([]byte(g.base + "\n" + g.name + "\n" + key))
	return filepath.Join(g.sessions, hex.EncodeToString(name[:16])+".json")
}

// keep writes the session to the disk, and sweeps those that are of no use any
// more.
func keep(path string, s session) error {
	if path == "" {
		return nil
	}
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fileFailure("remember the upload", filepath.Dir(path), err)
	}
	old, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.json"))
	for _, o := range old {
		if info, err := os.Lstat(o); err == nil && time.Since(info.ModTime()) > sessionLife {
			forget(o)
		}
	}
	if err := maybe.WriteFile(path, content, 0o600); err != nil {
		return fileFailure("remember the upload", filepath.Dir(path), err)
	}
	return nil
}

func forget(path string) {
	if path == "" {
		return
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = os.Truncate(path, 0) // read as none, should the folder be locked
	}
}
