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
	expired atomic.Bool // every request is answered as with credentials that have expired
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
			if g.expired.Load() {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>")
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
	g.expired.Store(false)
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

// TestS3CredentialsExpire: an upload whose credentials end on the way says so,
// and goes on with new ones: what the service has is not sent again.
func TestS3CredentialsExpire(t *testing.T) {
	g := newGateway(t)
	bucket := g.bucket(t)
	const parts = 9
	content := storagetest.Bytes((parts-1)*8<<20+77, 13)
	sum := storagetest.Sum(content)
	var acknowledged int64
	_, err := g.open(t, bucket).Put(t.Context(), sum+".zip", summed{bytes.NewReader(content), sumsOf(content)}, int64(len(content)), sum, func(done int64) {
		if acknowledged = done; done >= 2*8<<20 {
			g.expired.Store(true)
		}
	})
	if failure.CodeOf(err) != "storage_credentials_expired" || failure.HintOf(err) == "" || failure.ExitStatus(err) != int(failure.NotAuthorised) {
		t.Fatalf("credentials that expire give %v (%s)", err, failure.CodeOf(err))
	}
	if _, err := g.open(t, bucket).Stat(t.Context(), sum+".zip"); err == nil {
		t.Error("expired credentials read")
	}
	g.expired.Store(false)
	g.takePuts()
	s := g.open(t, bucket) // with new ones
	if object, err := s.Put(t.Context(), sum+".zip", summed{bytes.NewReader(content), sumsOf(content)}, int64(len(content)), sum, nil); err != nil || object.Existed {
		t.Fatalf("%+v, %v", object, err)
	}
	if sent := g.takePuts(); len(sent) > parts-int(acknowledged/(8<<20)) {
		t.Errorf("%d parts were sent again though %d bytes were acknowledged", len(sent), acknowledged)
	}
	holds(t, s, sum+".zip", content)
}

// holds compares an object with what was put.
func holds(t *testing.T, s storage.Storage, name string, content []byte) {
	t.Helper()
	r, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the object is not what was put: %d bytes, %v", len(got), err)
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

// summed is a source with the sums of its bytes as they once were.
type summed struct {
	io.ReaderAt
	sums storage.BlockSums
}

func (s summed) BlockSums() storage.BlockSums { return s.sums }

func sumsOf(content []byte) storage.BlockSums {
	var s storage.BlockSummer
	_, _ = s.Write(content)
	return s.Sums(storagetest.Sum(content))
}

// readCount counts the bytes that are read from it.
type readCount struct {
	io.ReaderAt
	read atomic.Int64
}

func (c *readCount) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.read.Add(int64(n))
	return n, err
}

// TestS3SummedOnce: a source that knows its sums is read once, and what the
// service has is right: also after an attempt that failed, with signed parts,
// and where an upload goes on.
func TestS3SummedOnce(t *testing.T) {
	g := newGateway(t)
	content := storagetest.Bytes(20<<20+777, 15)
	sum := storagetest.Sum(content)
	put := func(t *testing.T, s storage.Storage) int64 {
		t.Helper()
		src := &readCount{ReaderAt: bytes.NewReader(content)}
		if object, err := s.Put(t.Context(), sum+".zip", summed{src, sumsOf(content)}, int64(len(content)), sum, nil); err != nil || object.Existed {
			t.Fatalf("%+v, %v", object, err)
		}
		holds(t, s, sum+".zip", content)
		return src.read.Load()
	}
	t.Run("once", func(t *testing.T) {
		if n := put(t, g.open(t, g.bucket(t))); n != int64(len(content)) {
			t.Errorf("%d bytes were read, of %d", n, len(content))
		}
	})
	t.Run("signed", func(t *testing.T) {
		g := newGateway(t)
		var mu sync.Mutex
		var signed []string
		g.mu.Lock()
		g.before = func(r *http.Request) {
			if r.URL.Query().Has("partNumber") {
				mu.Lock()
				signed = append(signed, r.Header.Get("X-Amz-Content-Sha256"))
				mu.Unlock()
			}
		}
		g.mu.Unlock()
		// By another name this machine is any host on a network that can be overheard.
		c := s3Credentials
		c.AllowHTTP, c.HTTP = true, &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, g.proxy.Listener.Addr().String())
		}}}
		s := open(t, "s3://"+g.bucket(t)+"?endpoint="+url.QueryEscape("http://storage.example.com"), "", c)
		if n := put(t, s); n != int64(len(content)) {
			t.Errorf("%d bytes were read, of %d", n, len(content))
		}
		mu.Lock()
		defer mu.Unlock()
		for _, how := range signed {
			if how != "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" {
				t.Errorf("a part went out with %q", how)
			}
		}
		if len(signed) != 3 {
			t.Errorf("%d parts were seen", len(signed))
		}
	})
	t.Run("again", func(t *testing.T) {
		g := newGateway(t)
		var broken atomic.Bool
		g.mu.Lock()
		g.before = func(r *http.Request) {
			if r.URL.Query().Get("partNumber") == "2" && broken.CompareAndSwap(false, true) {
				_, _ = io.CopyN(io.Discard, r.Body, 3<<20+5)
				panic(http.ErrAbortHandler) // the connection breaks in the middle of a block
			}
		}
		g.mu.Unlock()
		put(t, g.open(t, g.bucket(t)))
		if !broken.Load() {
			t.Error("no connection broke")
		}
	})
	t.Run("resumed", func(t *testing.T) {
		g := newGateway(t)
		bucket := g.bucket(t)
		ctx, kill := context.WithCancel(t.Context())
		_, err := g.open(t, bucket).Put(ctx, sum+".zip", summed{bytes.NewReader(content), sumsOf(content)}, int64(len(content)), sum, func(done int64) {
			if done > 0 {
				kill()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		g.takePuts()
		put(t, g.open(t, bucket))
		if sent := g.takePuts(); len(sent) > 2 {
			t.Errorf("the parts %v were sent again", sent)
		}
	})
}

// TestS3SummedChanges: a block that is not what it was when it was sealed makes
// no object and drops the upload, wherever it is.
func TestS3SummedChanges(t *testing.T) {
	g := newGateway(t)
	var dropped atomic.Int64
	g.mu.Lock()
	g.before = func(r *http.Request) {
		if r.Method == http.MethodDelete && r.URL.Query().Has("uploadId") {
			dropped.Add(1)
		}
	}
	g.mu.Unlock()
	s := g.open(t, g.bucket(t))
	content := storagetest.Bytes(20<<20+777, 16)
	sum, sums := storagetest.Sum(content), sumsOf(content)
	flipped := func(at int) []byte {
		other := bytes.Clone(content)
		other[at] ^= 1
		return other
	}
	sources := map[string][]byte{
		"first": flipped(0), "middle": flipped(11<<20 + 5), "end of a part": flipped(8<<20 - 1), "last": flipped(len(content) - 1), "short": content[:len(content)-1],
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			dropped.Store(0)
			_, err := s.Put(t.Context(), sum+".zip", summed{bytes.NewReader(source), sums}, int64(len(content)), sum, nil)
			if failure.CodeOf(err) != "hash_mismatch" {
				t.Errorf("a source that changed gives %v", err)
			}
			if _, err := s.Stat(t.Context(), sum+".zip"); failure.CodeOf(err) != "object_not_found" {
				t.Errorf("afterwards there is %v", err)
			}
			if dropped.Load() == 0 {
				t.Error("the upload was not dropped")
			}
		})
	}
	// Part 1 is with the service from a file that was whole, and is not any more.
	t.Run("resumed", func(t *testing.T) {
		ctx, kill := context.WithCancel(t.Context())
		_, err := s.Put(ctx, sum+".zip", summed{bytes.NewReader(content), sums}, int64(len(content)), sum, func(done int64) {
			if done >= 8<<20 {
				kill()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		other := bytes.Clone(content)
		for at := 0; at < len(other); at += 8 << 20 {
			other[at] ^= 1
		}
		if _, err := s.Put(t.Context(), sum+".zip", summed{bytes.NewReader(other), sums}, int64(len(content)), sum, nil); failure.CodeOf(err) != "hash_mismatch" {
			t.Errorf("a source that changed gives %v", err)
		}
	})
	// Sums of another object count for nothing: everything is hashed.
	t.Run("sums of another", func(t *testing.T) {
		other := flipped(5)
		_, err := s.Put(t.Context(), sum+".zip", summed{bytes.NewReader(other), sumsOf(other)}, int64(len(content)), sum, nil)
		if failure.CodeOf(err) != "hash_mismatch" {
			t.Errorf("sums of other bytes give %v", err)
		}
	})
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
