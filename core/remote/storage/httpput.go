package storage

import (
	"bytes"
	"context"
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
	drivers["http+put"] = openHTTPPut
	drivers["https+put"] = openHTTPPut
}

// httpPut is any service that stores what is PUT to an address and gives it
// back on GET: Artifactory, Nexus raw, WebDAV, GitLab's generic packages.
//
//	https+put://artifacts.example.com/repository/updates
//
// Header templates come with the credentials: {token}, {sha256}, {size} and
// {name} are replaced, and without any template a token is sent as Bearer. An
// object that is there is read to find out whether it is the same; most such
// services know no condition, so that two different contents put at the same
// instant cannot be told apart: names that carry their hash avoid that.
//
// Where Credentials.UploadURL names a program, objects are PUT to the URL that
// it prints for each, and read at the storage's own address: see presigned.go.
type httpPut struct {
	caller    transport.Caller
	public    string
	headers   map[string]string
	token     transport.Secret
	uploadURL []string
	allowHTTP bool
}

var _ Storage = (*httpPut)(nil)

func openHTTPPut(_ context.Context, u *url.URL, public string, c Credentials) (Storage, error) {
	plain := *u
	plain.Scheme = strings.TrimSuffix(u.Scheme, "+put")
	base, err := transport.ParseBase(plain.String(), c.AllowHTTP)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, failure.New(failure.Usage, "storage_url_malformed", "open the storage", "the address has a query", "write the address of the folder that objects go to")
	}
	if public == "" {
		public = base.String()
	}
	if err := CheckUploadURL(c.UploadURL); err != nil {
		return nil, err
	}
	headers := c.Headers
	if len(headers) == 0 && !c.Token.Empty() && len(c.UploadURL) == 0 {
		headers = map[string]string{"Authorization": "Bearer {token}"}
	}
	return &httpPut{
		caller: transport.Caller{Base: base, HTTP: c.HTTP, Token: c.Token, Pause: c.Pause},
		public: public, headers: headers, token: c.Token, uploadURL: c.UploadURL, allowHTTP: c.AllowHTTP,
	}, nil
}

func (h *httpPut) String() string {
	u := *h.caller.Base
	u.Scheme += "+put"
	return u.String()
}

func (h *httpPut) PublicURL(name string) string { return publicURL(h.public, name) }

// header fills the templates. What describes an object's content is left out
// of requests that have none.
func (h *httpPut) header(name, sha256Hex string, size int64) http.Header {
	filled := http.Header{}
	for key, template := range h.headers {
		about := strings.Contains(template, "{sha256}") || strings.Contains(template, "{size}")
		if about && sha256Hex == "" {
			continue
		}
		filled.Set(key, strings.NewReplacer("{token}", h.token.Reveal(), "{sha256}", sha256Hex, "{size}", strconv.FormatInt(size, 10), "{name}", name).Replace(template))
	}
	return filled
}

func (h *httpPut) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	const op = "store the object"
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	object := Object{Name: name, Size: size, SHA256: sha256Hex}
	if there, err := h.same(ctx, name, size, sha256Hex); err != nil || there {
		object.Existed = there
		return object, err
	}
	// These services make an object visible without a hash of ours: wrong bytes
	// have to be noticed before the first one is sent, and the last one is kept
	// back until the hash of what was sent is right.
	sum, _, err := hashOf(ctx, io.NewSectionReader(src, 0, size))
	switch {
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case err != nil:
		return Object{}, errSource(err)
	case sum != sha256Hex:
		return Object{}, errHash(name)
	}
	caller, path, header, conceal, err := h.target(ctx, name, sha256Hex, size)
	if err != nil {
		return Object{}, err
	}
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/zip")
	}
	header.Set("If-None-Match", "*")
	var body *upload
	_, err = caller.Do(watched, transport.Call{
		Op: op, Method: http.MethodPut, Path: path, Header: header,
		Body: func() (io.Reader, error) {
			body = newUpload(watched, src, size, sha256Hex, progress, dog)
			return body, nil
		},
		Size:     size,
		Hopeless: func() bool { return body.fault(name) != nil },
		// The same bytes under the same name: twice is the same as once.
		Idempotent: true, Streaming: true,
	})
	switch {
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case body != nil && body.fault(name) != nil:
		return Object{}, body.fault(name)
	case watched.Err() != nil:
		return Object{}, failure.Newf(failure.Unavailable, "remote_timeout", op, "check the network, then repeat the command", "%s took no byte for %s", caller.Base.Host, stall)
	}
	if f, ok := failure.Find(err); ok && f.Class == failure.Conflict { // somebody else was faster
		there, readErr := h.same(ctx, name, size, sha256Hex)
		if readErr != nil || there {
			object.Existed = there
			return object, readErr
		}
	}
	if err != nil {
		return Object{}, conceal(err)
	}
	if progress != nil {
		progress(size)
	}
	return object, nil
}

