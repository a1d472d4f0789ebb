package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"capstan/core/bundle"
	"capstan/core/failure"
)

const indexName = "index.html"

// Installed is what an installation left on the device. It is filled as far as
// the device came, also next to an error.
type Installed struct {
	Version string
	// Dir is the bundle's folder, "" when nothing was unpacked.
	Dir   string
	Files int
	Bytes int64 // unpacked
	// Checksum is what the device computed of the plain zip, "" for a manifest.
	Checksum string
	// Actions are the stats actions that the plugin sends on the way, in order.
	Actions []string
	// Silent says that the app hears nothing of a refusal.
	Silent bool
	// Odd are names that this plugin writes as they are and a newer one refuses.
	Odd []string
}

// refuse is a refusal by the device; its code is the stats action that the
// plugin sends for it.
func refuse(code, op, format string, args ...any) *failure.Error {
	return failure.Newf(failure.Verification, code, op, "", format, args...)
}

// diskFailure tells a full disk from other trouble with the device's folder.
func diskFailure(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return failure.Wrap(err, failure.Failed, "insufficient_disk_space", "write to the device's folder", "free some space")
	}
	return failure.Wrap(err, failure.Failed, "device_folder", "use the device's folder", "")
}

// Install does what the plugin does with an offer: download, decrypt, verify,
// unpack, and set as the bundle to start, which needs an index.html. step hears
// every step as it happens and may be nil. A refusal is a failure of class
// Verification whose code is the plugin's stats action.
func (d *Device) Install(ctx context.Context, a Answer, step func(Step)) (Installed, error) {
	got, err := d.Download(ctx, a, step)
	if err != nil {
		return got, err
	}
	return got, d.set(&got, tell(step))
}

// Download is Install without the last step: it ends where the plugin calls the
// bundle downloaded, which is not yet proof that it can start.
func (d *Device) Download(ctx context.Context, a Answer, step func(Step)) (Installed, error) {
	return d.download(ctx, a, sources{d.network, d.fetchFile}, tell(step))
}

// source brings what is at an address into a file.
type source func(ctx context.Context, address, file string) error

// sources bring a zip, and a file of a manifest.
type sources struct{ zip, file source }

func (d *Device) download(ctx context.Context, a Answer, from sources, say func(Step)) (Installed, error) {
	got := Installed{Version: a.Version}
	if a.Outcome != Offered {
		return got, failure.New(failure.Usage, "nothing_offered", "install", "the answer offers no bundle", "")
	}
	if d.Dir == "" {
		return got, failure.New(failure.Usage, "device_folder", "install", "the device has no folder", "")
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return got, diskFailure(err)
	}
	work, err := os.MkdirTemp(d.Dir, "download-")
	if err != nil {
		return got, diskFailure(err)
	}
	defer os.RemoveAll(work)

	if a.HasManifest {
		err = d.installManifest(ctx, a, from.file, work, &got, say)
	} else {
		err = d.installZip(ctx, a, from.zip, work, &got, say)
	}
	if err != nil {
		return got, d.giveUp(ctx, a, &got, err, say)
	}
	d.bundles[a.Version] = statePending
	return got, nil
}

// giveUp books a failed download: the version is dead on this device.
func (d *Device) giveUp(ctx context.Context, a Answer, got *Installed, err error, say func(Step)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.bundles[a.Version] = stateError
	code := failure.CodeOf(err)
	if !got.Silent || !d.generation.DiesSilently {
		got.Actions = append(got.Actions, code)
	}
	if !got.Silent && code != "download_fail" {
		got.Actions = append(got.Actions, "download_fail")
	}
	say(Step{Name: stepOf(err), Detail: err.Error(), Code: code})
	return err
}

// stepOf names the step in which an error arose.
func stepOf(err error) string {
	if f, ok := failure.Find(err); ok && f.Op != "" {
		return f.Op
	}
	return "download"
}

