package storage_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
)

const token = "secret-token-of-the-test"

func open(t *testing.T, rawURL, public string, c storage.Credentials) storage.Storage {
	t.Helper()
	s, err := storage.Open(t.Context(), rawURL, public, c)
	if err != nil {
		t.Fatalf("Open %s: %v", rawURL, err)
	}
	return s
}

// noPause lets retries follow each other at once.
func noPause(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func TestFile(t *testing.T) {
	storagetest.Run(t, storagetest.Target{Fetches: true, Open: func(t *testing.T) storage.Storage {
		dir := t.TempDir()
		web := httptest.NewServer(http.FileServer(http.Dir(dir)))
		t.Cleanup(web.Close)
		return open(t, "file://"+filepath.ToSlash(dir), web.URL, storage.Credentials{})
	}})
}

// TestFileLeavesNothing: after refused and cancelled uploads the folder holds no file.
func TestFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, "file://"+filepath.ToSlash(dir), "", storage.Credentials{})
	content := storagetest.Bytes(4<<20, 1)
	ctx, cancel := context.WithCancel(t.Context())
	for _, put := range []func() error{
		func() error {
			_, err := s.Put(ctx, "a/b.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("y")), nil)
			return err
		},
		func() error {
			_, err := s.Put(ctx, "a/b.zip", strings.NewReader(string(content)), int64(len(content)), storagetest.Sum(content), func(int64) { cancel() })
			return err
		},
	} {
		if put() == nil {
			t.Fatal("an upload that cannot succeed did")
		}
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
}

// TestFileReadsOldFolders: objects in the form that all versions write are found
// under their names, and files of others are passed over.
func TestFileReadsOldFolders(t *testing.T) {
	dir := t.TempDir()
	for stored, content := range map[string]string{
		"app/1.0.0/a.zip":                      "plain",
		"app/1.0.0/__0x5f___0x41__.zip":        "looks escaped",
		"app/1.0.0/a.zip.18b1f0c2d3e4f5a6.tmp": "half-written",
	} {
		path := filepath.Join(dir, filepath.FromSlash(stored))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, "file://"+filepath.ToSlash(dir), "", storage.Credentials{})
	for name, want := range map[string]string{"app/1.0.0/a.zip": "plain", "app/1.0.0/__0x41__.zip": "looks escaped"} {
		object, err := s.Put(t.Context(), name, strings.NewReader(want), int64(len(want)), storagetest.Sum([]byte(want)), nil)
		if err != nil || !object.Existed {
			t.Errorf("%s: %+v, %v", name, object, err)
		}
	}
	names := map[string]bool{}
	for object, err := range s.List(t.Context(), "app/") {
		if err != nil {
			t.Fatal(err)
		}
		names[object.Name] = true
	}
	if len(names) != 2 || !names["app/1.0.0/__0x41__.zip"] {
		t.Errorf("the folder lists %v", names)
	}
	left, err := s.(storage.Cleaner).Leftovers(t.Context())
	if err != nil || len(left) != 1 || left[0].Name != "app/1.0.0/a.zip.18b1f0c2d3e4f5a6.tmp" {
		t.Errorf("left over are %v, %v", left, err)
	}
}

// TestFileModes: what is published can be read by the web server's user, as the
// umask allows.
func TestFileModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are a matter of Unix")
	}
	dir := filepath.Join(t.TempDir(), "not", "yet")
	s := open(t, "file://"+dir, "", storage.Credentials{})
	if _, err := s.Put(t.Context(), "a/b.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(probe, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(probe)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(filepath.Join(dir, "a", "b.zip"))
	if err != nil || got.Mode() != want.Mode() {
		t.Errorf("the object has mode %v, any other file %v, %v", got.Mode(), want.Mode(), err)
	}
}

// TestFileStaysInside: a link that leads out of the folder is not followed,
// neither to read nor to write nor to delete.
func TestFileStaysInside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret.zip")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "app")); err != nil {
		t.Skipf("no links here: %v", err)
	}
	s := open(t, "file://"+filepath.ToSlash(dir), "", storage.Credentials{})
	if _, err := s.Get(t.Context(), "app/secret.zip", 0, -1); err == nil {
		t.Error("a file outside is read")
	}
	if _, err := s.Put(t.Context(), "app/new.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil); err == nil {
		t.Error("a file outside is written")
	}
	if err := s.Delete(t.Context(), "app/secret.zip"); err == nil {
		t.Error("a file outside is deleted")
	}
	for object, err := range s.List(t.Context(), "") {
		t.Errorf("a file outside is listed: %v, %v", object, err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside is %v, %v", left, err)
	}
}