// target gives what an object is PUT with: who calls, below which path, with
// which headers, and what makes a failure fit to be shown.
func (h *httpPut) target(ctx context.Context, name, sha256Hex string, size int64) (transport.Caller, string, http.Header, func(error) error, error) {
	if len(h.uploadURL) == 0 {
		return h.caller, "/" + name, h.header(name, sha256Hex, size), func(err error) error { return err }, nil
	}
	to, err := h.askURL(ctx, name, sha256Hex, size)
	if err != nil {
		return transport.Caller{}, "", nil, nil, err
	}
	return to.caller(h), "", to.header, to.conceal, nil
}

// overwrites tries the condition alone.
func (h *httpPut) overwrites(ctx context.Context, name string, content []byte, sha256Hex string) (bool, error) {
	caller, path, header, conceal, err := h.target(ctx, name, sha256Hex, int64(len(content)))
	if err != nil {
		return false, err
	}
	header.Set("If-None-Match", "*")
	_, err = caller.Do(ctx, transport.Call{
		Op: "try to overwrite the object", Method: http.MethodPut, Path: path, Header: header, Size: int64(len(content)), Idempotent: true,
		Body: func() (io.Reader, error) { return bytes.NewReader(content), nil },
	})
	// 412, and what Artifactory and Nexus answer where writing again is forbidden.
	if f, ok := failure.Find(err); ok && (f.Class == failure.Conflict || f.Class == failure.Usage || f.Class == failure.NotAuthorised) {
		return false, nil
	}
	return err == nil, conceal(err)
}

// same reads what is there and compares.
func (h *httpPut) same(ctx context.Context, name string, size int64, sha256Hex string) (bool, error) {
	r, err := h.Get(ctx, name, 0, -1)
	if failure.CodeOf(err) == "object_not_found" {
		return false, nil
	}
	// A bucket that may not be listed answers 403 for what is not there.
	if f, ok := failure.Find(err); ok && f.Class == failure.NotAuthorised && len(h.uploadURL) > 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	sum, n, err := hashOf(ctx, io.LimitReader(r, size+1))
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return false, failure.Newf(failure.Unavailable, "remote_unreachable", "compare the object", "repeat the command", "the transfer from %s broke", h.caller.Base.Host)
	}
	if n != size || sum != sha256Hex {
		return false, errExists(name)
	}
	return true, nil
}

func (h *httpPut) Stat(ctx context.Context, name string) (Object, error) {
	const op = "look at the object"
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	answer, err := h.caller.Stream(ctx, transport.Call{Op: op, Method: http.MethodHead, Path: "/" + name, Header: h.header(name, "", 0), Idempotent: true})
	if err != nil {
		return Object{}, notFound(op, name, err)
	}
	_ = answer.Body.Close()
	object := Object{Name: name, Size: answer.ContentLength}
	if at, err := http.ParseTime(answer.Header.Get("Last-Modified")); err == nil {
		object.Changed = at
	}
	return object, nil
}

func (h *httpPut) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	caller := h.caller
	caller.Authorise = func(r *http.Request) {
		for key, values := range h.header(name, "", 0) {
			r.Header[key] = values
		}
	}
	return getRange(ctx, &caller, "/"+name, name, offset, length)
}

func (h *httpPut) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(h.uploadURL) > 0 && len(h.headers) == 0 {
		return errUnsupported("delete the object", "the program gives addresses to write to, and none to delete with: delete it with the service's own tools")
	}
	_, err := h.caller.Do(ctx, transport.Call{Op: "delete the object", Method: http.MethodDelete, Path: "/" + name, Header: h.header(name, "", 0), Idempotent: true})
	if f, ok := failure.Find(err); ok && f.Class == failure.NotFound {
		return nil
	}
	return err
}

func (h *httpPut) List(context.Context, string) iter.Seq2[Object, error] {
	return none(errUnsupported("list the objects", "a storage that takes a plain PUT has no common way to list"))
}
