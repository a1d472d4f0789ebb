package device

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
)

// make gives a device of a version and platform in a folder of its own.
func newDevice(t *testing.T, platform, version string, change func(*Device)) *Device {
	t.Helper()
	d := Device{
		Request: capgo.UpdateRequest{Platform: platform, PluginVersion: version, AppID: "com.example.app", DeviceID: "00009a6b-eefe-490a-9c60-8e965132ae51",
			VersionBuild: "1.2.0", VersionCode: "120", VersionOS: "15", VersionName: capgo.Builtin, IsProd: true, InstallSource: "google_play", DefaultChannel: "beta"},
		Dir: t.TempDir(),
	}
	if change != nil {
		change(&d)
	}
	made, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func offer(version, url, sessionKey, checksum string) Answer {
	a := Answer{Outcome: Offered}
	a.Version, a.URL, a.SessionKey, a.Checksum = version, url, sessionKey, checksum
	return a
}

// The generations choose forms as the server does.
func TestFormsAgreeWithBundle(t *testing.T) {
	for _, v := range strings.Fields("4.61.11 5.0.0 5.6.13 5.9.5 5.10.0 5.29.0 5.43.3 5.50.2 6.0.21 6.1.17 6.1.18 6.3.0 6.14.26 6.14.28 6.27.0 6.29.9 6.30.0 6.39.0 6.42.3 6.51.16 " +
		"7.0.1 7.0.2 7.0.29 7.0.30 7.9.2 7.27.8 7.29.9 7.30.0-beta.1 7.30.0 7.42.9 7.51.21 8.0.0 8.4.2 8.40.7 8.51.23 9.0.0 10.0.0") {
		for _, platform := range []string{Android, IOS} {
			g, err := GenerationOf(v, platform)
			if err != nil {
				t.Fatal(err)
			}
			if want := bundle.FormFor(v); g.Signed != want {
				t.Errorf("%s %s: signed %q, the bundle package says %q", platform, v, g.Signed, want)
			}
			if want := bundle.PlainFormFor(v, platform); platform == Android && g.Plain != want {
				t.Errorf("%s %s: plain %q, the bundle package says %q", platform, v, g.Plain, want)
			}
		}
	}
}

func TestRequestsOfEachGeneration(t *testing.T) {
	key := publicPEM(privateKey(t, "testdata/keys/app2048.pem"))
	cases := []struct {
		version, platform  string
		name, plugin       string // version_name and plugin_version
		channel, source    bool
		keyID              int
		userAgent, content string
	}{
		{"4.61.11", Android, "builtin", "4.61.11", false, false, 0, "CapacitorUpdater/4.61.11 (com.example.app) android/15", "application/json; charset=utf-8"},
		{"6.14.26", Android, "builtin", "6.14.26", true, false, 0, "CapacitorUpdater/6.14.26 (com.example.app) android/15", "application/json; charset=utf-8"},
		{"7.27.8", IOS, "builtin", "7.27.8", true, false, 0, "CapacitorUpdater/7.27.8 (com.example.app) ios/15", "application/json"},
		{"8.4.2", Android, "builtin", "8.4.2", true, false, 4, "CapacitorUpdater/8.4.2 (com.example.app) android/15", "application/json; charset=utf-8"},
		{"7.42.9", Android, "builtin", "7.42.9", true, false, 20, "CapacitorUpdater/7.42.9 (com.example.app) android/15", "application/json; charset=utf-8"},
		{"5.50.2", Android, "1.2.0", "5.50.1", true, true, 20, "CapacitorUpdater/5.50.1 (com.example.app) android/15", "application/json; charset=utf-8"},
		{"8.51.23", Android, "1.2.0", "8.51.23", true, true, 20, "CapacitorUpdater/8.51.23 (com.example.app) android/15", "application/json; charset=utf-8"},
	}
	for _, c := range cases {
		t.Run(c.platform+" "+c.version, func(t *testing.T) {
			var body map[string]any
			var header http.Header
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				header = r.Header
				_ = json.NewDecoder(r.Body).Decode(&body)
				fmt.Fprint(w, "{}")
			}))
			defer server.Close()
			d := newDevice(t, c.platform, c.version, func(d *Device) { d.PublicKey = key })
			if _, err := d.Check(t.Context(), server.URL); err != nil {
				t.Fatal(err)
			}
			if body["version_name"] != c.name || body["plugin_version"] != c.plugin {
				t.Errorf("version_name %v, plugin_version %v", body["version_name"], body["plugin_version"])
			}
			if _, has := body["defaultChannel"]; has != c.channel {
				t.Errorf("defaultChannel sent: %v", has)
			}
			if _, has := body["install_source"]; has != c.source {
				t.Errorf("install_source sent: %v", has)
			}
			id, _ := body["key_id"].(string)
			if len(id) != c.keyID || !strings.HasPrefix("MIIBCgKCAQEA", id[:min(len(id), 12)]) {
				t.Errorf("key_id %q", id)
			}
			if header.Get("User-Agent") != c.userAgent || header.Get("Content-Type") != c.content {
				t.Errorf("headers %v", header)
			}
		})
	}
}

