//go:build gs || !lean

package storage_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// google is a running fake-gcs-server behind a front.
type google struct {
	address string // the server's own
	front   *googleFront
	buckets int
}

// googleFront stands before fake-gcs-server and does for it what Google does and
// it does not: it keeps the chunks of an upload and tells how much is there (the
// server would complete the object with what it has), ignores what comes twice,
// and passes the upload on when it is complete. It counts, can refuse what comes,
// and can keep less of a chunk than was sent.
type googleFront struct {
	proxy *httputil.ReverseProxy
	mu    sync.Mutex
	kept  map[string]*bytes.Buffer // what is there of an upload, by its id
	sent  map[string]int           // chunks by their range
	asked int                      // how often it was asked what is there
	fails int                      // requests to answer with 503
	cuts  int                      // chunks of which only a part is taken
	gone  bool                     // uploads are not known any more
}

// grain is what Google keeps of a broken chunk: a multiple of 256 KiB.
const grain = 256 << 10

func (g *googleFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("upload_id")
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fails > 0 {
		g.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if id == "" {
		g.mu.Unlock()
		g.proxy.ServeHTTP(w, r)
		g.mu.Lock()
		return
	}
	if g.gone {
		w.WriteHeader(http.StatusGone)
		return
	}
	var first, last, size int64
	if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil {
		g.asked++
		g.more(w, id)
		return
	}
	g.sent[r.Header.Get("Content-Range")]++
	kept := g.kept[id]
	if kept == nil {
		kept = new(bytes.Buffer)
		g.kept[id] = kept
	}
	body := new(bytes.Buffer)
	if _, err := body.ReadFrom(r.Body); err != nil || first > int64(kept.Len()) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	body.Next(kept.Len() - int(first)) // what is there already is ignored
	if g.cuts > 0 {
		g.cuts--
		kept.Write(body.Next(body.Len() / 2 / grain * grain))
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_, _ = body.WriteTo(kept)
	if int64(kept.Len()) < size {
		g.more(w, id)
		return
	}
	delete(g.kept, id)
	r.Header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", size-1, size))
	r.Body, r.ContentLength = io.NopCloser(kept), size
	g.proxy.ServeHTTP(w, r)
}

func (g *googleFront) more(w http.ResponseWriter, id string) {
	if kept := g.kept[id]; kept != nil && kept.Len() > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", kept.Len()-1))
	}
	w.WriteHeader(http.StatusPermanentRedirect)
}

func (g *googleFront) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// take gives the chunks that were sent since its last call.
func (g *googleFront) take() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.sent
	g.sent = map[string]int{}
	return all
}

// newGoogle starts fake-gcs-server and points Google's own variable at its front.
func newGoogle(t *testing.T) *google {
	t.Helper()
	program := peers.Program(t, "fake-gcs-server", "scripts/install-peers.sh, and put its folder into PATH")
	g := &google{address: freeAddress(t), front: &googleFront{kept: map[string]*bytes.Buffer{}, sent: map[string]int{}}}
	g.front.proxy = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: g.address})
		r.Out.Host = r.In.Host // uploads go through the front
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	front := httptest.NewServer(g.front)
	t.Cleanup(front.Close)
	_, port, _ := strings.Cut(g.address, ":")
	start(t, exec.Command(program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory",
		"-public-host", g.address, "-log-level", "error"), g.address)
	t.Setenv("STORAGE_EMULATOR_HOST", front.Listener.Addr().String())
	return g
}

// bucket makes an empty bucket and gives its name.
func (g *google) bucket(t *testing.T) string {
	t.Helper()
	g.buckets++
	name := fmt.Sprintf("bucket-%d", g.buckets)
	answer, err := http.Post("http://"+g.address+"/storage/v1/b?project=p", "application/json", strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("making a bucket: %s", answer.Status)
	}
	return name
}

// TestGS runs the suite on fake-gcs-server.
func TestGS(t *testing.T) {
	g := newGoogle(t)
	opened := func(t *testing.T) storage.Storage {
		name := g.bucket(t)
		return open(t, "gs://"+name+"/live", "http://"+g.address+"/"+name+"/live", storage.Credentials{StateDir: t.TempDir(), Pause: noPause})
	}
	storagetest.Run(t, storagetest.Target{Open: opened, Fetches: true, Flaky: func(t *testing.T, n int) storage.Storage {
		s := opened(t)
		g.front.set(func() { g.front.fails = n })
		t.Cleanup(func() { g.front.set(func() { g.front.fails = 0 }) })
		return s
	}})
}

// TestGSKilled: an upload that is killed is continued where the service says
// that it stands.
func TestGSKilled(t *testing.T) {
	g := newGoogle(t)
	at := []int{60}
	if os.Getenv("CAPSTAN_LONG") == "1" {
		at = []int{10, 30, 60, 90}
	}
	killUploads(t, func(t *testing.T) string { return "gs://" + g.bucket(t) + "/live" }, g.front.take, at...)
	g.front.set(func() {
		if g.front.asked != len(at) {
			t.Errorf("the service was asked %d times what it has, want %d", g.front.asked, len(at))
		}
	})
}

