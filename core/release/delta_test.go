package release_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/core/remote/storage"
	"capstan/internal/fault"
)

const deltaApp = "com.example.delta"

// deltaFiles is a build of 24 files: some that brotli makes smaller, some that
// it does not, two that are equal, and an empty one.
func deltaFiles() map[string]string {
	noise := func(seed, n int) string {
		r := rand.NewChaCha8([32]byte{byte(seed)})
		b := make([]byte, n)
		_, _ = r.Read(b)
		return string(b)
	}
	files := map[string]string{
		"index.html":   "<!doctype html><script src=main.js></script>",
		"main.js":      "CapacitorUpdater.notifyAppReady();" + strings.Repeat("console.log('hello');\n", 900),
		"media/a.jpg":  noise(1, 30_000),
		"media/b.jpg":  noise(2, 9_000),
		"twin.css":     strings.Repeat("body{margin:0}\n", 20),
		"a/twin.css":   strings.Repeat("body{margin:0}\n", 20),
		"empty.txt":    "",
		"日本/text.json": `{"a":"ü"}`,
	}
	for i := range 16 {
		files[fmt.Sprintf("chunks/%d.js", i)] = strings.Repeat(fmt.Sprintf("export const c%d = %d;\n", i, i*i), i*60+1)
	}
	return files
}

func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// deltaVictim is a release with delta files; plain ones with an empty key.
func (y yard) deltaVictim(t testing.TB, app, version string, files map[string]string) victim {
	t.Helper()
	v := y.victim(t, app, version)
	v.Plan.Dir, v.Plan.Delta = writeFiles(t, files), true
	return v
}

// counted is a storage that counts what is put.
type counted struct {
	storage.Storage
	puts, stats atomic.Int64
}

func (c *counted) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sum string, progress func(int64)) (storage.Object, error) {
	c.puts.Add(1)
	return c.Storage.Put(ctx, name, src, size, sum, progress)
}

func (c *counted) Stat(ctx context.Context, name string) (storage.Object, error) {
	c.stats.Add(1)
	return c.Storage.Stat(ctx, name)
}

// fetches counts a device's downloads.
type fetches struct{ n atomic.Int64 }