// Each cause of a refusal has the stats action that the plugin sends for it.
func TestRefusalCodes(t *testing.T) {
	h := newHost(t)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	plain := zipOf(t, sample)
	sealed := s.encrypt(plain)
	public := publicPEM(s.key)
	zips := archives(t)
	cases := []struct {
		name              string
		platform, version string
		public            []byte
		answer            Answer
		code              string
		class             failure.Class
		actions           string
	}{
		{"wrong checksum", Android, "8.51.23", public, offer("2.0.0", h.put(sealed), s.field(), s.v3([]byte("other"))), "checksum_fail", failure.Verification, "download_complete checksum_fail download_fail"},
		{"wrong checksum", IOS, "8.51.23", public, offer("2.0.0", h.put(sealed), s.field(), s.v3([]byte("other"))), "checksum_fail", failure.Verification, "download_complete checksum_fail download_fail"},
		{"no session key", Android, "8.51.23", public, offer("2.0.0", h.put(plain), "", sha256Hex(plain)), "session_key_required", failure.Verification, "session_key_required"},
		{"no checksum", Android, "8.51.23", nil, offer("2.0.0", h.put(plain), "", ""), "checksum_required", failure.Verification, "checksum_required"},
		{"no checksum", Android, "7.27.8", public, offer("2.0.0", h.put(plain), "", ""), "checksum_required", failure.Verification, "download_complete checksum_required download_fail"},
		{"damaged", Android, "8.51.14", public, offer("2.0.0", h.put(sealed[:len(sealed)-16]), s.field(), s.v3(plain)), "decrypt_fail", failure.Verification, "download_complete decrypt_fail download_fail"},
		{"unsigned checksum", Android, "8.51.14", public, offer("2.0.0", h.put(sealed), s.field(), sha256Hex(plain)), "download_fail", failure.Verification, "download_complete download_fail"},
		{"backslash", Android, "8.51.23", nil, offer("2.0.0", h.put(zips["go-backslash.zip"].served), "", sha256Hex(zips["go-backslash.zip"].served)), "windows_path_fail", failure.Verification, "download_complete windows_path_fail download_fail"},
		{"traversal", Android, "7.27.8", nil, offer("2.0.0", h.put(zips["go-traversal.zip"].served), "", sha256Hex(zips["go-traversal.zip"].served)), "canonical_path_fail", failure.Verification, "download_complete canonical_path_fail download_fail"},
		{"traversal", IOS, "8.51.23", nil, offer("2.0.0", h.put(zips["go-traversal.zip"].served), "", sha256Hex(zips["go-traversal.zip"].served)), "canonical_path_fail", failure.Verification, "download_complete canonical_path_fail download_fail"},
		{"stored with descriptor", Android, "8.51.23", nil, offer("2.0.0", h.put(zips["go-store-dd.zip"].served), "", sha256Hex(zips["go-store-dd.zip"].served)), "unzip_fail", failure.Verification, "download_complete unzip_fail download_fail"},
		{"not there", Android, "8.51.23", nil, offer("2.0.0", h.URL+"/missing", "", sha256Hex(plain)), "download_fail", failure.NotFound, "download_fail"},
		{"nobody there", Android, "8.51.23", nil, offer("2.0.0", "http://127.0.0.1:1/x.zip", "", sha256Hex(plain)), "download_fail", failure.Unavailable, "download_fail"},
		{"cannot start", Android, "8.51.23", nil, offer("2.0.0", h.put(zips["go-onlyfile.zip"].served), "", sha256Hex(zips["go-onlyfile.zip"].served)), "set_fail", failure.Verification, "download_complete set_fail"},
	}
	for _, c := range cases {
		t.Run(c.name+" "+c.platform+" "+c.version, func(t *testing.T) {
			d := newDevice(t, c.platform, c.version, func(d *Device) { d.PublicKey = c.public })
			var last Step
			got, err := d.Install(t.Context(), c.answer, func(s Step) { last = s })
			f, ok := failure.Find(err)
			if !ok || f.Code != c.code || f.Class != c.class {
				t.Fatalf("error %v", err)
			}
			if last.OK || last.Code != c.code {
				t.Errorf("last step %+v", last)
			}
			if a := strings.Join(got.Actions, " "); a != c.actions {
				t.Errorf("actions %q", a)
			}
			if entries, _ := filepath.Glob(filepath.Join(d.Dir, "download-*")); len(entries) != 0 {
				t.Errorf("left behind: %v", entries)
			}
			// The version is dead on this device.
			again := d.read(200, []byte(`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","session_key":"a:b"}`))
			if again.Outcome != Failed || again.Reason != "dead_version" {
				t.Errorf("asked again: %+v", again)
			}
		})
	}
}

