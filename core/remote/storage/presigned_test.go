package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
)

// presignFor is set in the child process that prints a presigned URL: the
// service and the bucket, and how it does that.
const presignFor, presignHow = "TEST_PRESIGN_FOR", "TEST_PRESIGN_HOW"

func init() {
	if at := os.Getenv(presignFor); at != "" && len(os.Args) == 4 {
		if err := printPresigned(at, os.Getenv(presignHow), os.Args[1], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
}

// printPresigned is the child: a company's own program.
func printPresigned(at, how, name, sum string) error {
	endpoint, bucket, _ := strings.Cut(at, "/")
	secret := secretKey
	if how == "wrong" {
		secret = "another-key-0123456789"
	}
	c, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secret, ""), BucketLookup: minio.BucketLookupPath, Region: "us-east-1"})
	if err != nil {
		return err
	}
	meta := http.Header{}
	if how == "headers" {
		meta.Set("X-Amz-Meta-Capstan-Sha256", sum)
	}
	u, err := c.PresignHeader(context.Background(), http.MethodPut, bucket, name, 5*time.Minute, nil, meta)
	switch {
	case err != nil:
		return err
	case how == "fails":
		return fmt.Errorf("the broker answers 500 to %s", u)
	case how == "nothing":
		return nil
	case how == "garbage":
		fmt.Println("<html>", u)
	case how == "no header":
		fmt.Printf("%s\n%s\n", u, u.RawQuery)
	case how == "plain http":
		fmt.Println("http://storage.example.com/x?" + u.RawQuery)
	case how == "elsewhere":
		fmt.Println("http://127.0.0.1:1/x?" + u.RawQuery)
	default:
		fmt.Println(u)
	}
	for key := range meta {
		fmt.Printf("%s: %s\n", key, meta.Get(key))
	}
	return nil
}

// presigning opens a storage behind presigned URLs of a bucket that anybody may read.
func presigning(t *testing.T, g *gateway, bucket, how string) storage.Storage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(presignFor, g.proxy.Listener.Addr().String()+"/"+bucket)
	t.Setenv(presignHow, how)
	return open(t, strings.Replace(g.proxy.URL, "http://", "http+put://", 1)+"/"+bucket, "https://cdn.example.com/updates",
		storage.Credentials{Token: remote.NewToken(token), UploadURL: []string{self, "{name}", "{size}", "{sha256}"}, Pause: noPause})
}

// TestPresigned stores through URLs that a program signs, and reads where anybody may.
func TestPresigned(t *testing.T) {
	g := newGateway(t)
	bucket := g.bucket(t)
	var mu sync.Mutex
	var puts, leaked int
	g.mu.Lock()
	g.before = func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut && r.URL.Query().Has("X-Amz-Signature") {
			puts++
		}
		for _, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), token) {
				leaked++
			}
		}
	}
	g.mu.Unlock()
	content := storagetest.Bytes(3<<20+11, 17)
	sum := storagetest.Sum(content)
	const name = storagetest.AppID + "/1.0.0+7/a b.zip"
	s := presigning(t, g, bucket, "")
	put := func(s storage.Storage, content []byte, sum string) (storage.Object, error) {
		return s.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), sum, nil)
	}
	g.fails.Store(2) // also where the service has a bad moment
	if object, err := put(s, content, sum); err != nil || object.Existed {
		t.Fatalf("%+v, %v", object, err)
	}
	if object, err := s.Stat(t.Context(), name); err != nil || object.Size != int64(len(content)) {
		t.Errorf("%+v, %v", object, err)
	}
	if object, err := put(s, content, sum); err != nil || !object.Existed {
		t.Errorf("the same content gives %+v, %v", object, err)
	}
	other := storagetest.Bytes(4000, 18)
	if _, err := put(s, other, storagetest.Sum(other)); failure.CodeOf(err) != "object_exists" {
		t.Errorf("other content gives %v", err)
	}
	if _, err := s.Put(t.Context(), "x.zip", bytes.NewReader(other), int64(len(other)), sum, nil); failure.CodeOf(err) != "hash_mismatch" {
		t.Errorf("a wrong hash gives %v", err)
	}
	if err := s.Delete(t.Context(), name); failure.CodeOf(err) != "unsupported" {
		t.Errorf("deleting gives %v", err)
	}
	if at := s.PublicURL(name); at != "https://cdn.example.com/updates/"+storagetest.AppID+"/1.0.0+7/a%20b.zip" {
		t.Errorf("the public URL is %s", at)
	}
	mu.Lock()
	if puts != 1 || leaked != 0 {
		t.Errorf("%d signed uploads arrived, the token in %d requests", puts, leaked)
	}
	mu.Unlock()

	t.Run("signed headers", func(t *testing.T) {
		bucket := g.bucket(t)
		if _, err := put(presigning(t, g, bucket, "headers"), content, sum); err != nil {
			t.Fatal(err)
		}
		u := url.URL{Scheme: "http", Host: g.address, Path: "/" + bucket + "/" + name}
		answer, err := http.Head(u.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if got := answer.Header.Get("X-Amz-Meta-Capstan-Sha256"); got != sum {
			t.Errorf("the object has %q", got)
		}
	})
	t.Run("checked", func(t *testing.T) {
		found := map[string]bool{}
		for _, f := range storage.Check(t.Context(), presigning(t, g, g.bucket(t), ""), storagetest.AppID, nil) {
			found[f.Code] = true
		}
		if !found["write"] || !found["conditional_writes"] || !found["no_delete"] || found["overwrites"] {
			t.Errorf("%v", found)
		}
	})
}

