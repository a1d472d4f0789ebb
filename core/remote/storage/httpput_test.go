package storage_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/webdav"

	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
)

// dav is a WebDAV service that makes folders on the way and takes one token.
type dav struct {
	webdav.Handler
	fails atomic.Int64
	seen  sync.Map // headers of uploads, by name
	lock  sync.RWMutex
}

func newDav() *dav {
	return &dav{Handler: webdav.Handler{FileSystem: webdav.NewMemFS(), LockSystem: webdav.NewMemLS()}}
}

func (d *dav) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.fails.Add(-1) >= 0 {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if (r.Method == http.MethodPut || r.Method == http.MethodDelete) && r.Header.Get("Authorization") != "Bearer "+token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodPut {
		d.seen.Store(r.URL.Path, r.Header.Clone())
		// Whole or not at all, and never over what is there: as the services do
		// that honour the condition.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		d.lock.Lock()
		defer d.lock.Unlock()
		if _, err := d.FileSystem.Stat(r.Context(), r.URL.Path); err == nil && r.Header.Get("If-None-Match") == "*" {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		for i, c := range r.URL.Path {
			if c == '/' && i > 0 {
				_ = d.FileSystem.Mkdir(r.Context(), r.URL.Path[:i], 0o755)
			}
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
	} else { // a reader never sees half of an object that is being written
		d.lock.RLock()
		defer d.lock.RUnlock()
	}
	d.Handler.ServeHTTP(w, r)
}

func TestHTTPPut(t *testing.T) {
	start := func(t *testing.T, c storage.Credentials) (*dav, storage.Storage) {
		d := newDav()
		server := httptest.NewServer(d)
		t.Cleanup(server.Close)
		c.Pause = noPause
		return d, open(t, strings.Replace(server.URL, "http://", "http+put://", 1), "", c)
	}
	good := storage.Credentials{Token: remote.NewToken(token)}
	storagetest.Run(t, storagetest.Target{
		Secret: token, Fetches: true, CannotList: true,
		Open: func(t *testing.T) storage.Storage { _, s := start(t, good); return s },
		Refused: func(t *testing.T) storage.Storage {
			_, s := start(t, storage.Credentials{Token: remote.NewToken("wrong")})
			return s
		},
		Unreachable: func(t *testing.T) storage.Storage {
			return open(t, "https+put://artifacts.invalid/x", "", storage.Credentials{Pause: noPause})
		},
		Flaky: func(t *testing.T, n int) storage.Storage { d, s := start(t, good); d.fails.Store(int64(n)); return s },
	})
}

func TestHTTPPutHeaders(t *testing.T) {
	d := newDav()
	server := httptest.NewServer(d)
	defer server.Close()
	s := open(t, strings.Replace(server.URL, "http://", "http+put://", 1)+"/repo/", "https://cdn.example.com", storage.Credentials{
		Token:   remote.NewToken(token),
		Headers: map[string]string{"Authorization": "Bearer {token}", "X-Checksum-Sha256": "{sha256}", "X-Length": "{size}", "X-Name": "{name}"},
	})
	sum := storagetest.Sum([]byte("abc"))
	if _, err := s.Put(t.Context(), "a/b.zip", strings.NewReader("abc"), 3, sum, nil); err != nil {
		t.Fatal(err)
	}
	seen, ok := d.seen.Load("/repo/a/b.zip")
	if !ok {
		t.Fatal("the object went elsewhere")
	}
	h := seen.(http.Header)
	if h.Get("X-Checksum-Sha256") != sum || h.Get("X-Length") != "3" || h.Get("X-Name") != "a/b.zip" || h.Get("If-None-Match") != "*" || h.Get("Content-Type") != "application/zip" {
		t.Errorf("the upload had the headers %v", h)
	}
	if u := s.PublicURL("a/b.zip"); u != "https://cdn.example.com/a/b.zip" {
		t.Errorf("the public URL is %s", u)
	}
	if strings.Contains(s.String(), token) {
		t.Errorf("String shows the token: %s", s)
	}
	for _, rawURL := range []string{"http+put://10.0.0.1/x", "https+put://u:p@h/x", "https+put://h/x?sig=1"} {
		if _, err := storage.Open(t.Context(), rawURL, "", storage.Credentials{}); failure.ExitStatus(err) != int(failure.Usage) {
			t.Errorf("%s gives %v", rawURL, err)
		}
	}
}
