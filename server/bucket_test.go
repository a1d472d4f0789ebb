package server_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"capstan/core/failure"
	"capstan/internal/peers"
	"capstan/internal/servertest"
	"capstan/server"
	"capstan/server/store"
)

// service is a real S3 service with one bucket, behind a proxy that can refuse.
type service struct {
	url     string // of the bucket, for Config.Bucket
	refuses atomic.Bool
}

func startService(t *testing.T) *service {
	t.Helper()
	program := peers.Program(t, "versitygw", "scripts/install-peers.sh, and put its folder into PATH")
	const access, secret = "capstan-access-key", "capstan-secret-key-0123456789"
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	root, meta := filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	for _, d := range []string{root, meta} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// The environment keeps credentials out of the process list.
	command := exec.Command(program, "--port", address, "--quiet", "posix", "--sidecar", meta, root)
	command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("versitygw does not start")
		}
	}
	c, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(access, secret, ""), BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "updates", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	s := &service{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
		r.Out.Host = r.In.Host // it is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.refuses.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.url = "s3://updates/live?endpoint=" + url.QueryEscape(front.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	return s
}

// A server whose objects are in a bucket keeps every promise of one with a folder.
func TestObjectsInBucket(t *testing.T) {
	s3 := startService(t)
	start := func(t *testing.T) *servertest.Server {
		return startWithApps(t, func(c *server.Config) { c.Bucket = s3.url })
	}
	t.Run("objects", func(t *testing.T) { testObjects(t, start(t), "spool") })
	t.Run("race", func(t *testing.T) { testObjectsRace(t, start(t)) })
	t.Run("client", func(t *testing.T) { testStorageClient(t, start(t)) })
	t.Run("parts", func(t *testing.T) {
		s := start(t)
		data, sum := content(20 << 20) // larger than a part of an upload
		name := mine + "/2.0.0/" + sum + ".zip"
		if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusCreated {
			t.Fatalf("%d %s", status, text)
		}
		if answer, body := get(t, s, "GET", "/files/"+name, nil); answer.StatusCode != 200 || !bytes.Equal(body, data) {
			t.Errorf("%d, %d bytes", answer.StatusCode, len(body))
		}
		// Another node, which has no row of its own making: the bucket is what counts.
		other := start(t)
		if answer, body := get(t, other, "GET", "/files/"+name, http.Header{"Range": {"bytes=10000000-"}}); answer.StatusCode != 206 || !bytes.Equal(body, data[10_000_000:]) {
			t.Errorf("%d, %d bytes", answer.StatusCode, len(body))
		}
	})
	t.Run("service down", func(t *testing.T) {
		s := start(t)
		data, sum := content(5000)
		name := mine + "/3.0.0/" + sum + ".zip"
		if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusCreated {
			t.Fatalf("%d %s", status, text)
		}
		s3.refuses.Store(true)
		defer s3.refuses.Store(false)
		if answer, _ := get(t, s, "GET", "/files/"+name, nil); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("GET: %d", answer.StatusCode)
		}
		more, moreSum := content(5001)
		if status, text := put(t, s, mine+"/3.0.0/"+moreSum+".zip", moreSum, bytes.NewReader(more)); status != http.StatusServiceUnavailable {
			t.Errorf("PUT: %d %s", status, text)
		}
		if _, err := server.New(server.Config{DataDir: t.TempDir(), Bucket: s3.url}); failure.CodeOf(err) != "storage_failed" {
			t.Errorf("a server starts without its storage: %v", err)
		}
	})
	if _, err := server.New(server.Config{DataDir: t.TempDir(), Bucket: "sftp://host/x"}); failure.CodeOf(err) != "storage_unsupported" {
		t.Errorf("%v", err)
	}
}

// A backup of a server with a bucket leaves the objects there, and names those
// that the database knows and the bucket lacks.
func TestBackupLooksThroughBucket(t *testing.T) {
	service := startService(t)
	s := startWithApps(t, func(c *server.Config) { c.Bucket = service.url })
	data, sum := content(10_000)
	if status, text := put(t, s, mine+"/1.0.0/"+sum+".zip", sum, bytes.NewReader(data)); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	lost := mine + "/1.1.0/" + sum + ".zip"
	if err := s.Store().AddObject(t.Context(), store.Object{Name: lost, SHA256: sum, Size: 10_000}); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	report, err := server.Backup(t.Context(), server.Source{DataDir: s.DataDir, Bucket: service.url}, &file)
	if err != nil {
		t.Fatal(err)
	}
	if report.Bucket != 1 || len(report.Missing) != 1 || report.Missing[0] != lost {
		t.Errorf("%+v", report)
	}
	if _, err := server.Restore(t.Context(), &file, filepath.Join(t.TempDir(), "restored"), ""); err != nil {
		t.Error(err)
	}
	service.refuses.Store(true)
	if _, err := server.Backup(t.Context(), server.Source{DataDir: s.DataDir, Bucket: service.url}, &file); err == nil {
		t.Error("a bucket that cannot be reached is no failure")
	}
}
