//go:build gs || !lean

package storage

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["gs"] = openGS }

// googleBucket is a bucket of Google Cloud Storage, by the service's JSON API
// (https://cloud.google.com/storage/docs/json_api/v1). Google's own client does
// not tell where an upload goes, so that none could go on after a kill.
type googleBucket struct {
	http   *http.Client
	base   string // the service's address, without a slash at its end
	name   string
	tokens oauth2.TokenSource // nil towards an emulator, which asks for none
	// sessions is the folder that remembers unfinished uploads; "" for none.
	sessions string
	pause    func(context.Context, time.Duration) error
}

var _ service = (*googleBucket)(nil)

// googleScope is the one scope that every kind of Google's credentials can be
// asked for; what they may do in the bucket is for its policy to say.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// openGS opens a bucket of Google Cloud Storage, gs://bucket/prefix, with the
// credentials that Google's own tools use (application default credentials).
func openGS(ctx context.Context, u *url.URL, public string, c Credentials) (Storage, error) {
	prefix, err := cloudPrefix(u)
	if err != nil {
		return nil, err
	}
	g := &googleBucket{base: "https://storage.googleapis.com", name: u.Host, sessions: c.StateDir, pause: c.Pause}
	round := transport.NewHTTP().Transport
	if c.HTTP != nil && c.HTTP.Transport != nil {
		round = c.HTTP.Transport
	}
	g.http = &http.Client{Transport: round, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if g.pause == nil {
		g.pause = transport.Sleep
	}
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" { // Google's own variable
		if !strings.Contains(emulator, "://") {
			emulator = "http://" + emulator
		}
		g.base = strings.TrimRight(emulator, "/")
	} else {
		// The credentials outlive the call, and fetch tokens with a client of ours.
		own := context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Transport: round, Timeout: transport.DefaultTimeout})
		credentials, err := google.FindDefaultCredentials(own, googleScope)
		if err != nil {
			return nil, failure.New(failure.NotAuthorised, "storage_credentials", "open the bucket", "there are no Google credentials",
				"gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS")
		}
		g.tokens = oauth2.ReuseTokenSource(nil, credentials.TokenSource)
	}
	if public == "" {
		public = "https://storage.googleapis.com/" + u.Host
		if prefix != "" {
			public = publicURL(public, prefix[:len(prefix)-1])
		}
	}
	return &cloud{service: g, place: "gs://" + u.Host + "/" + prefix, host: "Google Cloud Storage", prefix: prefix, public: public}, nil
}

// googleRefusal is an answer that is not a success.
type googleRefusal int

func (g googleRefusal) Error() string { return "HTTP " + strconv.Itoa(int(g)) }

func (*googleBucket) status(err error) int {
	var refused googleRefusal
	if errors.As(err, &refused) {
		return int(refused)
	}
	return 0
}

// googleCall is one request that may be made twice: what it changes has a
// condition, or is gone the second time.
type googleCall struct {
	method, url string
	header      http.Header
	body        io.ReadSeeker // nil for none
	size        int64
	once        bool // no second attempt: the caller has to ask first what arrived
	also        int  // a status that counts as success beside 2xx
}

// object is the address of an object's resource.
func (g *googleBucket) object(key string, query url.Values) string {
	return g.base + "/storage/v1/b/" + url.PathEscape(g.name) + "/o/" + url.PathEscape(key) + "?" + query.Encode()
}

// do makes the call. The caller closes the answer's body.
func (g *googleBucket) do(ctx context.Context, call googleCall) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		answer, err := g.attempt(ctx, call)
		status := g.status(err)
		again := err != nil && (status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500 || status == 0 && isNetwork(err))
		if !again || call.once || ctx.Err() != nil || attempt == transport.DefaultAttempts {
			return answer, err
		}
		if err := g.pause(ctx, transport.Backoff(attempt)); err != nil {
			return nil, err
		}
	}
}