// TestPresignedFails: what goes wrong is told without the query of a URL, by
// which anybody could write.
func TestPresignedFails(t *testing.T) {
	g := newGateway(t)
	content := storagetest.Bytes(5000, 19)
	for how, code := range map[string]string{
		"wrong": "forbidden", "fails": "storage_command_failed", "nothing": "storage_command_failed", "garbage": "storage_command_failed",
		"no header": "storage_command_failed", "plain http": "url_insecure", "elsewhere": "remote_unreachable",
	} {
		t.Run(how, func(t *testing.T) {
			bucket := g.bucket(t)
			_, err := presigning(t, g, bucket, how).Put(t.Context(), "a.zip", bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), nil)
			if failure.CodeOf(err) != code {
				t.Errorf("it gives %v (%s)", err, failure.CodeOf(err))
			}
			for _, secret := range []string{"X-Amz-", "Signature=", "aws4_request", accessKey} {
				if text := fmt.Sprint(err, failure.HintOf(err)); strings.Contains(text, secret) {
					t.Errorf("%q is in %s", secret, text)
				}
			}
			if failure.HintOf(err) == "" {
				t.Error("no hint")
			}
		})
	}
	t.Run("repeated by the service", func(t *testing.T) {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `{"message":"http://%s%s: %s by %s is not ours"}`, r.Host, r.URL, r.URL.Query().Get("X-Amz-Signature"), r.URL.Query().Get("X-Amz-Credential"))
		}))
		defer web.Close()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(presignFor, web.Listener.Addr().String()+"/bucket")
		t.Setenv(presignHow, "")
		s := open(t, strings.Replace(web.URL, "http://", "http+put://", 1), "", storage.Credentials{UploadURL: []string{self, "{name}", "{size}", "{sha256}"}, Pause: noPause})
		_, err = s.Put(t.Context(), "a.zip", bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), nil)
		if text := fmt.Sprint(err); failure.CodeOf(err) != "forbidden" || !strings.Contains(text, "?… [secret] by [secret] is not ours") || strings.Contains(text, accessKey) {
			t.Errorf("it gives %v", err)
		}
	})
	t.Run("no program", func(t *testing.T) {
		web := httptest.NewServer(http.NotFoundHandler())
		defer web.Close()
		s := open(t, strings.Replace(web.URL, "http://", "http+put://", 1), "", storage.Credentials{UploadURL: []string{"capstan-no-such-program", "{name}"}})
		if _, err := s.Put(t.Context(), "a.zip", bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), nil); failure.CodeOf(err) != "storage_command_missing" {
			t.Errorf("it gives %v", err)
		}
		if _, err := s.Put(t.Context(), "-a.zip", bytes.NewReader(content), int64(len(content)), storagetest.Sum(content), nil); failure.CodeOf(err) != "object_name_invalid" {
			t.Errorf("a name like an option gives %v", err)
		}
	})
	if _, err := storage.Open(t.Context(), "https+put://h.example", "", storage.Credentials{UploadURL: []string{"upload-url"}}); failure.CodeOf(err) != "upload_url_malformed" {
		t.Errorf("a program without a name gives %v", err)
	}
}
