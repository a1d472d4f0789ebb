package device

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"capstan/core/bundle"
	"capstan/core/failure"
)

const cliData = "../bundle/testdata/capgo-cli/"

func TestProveTakesWhatTheCLIMade(t *testing.T) {
	raw, err := os.ReadFile(cliData + "kat.json")
	if err != nil {
		t.Fatal(err)
	}
	var kat struct{ IvSessionKey, ChecksumV3hex, ChecksumV2base64, Sha256Plain, Sha256Encrypted string }
	if err := json.Unmarshal(raw, &kat); err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(cliData + "key_v2.pub")
	if err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.FileServer(http.Dir(cliData + "tampered")))
	defer host.Close()
	object := Object{URL: host.URL + "/enc.zip", SessionKey: kat.IvSessionKey, ChecksumV2: kat.ChecksumV2base64,
		ChecksumV3: kat.ChecksumV3hex, PlainChecksum: kat.Sha256Plain, ObjectSHA256: kat.Sha256Encrypted, ObjectSize: 324256}
	versions := []string{"5.9.5", "6.3.0", "6.14.26", "7.9.2", "7.27.8", "8.40.7", "8.51.14", "8.51.23"}
	verdicts, err := Prove(t.Context(), object, pub, versions, []string{Android, IOS}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != 2*len(versions) {
		t.Fatalf("%d verdicts", len(verdicts))
	}
	for _, v := range verdicts {
		if v.Offered != (v.PluginVersion != "5.9.5") || v.Installed != v.Offered {
			t.Errorf("%+v", v)
		}
		if v.Installed && v.Files != 10 {
			t.Errorf("%d files", v.Files)
		}
	}
}

// sealedObject is a good object and its key.
func sealedObject(t *testing.T, h *host, s sealer, files tree) Object {
	plain := zipOf(t, files)
	served := s.encrypt(plain)
	return Object{URL: h.put(served), Version: "2.0.0", SessionKey: s.field(), ChecksumV2: s.v2(plain), ChecksumV3: s.v3(plain),
		PlainChecksum: sha256Hex(plain), ObjectSHA256: sha256Hex(served), ObjectSize: int64(len(served))}
}

