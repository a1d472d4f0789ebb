package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"github.com/tailscale/hujson"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/project"
	"capstan/core/project/config"
	"capstan/core/workspace"
)

// identitiesFrom reads the age identity files of a command line.
func identitiesFrom(paths []string) ([]age.Identity, error) {
	var all []age.Identity
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, failure.Newf(failure.NotFound, "identity_missing", "read identity", "check --identity", "%s cannot be opened", oneLine(path))
		}
		found, err := keys.ParseIdentities(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// keysOf opens the key store and says which app is meant: the named one, or that
// of the project in dir, which is nil when there is none.
func (c *Command) keysOf(ctx context.Context, source *keySource, dir, named string) (ring *keys.Ring, p *project.Project, appID string, err error) {
	if ring, err = c.openRing(source); err != nil {
		return nil, nil, "", err
	}
	if p, err = keyProject(ctx, dir); err != nil {
		return nil, nil, "", err
	}
	if appID, err = appOf(p, named); err != nil {
		return nil, nil, "", err
	}
	return ring, p, appID, nil
}

func newKeyImport(c *Command, source *keySource) *cobra.Command {
	var appID, store, dir, scheme string
	var identities []string
	cmd := &cobra.Command{
		Use: "import [FILE]", Short: "Take an existing private key into the key store", Args: cobra.MaximumNArgs(1),
		Long: `Take a private key into the key store: .capgo_key_v2, PKCS#8 (converted), .capgo_key
of the first scheme, or a file of capstan key export. With --key-command instead of a
file the key stays where it is and the command is remembered; with --store pkcs11, so
does a key that is on a token.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			ring, p, appID, err := c.keysOf(ctx, source, dir, appID)
			if err != nil {
				return err
			}
			var rec keys.Record
			warnings := []keys.Warning{}
			switch {
			case len(args) == 0 && keys.Kind(store) == keys.PKCS11:
				rec, err = ring.AdoptToken(ctx, appID, source.token)
			case len(args) == 0 && source.keyCommand != "":
				rec, err = ring.Adopt(ctx, appID)
			case len(args) == 0:
				err = failure.New(failure.Usage, "usage", "import key", "no file is named", "name the private key file, usually .capgo_key_v2")
			default:
				in := keys.Import{AppID: appID, Store: keys.Kind(store), Path: args[0], Scheme: keys.Scheme(scheme)}
				if scheme != "" && !slices.Contains([]keys.Scheme{keys.V1, keys.V2}, in.Scheme) {
					return failure.Newf(failure.Usage, "usage", "import key", "choose v1 or v2", "there is no scheme %q", oneLine(scheme))
				}
				if p != nil && p.AppID == appID {
					in.InConfig = p.PublicKey
				}
				if in.Identities, err = identitiesFrom(identities); err != nil {
					return err
				}
				var found []keys.Warning
				rec, found, err = ring.Import(ctx, in)
				warnings = append(warnings, found...)
			}
			if err != nil {
				return err
			}
			type result struct {
				keyRow
				Warnings []keys.Warning `json:"warnings"`
			}
			return c.Result(result{rowOf(rec), warnings}, func(w io.Writer) {
				for _, warning := range warnings {
					c.Notef("warning: %s", oneLine(warning.Text))
					if warning.Hint != "" {
						c.Notef("hint: %s", oneLine(warning.Hint))
					}
				}
				fmt.Fprintf(w, "key %s is kept in %s\n", rec.KeyID, oneLine(rec.Location))
				if len(args) > 0 {
					c.Notef("%s is still there; remove it once a backup is proved", oneLine(args[0]))
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&appID, "app", "", "app id (default: the project's)")
	f.StringVar(&store, "store", envOr("CAPSTAN_KEY_STORE", string(keys.Keyring)), "where the private half is kept: keyring or file; pkcs11 for one that is on a token")
	f.StringVar(&dir, "dir", ".", "folder of the project")
	f.StringVar(&scheme, "format", "", "v1 or v2 (default: by the file's name)")
	f.StringArrayVar(&identities, "identity", nil, "age identity file that opens the file")
	return cmd
}

func newKeyExport(c *Command, source *keySource) *cobra.Command {
	var dir, out string
	var recipients []string
	var plain bool
	cmd := &cobra.Command{
		Use: "export [KEY|APP]", Short: "Write a private key to a file, encrypted with age", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			rec, err := c.findKey(ctx, ring, args, dir)
			if err != nil {
				return err
			}
			e := keys.Envelope{Plain: plain}
			if e.Recipients, err = keys.ParseRecipients(recipients); err != nil {
				return err
			}
			if plain {
				if len(recipients) != 0 {
					return failure.New(failure.Usage, "usage", "export key", "a plain export has no recipients", "leave out --plain or --recipient")
				}
				question := fmt.Sprintf("whoever reads %s can publish to every installation of %s, for ever", oneLine(out), rec.AppID)
				if err := c.ConfirmedByName(question, rec.AppID); err != nil {
					return err
				}
			}
			if err := ring.Export(ctx, rec, e, out); err != nil {
				return err
			}
			return c.Result(map[string]any{"keyId": rec.KeyID, "filename": out, "encrypted": !plain}, func(w io.Writer) {
				fmt.Fprintf(w, "key %s is written to %s\n", rec.KeyID, oneLine(out))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "folder of the project")
	f.StringVarP(&out, "out", "o", "", "file to write; it must not exist")
	f.StringArrayVar(&recipients, "recipient", nil, "age public key that can open it (default: a passphrase)")
	f.BoolVar(&plain, "plain", false, "without encryption; the app id must be confirmed")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func newKeyBackup(c *Command, source *keySource) *cobra.Command {
	var appID, out string
	var recipients []string
	cmd := &cobra.Command{
		Use: "backup", Short: "Write the keys to one encrypted file", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			all, err := ring.List(ctx, appID)
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(r keys.Record) bool { return r.Unfinished || r.Store == keys.Command || r.Store == keys.PKCS11 })
			var e keys.Envelope
			if e.Recipients, err = keys.ParseRecipients(recipients); err != nil {
				return err
			}
			if err := ring.Backup(ctx, all, e, out); err != nil {
				return err
			}
			ids := make([]string, len(all))
			for i, r := range all {
				ids[i] = r.KeyID
			}
			return c.Result(map[string]any{"filename": out, "keyIds": ids}, func(w io.Writer) {
				fmt.Fprintf(w, "%s in %s\n", counted(len(ids), "key is", "keys are"), oneLine(out))
				c.Notef("prove that it opens: capstan key restore --drill %s", oneLine(out))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&appID, "app", "", "keys of this app only")
	f.StringVarP(&out, "out", "o", "", "file to write; it must not exist")
	f.StringArrayVar(&recipients, "recipient", nil, "age public key that can open it (default: a passphrase)")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func newKeyRestore(c *Command, source *keySource) *cobra.Command {
	var appID, store string
	var identities []string
	var drill bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Take the keys of a backup back, or prove that it could be done", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			opened, err := identitiesFrom(identities)
			if err != nil {
				return err
			}
			var held []keys.Held
			if drill {
				held, err = ring.Drill(ctx, args[0], opened)
			} else {
				held, err = ring.Restore(ctx, args[0], opened, keys.Kind(store), appID)
			}
			if err != nil {
				return err
			}
			return c.Result(map[string]any{"filename": args[0], "drill": drill, "keys": held}, func(w io.Writer) {
				for _, h := range held {
					what := "is known and in its place"
					switch {
					case h.Restored:
						what = "is restored"
					case drill && h.Known:
						what = "opens, signs and matches"
					case drill:
						what = "opens and signs; it is not known here"
					}
					fmt.Fprintf(w, "key %s of %s %s\n", h.KeyID, h.AppID, what)
				}
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&drill, "drill", false, "open, check and compare only; nothing is restored")
	f.StringVar(&appID, "app", "", "restore the keys of this app only")
	f.StringVar(&store, "store", envOr("CAPSTAN_KEY_STORE", string(keys.Keyring)), "where the private halves are kept: keyring or file")
	f.StringArrayVar(&identities, "identity", nil, "age identity file that opens the backup")
	return cmd
}

func newKeyRotate(c *Command, source *keySource) *cobra.Command {
	var dir, appID, start, next, store string
	var anyway, cancel, count bool
	var onOld, total int
	cmd := &cobra.Command{
		Use: "rotate", Short: "Change an app from one key to another, step by step", Args: cobra.NoArgs,
		Long: `Show or move the change of an app's key. The public half is compiled into the native
app, so the change goes through four states: announced (the new key ships with the next
native build), both (every release is sealed for both keys, and the server answers a device
by the key that it carries), draining (the devices on the old key are counted) and retired
(the new key alone). With a server in the profile, --to both puts the new key on record
beside the old one, and --to retired leaves the new one alone there.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			ring, p, appID, err := c.keysOf(ctx, source, dir, appID)
			if err != nil {
				return err
			}
			var r keys.Rotation
			switch {
			case start == "new":
				r, err = c.startWithNew(ctx, ring, p, appID, keys.Kind(store))
			case start != "":
				r, err = ring.StartRotation(ctx, appID, start)
			case cancel:
				err = ring.CancelRotation(ctx, appID)
				r = keys.Rotation{AppID: appID}
			case count:
				var service workspace.Rotations
				if service, err = c.rotations(ctx, ring, dir); err == nil {
					r, err = service.Count(ctx, appID)
				}
			case cmd.Flags().Changed("on-old"):
				r, err = ring.CountDevices(ctx, appID, onOld, total)
			case next != "":
				if anyway {
					if err := c.ConfirmedByName("devices that still use the old key get no further update", appID); err != nil {
						return err
					}
				}
				var service workspace.Rotations
				if service, err = c.rotations(ctx, ring, dir); err == nil {
					r, err = service.Advance(ctx, appID, keys.RotationState(next), anyway)
				}
			default:
				var ok bool
				if r, ok, err = ring.Rotation(appID); err == nil && !ok {
					r = keys.Rotation{AppID: appID}
				}
			}
			if err != nil {
				return err
			}
			return c.Result(r, func(w io.Writer) {
				if r.State == "" {
					fmt.Fprintf(w, "%s is not changing keys\n", appID)
					return
				}
				fmt.Fprintf(w, "%s: from key %s to %s, %s\n", appID, r.OldKeyID, r.NewKeyID, r.State)
				if r.Devices.Total > 0 {
					fmt.Fprintf(w, "%d of %d devices on the old key (%d %%), counted %s ago\n", r.Devices.OnOld, r.Devices.Total, (100*r.Devices.OnOld+r.Devices.Total-1)/r.Devices.Total, howOld(&r.Devices.At))
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "folder of the project")
	f.StringVar(&appID, "app", "", "app id (default: the project's)")
	f.StringVar(&start, "start", "", "announce the change to this key; new makes one and puts its public half into the project")
	f.StringVar(&store, "store", envOr("CAPSTAN_KEY_STORE", string(keys.Keyring)), "with --start new: where the private half is kept, keyring or file")
	f.StringVar(&next, "to", "", "go to the next state: both, draining or retired")
	f.BoolVar(&cancel, "cancel", false, "give up a change that is only announced")
	f.BoolVar(&count, "count", false, "ask the update server how many devices use the old key")
	f.IntVar(&onOld, "on-old", 0, "note how many devices use the old key")
	f.IntVar(&total, "devices", 0, "with --on-old: of how many")
	f.BoolVar(&anyway, "anyway", false, "with --to retired: although devices remain; the app id must be confirmed")
	cmd.MarkFlagsMutuallyExclusive("start", "to", "cancel", "on-old", "count")
	return cmd
}

func newKeyDeleteOld(c *Command) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "delete_old", Short: "Remove the first scheme's private key from the config, and its files", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			p, err := project.OpenWith(ctx, dir, project.Options{})
			if err != nil {
				return err
			}
			removed := []string{}
			result := func(changed string) error {
				return c.Result(map[string]any{"config": changed, "removed": removed}, func(w io.Writer) {
					if changed == "" {
						fmt.Fprintln(w, "no old private key is in the config")
						return
					}
					fmt.Fprintf(w, "the old private key is gone from %s\n", changed)
				})
			}
			if !p.PrivateKey {
				return result("")
			}
			if filepath.Ext(p.ConfigPath) != ".json" {
				return failure.Newf(failure.Failed, "config_edit_refused", "delete old key", "delete the privateKey line below CapacitorUpdater by hand, then run this again", "%s is a script", p.Relative(p.ConfigPath))
			}
			if err := c.Confirmed("remove the first scheme's key from " + p.ConfigPath + " and delete its files? apps that use it get no further bundle"); err != nil {
				return err
			}
			if err := removePrivateKey(p.ConfigPath); err != nil {
				return err
			}
			for _, name := range []string{keys.PrivateFileV1, keys.PublicFileV1} {
				path := filepath.Join(p.Root, name)
				if err := os.Remove(path); err == nil {
					removed = append(removed, path)
				} else if !os.IsNotExist(err) {
					return failure.Wrap(err, failure.Failed, "file_unwritable", "delete old key", "delete it by hand")
				}
			}
			return result(p.ConfigPath)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder of the project")
	return cmd
}

// removePrivateKey takes one member out of a JSON config and leaves every other
// byte as it is, comments included.
func removePrivateKey(path string) error {
	const op = "delete old key"
	file, err := config.Read(path, "")
	if err != nil {
		return err
	}
	value, err := hujson.Parse(file.Text)
	if err == nil {
		err = value.Patch([]byte(`[{"op":"remove","path":"/plugins/CapacitorUpdater/privateKey"}]`))
	}
	if err != nil {
		return failure.Newf(failure.Failed, "config_edit_refused", op, "delete the privateKey line below CapacitorUpdater by hand", "%s cannot be edited safely", path)
	}
	return file.Replace(value.Pack())
}

// counted is "1 key is", "2 keys are".
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
