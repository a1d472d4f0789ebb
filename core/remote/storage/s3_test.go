package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

const (
	accessKey = "capstan-access-key"
	secretKey = "capstan-secret-key-0123456789"
)

// gateway is a running S3 service with a proxy before it that can misbehave.
type gateway struct {
	address string // of the service
	proxy   *httptest.Server
	fails   atomic.Int64 // requests that the proxy answers with 503
	mu      sync.Mutex
	puts    []string // part uploads that went through, by query
	next    int      // bucket number
	before  func(*http.Request)
}

var (
	startGateway sync.Once
	theGateway   *gateway
	stopGateway  = func() {}
)

func TestMain(m *testing.M) {
	status := m.Run()
	stopGateway()
	os.Exit(status)
}

// newGateway starts versitygw once for the package.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	program := peers.Program(t, "versitygw", "scripts/install-peers.sh, and put its folder into PATH")
	startGateway.Do(func() {
		// Its files need extended attributes, which a temporary folder in memory may lack.
		dir, err := os.MkdirTemp("", "versitygw-*")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_ = l.Close()
		args := []string{"--access", accessKey, "--secret", secretKey, "--port", address, "--quiet", "posix"}
		sidecar := filepath.Join(dir, "meta")
		root := filepath.Join(dir, "data")
		for _, d := range []string{sidecar, root} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(program, append(args, "--sidecar", sidecar, root)...)
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stopGateway = func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = os.RemoveAll(dir)
		}
		for deadline := time.Now().Add(30 * time.Second); ; {
			c, err := net.Dial("tcp", address)
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(deadline) {
				stopGateway()
				t.Fatalf("versitygw does not start: %s", output.String())
			}
			time.Sleep(50 * time.Millisecond)
		}
		g := &gateway{address: address}
		proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host // it is signed
		}}
		g.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g.fails.Add(-1) >= 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			g.mu.Lock()
			if r.Method == http.MethodPut && r.URL.Query().Has("partNumber") {
				g.puts = append(g.puts, r.URL.Query().Get("partNumber"))
			}
			before := g.before
			g.mu.Unlock()
			if before != nil {
				before(r)
			}
			proxy.ServeHTTP(w, r)
		}))
		proxy.ErrorLog = nil
		stop := stopGateway
		stopGateway = func() { g.proxy.Close(); stop() }
		theGateway = g
	})
	if theGateway == nil {
		t.Fatal("versitygw did not start")
	}
	g := theGateway
	g.fails.Store(0)
	g.mu.Lock()
	g.puts, g.before = nil, nil
	g.mu.Unlock()
	return g
}