func TestLifeOfADevice(t *testing.T) {
	h := newHost(t)
	plain := zipOf(t, sample)
	d := newDevice(t, Android, "8.51.23", nil)
	body := func(version string) []byte {
		b, _ := json.Marshal(map[string]string{"version": version, "url": h.put(plain), "checksum": sha256Hex(plain)})
		return b
	}
	a := d.read(200, body("2.0.0"))
	got, err := d.Install(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(treeOf(t, got.Dir), sample) || got.Files != len(sample) || got.Checksum != sha256Hex(plain) {
		t.Errorf("installed %+v", got)
	}
	if d.Request.VersionName != "2.0.0" || d.info()["version_name"] != "2.0.0" {
		t.Errorf("runs %s", d.Request.VersionName)
	}
	if a := d.read(200, body("2.0.0")); a.Outcome != Current || a.Reason != "current" {
		t.Errorf("same version: %+v", a)
	}
	if _, err := d.Download(t.Context(), d.read(200, body("2.1.0")), nil); err != nil {
		t.Fatal(err)
	}
	if a := d.read(200, body("2.1.0")); a.Outcome != Current || a.Reason != "downloaded" {
		t.Errorf("downloaded version: %+v", a)
	}
	if a := d.read(200, []byte(`{"version":"builtin"}`)); a.Outcome != ToBuiltin {
		t.Errorf("builtin: %+v", a)
	}
	d.Reset()
	if d.info()["version_name"] != "1.2.0" {
		t.Errorf("after the reset it says %v", d.info()["version_name"])
	}
	if _, err := d.Install(t.Context(), d.read(200, []byte(`{"version":"builtin"}`)), nil); failure.CodeOf(err) != "nothing_offered" {
		t.Errorf("installing nothing: %v", err)
	}
}

// iOS reads some answers and bundles differently, as its source says.
func TestIOS(t *testing.T) {
	h := newHost(t)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	plain := zipOf(t, sample)
	public := publicPEM(s.key)
	crlf := bytes.ReplaceAll(public, []byte("\n"), []byte("\r\n"))
	sealed := s.encrypt(plain)
	iv, signed, _ := strings.Cut(s.field(), ":")
	zips := archives(t)
	short := s
	short.session = []byte("0123456789abcdef0123456789abcdef")
	plainOffer := func(b []byte) Answer { return offer("2.0.0", h.put(b), "", sha256Hex(b)) }
	cases := []struct {
		name, version string
		public        []byte
		answer        Answer
		code          string // "" installs
	}{
		{"signed", "8.51.23", public, offer("2.0.0", h.put(sealed), s.field(), s.v3(plain)), ""},
		{"signed, old form", "7.27.8", public, offer("2.0.0", h.put(sealed), s.field(), s.v2(plain)), ""},
		{"plain for an app with a key", "8.51.14", public, plainOffer(plain), "download_fail"},
		{"plain for an app without", "8.51.14", nil, plainOffer(plain), ""},
		{"plain without checksum", "8.51.14", nil, offer("2.0.0", h.put(plain), "", ""), ""},
		{"plain without checksum", "8.51.23", nil, offer("2.0.0", h.put(plain), "", ""), "checksum_required"},
		{"unpadded base64", "8.51.23", public, offer("2.0.0", h.put(sealed), strings.TrimRight(iv, "=")+":"+strings.TrimRight(signed, "="), s.v3(plain)), "decrypt_fail"},
		{"wrapped base64", "8.51.23", public, offer("2.0.0", h.put(sealed), iv+":"+wrapped(signed, 76), s.v3(plain)), "decrypt_fail"},
		{"AES-256", "8.40.7", public, offer("2.0.0", h.put(short.encrypt(plain)), short.field(), s.v3(plain)), "decrypt_fail"},
		{"key with CRLF", "8.51.23", crlf, offer("2.0.0", h.put(sealed), s.field(), s.v3(plain)), ""},
		{"key with CRLF", "8.40.7", crlf, offer("2.0.0", h.put(sealed), s.field(), s.v3(plain)), "decrypt_fail"},
		{"stored with descriptor", "8.51.23", nil, plainOffer(zips["go-store-dd.zip"].served), ""},
		{"one folder", "8.51.23", nil, plainOffer(zips["go-wrapped.zip"].served), ""},
		{"one folder and __MACOSX", "8.51.23", nil, plainOffer(zips["go-macosx.zip"].served), "set_fail"},
		{"backslash", "7.27.8", nil, plainOffer(zips["go-backslash.zip"].served), "windows_path_fail"},
		{"junk before the archive", "8.51.23", nil, plainOffer(zips["go-prefixed.zip"].served), "unzip_fail"},
		{"unknown method", "8.51.23", nil, plainOffer(zips["go-zstd93.zip"].served), "unzip_fail"},
		{"empty archive", "8.51.23", nil, plainOffer(zips["go-empty.zip"].served), "unzip_fail"},
	}
	for _, c := range cases {
		t.Run(c.name+" "+c.version, func(t *testing.T) {
			d := newDevice(t, IOS, c.version, func(d *Device) { d.PublicKey = c.public })
			_, err := d.Install(t.Context(), c.answer, nil)
			if (c.code == "") != (err == nil) || err != nil && failure.CodeOf(err) != c.code {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := New(Device{Request: capgo.UpdateRequest{Platform: IOS, PluginVersion: "8.45.0"}, PublicKey: crlf}); failure.CodeOf(err) != "key_malformed" {
		t.Errorf("a key that ends the app at start: %v", err)
	}
}

func TestLinks(t *testing.T) {
	h := newHost(t)
	link := func(goal string) []byte {
		return zipWith(t, []string{"index.html", "dir/link"}, func(z *zip.Writer, name string) error {
			header := &zip.FileHeader{Name: name, Method: zip.Deflate}
			content := sample["index.html"]
			if name != "index.html" {
				header.SetMode(os.ModeSymlink | 0o777)
				content = goal
			}
			w, err := z.CreateHeader(header)
			if err == nil {
				_, err = io.WriteString(w, content)
			}
			return err
		})
	}
	inside, outside := link("other"), link("../../../../etc/passwd")
	d := newDevice(t, IOS, "8.51.23", nil)
	got, err := d.Install(t.Context(), offer("2.0.0", h.put(inside), "", sha256Hex(inside)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if goal, err := os.Readlink(filepath.Join(got.Dir, "dir", "link")); err != nil || goal != "other" {
		t.Errorf("iOS made %q, %v", goal, err)
	}
	if _, err := d.Install(t.Context(), offer("2.0.1", h.put(outside), "", sha256Hex(outside)), nil); failure.CodeOf(err) != "canonical_path_fail" {
		t.Errorf("a link out of the bundle: %v", err)
	}
	a := newDevice(t, Android, "8.51.23", nil)
	got, err = a.Install(t.Context(), offer("2.0.0", h.put(outside), "", sha256Hex(outside)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(got.Dir, "dir", "link")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("Android made %v, %v", info, err)
	}
}

func TestTypedDecoderOfIOS(t *testing.T) {
	for _, c := range []struct{ body, reason string }{
		{`{"version":2,"url":"https://example.com/x.zip"}`, "decode_error"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","breaking":"true"}`, "decode_error"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","data":[]}`, "decode_error"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","link":5}`, "decode_error"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","manifest":[{"file_name":1}]}`, "decode_error"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","error":null,"kind":null,"session_key":null,"link":null}`, "offered"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","error":"","kind":""}`, "offered"},
		{`{"version":"2.0.0","url":"https://example.com/x.zip","checksum":"00","unknown":{"a":1}}`, "offered"},
		{`{"error":"no_channel","message":"x","kind":"failed"}`, "no_channel"},
		{`{"error":"no_new_version_available","message":"x","kind":"up_to_date"}`, "no_new_version_available"},
	} {
		d := newDevice(t, IOS, "8.51.23", nil)
		if a := d.read(200, []byte(c.body)); a.Reason != c.reason {
			t.Errorf("%s: %s", c.body, a.Reason)
		}
	}
}

// The plugin's own contract: which kinds are kept.
func TestKindsOfThePluginContract(t *testing.T) {
	var contract struct {
		UpdateResponseKind []struct {
			ID            string
			Input, Expect struct{ Kind *string }
		}
	}
	if err := json.Unmarshal(read(t, "../bundle/testdata/plugin-contract/core.json"), &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.UpdateResponseKind) == 0 {
		t.Fatal("the contract has no kinds")
	}
	for _, c := range contract.UpdateResponseKind {
		body, _ := json.Marshal(map[string]any{"error": "refused", "message": "x", "kind": c.Input.Kind})
		a := newDevice(t, Android, "8.51.23", nil).read(200, body)
		want := Quiet
		if *c.Expect.Kind == "failed" {
			want = Failed
		}
		if a.Outcome != want {
			t.Errorf("%s: %s", c.ID, a.Outcome)
		}
	}
}

// The plugin's own contract: what the public key opens.
func TestValuesOfThePluginContract(t *testing.T) {
	var contract struct {
		PublicKeyPem    string `json:"publicKeyPem"`
		DecryptChecksum []struct {
			ID            string
			Input, Expect map[string]any
		} `json:"decryptChecksum"`
	}
	raw := read(t, "../bundle/testdata/plugin-contract/crypto-rsa.json")
	if err := json.Unmarshal(raw, &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.DecryptChecksum) == 0 {
		t.Fatal("the contract has no checksums")
	}
	for _, c := range contract.DecryptChecksum {
		text := func(m map[string]any, keys ...string) string {
			for _, k := range keys {
				if s, ok := m[k].(string); ok {
					return s
				}
			}
			return ""
		}
		pem := text(c.Input, "publicKeyPem", "publicKey")
		if pem == "" {
			pem = contract.PublicKeyPem
		}
		for _, platform := range []string{Android, IOS} {
			d := newDevice(t, platform, "8.51.23", func(d *Device) { d.PublicKey = []byte(pem) })
			got, err := d.signedChecksum(text(c.Input, "checksum", "checksumHex", "encryptedChecksum", "ciphertextHex"))
			if want := text(c.Expect, "checksum", "hex", "decryptedHex", "sha256", "checksumHex"); err != nil || got != want || want == "" {
				t.Errorf("%s on %s: %q, %v; want %q; %v", c.ID, platform, got, err, want, c)
			}
		}
	}
}

// flakyHost breaks off the first answers halfway.
func flakyHost(t *testing.T, b []byte, breaks int32) (address string, requests *atomic.Int32) {
	requests = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > breaks {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
	}))
	t.Cleanup(server.Close)
	return server.URL + "/x.zip", requests
}

func TestBrokenDownloads(t *testing.T) {
	plain := zipOf(t, sample)
	for _, c := range []struct {
		version  string
		breaks   int32
		installs bool
		requests int32
	}{
		{"8.51.23", 1, true, 2},
		{"8.51.23", 3, false, 3},
		{"7.27.8", 1, false, 1},
	} {
		address, requests := flakyHost(t, plain, c.breaks)
		d := newDevice(t, Android, c.version, nil)
		_, err := d.Install(t.Context(), offer("2.0.0", address, "", sha256Hex(plain)), nil)
		if (err == nil) != c.installs || requests.Load() != c.requests {
			t.Errorf("%s after %d breaks: %v with %d requests", c.version, c.breaks, err, requests.Load())
		}
		if err != nil && failure.ExitStatus(err) != int(failure.Unavailable) {
			t.Errorf("a broken download is worth retrying: %v", err)
		}
	}
}

func TestCancelledDownload(t *testing.T) {
	started := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	d := newDevice(t, Android, "8.51.23", nil)
	_, err := d.Install(ctx, offer("2.0.0", server.URL, "", "00"), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(d.Dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if a := d.read(200, []byte(`{"version":"2.0.0","url":"https://example.com/x","checksum":"0"}`)); a.Outcome != Offered {
		t.Errorf("a cancelled download is no failure of the version: %+v", a)
	}
}

func TestUnpackedSizeIsLimited(t *testing.T) {
	h := newHost(t)
	bomb := zipOf(t, tree{"index.html": "x", "zeros": strings.Repeat("\x00", 1<<20)})
	for _, platform := range []string{Android, IOS} {
		d := newDevice(t, platform, "8.51.23", func(d *Device) { d.MaxUnpacked = 1 << 16 })
		_, err := d.Install(t.Context(), offer("2.0.0", h.put(bomb), "", sha256Hex(bomb)), nil)
		if failure.CodeOf(err) != "insufficient_disk_space" {
			t.Errorf("%s: %v", platform, err)
		}
	}
}

// A file with a known hash is not fetched again.
func TestManifestUsesTheCache(t *testing.T) {
	var fetched atomic.Int32
	h := newAnswerHost(t)
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		h.Config.Handler.ServeHTTP(w, r)
	}))
	defer counting.Close()
	m := manifestMaker{h: h}
	entries := func(files tree) []capgo.ManifestEntry {
		var list []capgo.ManifestEntry
		for _, e := range m.of(files, manifestForm{quality: 11, suffix: ".br", hash: func(c string) string { return sha256Hex([]byte(c)) }}) {
			address := strings.Replace(e["download_url"].(string), h.URL, counting.URL, 1)
			list = append(list, capgo.ManifestEntry{FileName: e["file_name"].(string), FileHash: e["file_hash"].(string), DownloadURL: address})
		}
		return list
	}
	d := newDevice(t, Android, "8.51.23", nil)
	install := func(version string, files tree) {
		t.Helper()
		a := offer(version, capgo.NoZipURL, "", "")
		a.HasManifest, a.Manifest = true, entries(files)
		got, err := d.Install(t.Context(), a, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(treeOf(t, got.Dir), files) {
			t.Errorf("%s: another tree", version)
		}
	}
	install("2.0.0", sample)
	if n := fetched.Load(); int(n) != len(sample) {
		t.Errorf("%d files fetched", n)
	}
	changed := maps.Clone(sample)
	changed["index.html"] = "<!doctype html>"
	install("2.0.1", changed)
	if n := fetched.Load(); int(n) != len(sample)+1 {
		t.Errorf("%d files fetched after one changed", n)
	}
}

// statsServer keeps what it got.
func statsServer(t *testing.T, status int, header string) (*httptest.Server, *[]json.RawMessage) {
	var bodies []json.RawMessage
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, b)
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, `{"status":"ok"}`)
	}))
	t.Cleanup(s.Close)
	return s, &bodies
}

