package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/core/remote/transport"
	"capstan/internal/servertest"
	"capstan/server"
)

func content(n int) (data []byte, sum string) {
	data = make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = source.Read(data)
	h := sha256.Sum256(data)
	return data, hex.EncodeToString(h[:])
}

func put(t *testing.T, s *servertest.Server, name, sum string, body io.Reader) (int, string) {
	t.Helper()
	status, text := s.Do(t, "PUT", "/capstan/v1/objects/"+name, body, http.Header{"X-Content-Sha256": {sum}})
	return status, string(text)
}

func get(t *testing.T, s *servertest.Server, method, path string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.BaseURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func TestObjects(t *testing.T) { testObjects(t, startWithApps(t), "objects") }

// testObjects is what a server promises of objects, wherever it keeps them;
// uploads arrive in folder of the data directory.
func testObjects(t *testing.T, s *servertest.Server, folder string) {
	data, sum := content(300_000)
	other, otherSum := content(300_001)
	name := mine + "/1.0.0/" + sum + ".zip"
	if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusCreated {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusOK {
		t.Errorf("the same again: %d %s", status, text)
	}
	plain := mine + "/1.0.0/named.zip"
	for _, c := range []struct {
		what, name, sum string
		body            []byte
		status          int
		code            string
	}{
		{"first of a plain name", plain, sum, data, 201, ""},
		{"other content under a name", plain, otherSum, other, 409, "object_exists"},
		{"another hash than the name's", name, otherSum, other, 422, "hash_mismatch"},
		{"another hash than the bytes'", mine + "/1.0.0/lie.zip", otherSum, data, 422, "hash_mismatch"},
		{"no hash", mine + "/1.0.0/x.zip", "", data, 400, "missing_hash"},
		{"half a hash", mine + "/1.0.0/x.zip", sum[:10], data, 400, "missing_hash"},
		{"an app that is not there", "com.example.none/1.0.0/x.zip", sum, data, 404, "cannot_find_app"},
		{"no app", "x", sum, data, 400, "invalid_app_id"},
		{"an app only", mine, sum, data, 400, "invalid_object_name"},
	} {
		if status, text := put(t, s, c.name, c.sum, bytes.NewReader(c.body)); status != c.status || !strings.Contains(text, c.code) {
			t.Errorf("%s: %d %s, want %d %s", c.what, status, text, c.status, c.code)
		}
	}
	left, err := os.ReadDir(filepath.Join(s.DataDir, folder, ".incoming"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads are left over: %v, %v", left, err)
	}
	head, _ := get(t, s, "HEAD", "/capstan/v1/objects/"+name, http.Header{"Capgkey": {s.Token}})
	if head.StatusCode != 200 || head.Header.Get("X-Content-Sha256") != sum || head.ContentLength != int64(len(data)) {
		t.Errorf("%d %v", head.StatusCode, head.Header)
	}

	answer, body := get(t, s, "GET", "/files/"+name, nil)
	if answer.StatusCode != 200 || !bytes.Equal(body, data) || answer.Header.Get("ETag") != `"`+sum+`"` || !strings.Contains(answer.Header.Get("Cache-Control"), "immutable") ||
		answer.Header.Get("Content-Type") != "application/zip" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
	for _, c := range []struct {
		header http.Header
		status int
		want   []byte
	}{
		{http.Header{"Range": {"bytes=0-99"}}, 206, data[:100]},
		{http.Header{"Range": {"bytes=100-"}}, 206, data[100:]},
		{http.Header{"Range": {"bytes=-5"}}, 206, data[len(data)-5:]},
		{http.Header{"Range": {"bytes=100-"}, "If-Range": {`"` + sum + `"`}}, 206, data[100:]},
		{http.Header{"Range": {"bytes=100-"}, "If-Range": {`"` + otherSum + `"`}}, 200, data},
		{http.Header{"Range": {"bytes=0-1,5-6,9-10"}}, 200, data},
		{http.Header{"Range": {"bytes=400000-"}}, 416, nil},
		{http.Header{"If-None-Match": {`"` + sum + `"`}}, 304, []byte{}},
	} {
		answer, body := get(t, s, "GET", "/files/"+name, c.header)
		if answer.StatusCode != c.status || c.want != nil && !bytes.Equal(body, c.want) {
			t.Errorf("%v: %d, %d bytes", c.header, answer.StatusCode, len(body))
		}
	}
	if answer, body := get(t, s, "HEAD", "/files/"+name, nil); answer.StatusCode != 200 || answer.ContentLength != int64(len(data)) || len(body) != 0 {
		t.Errorf("HEAD %d %d", answer.StatusCode, answer.ContentLength)
	}
	if answer, _ := get(t, s, "POST", "/files/"+name, nil); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST %d", answer.StatusCode)
	}

	post(t, s, "/bundle", fmt.Sprintf(`{"app_id":%q,"version":"1.0.0","external_url":"%s/files/%s","checksum":"00"}`, mine, s.URL(), name))
	if status, text := call(t, s, "", "DELETE", "/capstan/v1/objects/"+name, ""); status != http.StatusConflict {
		t.Errorf("an object that a bundle has: %d %s", status, text)
	}
	if status, text := call(t, s, "", "DELETE", "/capstan/v1/objects/"+plain, ""); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if answer, _ := get(t, s, "GET", "/files/"+plain, nil); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a deleted object: %d", answer.StatusCode)
	}
}

// A file whose row was lost with the server is taken up again, and one that
// was written to the folder by other means is served.
func TestObjectsWithoutRows(t *testing.T) {
	s := startWithApps(t)
	data, sum := content(1000)
	name := mine + "/1.0.0/" + sum + ".zip"
	path := filepath.Join(s.DataDir, "objects", filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if answer, body := get(t, s, "GET", "/files/"+name, nil); answer.StatusCode != 200 || !bytes.Equal(body, data) {
		t.Errorf("%d", answer.StatusCode)
	}
	if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if err := os.WriteFile(path, data[:500], 0o600); err != nil {
		t.Fatal(err)
	}
	lost := mine + "/1.0.0/half.zip"
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "half.zip"), data[:500], 0o600); err != nil {
		t.Fatal(err)
	}
	if status, text := put(t, s, lost, sum, bytes.NewReader(data)); status != http.StatusConflict {
		t.Errorf("%d %s", status, text)
	}
}

