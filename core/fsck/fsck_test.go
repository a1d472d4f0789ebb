package fsck_test

import (
	"context"
	"crypto"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/fsck"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/internal/servertest"
)

const app = "com.example.app"

// world is an app with two releases, 1.0.0 and 1.1.0 (live), on a real server,
// with its objects in a folder that a web server publishes.
type world struct {
	config fsck.Config
	state  string // folder of the journals
	files  string // folder of the storage
	data   string // of the server
	client *remote.Client
	// pipeline and plan made the releases.
	pipeline *release.Pipeline
	plan     release.Plan
	// answer, when set, speaks for the public web server.
	answer func(http.ResponseWriter, *http.Request)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := servertest.Start(t)
	w := &world{state: t.TempDir(), files: t.TempDir(), data: s.DataDir}
	public := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		if w.answer != nil {
			w.answer(out, in)
			return
		}
		http.FileServer(http.Dir(w.files)).ServeHTTP(out, in)
	}))
	t.Cleanup(public.Close)
	var err error
	w.client, err = remote.New(remote.Config{BaseURL: s.BaseURL, Token: remote.NewToken(s.Token)})
	must(t, err)
	store, err := storage.Open(t.Context(), "file://"+filepath.ToSlash(w.files), public.URL, storage.Credentials{})
	must(t, err)
	journals, err := release.OpenJournals(w.state)
	must(t, err)
	private, err := keys.Generate()
	must(t, err)
	pipeline := &release.Pipeline{Journals: journals, Registry: w.client, Storage: store,
		Signer: func(context.Context, string) (crypto.Signer, error) { return keys.NewSigner(private), nil }}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("<!doctype html><script src=main.js></script>"), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "main.js"), []byte("CapacitorUpdater.notifyAppReady() // "+version), 0o644))
		w.plan = release.Plan{
			AppID: app, Version: version, Channel: "production", Dir: dir, KeyID: keys.KeyID(&private.PublicKey), PublicKey: string(keys.EncodePublic(&private.PublicKey)),
			PluginVersion: "8.51.23", UpdateURL: s.BaseURL + "/updates", CreateApp: true,
		}
		_, err := pipeline.Run(t.Context(), w.plan, func(release.Event) {})
		must(t, err)
	}
	w.pipeline = pipeline
	w.config = fsck.Config{AppID: app, Registry: rows{w.client, nil, nil}, Storage: store, Journals: journals, All: true}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rows is the registry with rows as somebody with access to its database could
// have changed them.
type rows struct {
	*remote.Client
	bundle  func(*capgo.Bundle)
	channel func(*capgo.Channel)
}

func (r rows) Bundles(ctx context.Context, appID string) ([]capgo.Bundle, error) {
	bundles, err := r.Client.Bundles(ctx, appID)
	for i := range bundles {
		if r.bundle != nil {
			r.bundle(&bundles[i])
		}
	}
	return bundles, err
}

func (r rows) Channels(ctx context.Context, appID string) ([]capgo.Channel, error) {
	channels, err := r.Client.Channels(ctx, appID)
	for i := range channels {
		if r.channel != nil {
			r.channel(&channels[i])
		}
	}
	return channels, err
}

// object is the file of a version's object.
func (w *world) object(t *testing.T, version string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(w.files, app, version, "*.zip"))
	if err != nil || len(found) != 1 {
		t.Fatalf("objects of %s: %v %v", version, found, err)
	}
	return found[0]
}

