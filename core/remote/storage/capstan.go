package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() {
	drivers["capstan+https"] = openCapstan
	drivers["capstan+http"] = openCapstan
}

// capstan is the storage that a capstan server keeps itself: objects go to its
// management side and are published under /files.
type capstan struct {
	caller transport.Caller
	public string
}

var _ Storage = (*capstan)(nil)

const (
	objectsPath = "/capstan/v1/objects/"
	filesPath   = "/files/"
	shaHeader   = "X-Content-Sha256"
)

func openCapstan(_ context.Context, u *url.URL, public string, credentials Credentials) (Storage, error) {
	plain := *u
	plain.Scheme = strings.TrimPrefix(u.Scheme, "capstan+")
	base, err := transport.ParseBase(plain.String(), credentials.AllowHTTP)
	if err != nil {
		return nil, err
	}
	if public == "" {
		public = base.String() + strings.TrimSuffix(filesPath, "/")
	}
	token := credentials.Token
	return &capstan{public: public, caller: transport.Caller{
		Base: base, HTTP: credentials.HTTP, Token: token, Pause: credentials.Pause,
		Authorise: func(r *http.Request) {
			if !token.Empty() {
				r.Header.Set("capgkey", token.Reveal())
			}
		},
		Explain: explainObject,
	}}, nil
}

// explainObject reads the statuses of the object routes.
func explainObject(status int, _ string) (failure.Class, string) {
	switch status {
	case http.StatusConflict:
		return failure.Conflict, "objects never change: release under a new version"
	case http.StatusUnprocessableEntity:
		return failure.Verification, "the transfer was damaged, or the file changed meanwhile: repeat the command"
	}
	return 0, ""
}

func (c *capstan) String() string { return "capstan+" + c.caller.Base.String() }

func (c *capstan) PublicURL(name string) string { return publicURL(c.public, name) }

func (c *capstan) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	var body *upload
	answer, err := c.caller.Do(watched, transport.Call{
		Op: "store the object", Method: http.MethodPut, Path: objectsPath + name,
		Header: http.Header{"Content-Type": {"application/zip"}, shaHeader: {sha256Hex}},
		Body: func() (io.Reader, error) {
			body = newUpload(watched, src, size, sha256Hex, progress, dog)
			return body, nil
		},
		Size:       size,
		Hopeless:   func() bool { return body.fault(name) != nil },
		Streaming:  true,
		Idempotent: true, // immutable and named by its content
	})
	switch {
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case body != nil && body.fault(name) != nil:
		return Object{}, body.fault(name)
	case watched.Err() != nil:
		return Object{}, failure.Newf(failure.Unavailable, "remote_timeout", "store the object", "check the network, then repeat the command",
			"%s took no byte for %s", c.caller.Base.Host, stall)
	}
	switch code := failure.CodeOf(err); {
	case err == nil && !speaksOf(answer, name):
		// A login page that answers 200 in the server's place stored nothing.
		return Object{}, failure.Newf(failure.Unavailable, "answer_malformed", "store the object", "check the server's address, and whether a proxy or a login stands before it",
			"%s answers with something else than its API (HTTP %d)", c.caller.Base.Host, answer.Status)
	case err == nil:
	case code == "object_exists" || code == "conflict":
		return Object{}, errExists(name)
	default:
		return Object{}, err
	}
	if progress != nil {
		progress(size)
	}
	return Object{Name: name, Size: size, SHA256: sha256Hex, Existed: answer.Status == http.StatusOK}, nil
}

// speaksOf reports whether an answer to a PUT names the object.
func speaksOf(answer *transport.Answer, name string) bool {
	var stored struct {
		Name string `json:"name"`
	}
	return json.Unmarshal(answer.Body, &stored) == nil && stored.Name == name
}

func (c *capstan) Stat(ctx context.Context, name string) (Object, error) {
	const op = "look at the object"
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	answer, err := c.caller.Stream(ctx, transport.Call{Op: op, Method: http.MethodHead, Path: objectsPath + name, Idempotent: true})
	if err != nil {
		return Object{}, notFound(op, name, err)
	}
	_ = answer.Body.Close()
	object := Object{Name: name, Size: answer.ContentLength, SHA256: answer.Header.Get(shaHeader)}
	if !hexSum.MatchString(object.SHA256) {
		object.SHA256 = ""
	}
	if at, err := http.ParseTime(answer.Header.Get("Last-Modified")); err == nil {
		object.Changed = at
	}
	return object, nil
}

func (c *capstan) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return getRange(ctx, &c.caller, filesPath+name, name, offset, length)
}

// getRange reads part of an object over HTTP. A server that ignores ranges is
// read from its start and the part cut out.
func getRange(ctx context.Context, caller *transport.Caller, path, name string, offset, length int64) (io.ReadCloser, error) {
	const op = "read the object"
	if offset < 0 {
		return nil, errRange(name, offset)
	}
	if length == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	header := http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}}
	if offset > 0 || length > 0 {
		last := ""
		if length > 0 {
			last = strconv.FormatInt(offset+length-1, 10)
		}
		header.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, last))
	}
	answer, err := caller.Stream(ctx, transport.Call{Op: op, Method: http.MethodGet, Path: path, Header: header, Idempotent: true,
		OK: []int{http.StatusRequestedRangeNotSatisfiable}})
	if err != nil {
		return nil, notFound(op, name, err)
	}
	if answer.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		_ = answer.Body.Close()
		return nil, errRange(name, offset)
	}
	if answer.StatusCode == http.StatusPartialContent {
		return answer.Body, nil
	}
	if skipped, err := io.CopyN(io.Discard, answer.Body, offset); err != nil {
		_ = answer.Body.Close()
		if err == io.EOF {
			return nil, errRange(name, offset)
		}
		return nil, failure.Newf(failure.Unavailable, "remote_unreachable", op, "repeat the command", "the transfer broke after %d bytes", skipped)
	}
	if length < 0 {
		return answer.Body, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, length), answer.Body}, nil
}

func notFound(op, name string, err error) error {
	if f, ok := failure.Find(err); ok && f.Class == failure.NotFound {
		return errNotFound(op, name)
	}
	return err
}

func (c *capstan) Delete(ctx context.Context, name string) error {
	const op = "delete the object"
	if err := CheckName(name); err != nil {
		return err
	}
	_, err := c.caller.Do(ctx, transport.Call{Op: op, Method: http.MethodDelete, Path: objectsPath + name, Idempotent: true})
	if f, ok := failure.Find(err); ok && f.Class == failure.NotFound {
		return nil
	}
	return err
}

func (c *capstan) List(context.Context, string) iter.Seq2[Object, error] {
	return none(errUnsupported("list the objects", "a capstan server does not list its objects; its bundles name them"))
}