// installZip is the way of a bundle in one archive.
func (d *Device) installZip(ctx context.Context, a Answer, from source, work string, got *Installed, say func(Step)) error {
	g := d.generation
	if g.SessionKeyWithKey && len(d.PublicKey) > 0 && !validSessionKey(a.SessionKey) {
		got.Silent = g.RefusesSilently
		return refuse("session_key_required", "checksum", "the app has a public key and the answer no session key")
	}
	if g.ChecksumAlways && a.Checksum == "" {
		got.Silent = g.RefusesSilently
		return refuse("checksum_required", "checksum", "the answer has no checksum")
	}
	sealed := filepath.Join(work, "bundle.zip")
	if err := from(ctx, a.URL, sealed); err != nil {
		if g.DiesSilently {
			got.Silent = true
		}
		return err
	}
	got.Actions = append(got.Actions, "download_complete")
	say(Step{Name: "download", Detail: sizeOf(sealed) + " bytes", OK: true})

	plain, expected, form, err := d.openZip(ctx, a, sealed, work, say)
	if err != nil {
		return err
	}
	// iOS unpacks before it compares.
	if !g.Central {
		if err := d.compare(plain, expected, form, got, say); err != nil {
			return err
		}
	}
	dir := filepath.Join(work, "tree")
	tree, err := d.unzip(ctx, plain, dir)
	got.Files, got.Bytes, got.Odd = tree.files, tree.bytes, tree.odd
	if err != nil {
		return err
	}
	if g.Central {
		if err := d.compare(plain, expected, form, got, say); err != nil {
			return err
		}
	}
	if err := d.keep(dir, true, got); err != nil {
		return err
	}
	say(Step{Name: "unpack", Detail: fmt.Sprintf("%d files, %d bytes", got.Files, got.Bytes), OK: true})
	return nil
}

// openZip decrypts a download where this generation does, and gives the file to
// unpack, the checksum it must have and how to compute that.
func (d *Device) openZip(ctx context.Context, a Answer, sealed, work string, say func(Step)) (plain, expected string, form bundle.Form, err error) {
	g := d.generation
	expected, form = a.Checksum, g.Plain
	if g.ChecksumWithKey && len(d.PublicKey) > 0 && a.Checksum == "" {
		return "", "", "", refuse("checksum_required", "checksum", "the app has a public key and the answer no checksum")
	}
	hasPrivate := d.hasPrivateKey()
	switch {
	case g.PrivateKeyRefused && hasPrivate:
		return "", "", "", refuse("checksum_fail", "decrypt", "a private key in the app's config refuses every bundle")
	case g.PrivateKeyInApp && (hasPrivate || !g.PublicKeyInApp || a.SessionKey == ""):
		plain, err = d.decryptTo(ctx, sealed, work, a.SessionKey, d.privateSessionKey, say)
		return plain, expected, form, err
	case a.SessionKey == "":
		// iOS opens the checksum of every bundle once the app has a public key.
		if g.Platform == IOS && len(d.PublicKey) > 0 {
			if expected, err = d.signedChecksum(a.Checksum); err != nil {
				return "", "", "", refuse("download_fail", "checksum", "the checksum cannot be opened: %w", err)
			}
		}
		return sealed, expected, form, nil
	}
	plain, err = d.decryptTo(ctx, sealed, work, a.SessionKey, d.sessionKey, say)
	if err != nil {
		return "", "", "", err
	}
	if expected, err = d.signedChecksum(a.Checksum); err != nil {
		return "", "", "", refuse("download_fail", "checksum", "the checksum cannot be opened: %w", err)
	}
	if len(d.PublicKey) > 0 && expected == "" {
		return "", "", "", refuse("download_fail", "checksum", "the checksum is empty")
	}
	return plain, expected, bundle.FormSHA256, nil
}

// decryptTo decrypts a file beside it, where the key opener finds a reason to.
func (d *Device) decryptTo(ctx context.Context, sealed, work, field string, open func(string) ([]byte, []byte, bool, error), say func(Step)) (string, error) {
	iv, key, found, err := open(field)
	if err != nil {
		return "", refuse("decrypt_fail", "decrypt", "the session key cannot be opened: %w", err)
	}
	if !found {
		return sealed, nil
	}
	plain := filepath.Join(work, "plain")
	n, err := d.decryptFile(ctx, sealed, plain, iv, key)
	if err != nil {
		return "", err
	}
	say(Step{Name: "decrypt", Detail: fmt.Sprintf("AES-%d, %d bytes", len(key)*8, n), OK: true})
	return plain, nil
}