// TestFileManyPublishers: of several processes that store other contents under
// one name, one wins and nobody overwrites it.
func TestFileManyPublishers(t *testing.T) {
	dir := t.TempDir()
	for round := range 20 {
		name := fmt.Sprintf("app/%d.zip", round)
		errs, contents := make([]error, 4), make([][]byte, 4)
		var group sync.WaitGroup
		for i := range errs {
			contents[i] = storagetest.Bytes(50_000, byte(i))
			s := open(t, "file://"+filepath.ToSlash(dir), "", storage.Credentials{})
			group.Go(func() {
				_, errs[i] = s.Put(t.Context(), name, strings.NewReader(string(contents[i])), 50_000, storagetest.Sum(contents[i]), nil)
			})
		}
		group.Wait()
		won := 0
		for i, err := range errs {
			switch {
			case err == nil:
				won++
				if got, _ := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); string(got) != string(contents[i]) {
					t.Errorf("%s was stored and is not there", name)
				}
			case failure.CodeOf(err) != "object_exists":
				t.Errorf("%s: %v", name, err)
			}
		}
		if won != 1 {
			t.Errorf("%d publishers stored %s", won, name)
		}
	}
}

func TestFileReadOnlyFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("the superuser may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	s := open(t, "file://"+filepath.ToSlash(dir), "", storage.Credentials{})
	_, err := s.Put(t.Context(), "a.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil)
	if failure.CodeOf(err) != "storage_forbidden" || failure.HintOf(err) == "" {
		t.Errorf("a folder without write access gives %v", err)
	}
}

// objects is the object side of a capstan server, in memory: small enough to
// see that it is right, and able to fail on demand.
type objects struct {
	mu    sync.Mutex
	held  map[string][]byte
	fails atomic.Int64 // requests to answer with 503
	calls atomic.Int64
}

func (o *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	if o.fails.Add(-1) >= 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/files/"); ok {
		o.mu.Lock()
		b, there := o.held[name]
		o.mu.Unlock()
		if !there {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, name, time.Time{}, strings.NewReader(string(b)))
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/capstan/v1/objects/")
	if r.Header.Get("capgkey") != token {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_apikey","message":"Invalid apikey"}`)
		return
	}
	switch r.Method {
	case http.MethodPut:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		sum := sha256.Sum256(b)
		if hex.EncodeToString(sum[:]) != r.Header.Get("X-Content-Sha256") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"error":"hash_mismatch","message":"the bytes differ"}`)
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		switch old, there := o.held[name]; {
		case !there:
			o.held[name] = b
			w.WriteHeader(http.StatusCreated)
		case string(old) != string(b):
			w.WriteHeader(http.StatusConflict)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"status": "ok", "name": name})
	case http.MethodHead:
		o.mu.Lock()
		defer o.mu.Unlock()
		b, there := o.held[name]
		if !there {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		sum := sha256.Sum256(b)
		w.Header().Set("X-Content-Sha256", hex.EncodeToString(sum[:]))
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	case http.MethodDelete:
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, there := o.held[name]; !there {
			w.WriteHeader(http.StatusNotFound)
		}
		delete(o.held, name)
	}
}

func newObjects(t *testing.T) (*objects, *httptest.Server) {
	o := &objects{held: map[string][]byte{}}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return o, server
}

func TestCapstan(t *testing.T) {
	good := storage.Credentials{Token: remote.NewToken(token), Pause: noPause}
	storagetest.Run(t, storagetest.Target{
		Secret:     token,
		Fetches:    true,
		CannotList: true,
		Open: func(t *testing.T) storage.Storage {
			_, server := newObjects(t)
			return open(t, "capstan+"+server.URL, "", good)
		},
		Unreachable: func(t *testing.T) storage.Storage {
			return open(t, "capstan+https://updates.invalid", "", good)
		},
		Refused: func(t *testing.T) storage.Storage {
			_, server := newObjects(t)
			return open(t, "capstan+"+server.URL, "", storage.Credentials{Token: remote.NewToken("wrong"), Pause: noPause})
		},
		Flaky: func(t *testing.T, n int) storage.Storage {
			o, server := newObjects(t)
			o.fails.Store(int64(n))
			return open(t, "capstan+"+server.URL, "", good)
		},
	})
}

// TestCapstanRetriesAreBounded: a server that never recovers is asked a few times.
func TestCapstanRetriesAreBounded(t *testing.T) {
	o, server := newObjects(t)
	o.fails.Store(1000)
	s := open(t, "capstan+"+server.URL, "", storage.Credentials{Token: remote.NewToken(token), Pause: noPause})
	_, err := s.Put(t.Context(), "a.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil)
	if failure.ExitStatus(err) != int(failure.Unavailable) || o.calls.Load() != 4 {
		t.Errorf("%d calls, then %v", o.calls.Load(), err)
	}
}

// TestCapstanConnectionCut: connections that break in the middle of an upload
// lead to another attempt with the same bytes.
func TestCapstanConnectionCut(t *testing.T) {
	o, server := newObjects(t)
	cut := newCutter(t, server.Listener.Addr().String(), 100_000)
	s := open(t, "capstan+http://"+cut.addr(), "", storage.Credentials{Token: remote.NewToken(token), Pause: noPause,
		HTTP: &http.Client{Transport: &http.Transport{}}})
	content := storagetest.Bytes(2<<20, 3)
	var low atomic.Int64
	_, err := s.Put(t.Context(), "a.zip", strings.NewReader(string(content)), int64(len(content)), storagetest.Sum(content), func(done int64) {
		if done == 0 {
			low.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(o.held["a.zip"]) != string(content) || low.Load() < 2 {
		t.Errorf("the object is not what was put, or the upload did not start over (%d starts)", low.Load())
	}
}

// cutter forwards connections and cuts the first one after some bytes.
type cutter struct {
	listener net.Listener
	first    atomic.Bool
}

func newCutter(t *testing.T, to string, after int64) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			go func() {
				if c.first.CompareAndSwap(false, true) {
					_, _ = io.CopyN(out, in, after)
					_ = in.(*net.TCPConn).SetLinger(0) // a reset, not an orderly end
					_ = in.Close()
				} else {
					_, _ = io.Copy(out, in)
				}
				_ = out.Close()
			}()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return c
}

func (c *cutter) addr() string { return c.listener.Addr().String() }

func TestOpenRefuses(t *testing.T) {
	for rawURL, code := range map[string]string{
		"":                                  "storage_url_malformed",
		"updates":                           "storage_url_malformed",
		"ftp://host/x":                      "storage_unknown",
		"file://host/dir":                   "storage_url_malformed",
		"file:relative":                     "storage_url_malformed",
		"capstan+http://updates.example":    "url_insecure",
		"capstan+https://":                  "url_malformed",
		"capstan+https://user:pw@host/":     "url_with_secret",
		"capstan+https://user@host.example": "url_with_secret",
	} {
		_, err := storage.Open(t.Context(), rawURL, "", storage.Credentials{})
		if failure.CodeOf(err) != code || failure.ExitStatus(err) != int(failure.Usage) {
			t.Errorf("%q gives %v (%s), want %s", rawURL, err, failure.CodeOf(err), code)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error shows the password: %v", rawURL, err)
		}
	}
	if _, err := storage.Open(t.Context(), "capstan+https://a.example", "ftp://x", storage.Credentials{}); failure.CodeOf(err) != "public_url_malformed" {
		t.Errorf("a public URL that is none gives %v", err)
	}
}

// TestPublicURLNamesOneObject: whatever the name, the URL's path is exactly it.
func TestPublicURLNamesOneObject(t *testing.T) {
	s := open(t, "capstan+https://updates.example.com/base/", "", storage.Credentials{})
	for _, name := range []string{"a/b.zip", "a b/ü?#%.zip", "1.0.0+7/x.zip"} {
		u, err := url.Parse(s.PublicURL(name))
		if err != nil || u.Path != "/base/files/"+name || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q becomes %s", name, s.PublicURL(name))
		}
	}
}

func TestGetFromServerWithoutRanges(t *testing.T) {
	content := storagetest.Bytes(10_000, 5)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	defer server.Close()
	s := open(t, "capstan+"+server.URL, "", storage.Credentials{})
	r, err := s.Get(t.Context(), "a.zip", 9000, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != string(content[9000:9500]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := s.Get(t.Context(), "a.zip", 10_001, -1); failure.CodeOf(err) != "range_invalid" {
		t.Errorf("a range beyond the end gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, "a.zip", 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("Get under a cancelled context gives %v", err)
	}
}

// TestCapstanLoginPage: a page that answers 200 in the server's place has stored
// nothing, and is not believed.
func TestCapstanLoginPage(t *testing.T) {
	for _, body := range []string{"<!doctype html><title>Log in</title>", "{}", `{"status":"ok"}`, ""} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, body)
		}))
		s := open(t, "capstan+"+server.URL, "", storage.Credentials{Token: remote.NewToken(token), Pause: noPause})
		_, err := s.Put(t.Context(), "a.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil)
		if failure.CodeOf(err) != "answer_malformed" || failure.HintOf(err) == "" {
			t.Errorf("%q: %v", body, err)
		}
		server.Close()
	}
}