func TestReport(t *testing.T) {
	events := []Event{{Action: "download_complete", Version: "2.0.0"}, {Action: "set", Version: "2.0.0", OldVersion: "1.9.0"}}
	s, bodies := statsServer(t, 200, "")
	if err := newDevice(t, Android, "8.51.23", nil).Report(t.Context(), s.URL, events...); err != nil {
		t.Fatal(err)
	}
	var batch []capgo.StatsEvent
	if len(*bodies) != 1 || json.Unmarshal((*bodies)[0], &batch) != nil || len(batch) != 2 {
		t.Fatalf("batch %s", *bodies)
	}
	if e := batch[1]; e.Action != "set" || e.VersionName != "2.0.0" || e.OldVersionName != "1.9.0" || e.Timestamp == 0 || e.AppID != "com.example.app" {
		t.Errorf("event %+v", e)
	}
	old, single := statsServer(t, 200, "")
	if err := newDevice(t, Android, "7.27.8", nil).Report(t.Context(), old.URL, events...); err != nil {
		t.Fatal(err)
	}
	if len(*single) != 2 || (*single)[0][0] != '{' {
		t.Errorf("single events %s", *single)
	}
}

func TestRateLimits(t *testing.T) {
	for _, c := range []struct {
		version, header string
		requests        int // of three reports
	}{
		{"7.9.2", "", 3},                       // a plain failure
		{"8.40.7", "", 1},                      // latched until restart
		{"8.51.23", "", 3},                     // no hint, no pause
		{"8.51.23", "Retry-After: 60", 1},      // a pause
		{"8.51.23", "Retry-After: 9999999", 1}, // at most a day
	} {
		s, bodies := statsServer(t, http.StatusTooManyRequests, c.header)
		d := newDevice(t, Android, c.version, nil)
		for range 3 {
			_ = d.Report(t.Context(), s.URL, Event{Action: "set"})
		}
		if len(*bodies) != c.requests {
			t.Errorf("%s with %q: %d requests", c.version, c.header, len(*bodies))
		}
		if time.Until(d.blockedTil) > maxRetryHint {
			t.Errorf("%s: paused for %s", c.version, time.Until(d.blockedTil))
		}
		if c.header != "" {
			if a, err := d.Check(t.Context(), s.URL); err != nil || a.Reason != "rate_limited" || len(*bodies) != c.requests {
				t.Errorf("a check during the pause: %+v, %v", a, err)
			}
		}
	}
}