func (f *fetches) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		f.n.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// phone is a device of the app that keeps its folder between updates.
func phone(t testing.TB, y yard, public, plugin, platform string) (*device.Device, *fetches) {
	t.Helper()
	f := &fetches{}
	d, err := device.New(device.Device{
		Request:   capgo.UpdateRequest{Platform: platform, AppID: deltaApp, PluginVersion: plugin, VersionBuild: "1.0.0-0", IsProd: true},
		PublicKey: []byte(public), Dir: t.TempDir(), HTTP: &http.Client{Transport: f},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, f
}

func update(t testing.TB, y yard, d *device.Device) (device.Answer, device.Installed) {
	t.Helper()
	answer, err := d.Check(t.Context(), y.BaseURL+"/updates")
	if err != nil || answer.Outcome != device.Offered {
		t.Fatalf("%s: nothing offered: %+v, %v", d.Request.PluginVersion, answer, err)
	}
	got, err := d.Install(t.Context(), answer, nil)
	if err != nil {
		t.Fatalf("%s on %s: %v", d.Request.PluginVersion, d.Request.Platform, err)
	}
	return answer, got
}

func checkInstalled(t testing.TB, label, dir string, files map[string]string, emptyToo bool) {
	t.Helper()
	for name, content := range files {
		if content == "" && !emptyToo {
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil || string(got) != content {
			t.Errorf("%s: %s is not what was released (%v)", label, name, err)
		}
	}
}

// TestDelta releases twice and lets devices of many generations update: those
// that take delta files get them and fetch only what changed, the others the
// whole zip, and all run the same files in the end.
func TestDelta(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		t.Run(map[bool]string{true: "sealed", false: "plain"}[sealed], func(t *testing.T) {
			t.Parallel()
			testDelta(t, sealed)
		})
	}
}

func testDelta(t *testing.T, sealed bool) {
	y := newYard(t)
	if !sealed {
		y.keyID, y.public = "", ""
	}
	cache, err := bundle.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run := func(version string, files map[string]string) (release.Result, *counted) {
		t.Helper()
		v := y.deltaVictim(t, deltaApp, version, files)
		p := v.pipeline(t)
		p.Cache = cache
		store := &counted{Storage: p.Storage}
		p.Storage = store
		result, err := p.Run(t.Context(), v.Plan, func(release.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		left, _ := filepath.Glob(filepath.Join(v.State, "*", "delta.*"))
		if len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		return result, store
	}
	files := deltaFiles()
	first, _ := run("1.0.0", files)
	if first.Delta == nil || first.Delta.Files != 23 || first.Delta.Sent != first.Delta.Bytes || first.Delta.Existed != 0 || first.Device == nil || !first.Device.Installed {
		t.Fatalf("%+v %+v", first.Delta, first.Device)
	}
	row, err := y.victim(t, deltaApp, "").pipeline(t).Registry.Bundle(t.Context(), deltaApp, "1.0.0")
	if err != nil || row.ManifestCount != 23 {
		t.Fatalf("%d files on record, %v", row.ManifestCount, err)
	}

	type owner struct {
		*device.Device
		fetches *fetches
		delta   bool
	}
	var owners []owner
	for plugin, delta := range map[string]bool{
		"6.14.26": false, "6.14.28": true, "6.30.0": true, "7.0.37": false, "7.0.38": true, "7.10.0": false, "7.27.8": true, "7.30.0": true, "8.0.0": true, "8.47.0": true, "8.51.23": true,
	} {
		for _, platform := range []string{device.Android, device.IOS} {
			if !sealed && plugin == "6.14.26" {
				continue // wants a CRC-32 of a plain bundle
			}
			d, f := phone(t, y, y.public, plugin, platform)
			owners = append(owners, owner{d, f, delta})
		}
	}
	for _, d := range owners {
		label := d.Request.PluginVersion + " " + d.Request.Platform
		answer, got := update(t, y, d.Device)
		if answer.HasManifest != d.delta || d.delta && len(answer.Manifest) != 23 {
			t.Fatalf("%s: %d files in the answer", label, len(answer.Manifest))
		}
		checkInstalled(t, label, got.Dir, files, !d.delta)
		if d.delta {
			checkSizes(t, y, label, answer)
		}
	}

	files["main.js"] += "// new"
	second, store := run("1.0.1", files)
	if sealed {
		// Another session key: nothing can be shared, and nothing is looked for.
		if second.Delta.Existed != 0 || store.stats.Load() != 0 {
			t.Errorf("%+v, %d asked for", second.Delta, store.stats.Load())
		}
	} else if second.Delta.Existed != 21 || store.puts.Load() != 2 { // main.js and the zip
		t.Errorf("%+v, %d put", second.Delta, store.puts.Load())
	}
	for _, d := range owners {
		label := d.Request.PluginVersion + " " + d.Request.Platform
		before := d.fetches.n.Load()
		_, got := update(t, y, d.Device)
		checkInstalled(t, label+", second", got.Dir, files, !d.delta)
		if n := d.fetches.n.Load() - before; n != 1 {
			t.Errorf("%s fetched %d files for one that changed", label, n)
		}
	}
}

// checkSizes asks what the offered files weigh, as the plugin does.
func checkSizes(t *testing.T, y yard, label string, a device.Answer) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"platform": "android", "device_id": "00000000-0000-4000-8000-000000000001", "app_id": deltaApp, "version_build": "1.0.0", "version_name": "1.0.0",
		"plugin_version": "8.51.23", "is_prod": true, "is_emulator": false, "version_os": "14", "version": a.Version, "manifest": a.Manifest,
	})
	if err != nil {
		t.Fatal(err)
	}
	status, text := y.Do(t, "POST", "/updates/manifest_size", bytes.NewReader(body), nil)
	var sizes capgo.ManifestSize
	if err := json.Unmarshal(text, &sizes); err != nil || status != 200 || sizes.UnknownFiles != 0 || sizes.KnownFiles != len(a.Manifest) {
		t.Errorf("%s: sizes %d %.300s", label, status, text)
	}
}

// TestDeltaKill kills a release with delta files at its boundaries and calls,
// and continues it: everything is there once, and devices take the files.
func TestDeltaKill(t *testing.T) {
	y := newYard(t)
	files := deltaFiles()
	var mu sync.Mutex
	var points []string
	remove := fault.Set(func(p string) {
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
	})
	first := y.deltaVictim(t, "com.example.counting", "1.0.0", files)
	_, err := first.pipeline(t).Run(t.Context(), first.Plan, func(release.Event) {})
	remove()
	if err != nil {
		t.Fatal(err)
	}
	from := slices.Index(points, "delta.rename")
	to := len(points) - 1 - slices.Index(reversed(points), "delta.note")
	if from < 0 || to-from < 60 {
		t.Fatalf("%d places to die", to-from)
	}
	step := (to - from) / 6
	if os.Getenv("CAPSTAN_LONG") == "1" {
		step = 2
	}
	for at := from; at <= to+1; at += step {
		t.Run(fmt.Sprintf("%03d", at), func(t *testing.T) {
			v := y.deltaVictim(t, fmt.Sprintf("com.example.killed%d", at), "1.0.0", files)
			dieAt(t, v, at)
			sent, _ := filepath.Glob(filepath.Join(v.State, "*", "delta.sent"))
			before := 0
			for _, path := range sent {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				before += bytes.Count(text, []byte("\n"))
			}
			p := v.pipeline(t)
			states, err := p.Journals.List(t.Context())
			if err != nil || len(states) != 1 {
				t.Fatalf("%d journals, %v", len(states), err)
			}
			store := &counted{Storage: p.Storage}
			p.Storage = store
			result, err := p.Resume(t.Context(), states[0].ID, func(release.Event) {})
			if err != nil {
				t.Fatal(err)
			}
			if states[0].Sealed != nil && store.puts.Load() > int64(1+22-before) {
				t.Errorf("%d objects sent again, %d files were noted", store.puts.Load(), before)
			}
			if result.Delta == nil || result.Device == nil || !result.Device.Installed {
				t.Errorf("%+v %+v", result.Delta, result.Device)
			}
			row, err := p.Registry.Bundle(t.Context(), v.Plan.AppID, "1.0.0")
			if err != nil || row.ManifestCount != 23 {
				t.Errorf("%d files on record, %v", row.ManifestCount, err)
			}
		})
	}
}

func reversed(s []string) []string {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// spoiledFile gives other bytes than were put for one delta file.
type spoiledFile struct {
	storage.Storage
	base  string
	spoil func(w http.ResponseWriter, b []byte)
	mu    sync.Mutex
	name  string // of the file
}

func (s *spoiledFile) PublicURL(name string) string { return s.base + "/" + name }

func (s *spoiledFile) serve(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	from, err := s.Get(r.Context(), name, 0, -1)
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	defer from.Close()
	b, err := io.ReadAll(from)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	s.mu.Lock()
	if s.name == "" && strings.Contains(name, "/files/") {
		s.name = name
	}
	mine := s.name == name
	s.mu.Unlock()
	if mine {
		s.spoil(w, b)
		return
	}
	serve(w, b)
}

// TestDeltaSpoiled serves one file of many wrongly: the release stops before
// anything is registered.
func TestDeltaSpoiled(t *testing.T) {
	y := newYard(t)
	for name, spoil := range map[string]func(http.ResponseWriter, []byte){
		"flipped":   func(w http.ResponseWriter, b []byte) { b[len(b)/2] ^= 1; serve(w, b) },
		"short":     func(w http.ResponseWriter, b []byte) { serve(w, b[:len(b)-16]) },
		"not-found": func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) },
	} {
		t.Run(name, func(t *testing.T) {
			v := y.deltaVictim(t, "com.example."+name, "1.0.0", deltaFiles())
			p := v.pipeline(t)
			front := &spoiledFile{Storage: p.Storage, spoil: spoil}
			front.base = newLoopback(t, front.serve)
			p.Storage = front
			_, err := p.Run(t.Context(), v.Plan, func(release.Event) {})
			if f, ok := failure.Find(err); !ok || f.Class != failure.Verification && f.Class != failure.NotFound {
				t.Fatalf("went through: %v", err)
			}
			if _, err := p.Registry.Bundle(t.Context(), v.Plan.AppID, "1.0.0"); err == nil {
				t.Error("it is registered")
			}
		})
	}
}

