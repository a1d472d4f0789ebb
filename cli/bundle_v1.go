package cli

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/project"
	"capstan/core/release"
)

// The first encryption scheme, for fleets whose plugins read nothing newer: the
// private key is in the app, bundles are encrypted to its public half, and the
// checksum is a CRC-32.

// v1Warning is said with every bundle of the first scheme.
const v1Warning = "the first scheme hides a bundle and vouches for nothing: every copy of the app holds the private key, whoever has one can make bundles that all of them accept, and its CRC-32 notices accidents only; capstan doctor explains the way to the second scheme"

// formatFlag adds --format, which chooses the encryption scheme.
func formatFlag(cmd *cobra.Command, scheme *string) {
	cmd.Flags().StringVar(scheme, "format", string(keys.V2), "encryption scheme: v2, or v1 for plugins that read nothing newer")
}

// isV1 reads the value of --format.
func isV1(scheme string) (bool, error) {
	switch keys.Scheme(scheme) {
	case keys.V2:
		return false, nil
	case keys.V1:
		return true, nil
	}
	return false, failure.Newf(failure.Usage, "format_unknown", "", "choose v2 or v1", "there is no format %q", oneLine(scheme))
}

// checkV1Reads refuses the first scheme where the installed plugin would leave
// its bundles encrypted.
func checkV1Reads(p *project.Project) error {
	if p == nil || p.PluginVersion == "" || p.ReadsV1() {
		return nil
	}
	return failure.Newf(failure.Conflict, "format_unread", "encrypt bundle", "leave out --format, or see capstan doctor",
		"plugin %s would leave a bundle of the first scheme encrypted: plugins up to 5.9.5, 6.1.17 and 7.0.1 read it, and 6.1.18 to 6.27 where the config has a privateKey", p.PluginVersion)
}

// publicV1 finds the public half of an app's first-scheme key: a file or text
// that was named (either half will do), .capgo_key.pub here, or the key store.
func (c *Command) publicV1(ctx context.Context, f privateFlags, appID string) (*rsa.PublicKey, error) {
	text := []byte(f.data)
	file := f.file
	if file == "" && f.data == "" {
		if _, err := os.Stat(keys.PublicFileV1); err == nil {
			file = keys.PublicFileV1
		}
	}
	if file != "" {
		var err error
		if text, err = readKeyFile(file); err != nil {
			return nil, err
		}
	}
	if len(text) == 0 {
		rec, err := c.recordV1(ctx, appID)
		if err != nil {
			return nil, err
		}
		return rec.Public()
	}
	if failure.HoldsSecret(string(text)) {
		key, err := keys.ParsePrivate(text)
		if err != nil {
			return nil, err
		}
		return &key.PublicKey, nil
	}
	return keys.ParsePublic(text)
}

// recordV1 is an app's first-scheme key in the ring.
func (c *Command) recordV1(ctx context.Context, appID string) (keys.Record, error) {
	ring, err := c.ring()
	if err != nil {
		return keys.Record{}, err
	}
	all, err := ring.List(ctx, appID)
	if err != nil {
		return keys.Record{}, err
	}
	for _, rec := range all {
		if rec.Scheme == keys.V1 && !rec.Unfinished && !rec.Retired {
			return rec, nil
		}
	}
	return keys.Record{}, failure.New(failure.NotFound, "key_not_found", "find key", "there is no key of the first scheme",
		"name it with --key, or take the old one in: capstan key import "+keys.PrivateFileV1)
}

// encryptedV1 is the object of capstan bundle encrypt --format v1 --json.
type encryptedV1 struct {
	Filename      string   `json:"filename"`
	Format        string   `json:"format"`
	Checksum      string   `json:"checksum"` // CRC-32 of the plain zip
	IVSessionKey  string   `json:"ivSessionKey"`
	KeyID         string   `json:"keyId"`
	PlainChecksum string   `json:"plainChecksum"`
	ObjectSHA256  string   `json:"objectSha256"`
	Size          int64    `json:"size"`
	Warnings      []string `json:"warnings"`
}

