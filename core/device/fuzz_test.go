package device

import (
	"os"
	"path/filepath"
	"testing"

	"capstan/core/capgo"
)

// Whatever a server sends is read without a crash, and only a version with a
// url that can be fetched is offered.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","session_key":"a:b"}`,
		`{"version":"2.0.0","url":"https://example.com/x.zip","manifest":[{"file_name":"a.br","file_hash":"00","download_url":"https://example.com/a"}]}`,
		`{"error":"no_channel","message":"x","kind":"failed"}`, `{"version":null,"url":[],"manifest":null}`, `[]`, `null`, `{"version":1e999}`, "",
	} {
		f.Add(200, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, version := range []string{"4.61.11", "6.14.26", "7.9.2", "8.40.7", "8.51.23"} {
			for _, platform := range []string{Android, IOS} {
				d, err := New(Device{Request: capgo.UpdateRequest{Platform: platform, PluginVersion: version, AppID: "com.example.app", VersionBuild: "1.0.0"}})
				if err != nil {
					t.Fatal(err)
				}
				a := d.read(status, body)
				if a.Outcome == "" || a.Reason == "" {
					t.Errorf("%s %s: no outcome for %q", platform, version, body)
				}
				if a.Outcome == Offered && (a.Version == "" || !validURL(a.URL)) {
					t.Errorf("%s %s: offers %+v", platform, version, a.UpdateAnswer)
				}
			}
		}
	})
}

// Whatever an archive holds is unpacked without a crash and without a file
// outside of its folder.
func FuzzUnzip(f *testing.F) {
	for _, name := range []string{"go-dirs", "go-dup", "go-symlink", "go-traversal", "go-zstd93"} {
		if b, err := os.ReadFile(cliData + "zips/" + name + ".zip"); err == nil && len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Add(zipOf(f, sample))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, platform := range []string{Android, IOS} {
			for _, version := range []string{"7.27.8", "8.51.23"} {
				d := newDevice(t, platform, version, func(d *Device) { d.MaxUnpacked = 1 << 20 })
				file := filepath.Join(d.Dir, "bundle.zip")
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
				_, _ = d.unzip(t.Context(), file, filepath.Join(d.Dir, "tree"))
				entries, err := os.ReadDir(d.Dir)
				if err != nil || len(entries) > 2 {
					t.Errorf("%s %s wrote outside: %v, %v", platform, version, entries, err)
				}
			}
		}
	})
}