func (d *Device) decryptFile(ctx context.Context, sealed, plain string, iv, key []byte) (int64, error) {
	in, err := os.Open(sealed)
	if err != nil {
		return 0, diskFailure(err)
	}
	defer in.Close()
	out, err := os.OpenFile(plain, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, diskFailure(err)
	}
	n, err := decrypt(ctx, in, out, iv, key)
	if closeErr := out.Close(); err == nil && closeErr != nil {
		return n, diskFailure(closeErr)
	}
	switch {
	case ctx.Err() != nil:
		return n, ctx.Err()
	case errors.Is(err, syscall.ENOSPC):
		return n, diskFailure(err)
	case err != nil:
		return n, refuse("decrypt_fail", "decrypt", "wrong key or damaged download: %w", err)
	case n == 0 && d.generation.RefusesEmpty:
		return n, refuse("decrypt_fail", "decrypt", "nothing is left after decryption")
	}
	return n, nil
}

// compare computes the checksum and compares it as text, as the plugin does.
func (d *Device) compare(file, expected string, form bundle.Form, got *Installed, say func(Step)) error {
	f, err := os.Open(file)
	if err != nil {
		return diskFailure(err)
	}
	defer f.Close()
	sum, err := plainChecksum(form, f)
	if err != nil {
		return diskFailure(err)
	}
	got.Checksum = sum
	if expected == "" && len(d.PublicKey) == 0 {
		say(Step{Name: "checksum", Detail: "none given, nothing compared", OK: true})
		return nil
	}
	if sum != expected {
		return refuse("checksum_fail", "checksum", "the bundle's %s is not the one announced", form)
	}
	say(Step{Name: "checksum", Detail: string(form) + " " + sum, OK: true})
	return nil
}

// keep moves what flatten finds to its place among the bundles.
func (d *Device) keep(dir string, fromZip bool, got *Installed) error {
	if _, err := os.Stat(dir); err != nil {
		return refuse("download_fail", "unpack", "the bundle is empty")
	}
	root, err := d.flatten(dir, fromZip)
	if err != nil {
		return err
	}
	bundles := filepath.Join(d.Dir, "bundles")
	if err := os.MkdirAll(bundles, 0o755); err != nil {
		return diskFailure(err)
	}
	place, err := os.MkdirTemp(bundles, "b-")
	if err != nil {
		return diskFailure(err)
	}
	if err := os.Remove(place); err != nil {
		return diskFailure(err)
	}
	if err := os.Rename(root, place); err != nil {
		return diskFailure(err)
	}
	got.Dir = place
	return nil
}

// set makes a downloaded bundle the one to start.
func (d *Device) set(got *Installed, say func(Step)) error {
	info, err := os.Stat(filepath.Join(got.Dir, indexName))
	if err != nil || info.IsDir() {
		d.bundles[got.Version] = stateError
		got.Actions = append(got.Actions, "set_fail")
		err := refuse("set_fail", "set", "the bundle has no index.html at its root")
		say(Step{Name: "set", Detail: err.Error(), Code: err.Code})
		return err
	}
	got.Actions = append(got.Actions, "set")
	d.bundles[got.Version] = stateSuccess
	d.Request.VersionName = got.Version
	say(Step{Name: "set", Detail: "the app starts with " + got.Version, OK: true})
	return nil
}

// Reset brings the device back to its store build, as an answer of version "builtin" does.
func (d *Device) Reset() { d.Request.VersionName = "" }

func tell(step func(Step)) func(Step) {
	if step == nil {
		return func(Step) {}
	}
	return step
}

func sizeOf(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return "0"
	}
	return fmt.Sprint(info.Size())
}

// Adopt makes the device run a version as if it had installed it: for fleets in
// which a device of the same generation did.
func (d *Device) Adopt(version string) {
	d.bundles[version] = stateSuccess
	d.Request.VersionName = version
}

// Abandon is what the plugin does when the app does not say that a bundle
// started: the version is never tried again, and the device goes back to
// another ("" is the store build).
func (d *Device) Abandon(version, backTo string) {
	d.bundles[version] = stateError
	d.Request.VersionName = backTo
}