func TestProveRefuses(t *testing.T) {
	h := newHost(t)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	other := newSealer(privateKey(t, "testdata/keys/other2048.pem"))
	public := publicPEM(s.key)
	good := sealedObject(t, h, s, sample)
	plain := zipOf(t, sample)
	bomb := sealedObject(t, h, s, tree{"readme.txt": "no page"})
	tls := httptest.NewTLSServer(h.Config.Handler)
	defer tls.Close()
	crossing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, tls.URL+r.URL.Path, http.StatusFound)
	}))
	defer crossing.Close()
	cases := []struct {
		name   string
		public []byte
		change func(*Object)
		code   string
		class  failure.Class
	}{
		{"another object", public, func(o *Object) { o.ObjectSHA256 = sha256Hex([]byte("x")) }, "object_mismatch", failure.Verification},
		{"another size", public, func(o *Object) { o.ObjectSize++ }, "object_mismatch", failure.Verification},
		{"another key in the app", publicPEM(other.key), nil, "session_key_refused", failure.Verification},
		{"checksum of another key", public, func(o *Object) { o.ChecksumV3 = other.v3(plain) }, "checksum_refused", failure.Verification},
		{"checksum of another bundle", public, func(o *Object) { o.ChecksumV2 = s.v2([]byte("x")) }, "checksum_fail", failure.Verification},
		{"not signed", public, func(o *Object) { o.SessionKey = "" }, "session_key_required", failure.Verification},
		{"no checksum", public, func(o *Object) { o.ChecksumV2, o.ChecksumV3 = "", "" }, "session_key_required", failure.Verification},
		{"encrypted for an app without key", nil, nil, "decrypt_fail", failure.Verification},
		{"a key that no plugin reads", bytes.ReplaceAll(public, []byte("RSA PUBLIC"), []byte("PUBLIC")), nil, "key_malformed", failure.Verification},
		{"damaged", public, func(o *Object) {
			o.URL, o.ObjectSHA256 = h.put(append([]byte("0000000000000000"), s.encrypt(plain)[16:]...)), ""
		}, "checksum_fail", failure.Verification},
		{"not there", public, func(o *Object) { o.URL = h.URL + "/missing" }, "download_fail", failure.NotFound},
		{"nobody there", public, func(o *Object) { o.URL = "http://127.0.0.1:1/x.zip" }, "download_fail", failure.Unavailable},
		{"moved from http to https", public, func(o *Object) { o.URL = crossing.URL + "/x.zip" }, "download_fail", failure.Verification},
		{"cannot start", public, func(o *Object) { *o = bomb }, "set_fail", failure.Verification},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			o := good
			if c.change != nil {
				c.change(&o)
			}
			var steps []Step
			_, err := Prove(t.Context(), o, c.public, []string{"8.51.23", "7.27.8"}, []string{Android, IOS}, func(s Step) { steps = append(steps, s) })
			f, ok := failure.Find(err)
			if !ok || f.Code != c.code || f.Class != c.class {
				t.Errorf("error %v", err)
			}
			if !slices.ContainsFunc(steps, func(s Step) bool { return !s.OK && s.Code == c.code }) {
				t.Errorf("no step says so: %+v", steps)
			}
			if left, _ := os.ReadDir(temp); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestProvePlainBundle(t *testing.T) {
	h := newHost(t)
	plain := zipOf(t, sample)
	o := Object{URL: h.put(plain), PlainChecksum: sha256Hex(plain)}
	verdicts, err := Prove(t.Context(), o, nil, []string{"6.14.26", "7.27.8", "8.51.23", "not a version"}, []string{Android}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Verdict{}
	for _, v := range verdicts {
		got[v.PluginVersion] = v
	}
	if v := got["6.14.26"]; v.Offered || v.Code != "not_offered" || v.Form != bundle.FormCRC32 {
		t.Errorf("%+v", v)
	}
	if v := got["8.51.23"]; !v.Installed || v.Files != len(sample) || v.Form != bundle.FormSHA256 {
		t.Errorf("%+v", v)
	}
	// What a device says about itself stops nothing.
	if v := got["not a version"]; v.Offered || v.Code != "plugin_version_malformed" {
		t.Errorf("%+v", v)
	}
	o.CRC32 = crc32Hex(plain)
	verdicts, err = Prove(t.Context(), o, nil, []string{"6.14.26"}, []string{Android}, nil)
	if err != nil || !verdicts[0].Installed {
		t.Errorf("with a CRC32: %+v, %v", verdicts, err)
	}
}

func TestProveDownloadsOnce(t *testing.T) {
	h := newHost(t)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	o := sealedObject(t, h, s, sample)
	requests := map[string]int{}
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests[r.Header.Get("Range")]++
		h.Config.Handler.ServeHTTP(w, r)
	}))
	defer counting.Close()
	o.URL = counting.URL + o.URL[len(h.URL):]
	if _, err := Prove(t.Context(), o, publicPEM(s.key), []string{"8.51.23", "8.51.14", "8.40.7", "7.27.8", "6.3.0"}, []string{Android, IOS}, nil); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(requests, map[string]int{"": 1, "bytes=0-0": 1}) {
		t.Errorf("requests by range: %v", requests)
	}
}

func TestProveSaysThatRangesAreMissing(t *testing.T) {
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	plain := zipOf(t, sample)
	served := s.encrypt(plain)
	whole := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(served) }))
	defer whole.Close()
	o := Object{URL: whole.URL, SessionKey: s.field(), ChecksumV3: s.v3(plain)}
	var codes []string
	verdicts, err := Prove(t.Context(), o, publicPEM(s.key), []string{"8.51.23", "7.27.8"}, []string{Android}, func(s Step) { codes = append(codes, s.Code) })
	if err != nil || !verdicts[0].Installed || !slices.Contains(codes, "ranges_missing") {
		t.Errorf("%+v, %v, %q", verdicts, err, codes)
	}
	// Only one form exists: the others must not be offered it.
	if verdicts[1].Offered {
		t.Errorf("%+v", verdicts[1])
	}
}

func TestProveIsCancelled(t *testing.T) {
	h := newHost(t)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Prove(ctx, sealedObject(t, h, s, sample), publicPEM(s.key), []string{"8.51.23", "7.27.8"}, []string{Android}, func(s Step) {
		if s.Name == "checksum" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestProveNotesWhatSlowsIOS(t *testing.T) {
	for _, c := range []struct {
		url  string
		size int64
		ios  bool
		want []string
	}{
		{"https://cdn.example.com/x.zip", 1 << 20, true, nil},
		{"http://cdn.example.com/x.zip", 1 << 20, true, []string{"http_url"}},
		{"http://127.0.0.1:9/x.zip", 1 << 20, true, nil},
		{"https://cdn.example.com/x.zip", 30 << 20, true, []string{"slow_on_ios"}},
		{"http://cdn.example.com/x.zip", 30 << 20, false, nil},
	} {
		var codes []string
		p := &proof{object: Object{URL: c.url}, ios: c.ios, say: func(s Step) { codes = append(codes, s.Code) }}
		if p.noteIOS(c.size); !slices.Equal(codes, c.want) {
			t.Errorf("%s, %d bytes: %v", c.url, c.size, codes)
		}
	}
}