func codes(r fsck.Report) []string {
	var all []string
	for _, f := range r.Findings {
		if f.Level != fsck.Note {
			all = append(all, f.Code)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestNothingDrifted(t *testing.T) {
	w := newWorld(t)
	r, err := fsck.Check(t.Context(), w.config)
	if err != nil || r.Err() != nil || !r.OK || len(codes(r)) != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if r.Bundles != 2 || r.Objects != 2 || r.Downloaded != 2 || r.Channels != 1 || r.Releases != 2 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
}

func TestDriftIsNamed(t *testing.T) {
	w := newWorld(t)
	only := func(version string, change func(*capgo.Bundle)) func(*capgo.Bundle) {
		return func(b *capgo.Bundle) {
			if b.Name == version {
				change(b)
			}
		}
	}
	flip := func(s string) string {
		if s[0] == 'A' || s[0] == '0' {
			return string(s[0]+1) + s[1:]
		}
		return string(s[0]-1) + s[1:]
	}
	for _, test := range []struct {
		name    string
		bundle  func(*capgo.Bundle)
		channel func(*capgo.Channel)
		file    string // version whose object spoil changes
		spoil   func(path string, content []byte) error
		answer  func(http.ResponseWriter, *http.Request)
		codes   string
		status  failure.Class // 0 is none
	}{
		{name: "live object flipped", file: "1.1.0", spoil: func(p string, b []byte) error { b[9] ^= 1; return os.WriteFile(p, b, 0o644) }, codes: "public_hash", status: failure.Verification},
		{name: "live object cut", file: "1.1.0", spoil: func(p string, b []byte) error { return os.WriteFile(p, b[:len(b)-16], 0o644) }, codes: "object_size public_length", status: failure.Verification},
		{name: "live object gone", file: "1.1.0", spoil: func(p string, _ []byte) error { return os.Remove(p) }, codes: "object_missing public_status", status: failure.Verification},
		{name: "old object gone", file: "1.0.0", spoil: func(p string, _ []byte) error { return os.Remove(p) }, codes: "object_missing public_status"},
		{name: "live object of another release", file: "1.1.0", spoil: func(p string, b []byte) error {
			old, err := os.ReadFile(w.object(t, "1.0.0"))
			if err != nil {
				return err
			}
			return os.WriteFile(p, old, 0o644)
		}, codes: "public_hash", status: failure.Verification},
		{name: "login page", answer: func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "text/html")
			_, _ = out.Write([]byte("<html>"))
		}, codes: "public_html", status: failure.Verification},
		{name: "private storage", answer: func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusForbidden) }, codes: "public_status", status: failure.Verification},
		{name: "redirect", answer: func(out http.ResponseWriter, in *http.Request) { http.Redirect(out, in, "/login", http.StatusFound) }, codes: "public_status", status: failure.Verification},
		{name: "cut download", answer: func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "1000")
			_, _ = out.Write([]byte("half"))
		}, codes: "public_unreachable", status: failure.Failed},
		{name: "v3 changed", bundle: only("1.1.0", func(b *capgo.Bundle) { b.ChecksumV3 = flip(b.ChecksumV3) }), codes: "signature_refused", status: failure.Verification},
		{name: "v2 changed", bundle: only("1.1.0", func(b *capgo.Bundle) { b.ChecksumV2 = flip(b.ChecksumV2) }), codes: "signature_refused", status: failure.Verification},
		{name: "plain checksum changed", bundle: only("1.1.0", func(b *capgo.Bundle) { b.PlainChecksum = flip(b.PlainChecksum) }), codes: "checksums_disagree content_differs journal_differs", status: failure.Verification},
		{name: "session key changed", bundle: only("1.1.0", func(b *capgo.Bundle) {
			iv, rest, _ := strings.Cut(b.SessionKey, ":")
			b.SessionKey = iv + ":" + flip(rest)
		}), codes: "bundle_refused journal_differs session_key_refused", status: failure.Verification},
		{name: "signature taken off", bundle: only("1.1.0", func(b *capgo.Bundle) {
			b.SessionKey, b.Checksum, b.ChecksumV2, b.ChecksumV3 = "", b.PlainChecksum, "", ""
		}), codes: "bundle_unsigned content_differs journal_differs", status: failure.Verification},
		{name: "old bundle unsigned", bundle: only("1.0.0", func(b *capgo.Bundle) {
			b.SessionKey, b.Checksum, b.ChecksumV2, b.ChecksumV3 = "", b.PlainChecksum, "", ""
		}), codes: "bundle_unsigned content_differs journal_differs", status: failure.Failed},
		{name: "another key id", bundle: only("1.1.0", func(b *capgo.Bundle) { b.KeyID = "MIIBCgKCAQEAAAAAAAAA" }), codes: "bundle_key_differs", status: failure.Verification},
		{name: "another address", bundle: only("1.1.0", func(b *capgo.Bundle) { b.ExternalURL = strings.Replace(b.ExternalURL, app, "elsewhere", 1) }), codes: "journal_differs public_status", status: failure.Verification},
		{name: "recorded hash changed", bundle: only("1.1.0", func(b *capgo.Bundle) { b.ObjectSHA256 = flip(b.ObjectSHA256) }), codes: "ledger_bundle object_orphan public_hash", status: failure.Verification},
		{name: "channel to nowhere", channel: func(c *capgo.Channel) { c.Version = &capgo.VersionRef{ID: 99, Name: "9.9.9"} }, codes: "channel_dangling history_differs", status: failure.Failed},
		{name: "channel moved behind the history", channel: func(c *capgo.Channel) { c.Version = &capgo.VersionRef{ID: 1, Name: "1.0.0"} }, codes: "history_differs", status: failure.Failed},
		{name: "platform to nowhere", channel: func(c *capgo.Channel) {
			c.PlatformVersions = map[string]capgo.VersionRef{"ios": {ID: 97, Name: "9.9.7"}}
		}, codes: "channel_dangling", status: failure.Failed},
		{name: "rollout to nowhere", channel: func(c *capgo.Channel) { c.RolloutVersionInfo = &capgo.VersionRef{ID: 98, Name: "9.9.8"} }, codes: "rollout_dangling", status: failure.Failed},
		{name: "orphan", file: "1.1.0", spoil: func(p string, b []byte) error {
			return os.WriteFile(filepath.Join(filepath.Dir(p), strings.Repeat("0", 64)+".zip"), b, 0o644)
		}, codes: "object_orphan"},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			config := w.config
			config.Registry = rows{w.client, test.bundle, test.channel}
			w.answer = test.answer
			defer func() { w.answer = nil }()
			if test.spoil != nil {
				path := w.object(t, test.file)
				content, err := os.ReadFile(path)
				must(t, err)
				must(t, test.spoil(path, slices.Clone(content)))
				defer func() {
					_ = os.Remove(filepath.Join(filepath.Dir(path), strings.Repeat("0", 64)+".zip"))
					must(t, os.WriteFile(path, content, 0o644))
				}()
			}
			r, err := fsck.Check(t.Context(), config)
			must(t, err)
			if got := strings.Join(codes(r), " "); got != test.codes {
				t.Errorf("found %q, want %q\n%+v", got, test.codes, r.Findings)
			}
			if got := failure.ExitStatus(r.Err()); got != int(test.status) {
				t.Errorf("exit status %d, want %d: %v", got, test.status, r.Err())
			}
			for _, f := range r.Findings {
				if f.Level == fsck.Block && f.Hint == "" || f.Text == "" {
					t.Errorf("nothing says what to do: %+v", f)
				}
			}
		})
	}
}