func (c *Command) encryptV1(ctx context.Context, key privateFlags, p *project.Project, args []string) error {
	if err := checkV1Reads(p); err != nil {
		return err
	}
	appID := ""
	if p != nil {
		appID = p.AppID
	}
	in, size, err := openFile(args[0], "zip_not_found")
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := bundle.CheckArchive(ctx, in, size); err != nil {
		return err
	}
	pub, err := c.publicV1(ctx, key, appID)
	if err != nil {
		return err
	}
	out := encryptedV1{Filename: args[0] + "_encrypted.zip", Format: string(keys.V1), Warnings: []string{v1Warning}}
	err = writeWhole(out.Filename, 0o644, func(w io.Writer) error {
		sealed, err := bundle.SealV1(ctx, io.NewSectionReader(in, 0, size), w, pub)
		if err != nil {
			return err
		}
		if len(args) == 2 {
			if err := sameChecksum(args[1], sealed); err != nil {
				return err
			}
		}
		out.Checksum, out.IVSessionKey, out.KeyID = sealed.CRC32, sealed.SessionKey, sealed.KeyID
		out.PlainChecksum, out.ObjectSHA256, out.Size = sealed.PlainChecksum, sealed.ObjectSHA256, sealed.ObjectSize
		return nil
	})
	if err != nil {
		return err
	}
	c.Notef("warning: %s", v1Warning)
	return c.Result(out, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(out.Filename))
		printRows(w, [][2]string{{"session key", out.IVSessionKey}, {"checksum (CRC-32)", out.Checksum}, {"key", out.KeyID}, {"size", bytesText(out.Size)}})
	})
}

// privateV1 finds the private half for opening a bundle of the first scheme.
func (c *Command) privateV1(ctx context.Context, f publicFlags, p *project.Project) (crypto.Decrypter, error) {
	text := []byte(f.data)
	file := f.file
	if file == "" && f.data == "" {
		if _, err := os.Stat(keys.PrivateFileV1); err == nil {
			file = keys.PrivateFileV1
		}
	}
	if file != "" {
		var err error
		if text, err = readKeyFile(file); err != nil {
			return nil, err
		}
	}
	if len(text) > 0 {
		defer clear(text)
		return keys.ParsePrivate(text)
	}
	if p == nil {
		return nil, failure.New(failure.NotFound, "key_not_found", "decrypt bundle", "there is no private key", "name it with --key")
	}
	rec, err := c.recordV1(ctx, p.AppID)
	if err != nil {
		return nil, err
	}
	ring, err := c.ring()
	if err != nil {
		return nil, err
	}
	return ring.DecrypterV1(ctx, rec)
}

func (c *Command) decryptV1(ctx context.Context, key publicFlags, p *project.Project, checksum string, args []string) error {
	app, err := c.privateV1(ctx, key, p)
	if err != nil {
		return err
	}
	in, size, err := openFile(args[0], "zip_not_found")
	if err != nil {
		return err
	}
	defer in.Close()
	iv, session, err := bundle.RecoverSessionKeyV1(app, args[1])
	if err != nil {
		return err
	}
	result := decryptResult{Filename: args[0] + "_decrypted.zip"}
	var opened bundle.Opened
	err = writeWhole(result.Filename, 0o644, func(w io.Writer) error {
		if opened, err = bundle.OpenV1(ctx, io.NewSectionReader(in, 0, size), w, iv, session); err != nil {
			return err
		}
		if checksum != "" && !opened.Has(checksum) {
			return failure.New(failure.Verification, "checksum_mismatch", "decrypt bundle", "the bundle is another one than the checksum's", "the object or the checksum belongs to another bundle")
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Equal checksums show that nothing broke. Nobody signed them.
	result.Checksum, result.Size = opened.SHA256, opened.Size
	c.Notef("warning: %s", v1Warning)
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(result.Filename))
		printRows(w, [][2]string{{"SHA-256", opened.SHA256}, {"CRC-32", opened.CRC32}, {"size", bytesText(result.Size)}, {"verified", "no: the first scheme signs nothing"}})
	})
}

// uploadedV1 is the object of capstan bundle upload --format v1 --json.
type uploadedV1 struct {
	App      string   `json:"app"`
	Version  string   `json:"version"`
	Channel  string   `json:"channel,omitempty"`
	Format   string   `json:"format"`
	URL      string   `json:"url"`
	Checksum string   `json:"checksum"`
	Size     int64    `json:"size"`
	Warnings []string `json:"warnings"`
}