// zipOnly is a registry that knows nothing of delta files, as Capgo's.
type zipOnly struct {
	release.Registry
	registered capgo.NewBundle
}

func (z *zipOnly) About(ctx context.Context) (capgo.About, error) {
	about, err := z.Registry.About(ctx)
	about.Capabilities = slices.DeleteFunc(slices.Clone(about.Capabilities), func(c string) bool { return c == capgo.CapDelta })
	return about, err
}

func (z *zipOnly) RegisterBundle(ctx context.Context, b capgo.NewBundle) (capgo.Bundle, error) {
	z.registered = b
	return z.Registry.RegisterBundle(ctx, b)
}

func TestDeltaWithoutTheCapability(t *testing.T) {
	y := newYard(t)
	v := y.deltaVictim(t, deltaApp, "1.0.0", deltaFiles())
	p := v.pipeline(t)
	registry := &zipOnly{Registry: p.Registry}
	p.Registry = registry
	said := false
	result, err := p.Run(t.Context(), v.Plan, func(e release.Event) { said = said || e.Code == "delta_unsupported" && e.Kind == release.EventFinding })
	if err != nil || !said || result.Delta != nil || registry.registered.Manifest != nil {
		t.Errorf("said %v, %+v, %v", said, result.Delta, err)
	}
}