// TestDeltaFiles releases with delta files into a folder, and then loses one and
// leaves one behind.
func TestDeltaFiles(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("<!doctype html><script src=main.js></script>"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "main.js"), []byte("CapacitorUpdater.notifyAppReady() // delta"), 0o644))
	plan := w.plan
	plan.Version, plan.Dir, plan.Delta = "1.2.0", dir, true
	_, err := w.pipeline.Run(t.Context(), plan, func(release.Event) {})
	must(t, err)
	found := func() (string, fsck.Report) {
		t.Helper()
		r, err := fsck.Check(t.Context(), w.config)
		must(t, err)
		return strings.Join(codes(r), " "), r
	}
	if got, r := found(); got != "" {
		t.Fatalf("%s\n%+v", got, r.Findings)
	}
	files, err := filepath.Glob(filepath.Join(w.files, app, "files", "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	must(t, err)
	orphan := filepath.Join(w.files, app, "files", strings.Repeat("ab", 32))
	must(t, os.WriteFile(orphan, content, 0o644))
	if got, r := found(); got != "file_orphan" || r.Err() != nil {
		t.Errorf("%s\n%+v", got, r.Findings)
	}
	must(t, os.Remove(orphan))
	must(t, os.Remove(files[0]))
	if got, r := found(); got != "file_missing" || r.Err() == nil {
		t.Errorf("%s\n%+v", got, r.Findings)
	}
	// A delta release under way may have files that the registry does not know.
	must(t, os.WriteFile(files[0], content, 0o644))
	must(t, os.WriteFile(orphan, content, 0o644))
	plan.Version = "1.3.0"
	w.pipeline.Storage = nowhere{w.pipeline.Storage}
	if _, err := w.pipeline.Run(t.Context(), plan, func(release.Event) {}); err == nil {
		t.Fatal("a release whose objects cannot be fetched went through")
	}
	if got, r := found(); strings.Contains(got, "file_orphan") || !strings.Contains(got, "release_unfinished") {
		t.Errorf("%s\n%+v", got, r.Findings)
	}
}

// nowhere is a storage whose public address leads to nothing.
type nowhere struct{ storage.Storage }

func (n nowhere) PublicURL(name string) string { return n.Storage.PublicURL("lost/" + name) }

func TestJournalsDrift(t *testing.T) {
	w := newWorld(t)
	write := func(id, name, content string) {
		must(t, os.MkdirAll(filepath.Join(w.state, id), 0o700))
		must(t, os.WriteFile(filepath.Join(w.state, id, name), []byte(content), 0o600))
	}
	write("20260101-000000-aaaaaaaa", "journal.jsonl", "not a record\n")
	write("20260101-000000-bbbbbbbb", "journal.jsonl", `{"at":"2026-01-01T00:00:00Z","state":"planned","outcome":{"app_id":"`+app+`","version":"2.0.0"}}`+"\n")
	write("20260101-000000-cccccccc", "journal.jsonl", `{"at":"2026-01-01T00:00:00Z","state":"planned","outcome":{"app_id":"`+app+`","version":"3.0.0"}}`+"\n"+`{"at":"2026-01-01T00:00:00Z","state":"ended"}`+"\n")
	write("20260101-000000-cccccccc", "bundle.zip", "left behind")
	write("20260101-000000-dddddddd", "journal.jsonl", `{"at":"2026-01-01T00:00:00Z","state":"planned","outcome":{"app_id":"another.app","version":"3.0.0"}}`+"\n")
	r, err := fsck.Check(t.Context(), w.config)
	must(t, err)
	if got := strings.Join(codes(r), " "); got != "journal_damaged spool_left" || r.Err() != nil {
		t.Errorf("%s %v\n%+v", got, r.Err(), r.Findings)
	}
	// Releases that packed nothing are told in one note, however many.
	unfinished := func() (found []fsck.Finding) {
		r, err := fsck.Check(t.Context(), w.config)
		must(t, err)
		for _, f := range r.Findings {
			if f.Code == "release_unfinished" {
				found = append(found, f)
			}
		}
		return found
	}
	if found := unfinished(); len(found) != 1 || found[0].Level != fsck.Note || !strings.Contains(found[0].Text, "2.0.0") {
		t.Errorf("one that packed nothing: %+v", found)
	}
	write("20260102-000000-eeeeeeee", "journal.jsonl", `{"at":"2026-01-02T00:00:00Z","state":"planned","outcome":{"app_id":"`+app+`","version":"2.1.0"}}`+"\n")
	if found := unfinished(); len(found) != 1 || !strings.Contains(found[0].Text, "2 releases") || !strings.Contains(found[0].Text, "2.1.0") {
		t.Errorf("two that packed nothing: %+v", found)
	}
}