func TestChannelSelf(t *testing.T) {
	var seen []string
	replies := map[string]string{
		"POST":   `{"status":"ok","allowSet":true}`,
		"PUT":    `{"channel":"stable","status":"default"}`,
		"GET":    `[{"id":1,"name":"beta","public":false,"allow_self_set":true}]`,
		"DELETE": `{"status":"ok"}`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		channel, _ := body["channel"].(string)
		seen = append(seen, strings.Join([]string{r.Method, channel, r.URL.Query().Get("device_id")}, "/"))
		fmt.Fprint(w, replies[r.Method])
	}))
	defer s.Close()
	const id = "00009a6b-eefe-490a-9c60-8e965132ae51"
	ask := func(d *Device, verb ChannelVerb) ChannelReply {
		t.Helper()
		reply, err := d.ChannelSelf(t.Context(), s.URL, verb, "beta")
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	d := newDevice(t, Android, "8.51.23", func(d *Device) { d.Request.DefaultChannel = "" })
	if ask(d, SetChannel); d.Request.DefaultChannel != "beta" {
		t.Errorf("stored %q", d.Request.DefaultChannel)
	}
	if ask(d, GetChannel); d.Request.DefaultChannel != "stable" {
		t.Errorf("stored %q", d.Request.DefaultChannel)
	}
	if list := ask(d, ListChannels).Channels; len(list) != 1 || list[0].Name != "beta" || !list[0].AllowSelfSet {
		t.Errorf("list %+v", list)
	}
	if ask(d, UnsetChannel); d.Request.DefaultChannel != "" {
		t.Errorf("stored %q", d.Request.DefaultChannel)
	}
	old := newDevice(t, Android, "6.14.26", nil)
	ask(old, SetChannel)
	ask(old, UnsetChannel)
	if old.Request.DefaultChannel != "beta" {
		t.Errorf("an older plugin stored %q", old.Request.DefaultChannel)
	}
	want := []string{"POST/beta/", "PUT//", "GET//" + id, "POST/beta/", "DELETE//" + id}
	if !slices.Equal(seen, want) {
		t.Errorf("requests %q", seen)
	}
	replies["POST"] = `{"error":"channel_self_set_not_allowed","message":"This channel does not allow devices to self associate"}`
	_, err := d.ChannelSelf(t.Context(), s.URL, SetChannel, "beta")
	if f, ok := failure.Find(err); !ok || f.Code != "channel_self_set_not_allowed" || f.Class != failure.Conflict || d.Request.DefaultChannel != "" {
		t.Errorf("refused: %v", err)
	}
	replies["PUT"] = `{"error":"channel_not_found","message":"Cannot find channel"}`
	d.Request.DefaultChannel = "gone"
	if reply := ask(d, GetChannel); reply.Channel != "gone" || reply.Status != "default" {
		t.Errorf("a lost channel: %+v", reply)
	}
}

