package cli

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/project"
	"capstan/core/release"
	"capstan/core/workspace"
)

// The first encryption scheme, for fleets whose plugins read nothing newer: the
// private key is in the app, bundles are encrypted to its public half, and the
// checksum is a CRC-32.

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
// that was named (either half will do), .capgo_key.pub here or at the
// project's root, or the key store.
func (c *Command) publicV1(ctx context.Context, f privateFlags, p *project.Project, appID string) (*rsa.PublicKey, error) {
	text, err := keyText(f.data, f.file, keys.PublicFileV1, p)
	if err != nil {
		return nil, err
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
	in, size, err := openZip(ctx, args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	pub, err := c.publicV1(ctx, key, p, appID)
	if err != nil {
		return err
	}
	out := encryptedV1{Filename: args[0] + "_encrypted.zip", Format: string(keys.V1), Warnings: []string{release.V1Warning}}
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
	c.Notef("warning: %s", release.V1Warning)
	return c.Result(out, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(out.Filename))
		printRows(w, [][2]string{{"session key", out.IVSessionKey}, {"checksum (CRC-32)", out.Checksum}, {"key", out.KeyID}, {"size", bytesText(out.Size)}})
	})
}

// privateV1 finds the private half for opening a bundle of the first scheme.
func (c *Command) privateV1(ctx context.Context, f publicFlags, p *project.Project) (crypto.Decrypter, error) {
	text, err := keyText(f.data, f.file, keys.PrivateFileV1, p)
	if err != nil {
		return nil, err
	}
	if len(text) > 0 {
		defer clear(text)
		return keys.ParsePrivate(text)
	}
	if p == nil {
		return nil, failure.New(failure.NotFound, "key_not_found", "decrypt bundle", "there is no private key", "name it with --key")
	}
	if inConfig := p.AppPrivateKey(); inConfig != "" {
		return keys.ParsePrivate([]byte(inConfig))
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
	c.Notef("warning: %s", release.V1Warning)
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(result.Filename))
		printRows(w, [][2]string{{"SHA-256", opened.SHA256}, {"CRC-32", opened.CRC32}, {"size", bytesText(result.Size)}, {"verified", "no: the first scheme signs nothing"}})
	})
}

// firstScheme prepares a release in the first scheme: the plugin must read it,
// and the public half of the key that the app carries must be at hand.
func (c *Command) firstScheme(ctx context.Context, f *releaseFlags, w *workspace.Workspace) error {
	if err := checkV1Reads(w.Project); err != nil {
		return err
	}
	appID := f.request.AppID
	if appID == "" && w.Project != nil {
		appID = w.Project.AppID
	}
	pub, err := c.publicV1(ctx, privateFlags{}, w.Project, appID)
	f.request.FirstScheme = pub
	return err
}

// pipeline gives the machinery of a release, with the private key that apps of
// the first scheme carry, for their proof.
func (c *Command) pipeline(w *workspace.Workspace) (*release.Pipeline, error) {
	p, err := w.Pipeline()
	if err != nil {
		return nil, err
	}
	p.App = func(ctx context.Context, _ string) (crypto.Decrypter, error) {
		return c.privateV1(ctx, publicFlags{}, w.Project)
	}
	return p, nil
}
