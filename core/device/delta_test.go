package device

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"capstan/core/bundle"
	"capstan/core/failure"
)

// deltaObject seals a folder with its delta files and puts all of it on a host.
func deltaObject(t *testing.T, h *host, s sealer) Object {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"index.html": []byte("<!doctype html>"), "app.js": bytes.Repeat([]byte("notifyAppReady();\n"), 900), "a/b.css": []byte("body{}"), "empty.txt": nil,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var zip bytes.Buffer
	sealed, err := bundle.PackSealed(t.Context(), dir, &zip, s.key, bundle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	urls := make(chan DeltaFile, 3)
	_, err = bundle.BuildManifest(t.Context(), dir, sealed, s.key, bundle.ManifestOptions{Put: func(_ context.Context, f bundle.ManifestFile, stored io.ReaderAt) error {
		b, err := io.ReadAll(io.NewSectionReader(stored, 0, f.StoredSize))
		urls <- DeltaFile{f, h.put(b)}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	close(urls)
	o := Object{URL: h.put(zip.Bytes()), SessionKey: sealed.SessionKey, ChecksumV2: sealed.ChecksumV2, ChecksumV3: sealed.ChecksumV3,
		PlainChecksum: sealed.PlainChecksum, ObjectSHA256: sealed.ObjectSHA256, ObjectSize: sealed.ObjectSize}
	for f := range urls {
		o.Files = append(o.Files, f)
	}
	return o
}

func TestProveDelta(t *testing.T) {
	h := newHost(t)
	s := newSealer(privateKey(t, "testdata/keys/app2048.pem"))
	public := publicPEM(s.key)
	good := deltaObject(t, h, s)
	versions := []string{"6.14.26", "6.14.28", "7.0.37", "7.0.38", "7.10.0", "7.27.8", "8.51.23"}
	verdicts, err := Prove(t.Context(), good, public, versions, []string{Android, IOS}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var took []string
	for _, v := range verdicts {
		if !v.Installed || v.Files != map[bool]int{true: 3, false: 4}[v.Delta] {
			t.Errorf("%+v", v)
		}
		if v.Delta && v.Platform == Android {
			took = append(took, v.PluginVersion)
		}
	}
	if want := []string{"6.14.28", "7.0.38", "7.27.8", "8.51.23"}; !slices.Equal(took, want) {
		t.Errorf("delta taken by %v", took)
	}
	for name, c := range map[string]struct {
		change func([]DeltaFile) []DeltaFile
		code   string
	}{
		"file missing":       {func(f []DeltaFile) []DeltaFile { return f[1:] }, "manifest_mismatch"},
		"renamed":            {func(f []DeltaFile) []DeltaFile { f[0].FileName = "other.js"; return f }, "manifest_mismatch"},
		"another's content":  {func(f []DeltaFile) []DeltaFile { n := f[0].FileName; f[0] = f[1]; f[0].FileName = n; return f }, "manifest_mismatch"},
		"twice":              {func(f []DeltaFile) []DeltaFile { f[0] = f[1]; return f }, "manifest_collision"},
		"another's hash":     {func(f []DeltaFile) []DeltaFile { f[0].HashV2 = f[1].HashV2; return f }, "download_manifest_checksum_fail"},
		"another's object":   {func(f []DeltaFile) []DeltaFile { f[0].URL = f[1].URL; return f }, "object_mismatch"},
		"no such object":     {func(f []DeltaFile) []DeltaFile { f[0].URL = h.URL + "/missing"; return f }, "download_manifest_file_fail"},
		"suffix without use": {func(f []DeltaFile) []DeltaFile { return flipSuffix(f) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			o.Files = c.change(slices.Clone(good.Files))
			_, err := Prove(t.Context(), o, public, []string{"8.51.23"}, []string{Android}, nil)
			if f, ok := failure.Find(err); !ok || c.code != "" && f.Code != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

// flipSuffix says brotli of a file that is none.
func flipSuffix(files []DeltaFile) []DeltaFile {
	i := slices.IndexFunc(files, func(f DeltaFile) bool { return f.FileName == "a/b.css" })
	files[i].FileName += ".br"
	return files
}
