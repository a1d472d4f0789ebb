package storage_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
)

func codes(findings []storage.Finding) string {
	var all []string
	for _, f := range findings {
		all = append(all, f.Level+" "+f.Code)
	}
	return strings.Join(all, ", ")
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	s := open(t, "file://"+filepath.ToSlash(dir), web.URL, storage.Credentials{})
	if got := codes(storage.Check(t.Context(), s, "com.example.app", nil)); got != "ok write, warn cleartext, ok public_read, ok ranges, ok delete" {
		t.Errorf("a folder with a web server gives %s", got)
	}
	s = open(t, "file://"+filepath.ToSlash(dir), "", storage.Credentials{})
	if got := codes(storage.Check(t.Context(), s, "com.example.app", nil)); got != "ok write, block no_public_url, ok delete" {
		t.Errorf("a folder without a web server gives %s", got)
	}
	for object, err := range s.List(t.Context(), "") {
		t.Errorf("%s is left, %v", object.Name, err)
	}
}

// TestVerify: what stands between the storage and a device is named.
func TestVerify(t *testing.T) {
	content := storagetest.Bytes(5000, 1)
	send := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	flipped := append([]byte{}, content...)
	flipped[4999] ^= 1
	for what, test := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"right": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x.zip", time.Time{}, bytes.NewReader(content))
		}, "ok public_read, ok ranges"},
		"no ranges": {send(content), "ok public_read, warn no_ranges"},
		"flip":      {send(flipped), "block public_hash"},
		"short":     {send(content[:4999]), "block public_length"},
		"long":      {send(append(append([]byte{}, content...), 0)), "block public_length"},
		"empty":     {send(nil), "block public_length"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write(content[:10])
		}, "block public_length"},
		"login page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "\n<!DOCTYPE html>")
		}, "block public_html"},
		"private":     {status(403), "block public_forbidden"},
		"login":       {status(401), "block public_forbidden"},
		"other place": {status(404), "block public_not_found"},
		"broken":      {status(500), "block public_status"},
		"redirect":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "block public_redirect"},
		"to https": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://x.example/", http.StatusMovedPermanently)
		}, "block public_redirect"},
		"wrong ranges": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(map[bool]int{true: 200, false: 206}[r.Header.Get("Range") == ""])
			_, _ = w.Write(content)
		}, "ok public_read, warn no_ranges"},
	} {
		server := httptest.NewServer(test.serve)
		got := codes(storage.Verify(t.Context(), nil, server.URL+"/x", 5000, storagetest.Sum(content)))
		if got != "warn cleartext, "+test.want {
			t.Errorf("%s gives %s, want %s", what, got, test.want)
		}
		server.Close()
	}
	if got := codes(storage.Verify(t.Context(), nil, "http://updates.invalid/x", 5000, storagetest.Sum(content))); got != "block cleartext, block public_unreachable" {
		t.Errorf("an unknown host gives %s", got)
	}
}

// TestConditionalWrites: a service that overwrites in spite of the condition is
// named, and one that keeps to it too.
func TestConditionalWrites(t *testing.T) {
	for name, test := range map[string]struct {
		open func(t *testing.T) storage.Storage
		want string
	}{
		"versitygw": {func(t *testing.T) storage.Storage { g := newGateway(t); return g.open(t, g.bucket(t)) }, "ok conditional_writes"},
		"nginx": {func(t *testing.T) storage.Storage {
			address, _ := newNginx(t)
			return open(t, "http+put://"+address, "", storage.Credentials{Token: remote.NewToken(token), Pause: noPause})
		}, "warn condition_ignored"},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.open(t)
			got := codes(storage.Check(t.Context(), s, storagetest.AppID, nil))
			if want := "ok write, warn cleartext, ok public_read, ok ranges, " + test.want + ", ok delete"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// TestHalfWrittenFiles: what a killed upload leaves in a folder is found and
// dropped, and nothing else.
func TestHalfWrittenFiles(t *testing.T) {
	sshd := newSSH(t)
	if err := os.MkdirAll(filepath.Join(sshd.dir, "app"), 0o700); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "app"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		s         storage.Storage
		dir, left string
	}{
		{open(t, "file://"+filepath.ToSlash(folder), "", storage.Credentials{}), folder, "app/x.zip.1234567890123456789.tmp"},
		{sshd.open(t, ""), sshd.dir, "app/.capstan-0123456789abcdef.part"},
	} {
		for _, name := range []string{test.left, "app/whole.zip"} {
			if err := os.WriteFile(filepath.Join(test.dir, name), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cleaner := test.s.(storage.Cleaner)
		left, err := cleaner.Leftovers(t.Context())
		if err != nil || len(left) != 1 || left[0].Name != test.left || left[0].Size != 4 || left[0].Started.IsZero() {
			t.Fatalf("%s: %+v %v", test.s, left, err)
		}
		if err := cleaner.Discard(t.Context(), storage.Leftover{Name: "app/whole.zip"}); failure.CodeOf(err) != "object_not_found" {
			t.Errorf("a whole object is dropped: %v", err)
		}
		for range 2 {
			if err := cleaner.Discard(t.Context(), left[0]); err != nil {
				t.Error(err)
			}
		}
		if left, err := cleaner.Leftovers(t.Context()); err != nil || len(left) != 0 {
			t.Errorf("%+v %v", left, err)
		}
		if o, err := test.s.Stat(t.Context(), "app/whole.zip"); err != nil || o.Size != 4 {
			t.Errorf("%+v %v", o, err)
		}
	}
}