// TestGSLostChunks: chunks that break on the way are sent again from where the
// service stands, and an upload that the service has forgotten starts over.
func TestGSLostChunks(t *testing.T) {
	g := newGoogle(t)
	content := storagetest.Bytes(20<<20+12345, 51)
	put := func(s storage.Storage, name string) (storage.Object, error) {
		var last int64
		return s.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), func(done int64) {
			if done < last {
				t.Errorf("progress went down from %d to %d", last, done)
			}
			last = done
		})
	}
	stands := func(s storage.Storage, name string) {
		t.Helper()
		r, err := s.Get(t.Context(), name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Errorf("%s has %d bytes, %v", name, got.Len(), err)
		}
	}
	state := t.TempDir()
	s := open(t, "gs://"+g.bucket(t), "", storage.Credentials{StateDir: state, Pause: noPause})
	g.front.set(func() { g.front.cuts = 3 })
	if _, err := put(s, "cut.zip"); err != nil {
		t.Fatal(err)
	}
	stands(s, "cut.zip")

	g.front.set(func() { g.front.cuts = 1000 })
	_, err := put(s, "given-up.zip")
	if failure.CodeOf(err) != "remote_unreachable" {
		t.Fatalf("a service that loses every chunk gives %v", err)
	}
	kept, _ := filepath.Glob(filepath.Join(state, "*.json"))
	if len(kept) != 1 {
		t.Fatalf("%d uploads are remembered, want 1", len(kept))
	}
	if info, err := os.Stat(kept[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the upload's address is readable for others: %v, %v", info.Mode(), err)
	}
	// An address that is not the service's is not asked.
	var session map[string]any
	raw, err := os.ReadFile(kept[0])
	if err != nil || json.Unmarshal(raw, &session) != nil {
		t.Fatalf("%s, %v", raw, err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another server was asked") }))
	defer elsewhere.Close()
	session["url"] = elsewhere.URL + "/?upload_id=1"
	forged, _ := json.Marshal(session)
	if err := os.WriteFile(kept[0], forged, 0o600); err != nil {
		t.Fatal(err)
	}
	g.front.set(func() { g.front.cuts = 0 })
	if _, err := put(s, "given-up.zip"); err != nil {
		t.Fatal(err)
	}
	stands(s, "given-up.zip")

	g.front.set(func() { g.front.cuts = 1000 })
	_, _ = put(s, "gone.zip")
	g.front.set(func() { g.front.cuts, g.front.gone = 0, true })
	if _, err := put(s, "gone.zip"); err == nil {
		t.Error("an upload that the service forgets in the middle succeeds")
	}
	g.front.set(func() { g.front.gone = false })
	if _, err := put(s, "gone.zip"); err != nil {
		t.Fatal(err)
	}
	stands(s, "gone.zip")
	if kept, _ := filepath.Glob(filepath.Join(state, "*")); len(kept) != 0 {
		t.Errorf("uploads that ended are remembered: %v", kept)
	}
}

// TestGSChangedSource: bytes that change between their hash and their sending
// make no object, because the service compares a CRC that was told before.
func TestGSChangedSource(t *testing.T) {
	var declared, told string
	var got bytes.Buffer
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost:
			var resource struct{ CRC32C string }
			if err := json.NewDecoder(r.Body).Decode(&resource); err != nil {
				t.Error(err)
			}
			declared = resource.CRC32C
			w.Header().Set("Location", server.URL+"/session?upload_id=1")
		default:
			_, _ = got.ReadFrom(r.Body)
			size, _ := strconv.Atoi(r.Header.Get("Content-Range")[strings.LastIndexByte(r.Header.Get("Content-Range"), '/')+1:])
			if got.Len() < size {
				w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", got.Len()-1))
				w.WriteHeader(http.StatusPermanentRedirect)
				return
			}
			if told = storagetest.CRC32C(got.Bytes()); told != declared {
				w.WriteHeader(http.StatusBadRequest)
			}
		}
	}))
	defer server.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", server.URL)
	s := open(t, "gs://bucket", "", storage.Credentials{StateDir: t.TempDir(), Pause: noPause})
	content := storagetest.Bytes(20<<20, 41)
	source := &changing{content: content, seen: map[int64]bool{}}
	_, err := s.Put(t.Context(), "a.zip", source, int64(len(content)), storagetest.Sum(content), nil)
	if failure.CodeOf(err) != "hash_mismatch" || declared != storagetest.CRC32C(content) || told == declared {
		t.Errorf("%v; declared %s, got %s", err, declared, told)
	}
}
