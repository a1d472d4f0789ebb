package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/andybalholm/brotli"
	"golang.org/x/sync/errgroup"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// manifestWorkers is how many files are fetched at once; the plugin's lower limit.
const manifestWorkers = 8

// manifestFile is one entry as this generation understands it.
type manifestFile struct {
	entry  capgo.ManifestEntry
	name   string // below the bundle
	hash   string // SHA-256 of the plain file, hex
	brotli bool
	lost   bool // its name leads out of the bundle, where this plugin writes it nevertheless
}

// installManifest is the way of a bundle in single files.
func (d *Device) installManifest(ctx context.Context, a Answer, from source, work string, got *Installed, say func(Step)) error {
	g := d.generation
	if g.SessionKeyWithKey && len(d.PublicKey) > 0 && !validSessionKey(a.SessionKey) {
		got.Silent = g.RefusesSilently
		return refuse("session_key_required", "checksum", "the app has a public key and the answer no session key")
	}
	if g.ChecksumOfList && len(d.PublicKey) > 0 {
		if _, err := d.signedChecksum(a.Checksum); err != nil {
			return refuse("download_fail", "checksum", "iOS opens the answer's checksum for a manifest too, and cannot: %w", err)
		}
	}
	files, err := d.readManifest(a, got)
	if err != nil {
		return err
	}
	got.Actions = append(got.Actions, "download_manifest_start")
	dir := filepath.Join(work, "tree")
	t, err := d.newTarget(dir)
	if err != nil {
		return err
	}
	defer t.root.Close()
	fetched, err := d.fetchManifest(ctx, a, from, files, work, dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.lost {
			got.Files++
		}
	}
	got.Actions = append(got.Actions, "download_manifest_complete")
	say(Step{Name: "download", Detail: fmt.Sprintf("%d files, %d of them fetched", len(files), fetched), OK: true})
	if err := d.keep(dir, false, got); err != nil {
		return err
	}
	say(Step{Name: "unpack", Detail: fmt.Sprintf("%d files", got.Files), OK: true})
	return nil
}

// readManifest checks names and opens hashes.
func (d *Device) readManifest(a Answer, got *Installed) ([]manifestFile, error) {
	g := d.generation
	seen := map[string]bool{}
	var files []manifestFile
	for _, e := range a.Manifest {
		if e.FileHash == "" || e.FileName == "" {
			return nil, refuse("download_manifest_file_fail", "download", "an entry of the manifest has no name or no file_hash")
		}
		f := manifestFile{entry: e, name: e.FileName, hash: e.FileHash, brotli: g.Brotli == brotliAlways}
		if g.Brotli == brotliSuffix {
			f.name, f.brotli = strings.CutSuffix(e.FileName, ".br")
		}
		if g.FileDecryption && len(d.PublicKey) > 0 && a.SessionKey != "" {
			var err error
			if f.hash, err = d.signedChecksum(e.FileHash); err != nil {
				return nil, refuse("download_manifest_checksum_fail", "checksum", "the hash of %q cannot be opened: %w", e.FileName, err)
			}
		}
		clean := path.Clean(f.name)
		f.lost = strings.ContainsAny(f.name, "\\\x00") || strings.HasPrefix(f.name, "/") || hasDotDot(f.name)
		if g.FilePathsChecked || g.Platform == IOS {
			if f.lost || clean == "." {
				return nil, refuse("manifest_path_fail", "download", "the name %q leads out of the bundle", e.FileName)
			}
			if seen[clean] && g.FilePathsChecked {
				return nil, refuse("manifest_path_fail", "download", "the name %q stands twice in the manifest", e.FileName)
			}
		}
		if f.lost {
			got.Odd = append(got.Odd, e.FileName)
		}
		seen[clean] = true
		f.name = clean
		files = append(files, f)
	}
	return files, nil
}

// fetchManifest brings every file to its place and counts those that came over the network.
func (d *Device) fetchManifest(ctx context.Context, a Answer, from source, files []manifestFile, work, dir string) (fetched int, err error) {
	cache := filepath.Join(d.Dir, "cache")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return 0, diskFailure(err)
	}
	errs := make([]error, len(files))
	network := make([]bool, len(files))
	var group errgroup.Group
	group.SetLimit(manifestWorkers)
	for i, f := range files {
		group.Go(func() error {
			network[i], errs[i] = d.bring(ctx, a, from, f, filepath.Join(work, fmt.Sprint("part", i)), cache, dir)
			return nil
		})
	}
	_ = group.Wait()
	for i, err := range errs {
		if err != nil {
			return fetched, err
		}
		if network[i] {
			fetched++
		}
	}
	return fetched, nil
}