// Many uploads of one object at a time leave one whole object.
func TestObjectsRace(t *testing.T) { testObjectsRace(t, startWithApps(t)) }

func testObjectsRace(t *testing.T, s *servertest.Server) {
	data, sum := content(200_000)
	name := mine + "/1.0.0/" + sum + ".zip"
	var all sync.WaitGroup
	made := make(chan int, 8)
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			r, _ := http.NewRequest("PUT", s.BaseURL+"/capstan/v1/objects/"+name, bytes.NewReader(data))
			r.Header.Set("capgkey", s.Token)
			r.Header.Set("X-Content-Sha256", sum)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			answer.Body.Close()
			made <- answer.StatusCode
		}()
	}
	all.Wait()
	close(made)
	created := 0
	for status := range made {
		switch status {
		case http.StatusCreated:
			created++
		case http.StatusOK:
		default:
			t.Errorf("status %d", status)
		}
	}
	if _, body := get(t, s, "GET", "/files/"+name, nil); created != 1 || !bytes.Equal(body, data) {
		t.Errorf("%d were told that they made it", created)
	}
}

// No name leads out of the folder of objects, or to what is not an object.
func TestFilesTraversal(t *testing.T) {
	s := startWithApps(t)
	outside := filepath.Join(s.DataDir, "outside.zip")
	if err := os.WriteFile(outside, []byte("secret of the server"), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := filepath.Join(s.DataDir, "objects")
	if err := os.MkdirAll(filepath.Join(objects, mine, "dir.zip"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"link.zip", "dirlink"} {
		target := map[string]string{"link.zip": outside, "dirlink": s.DataDir}[link]
		if err := os.Symlink(target, filepath.Join(objects, mine, link)); err != nil {
			t.Skip("this system has no symbolic links")
		}
	}
	if err := os.WriteFile(filepath.Join(objects, ".incoming", "part"), []byte("secret upload"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := []string{
		mine + "/link.zip", mine + "/dirlink/outside.zip", mine + "/dirlink/capstan.db", mine + "/dir.zip", mine, mine + "/", "", "/", ".incoming/part", "./.incoming/part",
		"x/../.incoming/part", "capstan.db", "../capstan.db", "..", "x/..", "x/../../capstan.db", mine + "/../../outside.zip", "config", "CON/x", "a/nul", "a/b.", "a/ b", "a/b ",
	}
	dots := []string{"..", "%2e%2e", ".%2e", "%2e.", "%252e%252e", "..%00", "..%2f", "..\\", "..%5c", "%c0%ae%c0%ae", "..;", "…", "．．", "%uff0e%uff0e"}
	slashes := []string{"/", "%2f", "%5c", "\\", "//", "%252f", "%c0%af"}
	targets := []string{"outside.zip", "capstan.db", "etc/passwd"}
	for _, d := range dots {
		for _, slash := range slashes {
			for _, target := range targets {
				names = append(names, d+slash+target, mine+slash+d+slash+d+slash+target)
			}
		}
	}
	if len(names) < 300 {
		t.Fatalf("only %d names", len(names))
	}
	t.Logf("count: %d names, each asked for and written to", len(names))
	for _, name := range names {
		for _, method := range []string{"GET", "PUT"} {
			path := "/files/" + name
			if method == "PUT" {
				path = "/capstan/v1/objects/" + name
			}
			status, body := rawRequest(t, s, method, path)
			if method == "GET" && status == 200 || method == "PUT" && (status == 201 || status == 200) || strings.Contains(body, "secret") || strings.Contains(body, "SQLite") || strings.Contains(body, "root:") {
				t.Errorf("%s %q: %d %.80q", method, path, status, body)
			}
		}
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "secret of the server" {
		t.Errorf("%q %v", text, err)
	}
}

// rawRequest sends a path as it is, which a client library would tidy up, and
// follows one redirect.
func rawRequest(t *testing.T, s *servertest.Server, method, path string) (int, string) {
	t.Helper()
	for range 2 {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\ncapgkey: %s\r\nX-Content-Sha256: %s\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", method, path, s.Token,
			"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
		text, err := io.ReadAll(conn)
		conn.Close()
		if err != nil && len(text) == 0 {
			return 0, "" // closed without an answer
		}
		head, body, _ := strings.Cut(string(text), "\r\n\r\n")
		var status int
		_, _ = fmt.Sscanf(head, "HTTP/1.1 %d", &status)
		if status/100 == 3 {
			for _, line := range strings.Split(head, "\r\n") {
				if to, ok := strings.CutPrefix(line, "Location: "); ok {
					path = to
				}
			}
			continue
		}
		return status, body
	}
	return 0, ""
}

func TestObjectTooLarge(t *testing.T) {
	s := startWithApps(t, func(c *server.Config) { c.MaxObject = 1000 })
	data, sum := content(1001)
	if status, text := put(t, s, mine+"/1.0.0/x.zip", sum, bytes.NewReader(data)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", status, text)
	}
	// Without a length the limit shows on the way.
	if status, text := put(t, s, mine+"/1.0.0/x.zip", sum, io.MultiReader(bytes.NewReader(data))); status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", status, text)
	}
}

// The storage client's own calls against the real server.
func TestStorageClient(t *testing.T) { testStorageClient(t, startWithApps(t)) }

func testStorageClient(t *testing.T, s *servertest.Server) {
	ctx := context.Background()
	target, err := storage.Open(ctx, "capstan+"+s.BaseURL, s.URL(), storage.Credentials{Token: transport.NewSecret(s.Token)})
	if err != nil {
		t.Fatal(err)
	}
	data, sum := content(2_000_000)
	name := mine + "/1.0.0/" + sum + ".zip"
	first, err := target.Put(ctx, name, bytes.NewReader(data), int64(len(data)), sum, nil)
	if err != nil || first.Existed {
		t.Fatalf("%+v %v", first, err)
	}
	again, err := target.Put(ctx, name, bytes.NewReader(data), int64(len(data)), sum, nil)
	if err != nil || !again.Existed {
		t.Fatalf("%+v %v", again, err)
	}
	stat, err := target.Stat(ctx, name)
	if err != nil || stat.SHA256 != sum || stat.Size != int64(len(data)) {
		t.Fatalf("%+v %v", stat, err)
	}
	part, err := target.Get(ctx, name, 1000, 500)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(part)
	part.Close()
	if err != nil || !bytes.Equal(got, data[1000:1500]) {
		t.Fatalf("%d bytes %v", len(got), err)
	}
	other, otherSum := content(10)
	if _, err := target.Put(ctx, mine+"/1.0.0/x.zip", bytes.NewReader(other), 10, otherSum, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Put(ctx, mine+"/1.0.0/x.zip", bytes.NewReader(data), int64(len(data)), sum, nil); failure.CodeOf(err) != "object_exists" {
		t.Fatalf("%v", err)
	}
	if err := target.Delete(ctx, mine+"/1.0.0/x.zip"); err != nil {
		t.Fatal(err)
	}
}
