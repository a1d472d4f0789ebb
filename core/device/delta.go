package device

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
)

// DeltaFile is one file of a delta update where devices will fetch it.
type DeltaFile struct {
	bundle.ManifestFile
	URL string
}

// openFiles checks the delta update with the strictest reading: its files are
// those of the zip, every one of them comes from its address as it is on
// record, and what is in it is what its hashes say in every form.
func (p *proof) openFiles(ctx context.Context, zip *os.File, iv, key []byte) error {
	files := p.object.Files
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.FileName
	}
	if err := bundle.CheckFileNames(names); err != nil {
		return err
	}
	contents, archive, err := zipFiles(ctx, zip)
	if err != nil {
		return err
	}
	if len(contents) != len(files) {
		return refuse("manifest_mismatch", "delta", "the zip has %d files with content, the list %d", len(contents), len(files))
	}
	var pub *rsa.PublicKey
	if key != nil {
		if pub, err = (Generation{}).loadPublic(p.pem); err != nil {
			return err
		}
	}
	if err := p.fetchFiles(ctx); err != nil {
		return err
	}
	opener := &Device{generation: Generation{RefusesEmpty: true}}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(manifestWorkers)
	for i, f := range files {
		group.Go(func() error {
			inZip, ok := contents[strings.TrimSuffix(f.FileName, ".br")]
			if !ok {
				return refuse("manifest_mismatch", "delta", "%q is not in the zip", f.FileName)
			}
			sum := sha256.New()
			if err := archive.Copy(within, inZip, sum); err != nil {
				return err
			}
			if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
				return refuse("manifest_mismatch", "delta", "%q is another file in the zip", f.FileName)
			}
			if err := checkHashes(f, pub); err != nil {
				return err
			}
			stored := p.fetched[f.URL]
			if key != nil {
				plain := filepath.Join(p.dir, fmt.Sprint("opened", i))
				defer os.Remove(plain)
				if _, err := opener.decryptFile(within, stored, plain, iv, key); err != nil {
					return err
				}
				stored = plain
			}
			place := filepath.Join(p.dir, fmt.Sprint("decoded", i))
			defer os.Remove(place)
			return opener.copyFile(stored, place, manifestFile{name: f.FileName, hash: f.SHA256, brotli: strings.HasSuffix(f.FileName, ".br")})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.say(Step{Name: "delta", Detail: fmt.Sprintf("%d files, the same as in the zip", len(files)), OK: true})
	return nil
}

// zipFiles lists the files of a zip that have content.
func zipFiles(ctx context.Context, zip *os.File) (map[string]*bundle.ArchiveFile, *bundle.Archive, error) {
	info, err := zip.Stat()
	if err != nil {
		return nil, nil, diskFailure(err)
	}
	archive, err := bundle.OpenArchive(ctx, zip, info.Size())
	if err != nil {
		return nil, nil, err
	}
	contents := make(map[string]*bundle.ArchiveFile, len(archive.Files))
	for i := range archive.Files {
		if f := &archive.Files[i]; f.Size > 0 {
			contents[f.Name] = f
		}
	}
	return contents, archive, nil
}

// checkHashes opens both signed forms of a file's hash.
func checkHashes(f DeltaFile, pub *rsa.PublicKey) error {
	if pub == nil {
		return nil
	}
	for value, want := range map[string]bundle.Form{f.HashV2: bundle.FormV2, f.HashV3: bundle.FormV3} {
		sum, form, err := bundle.RecoverChecksum(pub, value)
		switch {
		case err != nil:
			return err
		case form != want || hex.EncodeToString(sum[:]) != f.SHA256:
			return refuse("download_manifest_checksum_fail", "delta", "a signed hash of %q belongs to another file", f.FileName)
		}
	}
	return nil
}

// fetchFiles downloads every address once and compares the bytes with what is
// on record.
func (p *proof) fetchFiles(ctx context.Context) error {
	dir := filepath.Join(p.dir, "files")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return diskFailure(err)
	}
	p.fetched = make(map[string]string, len(p.object.Files))
	d := &Device{generation: Generation{Platform: Android}}
	var bytes atomic.Int64
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(manifestWorkers)
	for i, f := range p.object.Files {
		if _, again := p.fetched[f.URL]; again {
			continue
		}
		file := filepath.Join(dir, fmt.Sprint(i))
		p.fetched[f.URL] = file
		group.Go(func() error {
			if err := within.Err(); err != nil {
				return err
			}
			if err := d.fetchFile(within, f.URL, file); err != nil {
				return err
			}
			sum, n, err := hashOf(within, file)
			switch {
			case err != nil:
				return err
			case n != f.StoredSize || sum != f.StoredSHA256:
				return refuse("object_mismatch", "delta", "the download of %q is not the object on record", f.FileName)
			}
			bytes.Add(n)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.say(Step{Name: "delta", Detail: fmt.Sprintf("%d files fetched, %d bytes, as on record", len(p.fetched), bytes.Load()), OK: true})
	return nil
}

func hashOf(ctx context.Context, file string) (sum string, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, diskFailure(err)
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, &stopReader{ctx: ctx, r: f}); err != nil && ctx.Err() == nil {
		err = diskFailure(err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// installDelta lets one device of a version and platform take the single files.
func (p *proof) installDelta(ctx context.Context, version, platform string) (Verdict, error) {
	v := Verdict{PluginVersion: version, Platform: platform, Delta: true, Offered: true}
	label := platform + " " + version + " delta"
	dir, err := os.MkdirTemp(p.dir, "device-")
	if err != nil {
		return v, diskFailure(err)
	}
	defer os.RemoveAll(dir)
	d, err := New(Device{
		Request:   capgo.UpdateRequest{Platform: platform, PluginVersion: version, AppID: "proof", VersionBuild: "0.0.0"},
		PublicKey: p.pem, Dir: dir,
	})
	if err != nil {
		return v, err // the zip was taken by the same version
	}
	d.generation = d.generation.forDelta()
	a := Answer{Outcome: Offered, HasManifest: true}
	hashForm := bundle.FormSHA256
	v.Form = d.generation.Plain
	if p.object.SessionKey != "" {
		v.Form, hashForm = d.generation.Signed, d.generation.Signed
	}
	if before, ok := p.knownDelta[d.generation]; ok {
		before.PluginVersion = version
		p.say(Step{Name: label, Detail: orElse(before.Reason, "behaves like a version that was tried already"), OK: before.Installed, Code: before.Code})
		return before, nil
	}
	a.Version, a.URL, a.SessionKey, a.Checksum = orElse(p.object.Version, "0.0.0-proof"), p.object.URL, p.object.SessionKey, p.object.checksum(v.Form)
	for _, f := range p.object.Files {
		a.Manifest = append(a.Manifest, capgo.ManifestEntry{FileName: f.FileName, FileHash: f.Hash(hashForm), DownloadURL: f.URL})
	}
	local := func(_ context.Context, address, file string) error {
		return diskFailureOrNil(os.Link(p.fetched[address], file))
	}
	got, err := d.download(ctx, a, sources{file: local}, func(Step) {})
	if err == nil {
		err = d.set(&got, func(Step) {})
	}
	v.Files, v.Installed = got.Files, err == nil
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return v, err
		}
		v.Code, v.Reason = failure.CodeOf(err), err.Error()
		p.say(Step{Name: label, Detail: v.Reason, Code: v.Code})
		p.knownDelta[d.generation] = v
		return v, failure.Wrap(fmt.Errorf("%s refuses it: %w", label, err), failure.Verification, v.Code, "prove", "")
	}
	p.knownDelta[d.generation] = v
	p.say(Step{Name: label, Detail: fmt.Sprintf("%d files installed one by one, hash form %s", v.Files, hashForm), OK: true})
	return v, nil
}
