package server_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"capstan/core/failure"
	"capstan/internal/servertest"
	"capstan/server"
)

// Backups taken while the server writes, each restored and started.
func TestBackupAndRestoreWhileWriting(t *testing.T) {
	s := startWithApps(t)
	data, sum := content(50_000)
	name := mine + "/1.0.0/" + sum + ".zip"
	if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	post(t, s, "/bundle", fmt.Sprintf(`{"app_id":%q,"version":"1.0.0","external_url":"%s/files/%s","checksum":"00"}`, mine, s.URL(), name))
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Add(1)
	go func() {
		defer writing.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				post(t, s, "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"c%d","version":"1.0.0"}`, mine, i))
			}
		}
	}()
	rounds := 3
	if os.Getenv("CAPSTAN_LONG") == "1" {
		rounds = 100
	}
	for round := range rounds {
		before, err := s.Store().Channels(t.Context(), mine, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var backup bytes.Buffer
		report, err := server.Backup(t.Context(), server.Source{DataDir: s.DataDir}, &backup)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Files) != 4 || len(report.Missing) != 0 {
			t.Fatalf("%+v", report)
		}
		dir := filepath.Join(t.TempDir(), "restored")
		if _, err := server.Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, ""); err != nil {
			t.Fatal(err)
		}
		again := servertest.Start(t, func(c *server.Config) { c.DataDir = dir })
		after, err := again.Store().Channels(t.Context(), mine, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		// What was acknowledged before the backup began is in it.
		if len(after) < len(before) {
			t.Errorf("round %d: %d channels before, %d in the backup", round, len(before), len(after))
		}
		if answer, body := get(t, again, "GET", "/files/"+name, nil); answer.StatusCode != 200 || !bytes.Equal(body, data) {
			t.Errorf("the object: %d", answer.StatusCode)
		}
		if status, _ := call(t, again, s.Token, "GET", "/app", ""); status != http.StatusOK {
			t.Errorf("the token of before: %d", status)
		}
		if again.FirstToken() != "" {
			t.Error("a restored server made a new admin token")
		}
	}
	close(stop)
	writing.Wait()
	t.Logf("count: %d backups restored", rounds)
}

// A backup that was changed or cut is refused, and leaves nothing to start on.
func TestDamagedBackups(t *testing.T) {
	s := startWithApps(t)
	data, sum := content(10_000)
	name := mine + "/1.0.0/" + sum + ".zip"
	put(t, s, name, sum, bytes.NewReader(data))
	var good bytes.Buffer
	if _, err := server.Backup(t.Context(), server.Source{DataDir: s.DataDir}, &good); err != nil {
		t.Fatal(err)
	}
	// rebuilt writes the backup again with each entry passed through edit.
	rebuilt := func(edit func(h *tar.Header, body []byte) []byte) []byte {
		var out bytes.Buffer
		w, r := tar.NewWriter(&out), tar.NewReader(bytes.NewReader(good.Bytes()))
		for {
			h, err := r.Next()
			if err != nil {
				break
			}
			body, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if body = edit(h, body); body == nil {
				continue
			}
			h.Size = int64(len(body))
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	on := func(part string, edit func(h *tar.Header, body []byte) []byte) []byte {
		return rebuilt(func(h *tar.Header, body []byte) []byte {
			if strings.HasPrefix(h.Name, part) {
				return edit(h, body)
			}
			return body
		})
	}
	for what, text := range map[string][]byte{
		"nothing": {}, "not a tar": []byte(strings.Repeat("x", 4096)), "cut in the middle": good.Bytes()[:good.Len()/2], "without its manifest": on("manifest", func(*tar.Header, []byte) []byte { return nil }),
		"a changed object":   on("objects/", func(_ *tar.Header, b []byte) []byte { b[0] ^= 1; return b }),
		"a shorter object":   on("objects/", func(_ *tar.Header, b []byte) []byte { return b[:len(b)-1] }),
		"no object":          on("objects/", func(*tar.Header, []byte) []byte { return nil }),
		"a changed database": on("capstan.db", func(_ *tar.Header, b []byte) []byte { b[len(b)/2] ^= 1; return b }),
		"no database":        on("capstan.db", func(*tar.Header, []byte) []byte { return nil }),
		"a path outside":     on("objects/", func(h *tar.Header, b []byte) []byte { h.Name = "objects/../../evil.zip"; return b }),
		"a file too many":    on("objects/", func(h *tar.Header, b []byte) []byte { h.Name = "authorized_keys"; return b }),
		"a link": on("objects/", func(h *tar.Header, b []byte) []byte {
			h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"
			return []byte{}
		}),
		"another audit head": on("manifest", func(_ *tar.Header, b []byte) []byte {
			var m map[string]any
			_ = json.Unmarshal(b, &m)
			m["audit_head"] = strings.Repeat("0", 64)
			b, _ = json.Marshal(m)
			return b
		}),
	} {
		dir := filepath.Join(t.TempDir(), "restored")
		_, err := server.Restore(t.Context(), bytes.NewReader(text), dir, "")
		if failure.CodeOf(err) != "backup_damaged" {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "capstan.db")); err == nil {
			t.Errorf("%s: a database is there", what)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "evil.zip")); err == nil {
			t.Errorf("%s: a file was written outside", what)
		}
	}
	if _, err := server.Restore(t.Context(), bytes.NewReader(good.Bytes()), s.DataDir, ""); failure.CodeOf(err) != "data_dir_in_use" {
		t.Errorf("onto a server's data: %v", err)
	}
}
