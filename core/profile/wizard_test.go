package profile

import (
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"capstan/core/failure"
	"capstan/core/remote/storage"
)

// TestPlaces: every kind of storage that is offered becomes a URL that its
// driver takes.
func TestPlaces(t *testing.T) {
	dir := filepath.ToSlash(t.TempDir())
	answers := map[string]map[string]string{
		"":              {},
		"s3":            {"bucket": "bundles", "prefix": "/live/", "endpoint": "s3.example.com", "region": "eu-1"},
		"gs":            {"bucket": "bundles"},
		"azblob":        {"bucket": "bundles", "prefix": "live"},
		"sftp":          {"host": "deploy@www.example.com:2222", "folder": "srv/www"},
		"https+put":     {"address": "https://artifacts.example.com/repository/", "header": "X-Api-Key", "program": "upload-url --object {name}"},
		"file":          {"folder": dir},
		"capstan+https": {"address": "https://updates.example.com/"},
		"exec":          {"folder": dir + "/rclone.toml"},
	}
	want := map[string]string{
		"s3": "s3://bundles/live?endpoint=s3.example.com&region=eu-1", "gs": "gs://bundles", "azblob": "azblob://bundles/live",
		"sftp": "sftp://deploy@www.example.com:2222/srv/www", "https+put": "https+put://artifacts.example.com/repository",
		"capstan+https": "capstan+https://updates.example.com",
	}
	if runtime.GOOS != "windows" {
		want["file"], want["exec"] = "file://"+dir, "exec://"+dir+"/rclone.toml"
	}
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	t.Setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
	offered := map[string]bool{}
	for _, place := range Places() {
		offered[place.Scheme] = true
		var p Profile
		if err := place.Fill(&p, answers[place.Scheme]); err != nil {
			t.Errorf("%s: %v", place.Scheme, err)
			continue
		}
		if url, checked := want[place.Scheme]; checked && p.Storage != url || place.Text == "" || place.Login == "" {
			t.Errorf("%s gives %q, want %q", place.Scheme, p.Storage, url)
		}
		if p.Storage != "" && place.Scheme != "exec" { // which reads its file
			if _, err := storage.Open(t.Context(), p.Storage, "", storage.Credentials{}); err != nil {
				t.Errorf("%s: %v", p.Storage, err)
			}
		}
		for _, q := range place.Asks {
			if !q.Optional {
				if err := place.Fill(&p, nil); failure.CodeOf(err) != "answer_missing" {
					t.Errorf("%s without answers: %v", place.Scheme, err)
				}
			}
		}
	}
	for _, scheme := range storage.Schemes() {
		if scheme != "capstan+http" && scheme != "http+put" && !offered[scheme] {
			t.Errorf("nobody is offered %s", scheme)
		}
	}
	var p Profile
	_ = Place{Scheme: "https+put", Asks: nil}.Fill(&p, answers["https+put"])
	if p.Headers["X-Api-Key"] != "{token}" || !slices.Equal(p.UploadURL, []string{"upload-url", "--object", "{name}"}) {
		t.Errorf("%+v", p)
	}
}