// uploadV1 packs, encrypts, uploads and registers a bundle of the first scheme.
// It is short enough to be run again whole, so it keeps no journal; the object's
// name carries its hash, and nothing that is there is overwritten.
func (c *Command) uploadV1(ctx context.Context, f *releaseFlags) error {
	const op = "upload bundle"
	w, err := c.workspace(ctx, &f.workspace)
	if err != nil {
		return err
	}
	if err := checkV1Reads(w.Project); err != nil {
		return err
	}
	if err := f.chooseVersion(ctx, w); err != nil {
		return err
	}
	request := f.request
	request.Plain = true // the plan's key is one of the second scheme
	plan, err := w.Plan(ctx, request)
	if err != nil {
		return err
	}
	if err := release.CheckVersion(plan.Version); err != nil {
		return err
	}
	if _, err := w.Pipeline(); err != nil { // says what of the server is missing
		return err
	}
	app, err := w.Registry.App(ctx, plan.AppID)
	if err != nil {
		return err
	}
	if app.PublicKey != "" {
		return failure.Newf(failure.Conflict, "encryption_required", op, "its apps read the second scheme; leave out --format", "%s has a public key on record and takes signed bundles only", plan.AppID)
	}
	if w.Storage == nil {
		return failure.New(failure.Usage, "storage_missing", op, "no storage is set", "pass --storage, or set CAPSTAN_STORAGE")
	}
	zip := zipFlags{path: plan.Dir, reason: plan.Reason, noCodeCheck: plan.NoCodeCheck, options: bundle.Options{SourceMaps: plan.SourceMaps}}
	if err := c.preflight(ctx, &zip); err != nil {
		return err
	}
	pub, err := c.publicV1(ctx, privateFlags{}, plan.AppID)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "capstan-v1-")
	if err != nil {
		return failure.Wrap(err, failure.Failed, "write_failed", op, "")
	}
	defer os.RemoveAll(dir)
	object, sealed, err := packV1(ctx, dir, plan.Dir, zip.options, pub)
	if err != nil {
		return err
	}
	defer object.Close()
	c.Notef("warning: %s", v1Warning)
	name := plan.AppID + "/" + plan.Version + "/" + sealed.ObjectSHA256 + ".zip"
	_, err = w.Storage.Put(ctx, name, object, sealed.ObjectSize, sealed.ObjectSHA256, nil)
	if err != nil {
		return err
	}
	address := w.Storage.PublicURL(name)
	out := uploadedV1{App: plan.AppID, Version: plan.Version, Channel: plan.Channel, Format: string(keys.V1), URL: address, Checksum: sealed.CRC32, Size: sealed.ObjectSize, Warnings: []string{v1Warning}}
	_, err = w.Registry.RegisterBundle(ctx, capgo.NewBundle{
		AppID: plan.AppID, Version: plan.Version, ExternalURL: address, Checksum: sealed.CRC32, SessionKey: sealed.SessionKey,
		ObjectSHA256: sealed.ObjectSHA256, ObjectSize: sealed.ObjectSize, PlainSize: sealed.PlainSize,
		MinUpdateVersion: plan.MinUpdateVersion, Link: plan.Link, Comment: plan.Comment, NativePackages: json.RawMessage(plan.NativePackages),
	})
	if err != nil {
		return err
	}
	if plan.Channel != "" {
		if err := w.Registry.ChangeChannel(ctx, capgo.ChannelChange{AppID: plan.AppID, Channel: plan.Channel, Version: &plan.Version}); err != nil {
			return err
		}
	}
	return c.Result(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s is registered in the first scheme\n", out.App, out.Version)
		if out.Channel != "" {
			fmt.Fprintf(w, "%s is live on %s\n", out.Version, out.Channel)
		}
	})
}

// packV1 leaves the encrypted bundle in dir and opens it.
func packV1(ctx context.Context, dir, build string, o bundle.Options, pub *rsa.PublicKey) (*os.File, bundle.Sealed, error) {
	const op = "pack bundle"
	plainPath, path := filepath.Join(dir, "plain.zip"), filepath.Join(dir, "object.zip")
	err := writeWhole(plainPath, 0o600, func(w io.Writer) error {
		_, err := bundle.Pack(ctx, build, w, o)
		return err
	})
	if err != nil {
		return nil, bundle.Sealed{}, err
	}
	plain, err := os.Open(plainPath)
	if err != nil {
		return nil, bundle.Sealed{}, failure.Wrap(err, failure.Failed, "read_failed", op, "")
	}
	defer plain.Close()
	var sealed bundle.Sealed
	err = writeWhole(path, 0o600, func(w io.Writer) error {
		sealed, err = bundle.SealV1(ctx, plain, w, pub)
		return err
	})
	if err != nil {
		return nil, bundle.Sealed{}, err
	}
	object, err := os.Open(path)
	return object, sealed, failure.Wrap(err, failure.Failed, "read_failed", op, "")
}