// What each generation reports about an answer that offers nothing.
func TestActionsOfAnswers(t *testing.T) {
	const upToDate = `{"error":"no_new_version_available","message":"No new version available","kind":"up_to_date"}`
	const refused = `{"error":"no_channel","message":"no channel","kind":"failed"}`
	for _, c := range []struct {
		version string
		status  int
		body    string
		action  string
	}{
		{"4.61.11", 200, upToDate, ""},
		{"6.0.21", 200, upToDate, "download_fail"},
		{"6.14.26", 200, upToDate, "backend_refusal"},
		{"6.14.26", 500, "", "download_fail"},
		{"7.27.8", 200, upToDate, "download_fail"},
		{"8.4.2", 200, upToDate, ""},
		{"8.40.7", 200, upToDate, ""},
		{"8.40.7", 400, upToDate, "download_fail"},
		{"8.40.7", 200, "<html>", "download_fail"},
		{"7.42.9", 200, refused, ""},
		{"8.51.23", 200, upToDate, ""},
		{"8.51.23", 200, refused, "download_fail"},
		{"8.51.23", 200, `{"version":"2.0.0","url":"https://example.com/x.zip"}`, "checksum_required"},
		{"6.3.0", 200, `{"version":"2.0.0","url":"https://example.com/x.zip","session_key":null}`, ""},
		{"8.51.23", 200, `{"version":"1.2.0","url":"https://example.com/x.zip","checksum":"00"}`, ""},
	} {
		if a := newDevice(t, Android, c.version, nil).read(c.status, []byte(c.body)); a.Action != c.action {
			t.Errorf("%s hears %d %s: reports %q, want %q", c.version, c.status, c.body, a.Action, c.action)
		}
	}
}