// bring gets one file from the cache or the network.
func (d *Device) bring(ctx context.Context, a Answer, from source, f manifestFile, part, cache, dir string) (fromNetwork bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	place := filepath.Join(dir, filepath.FromSlash(f.name))
	if f.lost {
		// The plugin writes it somewhere else on the device; it is fetched and checked here, and kept out.
		place = part + ".lost"
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return false, refuse("directory_path_fail", "unpack", "the folder of %q cannot be made", f.name)
	}
	kept := ""
	if len(f.hash) == sha256.Size*2 && isHex(f.hash) && !d.generation.FileHashBroken {
		kept = filepath.Join(cache, strings.ToLower(f.hash)+"_"+path.Base(f.name))
		plain := f
		plain.brotli = false
		if d.copyFile(kept, place, plain) == nil {
			return false, nil
		}
	}
	if err := from(ctx, f.entry.DownloadURL, part); err != nil {
		return true, err
	}
	source, err := d.openPart(ctx, a, part)
	if err != nil {
		return true, err
	}
	if err := d.copyFile(source, place, f); err != nil {
		return true, err
	}
	if kept != "" {
		_ = os.Link(place, kept) // the cache is a convenience: without it the file is fetched again
	}
	return true, nil
}

// fetchFile downloads as OkHttp does: redirects are followed, gzip is undone.
func (d *Device) fetchFile(ctx context.Context, address, part string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || !validURL(address) {
		return refuse("download_manifest_file_fail", "download", "the download_url cannot be used")
	}
	guarded, awake, stop := stallGuard(ctx)
	defer stop()
	resp, err := d.client().Do(req.WithContext(guarded))
	if err != nil {
		return unreachable(ctx, cause(guarded, err), "download_manifest_file_fail", "download", address)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := statusFailure(resp)
		if f, ok := failure.Find(err); ok {
			f.Code = "download_manifest_file_fail"
		}
		return err
	}
	if err := save(resp, part, 0, awake); err != nil {
		if isDisk(err) {
			return err
		}
		return unreachable(ctx, cause(guarded, err), "download_manifest_file_fail", "download", address)
	}
	return nil
}

// openPart decrypts a downloaded file where this generation does.
func (d *Device) openPart(ctx context.Context, a Answer, part string) (string, error) {
	if !d.generation.FileDecryption || a.SessionKey == "" {
		return part, nil
	}
	iv, key, found, err := d.sessionKey(a.SessionKey)
	if err != nil {
		return "", refuse("decrypt_fail", "decrypt", "the session key cannot be opened: %w", err)
	}
	if !found {
		return part, nil
	}
	_, err = d.decryptFile(ctx, part, part+".plain", iv, key)
	return part + ".plain", err
}

// copyFile writes a file to its place, decoded, and compares its hash.
func (d *Device) copyFile(source, place string, f manifestFile) error {
	in, err := os.Open(source)
	if err != nil {
		return diskFailure(err)
	}
	defer in.Close()
	var r io.Reader = in
	if f.brotli {
		if r, err = unbrotli(in); err != nil {
			return refuse("download_manifest_brotli_fail", "unpack", "%q is not brotli: %w", f.name, err)
		}
	}
	out, err := os.OpenFile(place, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return diskFailure(err)
	}
	disk, sum := &diskWriter{f: out}, sha256.New()
	limit := d.MaxUnpacked
	if limit <= 0 {
		limit = defaultMaxUnpacked
	}
	n, err := io.Copy(io.MultiWriter(disk, sum), io.LimitReader(r, limit+1))
	if closeErr := out.Close(); closeErr != nil && disk.err == nil {
		disk.err = closeErr
	}
	hash := hex.EncodeToString(sum.Sum(nil))
	same := hash == f.hash || d.generation.FileHashAnyCase && strings.EqualFold(hash, f.hash)
	switch {
	case disk.err != nil:
		err = diskFailure(disk.err)
	case err != nil:
		err = refuse("download_manifest_brotli_fail", "unpack", "%q is not brotli: %w", f.name, err)
	case n > limit:
		err = refuse("insufficient_disk_space", "unpack", "%q unpacks to more than the device has room for", f.name)
	case d.generation.FileHashBroken:
		err = refuse("download_manifest_checksum_fail", "checksum", "this plugin compares an MD5 sum with the SHA-256 and refuses every file")
	case !same:
		err = refuse("download_manifest_checksum_fail", "checksum", "%q has another hash than the manifest says", f.name)
	}
	if err != nil {
		_ = os.Remove(place)
	}
	return err
}

// Openings of the two hand-made wrappers that the plugin takes for brotli; both
// end with 03 and hold raw bytes.
var (
	emptyBrotli   = []byte{0x1b, 0x00, 0x06}
	qualityZero   = []byte{0x0b, 0x02, 0x80}
	wrapperEnding = byte(0x03)
)

// unbrotli decodes a file as the plugin does, its two special cases included.
func unbrotli(f *os.File) (io.Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size == 0 {
		return bytes.NewReader(nil), nil
	}
	head := make([]byte, min(3, size))
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if size == 3 && bytes.Equal(head, emptyBrotli) {
		return bytes.NewReader(nil), nil
	}
	if size > 3 && (bytes.Equal(head, emptyBrotli) || bytes.Equal(head, qualityZero)) {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if last[0] == wrapperEnding {
			return io.NewSectionReader(f, 3, size-4), nil
		}
	}
	return brotli.NewReader(f), nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}