// bucket makes an empty bucket that anybody may read, and gives its name.
func (g *gateway) bucket(t *testing.T) string {
	t.Helper()
	g.mu.Lock()
	g.next++
	name := "bucket-" + strings.Repeat("x", 1) + time.Now().Format("150405") + "-" + string(rune('a'+g.next/26%26)) + string(rune('a'+g.next%26))
	g.mu.Unlock()
	c, err := minio.New(g.address, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::` + name + `/*"]}]}`
	if err := c.SetBucketPolicy(t.Context(), name, policy); err != nil {
		t.Fatal(err)
	}
	return name
}

var s3Credentials = storage.Credentials{AccessKey: accessKey, SecretKey: remote.NewToken(secretKey)}

func (g *gateway) open(t *testing.T, bucket string) storage.Storage {
	t.Helper()
	return open(t, "s3://"+bucket+"/live updates?endpoint="+url.QueryEscape(g.proxy.URL), "", s3Credentials)
}

func TestS3(t *testing.T) {
	g := newGateway(t)
	storagetest.Run(t, storagetest.Target{
		Secret:  secretKey,
		Fetches: true,
		Open:    func(t *testing.T) storage.Storage { return newGateway(t).open(t, g.bucket(t)) },
		Unreachable: func(t *testing.T) storage.Storage {
			return open(t, "s3://bucket?endpoint=s3.invalid", "", s3Credentials)
		},
		Refused: func(t *testing.T) storage.Storage {
			return open(t, "s3://"+g.bucket(t)+"?endpoint="+url.QueryEscape(g.proxy.URL), "", storage.Credentials{AccessKey: accessKey, SecretKey: remote.NewToken("wrong")})
		},
		Flaky: func(t *testing.T, n int) storage.Storage {
			s := newGateway(t).open(t, g.bucket(t))
			g.fails.Store(int64(n))
			return s
		},
	})
}

// TestS3Resumes: an upload that died is continued: parts that the service has
// are not sent again, and what comes out is right.
func TestS3Resumes(t *testing.T) {
	g := newGateway(t)
	bucket := g.bucket(t)
	s := g.open(t, bucket)
	const parts = 7
	content := storagetest.Bytes((parts-1)*8<<20+12345, 9)
	name := storagetest.AppID + "/1.0.0/" + storagetest.Sum(content) + ".zip"
	ctx, kill := context.WithCancel(t.Context())
	var acknowledged int64
	_, err := s.Put(ctx, name, bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), func(done int64) {
		if acknowledged = done; done >= 2*8<<20 {
			kill()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the killed upload gives %v", err)
	}
	cleaner := s.(storage.Cleaner)
	left, err := cleaner.Leftovers(t.Context())
	if err != nil || len(left) != 1 || left[0].Name != name {
		t.Fatalf("after the kill there is %+v, %v", left, err)
	}
	g.mu.Lock()
	g.puts = nil
	g.mu.Unlock()
	again := g.open(t, bucket) // another process
	var first int64 = -1
	object, err := again.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), func(done int64) {
		if first < 0 && done > 0 {
			first = done
		}
	})
	if err != nil || object.Existed {
		t.Fatalf("the second run gives %+v, %v", object, err)
	}
	if sent := len(g.puts); sent > parts-2 {
		t.Errorf("%d of %d parts were sent again though %d bytes were acknowledged", sent, parts, acknowledged)
	}
	r, err := again.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the object has %d bytes, want %d; %v", len(got), len(content), err)
	}
	if left, err := cleaner.Leftovers(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("after the second run there is %+v, %v", left, err)
	}
}

// TestS3ResumeChecksBytes: a part of other bytes is not taken for ours.
func TestS3ResumeChecksBytes(t *testing.T) {
	g := newGateway(t)
	bucket := g.bucket(t)
	content := storagetest.Bytes(17<<20, 10)
	name := storagetest.AppID + "/1.0.0/" + storagetest.Sum(content) + ".zip"
	core, err := minio.NewCore(g.address, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	key := "live updates/" + name
	upload, err := core.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wrong := storagetest.Bytes(8<<20, 11)
	if _, err := core.PutObjectPart(t.Context(), bucket, key, upload, 1, bytes.NewReader(wrong), int64(len(wrong)), minio.PutObjectPartOptions{}); err != nil {
		t.Fatal(err)
	}
	s := g.open(t, bucket)
	if _, err := s.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), nil); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the object is not what was put, %v", err)
	}
}

// TestS3Leftovers: what is never continued can be found and dropped, and an
// upload of bytes that turned out wrong leaves nothing.
func TestS3Leftovers(t *testing.T) {
	g := newGateway(t)
	s := g.open(t, g.bucket(t))
	content := storagetest.Bytes(20<<20, 12)
	ctx, kill := context.WithCancel(t.Context())
	_, err := s.Put(ctx, storagetest.AppID+"/1.0.0/x.zip", bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), func(done int64) {
		if done > 0 {
			kill()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), storagetest.AppID+"/1.0.0/y.zip", bytes.NewReader(content), int64(len(content)), storagetest.Sum([]byte("other")), nil)
	if failure.CodeOf(err) != "hash_mismatch" {
		t.Fatalf("wrong bytes give %v", err)
	}
	cleaner := s.(storage.Cleaner)
	left, err := cleaner.Leftovers(t.Context())
	if err != nil || len(left) != 1 || !strings.HasSuffix(left[0].Name, "x.zip") || left[0].Started.IsZero() {
		t.Fatalf("leftovers are %+v, %v", left, err)
	}
	for range 2 {
		if err := cleaner.Discard(t.Context(), left[0]); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := cleaner.Leftovers(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("leftovers are %+v, %v", left, err)
	}
}

func TestS3Refuses(t *testing.T) {
	for rawURL, code := range map[string]string{
		"s3://":                                     "storage_url_malformed",
		"s3://bucket:9000":                          "storage_url_malformed",
		"s3://bucket?endpoint=http://10.0.0.1":      "url_insecure",
		"s3://bucket?endpoint=https://h/path":       "storage_url_malformed",
		"s3://bucket?colour=red":                    "storage_url_malformed",
		"s3://bucket?path_style=perhaps":            "storage_url_malformed",
		"s3://key:secret@bucket?endpoint=h.example": "url_with_secret",
	} {
		_, err := storage.Open(t.Context(), rawURL, "", s3Credentials)
		if failure.CodeOf(err) != code {
			t.Errorf("%s gives %v (%s), want %s", rawURL, err, failure.CodeOf(err), code)
		}
	}
	for rawURL, want := range map[string]string{
		"s3://b/p?endpoint=s3.example.com":                                  "https://s3.example.com/b/p/x.zip",
		"s3://b?endpoint=s3.example.com&path_style=false":                   "https://b.s3.example.com/x.zip",
		"s3://b?region=eu-central-1":                                        "https://b.s3.eu-central-1.amazonaws.com/x.zip",
		"s3://b?endpoint=https://acct.r2.cloudflarestorage.com&region=auto": "https://acct.r2.cloudflarestorage.com/b/x.zip",
		"s3://b?endpoint=http://127.0.0.1:9000":                             "http://127.0.0.1:9000/b/x.zip",
	} {
		if s := open(t, rawURL, "", s3Credentials); s.PublicURL("x.zip") != want {
			t.Errorf("%s publishes at %s, want %s", rawURL, s.PublicURL("x.zip"), want)
		}
	}
}

func TestS3MissingBucket(t *testing.T) {
	g := newGateway(t)
	s := g.open(t, "no-such-bucket")
	_, err := s.Put(t.Context(), "a.zip", strings.NewReader("x"), 1, storagetest.Sum([]byte("x")), nil)
	if failure.CodeOf(err) != "bucket_missing" || failure.HintOf(err) == "" {
		t.Errorf("a bucket that is not there gives %v (%s)", err, failure.CodeOf(err))
	}
}

// changing gives other bytes when it is read for the second time.
type changing struct {
	content []byte
	mu      sync.Mutex
	seen    map[int64]bool
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(c.content).ReadAt(p, off)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[off] && n > 0 {
		p[0] ^= 1
	}
	c.seen[off] = true
	return n, err
}

// TestS3SourceChanges: a file that changes while it is uploaded becomes no object.
func TestS3SourceChanges(t *testing.T) {
	g := newGateway(t)
	s := g.open(t, g.bucket(t))
	content := storagetest.Bytes(20<<20, 14)
	_, err := s.Put(t.Context(), "a/b.zip", &changing{content: content, seen: map[int64]bool{}}, int64(len(content)), storagetest.Sum(content), nil)
	if failure.CodeOf(err) != "hash_mismatch" {
		t.Errorf("a source that changes gives %v", err)
	}
	if _, err := s.Stat(t.Context(), "a/b.zip"); failure.CodeOf(err) != "object_not_found" {
		t.Errorf("afterwards there is %v", err)
	}
}
