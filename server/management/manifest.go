package management

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/server/decide"
	"capstan/server/store"
)

// readManifest takes the files of a delta update, if the registration has any.
// Their signed hashes are verified with the key on record when the row is
// made. Codes invalid_manifest, invalid_protocol.
func (c *call) readManifest(b *store.Bundle) error {
	text := bytes.TrimSpace(c.in.manifest)
	if len(text) == 0 || bytes.Equal(text, []byte("null")) || bytes.Equal(text, []byte("[]")) {
		return nil
	}
	var files []capgo.NewFile
	if err := json.Unmarshal(text, &files); err != nil {
		return bad("invalid_manifest", "manifest is not a list of files")
	}
	names := make([]string, len(files))
	for i := range files {
		names[i] = files[i].FileName
	}
	if err := bundle.CheckFileNames(names); err != nil {
		return bad("invalid_manifest", "%s", clean(err.Error()))
	}
	b.Manifest = make([]decide.ManifestFile, len(files))
	for i := range files {
		if err := c.checkFile(b, &files[i]); err != nil {
			return err
		}
		f := files[i]
		b.Manifest[i] = decide.ManifestFile{FileName: f.FileName, FileHash: f.SHA256, FileHashV2: f.HashV2, FileHashV3: f.HashV3, ObjectKey: f.Object, URL: f.URL, Size: f.Size, Own: true}
	}
	return nil
}

// bundleFiles lists the files of a bundle's delta update, as they were
// registered; none is an empty list.
func bundleFiles(c *call) error {
	name := c.in.text("version")
	if err := c.mustExist(); err != nil {
		return err
	}
	if name == "" {
		return bad("missing_version", "version is missing")
	}
	b, err := c.api.Store.BundleWithFiles(c.ctx, c.app, name)
	if err != nil {
		return err
	}
	files := make([]capgo.NewFile, len(b.Manifest))
	for i, f := range b.Manifest {
		files[i] = capgo.NewFile{FileName: f.FileName, SHA256: f.FileHash, HashV2: f.FileHashV2, HashV3: f.FileHashV3, Object: f.ObjectKey, URL: f.URL, Size: f.Size}
	}
	return c.ok(files)
}

// checkFile refuses a file that devices could not use, and completes one that
// is stored here.
func (c *call) checkFile(b *store.Bundle, f *capgo.NewFile) error {
	name := clean(f.FileName)
	f.SHA256 = strings.ToLower(f.SHA256)
	if raw, err := hex.DecodeString(f.SHA256); err != nil || len(raw) != 32 {
		return bad("invalid_manifest", "the sha256 of %s is not a SHA-256 in hex", name)
	}
	switch signed := b.SessionKey != ""; {
	case f.Size <= 0 || f.Size > 1<<50:
		return bad("invalid_manifest", "the size of %s is not a number of bytes", name)
	case signed && (len(f.HashV2) != 344 || len(f.HashV3) != 512):
		return bad("invalid_manifest", "%s is not signed in both forms", name)
	case !signed && f.HashV2+f.HashV3 != "":
		return bad("invalid_manifest", "%s has a signed hash in a bundle without a session key", name)
	case (f.URL == "") == (f.Object == ""):
		return bad("invalid_manifest", "%s needs either url or object", name)
	}
	if f.URL != "" {
		return c.checkURL(f.URL)
	}
	if app, _, _ := strings.Cut(f.Object, "/"); app != c.app {
		return noAccess()
	}
	object, err := c.api.Store.Object(c.ctx, f.Object)
	if err != nil {
		return err
	}
	f.Size = object.Size
	return nil
}
