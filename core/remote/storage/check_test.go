package storage_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