func TestDeltaRefused(t *testing.T) {
	y := newYard(t)
	for code, change := range map[string]func(*release.Plan){
		"manifest_name": func(p *release.Plan) {
			if err := os.WriteFile(filepath.Join(p.Dir, "my page.html"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"delta_external": func(p *release.Plan) {
			p.Dir, p.External = "", &release.External{URL: "https://cdn.example.com/x.zip", SessionKey: "x"}
		},
		"level_unknown": func(p *release.Plan) { p.DeltaQuality = 12 },
	} {
		v := y.deltaVictim(t, deltaApp, "1.0.0", deltaFiles())
		change(&v.Plan)
		if _, err := v.pipeline(t).Run(t.Context(), v.Plan, func(release.Event) {}); failure.CodeOf(err) != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
}

// TestDeltaManifestIsVerified registers delta files past the pipeline: the
// server takes none that it could not serve.
func TestDeltaManifestIsVerified(t *testing.T) {
	y := newYard(t)
	v := y.deltaVictim(t, deltaApp, "1.0.0", deltaFiles())
	p := v.pipeline(t)
	registry := &zipOnly{Registry: p.Registry}
	if _, err := (&release.Pipeline{Journals: p.Journals, Registry: recording{p.Registry, registry}, Storage: p.Storage, Signer: p.Signer}).Run(t.Context(), v.Plan, func(release.Event) {}); err != nil {
		t.Fatal(err)
	}
	good := registry.registered
	for name, c := range map[string]struct {
		change func([]capgo.NewFile) []capgo.NewFile
		status int
	}{
		"another's hash": {func(m []capgo.NewFile) []capgo.NewFile { m[0].HashV3 = m[1].HashV3; return m }, 400},
		"hash altered":   {func(m []capgo.NewFile) []capgo.NewFile { m[3].HashV2 = otherFirst(m[3].HashV2); return m }, 400},
		"plain hash":     {func(m []capgo.NewFile) []capgo.NewFile { m[0].SHA256 = m[1].SHA256; return m }, 400},
		"one form only":  {func(m []capgo.NewFile) []capgo.NewFile { m[0].HashV2 = ""; return m }, 400},
		"no hash":        {func(m []capgo.NewFile) []capgo.NewFile { m[0].HashV2, m[0].HashV3 = "", ""; return m }, 400},
		"twice":          {func(m []capgo.NewFile) []capgo.NewFile { return append(m, m[0]) }, 400},
		"traversal":      {func(m []capgo.NewFile) []capgo.NewFile { m[0].FileName = "../x"; return m }, 400},
		"no size":        {func(m []capgo.NewFile) []capgo.NewFile { m[0].Size = 0; return m }, 400},
		"no address":     {func(m []capgo.NewFile) []capgo.NewFile { m[0].URL = ""; return m }, 400},
		"plain http":     {func(m []capgo.NewFile) []capgo.NewFile { m[0].URL = "http://cdn.example.com/x"; return m }, 400},
		"another's files": {func(m []capgo.NewFile) []capgo.NewFile {
			m[0].URL, m[0].Object = "", "com.example.other/files/x"
			return m
		}, 400},
		"no such object": {func(m []capgo.NewFile) []capgo.NewFile { m[0].URL, m[0].Object = "", deltaApp+"/files/x"; return m }, 404},
		"own object": {func(m []capgo.NewFile) []capgo.NewFile {
			for i := range m {
				m[i].Object, m[i].URL = strings.TrimPrefix(m[i].URL, y.BaseURL+"/files/"), ""
			}
			return m
		}, 200},
	} {
		b := good
		b.Version, b.Manifest = "1.0.1", c.change(slices.Clone(good.Manifest))
		body, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		status, text := y.Do(t, "POST", "/bundle", bytes.NewReader(body), nil)
		if status != c.status {
			t.Errorf("%s: %d %.200s", name, status, text)
		}
	}
	// The one that was taken names its objects, and devices get their addresses.
	version := "1.0.1"
	if err := p.Registry.ChangeChannel(t.Context(), capgo.ChannelChange{AppID: deltaApp, Channel: "production", Version: &version}); err != nil {
		t.Fatal(err)
	}
	d, _ := phone(t, y, y.public, "8.51.23", device.Android)
	answer, got := update(t, y, d)
	if len(answer.Manifest) != 23 {
		t.Errorf("%d files", len(answer.Manifest))
	}
	checkInstalled(t, "own objects", got.Dir, deltaFiles(), false)
}

// otherFirst gives s with another first letter, whatever it was: a signature
// begins with any.
func otherFirst(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// recording notes what is registered.
type recording struct {
	release.Registry
	into *zipOnly
}

func (r recording) RegisterBundle(ctx context.Context, b capgo.NewBundle) (capgo.Bundle, error) {
	return r.into.RegisterBundle(ctx, b)
}

// TestDeltaOfTenThousand takes the most files that a delta update may have from
// folder to device: CAPSTAN_LONG=1.
func TestDeltaOfTenThousand(t *testing.T) {
	if os.Getenv("CAPSTAN_LONG") != "1" {
		t.Skip("some minutes: set CAPSTAN_LONG=1")
	}
	y := newYard(t)
	files := map[string]string{"index.html": "<!doctype html>", "main.js": "notifyAppReady()"}
	for i := range capgo.MaxManifest - len(files) {
		files[fmt.Sprintf("assets/%03d/chunk-%05d.js", i%100, i)] = fmt.Sprintf("export const n = %d;", i)
	}
	v := y.deltaVictim(t, deltaApp, "1.0.0", files)
	result, err := v.pipeline(t).Run(t.Context(), v.Plan, func(release.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if result.Delta.Files != capgo.MaxManifest || result.Device == nil || !result.Device.Installed {
		t.Errorf("%+v %+v", result.Delta, result.Device)
	}
	d, f := phone(t, y, y.public, "8.51.23", device.Android)
	answer, got := update(t, y, d)
	checkInstalled(t, "10,000 files", got.Dir, files, true)
	checkSizes(t, y, "10,000 files", answer)
	if n := f.n.Load(); n != capgo.MaxManifest {
		t.Errorf("%d fetched", n)
	}
}