func (g *googleBucket) attempt(ctx context.Context, call googleCall) (*http.Response, error) {
	var body io.Reader
	if call.body != nil {
		if _, err := call.body.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		body = io.NopCloser(call.body)
	}
	if call.size == 0 {
		body = http.NoBody
	}
	request, err := http.NewRequestWithContext(ctx, call.method, call.url, body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = call.size
	for name, values := range call.header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", transport.UserAgent())
	if g.tokens != nil {
		token, err := g.tokens.Token()
		if err != nil {
			return nil, err
		}
		token.SetAuthHeader(request)
	}
	answer, err := g.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 || answer.StatusCode == call.also {
		return answer, nil
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	return nil, googleRefusal(answer.StatusCode)
}

// read makes the call and decodes the answer into v, which may be nil.
func (g *googleBucket) read(ctx context.Context, call googleCall, v any) error {
	answer, err := g.do(ctx, call)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if v == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
		return err
	}
	return json.NewDecoder(io.LimitReader(answer.Body, transport.DefaultAnswerLimit)).Decode(v)
}

// googleObject is the part of an object's resource that matters here. Numbers of
// 64 bits are strings in Google's JSON.
type googleObject struct {
	Name         string            `json:"name,omitempty"`
	Size         string            `json:"size,omitempty"`
	Updated      *time.Time        `json:"updated,omitempty"`
	Generation   string            `json:"generation,omitempty"`
	ContentType  string            `json:"contentType,omitempty"`
	CacheControl string            `json:"cacheControl,omitempty"`
	CRC32C       string            `json:"crc32c,omitempty"` // base64 of the four bytes, the highest first
	Metadata     map[string]string `json:"metadata,omitempty"`
}

func (o googleObject) object() Object {
	size, _ := strconv.ParseInt(o.Size, 10, 64)
	object := Object{Name: o.Name, Size: size, SHA256: o.Metadata[cloudSum]}
	if o.Updated != nil {
		object.Changed = *o.Updated
	}
	return object
}

// described is the resource of an object that is to be. The service compares the
// CRC when it has all bytes, and stores nothing that differs.
func described(key, sum string, crc uint32) googleObject {
	return googleObject{Name: key, ContentType: "application/zip", CacheControl: cacheForever, Metadata: map[string]string{cloudSum: sum},
		CRC32C: base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))}
}

// uploads is the address that takes new objects, under the condition that there
// is none of this name.
func (g *googleBucket) uploads(kind string) string {
	query := url.Values{"uploadType": {kind}, "ifGenerationMatch": {"0"}}
	return g.base + "/upload/storage/v1/b/" + url.PathEscape(g.name) + "/o?" + query.Encode()
}

// whole sends the resource and the content as the two parts of one body.
func (g *googleBucket) whole(ctx context.Context, key string, body *pulse, content []byte, sum string) error {
	resource, err := json.Marshal(described(key, sum, crc32.Checksum(content, castagnoli)))
	if err != nil {
		return err
	}
	var head, tail bytes.Buffer
	form := multipart.NewWriter(&head)
	part, err := form.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json; charset=UTF-8"}})
	if err != nil {
		return err
	}
	_, _ = part.Write(resource) // a buffer takes everything
	if _, err := form.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/zip"}}); err != nil {
		return err
	}
	fmt.Fprintf(&tail, "\r\n--%s--\r\n", form.Boundary())
	framed := &framed{parts: []io.ReadSeeker{bytes.NewReader(head.Bytes()), body, bytes.NewReader(tail.Bytes())}}
	return g.read(ctx, googleCall{
		method: http.MethodPost, url: g.uploads("multipart"), body: framed, size: int64(head.Len()) + int64(len(content)) + int64(tail.Len()),
		header: http.Header{"Content-Type": {"multipart/related; boundary=" + form.Boundary()}},
	}, nil)
}

// framed reads its parts one after the other, and all again after a Seek to the start.
type framed struct {
	parts []io.ReadSeeker
	at    int
}

func (f *framed) Read(b []byte) (int, error) {
	for f.at < len(f.parts) {
		n, err := f.parts[f.at].Read(b)
		if err == io.EOF {
			f.at++
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

func (f *framed) Seek(int64, int) (int64, error) {
	for _, p := range f.parts {
		if _, err := p.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
	}
	f.at = 0
	return 0, nil
}

func (g *googleBucket) stat(ctx context.Context, key string) (Object, error) {
	var found googleObject
	if err := g.read(ctx, googleCall{method: http.MethodGet, url: g.object(key, nil)}, &found); err != nil {
		return Object{}, err
	}
	return found.object(), nil
}

func (g *googleBucket) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	header := http.Header{"Accept-Encoding": {"identity"}} // the bytes as they are stored
	if offset > 0 || length > 0 {
		part := "bytes=" + strconv.FormatInt(offset, 10) + "-"
		if length > 0 {
			part += strconv.FormatInt(offset+length-1, 10)
		}
		header.Set("Range", part)
	}
	answer, err := g.do(ctx, googleCall{method: http.MethodGet, url: g.object(key, url.Values{"alt": {"media"}}), header: header})
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

func (g *googleBucket) delete(ctx context.Context, key string) error {
	return g.read(ctx, googleCall{method: http.MethodDelete, url: g.object(key, nil)}, nil)
}

func (g *googleBucket) list(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		query := url.Values{"prefix": {prefix}, "fields": {"items(name,size,updated,metadata),nextPageToken"}}
		for {
			var page struct {
				Items         []googleObject `json:"items"`
				NextPageToken string         `json:"nextPageToken"`
			}
			call := googleCall{method: http.MethodGet, url: g.base + "/storage/v1/b/" + url.PathEscape(g.name) + "/o?" + query.Encode()}
			if err := g.read(ctx, call, &page); err != nil {
				yield(Object{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item.object(), nil) {
					return
				}
			}
			if page.NextPageToken == "" || page.NextPageToken == query.Get("pageToken") {
				return
			}
			query.Set("pageToken", page.NextPageToken)
		}
	}
}
