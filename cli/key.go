package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/project"
)

func init() { registrations = append(registrations, newKey) }

func newKey(c *Command) *cobra.Command {
	var source keySource
	cmd := &cobra.Command{Use: "key", Short: "Make, keep and move the keys that sign bundles"}
	source.add(cmd)
	cmd.AddCommand(
		newKeyCreate(c, &source), newKeyList(c, &source), newKeyShow(c, &source),
		newKeyImport(c, &source), newKeyExport(c, &source), newKeyBackup(c, &source), newKeyRestore(c, &source),
		newKeyRemove(c, &source), newKeyRotate(c, &source), newKeySave(c, &source), newKeyDeleteOld(c),
	)
	return cmd
}

// keyRow is a key as list and show print it.
type keyRow struct {
	AppID       string      `json:"appId"`
	KeyID       string      `json:"keyId"`
	Fingerprint string      `json:"fingerprint"`
	Scheme      keys.Scheme `json:"scheme"`
	Store       keys.Kind   `json:"store"`
	Location    string      `json:"location"`
	Created     *time.Time  `json:"created"`
	LastUsed    *time.Time  `json:"lastUsed"`
	LastBackup  *time.Time  `json:"lastBackup"`
	LastDrill   *time.Time  `json:"lastDrill"`
	Imported    bool        `json:"imported"`
	Retired     bool        `json:"retired"`
	Unfinished  bool        `json:"unfinished"`
	PublicKey   string      `json:"publicKey"`
}

func rowOf(rec keys.Record) keyRow {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return keyRow{
		AppID: rec.AppID, KeyID: rec.KeyID, Fingerprint: rec.Fingerprint(), Scheme: rec.Scheme, Store: rec.Store, Location: rec.Location,
		Created: moment(rec.Created), LastUsed: moment(rec.LastUsed), LastBackup: moment(rec.LastBackup), LastDrill: moment(rec.LastDrill),
		Imported: rec.Imported, Retired: rec.Retired, Unfinished: rec.Unfinished, PublicKey: rec.PublicPEM,
	}
}

// keyProject opens the project around dir; without one it gives nil.
func keyProject(ctx context.Context, dir string) (*project.Project, error) {
	p, err := project.OpenWith(ctx, dir, project.Options{})
	if failure.CodeOf(err) == "project_not_found" {
		return nil, nil
	}
	return p, err
}

// appOf is the app that a key command is about: the one named, else the
// project's.
func appOf(p *project.Project, named string) (string, error) {
	switch {
	case named != "":
		return named, keys.CheckAppID(named)
	case p != nil && p.AppID != "":
		return p.AppID, nil
	}
	return "", failure.New(failure.Usage, "app_missing", "", "no app is named, and there is no Capacitor project here", "name it with --app, or run in the project's folder")
}

// created is the result of key create.
type created struct {
	AppID       string    `json:"appId"`
	KeyID       string    `json:"keyId"`
	Fingerprint string    `json:"fingerprint"`
	PublicKey   string    `json:"publicKey"`
	Store       keys.Kind `json:"store"`
	Location    string    `json:"location"`
	// File is the public key file in the project.
	File string `json:"file"`
	// Config is the config file that carries the public half, "" when it was left alone.
	Config string `json:"config"`
	// Resumed is true when an existing key was completed instead of a new one made.
	Resumed bool `json:"resumed,omitempty"`
	// Snippet is what to put into the config by hand, when it could not be edited.
	Snippet string `json:"snippet,omitempty"`
}

func newKeyCreate(c *Command, source *keySource) *cobra.Command {
	var appID, store, dir string
	var noConfig bool
	cmd := &cobra.Command{
		Use: "create", Short: "Make a new key pair for an app", Args: cobra.NoArgs,
		Long: `Make a new RSA-2048 key pair. The private half goes into the key store, the public
half into .capgo_key_v2.pub and the app's Capacitor config. Nothing is ever
overwritten; a run that was interrupted is continued by the next one.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			p, err := keyProject(ctx, dir)
			if err != nil && !noConfig {
				return err
			}
			if p == nil && !noConfig {
				return failure.New(failure.NotFound, "project_not_found", "create key", "there is no Capacitor project here to put the public key into", "run in the project's folder, or pass --app ID --no-config")
			}
			if appID, err = appOf(p, appID); err != nil {
				return err
			}
			at := dir
			if p != nil {
				at = p.Root
			}
			rec, resumed, err := c.createKey(ctx, ring, p, appID, keys.Kind(store), source.token, at, noConfig)
			if err != nil {
				return err
			}
			out := created{AppID: appID, KeyID: rec.KeyID, Fingerprint: rec.Fingerprint(), PublicKey: rec.PublicPEM, Store: rec.Store, Location: rec.Location, Resumed: resumed}
			if out.File, err = ring.WritePublic(ctx, rec, at); err != nil {
				return err
			}
			if !noConfig {
				if out.Config, out.Snippet, err = c.writeConfig(ctx, p, rec.PublicPEM); err != nil {
					return err
				}
			}
			return c.Result(out, func(w io.Writer) {
				fmt.Fprintf(w, "key %s\nfingerprint %s\nprivate half: %s\npublic half: %s\n", out.KeyID, out.Fingerprint, out.Location, out.File)
				if out.Config != "" {
					fmt.Fprintf(w, "config: %s\n", out.Config)
					c.Notef("run npx cap sync and ship a native build: installed apps know the key only then")
				}
				c.Notef("make a backup: capstan key backup --out FILE")
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&appID, "app", "", "app id (default: the project's)")
	f.StringVar(&store, "store", envOr("CAPSTAN_KEY_STORE", string(keys.Keyring)), "where the private half is kept: keyring, file or pkcs11")
	f.StringVar(&dir, "dir", ".", "folder of the project, or for the public key file")
	f.BoolVar(&noConfig, "no-config", false, "leave the Capacitor config alone")
	return cmd
}

// createKey looks at everything that could stand in the way before a key is
// made. A key of the app that lacks only its file or its line in the config is
// taken up again.
func (c *Command) createKey(ctx context.Context, ring *keys.Ring, p *project.Project, appID string, store keys.Kind, token keys.TokenKey, dir string, noConfig bool) (rec keys.Record, resumed bool, err error) {
	const op = "create key"
	inConfig := ""
	if p != nil && !noConfig {
		inConfig = p.PublicKey
	}
	known, err := ring.List(ctx, appID)
	if err != nil {
		return rec, false, err
	}
	for _, rec := range known {
		if rec.Unfinished || rec.Retired || rec.Scheme != keys.V2 {
			continue
		}
		if keys.PublicFileFree(dir, rec.PublicPEM) != nil || inConfig != "" && !sameKey(inConfig, rec.PublicPEM) {
			continue
		}
		if keys.PublicFileFree(dir, "") == nil || inConfig == "" && !noConfig {
			c.Notef("key %s exists already; completing what is missing", rec.KeyID)
			return rec, true, nil
		}
	}
	for _, rec := range known {
		if !rec.Unfinished && !rec.Retired && rec.Scheme == keys.V2 {
			return rec, false, failure.Newf(failure.Conflict, "key_exists", op, "capstan key show prints it; to change keys, see capstan key rotate --help", "%s has key %s already, in the %s store", appID, rec.KeyID, rec.Store)
		}
	}
	if err := keys.PublicFileFree(dir, ""); err != nil {
		return rec, false, err
	}
	if inConfig != "" {
		id := "another public key"
		if pub, err := keys.ParsePublic([]byte(inConfig)); err == nil {
			id = "key " + keys.KeyID(pub)
		}
		return rec, false, failure.Newf(failure.Conflict, "key_exists", op, "import its private half with capstan key import; a new key would cut off the installed apps", "%s holds %s already", p.ConfigPath, id)
	}
	if store == keys.PKCS11 {
		rec, err = ring.CreateOnToken(ctx, appID, token)
	} else {
		rec, err = ring.Create(ctx, appID, store)
	}
	return rec, false, err
}

func sameKey(a, b string) bool {
	x, errX := keys.ParsePublic([]byte(a))
	y, errY := keys.ParsePublic([]byte(b))
	return errX == nil && errY == nil && x.Equal(y)
}

// writeConfig puts the public half into the project's config: it shows the
// change, asks on a terminal, and where the file cannot be edited safely gives
// the lines for a person to add.
func (c *Command) writeConfig(ctx context.Context, p *project.Project, publicPEM string) (path, snippet string, err error) {
	edit, err := p.PlanEditContext(ctx, map[string]string{"publicKey": publicPEM})
	if failure.CodeOf(err) == "config_edit_refused" {
		c.Notef("%s cannot be edited safely: %s", p.ConfigPath, oneLine(err.Error()))
		c.Notef("add this to it:\n%s", edit.Snippet)
		return "", edit.Snippet, nil
	}
	if err != nil {
		return "", "", err
	}
	for _, w := range edit.Warnings {
		c.Notef("warning: %s", oneLine(w))
	}
	if !edit.Changed() {
		return edit.Path, "", nil
	}
	c.Notef("%s", printable(strings.TrimSuffix(edit.Diff, "\n")))
	if c.Terminal {
		if err := c.Confirmed("write this change to " + edit.Path + "?"); err != nil {
			c.Notef("the config was left alone; capstan key save writes it later")
			return "", edit.Snippet, nil
		}
	}
	return edit.Path, "", edit.Apply()
}

func newKeyList(c *Command, source *keySource) *cobra.Command {
	var appID string
	cmd := &cobra.Command{
		Use: "list", Short: "List the keys that are known here", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			all, err := ring.List(cmd.Context(), appID)
			if err != nil {
				return err
			}
			rows := make([]keyRow, 0, len(all)+1)
			if given, ok, err := ring.Given(cmd.Context(), appID); err != nil {
				return err
			} else if ok {
				rows = append(rows, rowOf(given))
			}
			for _, rec := range all {
				rows = append(rows, rowOf(rec))
			}
			return c.Result(rows, func(w io.Writer) {
				if len(rows) == 0 {
					c.Notef("no keys; capstan key create makes one")
					return
				}
				tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tab, "KEY\tAPP\tSTORE\tAGE\tLAST USED\tBACKUP\tSTATE")
				for _, r := range rows {
					fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.KeyID, r.AppID, r.Store, howOld(r.Created), howOld(r.LastUsed), howOld(r.LastBackup), stateOf(r))
				}
				tab.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&appID, "app", "", "keys of this app only")
	return cmd
}

func stateOf(r keyRow) string {
	switch {
	case r.Unfinished:
		return "unfinished"
	case r.Retired:
		return "retired"
	case r.Scheme == keys.V1:
		return "v1"
	}
	return "in use"
}

// howOld is how long ago a moment was, in days from the second day on.
func howOld(t *time.Time) string {
	if t == nil {
		return "-"
	}
	switch d := time.Since(*t); {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// findKey is the record that an optional argument names: a key id, a
// fingerprint, an app, or nothing for the project's app.
func (c *Command) findKey(ctx context.Context, ring *keys.Ring, args []string, dir string) (keys.Record, error) {
	query := ""
	if len(args) > 0 {
		query = args[0]
	} else {
		p, err := keyProject(ctx, dir)
		if err != nil {
			return keys.Record{}, err
		}
		if query, err = appOf(p, ""); err != nil {
			return keys.Record{}, failure.New(failure.Usage, "key_missing", "find key", "no key is named, and there is no Capacitor project here", "name a key id or an app id")
		}
	}
	return ring.Find(ctx, query)
}

func newKeyShow(c *Command, source *keySource) *cobra.Command {
	var dir string
	var check bool
	cmd := &cobra.Command{
		Use: "show [KEY|APP]", Short: "Show one key: id, fingerprint, where it is kept", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			rec, err := c.findKey(cmd.Context(), ring, args, dir)
			if err != nil {
				return err
			}
			if check {
				if err := ring.Check(cmd.Context(), rec); err != nil {
					return err
				}
			}
			r := rowOf(rec)
			return c.Result(r, func(w io.Writer) {
				tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				for _, line := range [][2]string{
					{"key", r.KeyID}, {"fingerprint", r.Fingerprint}, {"app", r.AppID}, {"scheme", string(r.Scheme)}, {"state", stateOf(r)},
					{"store", string(r.Store)}, {"kept in", r.Location}, {"age", howOld(r.Created)}, {"last used", howOld(r.LastUsed)},
					{"last backup", howOld(r.LastBackup)}, {"last drill", howOld(r.LastDrill)},
				} {
					fmt.Fprintf(tab, "%s\t%s\n", line[0], oneLine(line[1]))
				}
				tab.Flush()
				fmt.Fprint(w, r.PublicKey)
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder of the project")
	cmd.Flags().BoolVar(&check, "check", false, "open the private half and compare")
	return cmd
}

func newKeyRemove(c *Command, source *keySource) *cobra.Command {
	return &cobra.Command{
		Use: "remove KEY", Short: "Delete a private key; the key id must be confirmed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := c.openRing(source)
			if err != nil {
				return err
			}
			rec, err := ring.Find(cmd.Context(), args[0])
			unfinished := false
			if errors.Is(err, keys.ErrNotFound) {
				all, lerr := ring.List(cmd.Context(), "")
				if lerr != nil {
					return lerr
				}
				for _, r := range all {
					if r.Unfinished && r.KeyID == args[0] {
						rec, err, unfinished = r, nil, true
					}
				}
			}
			if err != nil {
				return err
			}
			if rec.KeyID != args[0] {
				return failure.New(failure.Usage, "usage", "remove key", "a key to remove is named by its key id", "capstan key list shows the ids")
			}
			question := fmt.Sprintf("removing key %s of %s cannot be undone: apps that carry it accept no further update without it", rec.KeyID, rec.AppID)
			if rec.LastDrill.IsZero() && !unfinished {
				question += "; no backup of it was ever proved"
			}
			if err := c.ConfirmedByName(question, rec.KeyID); err != nil {
				return err
			}
			if unfinished {
				err = ring.Abandon(cmd.Context(), rec)
			} else {
				err = ring.Remove(cmd.Context(), rec)
			}
			if err != nil {
				return err
			}
			return c.Result(map[string]any{"keyId": rec.KeyID, "removed": true}, func(w io.Writer) { fmt.Fprintf(w, "key %s is removed\n", rec.KeyID) })
		},
	}
}

func newKeySave(c *Command, source *keySource) *cobra.Command {
	var dir, path, data string
	var force bool
	cmd := &cobra.Command{
		Use: "save", Short: "Put a public key into the Capacitor config", Args: cobra.NoArgs,
		Long: `Put a public key into the Capacitor config: the one in the file, else the text given,
else the project's key from the key store.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			p, err := project.OpenWith(ctx, dir, project.Options{})
			if err != nil {
				return err
			}
			publicPEM, err := c.publicToSave(ctx, source, p, path, data, cmd.Flags().Changed("key"))
			if err != nil {
				return err
			}
			pub, err := keys.ParsePublic([]byte(publicPEM))
			if err != nil {
				return err
			}
			publicPEM = string(keys.EncodePublic(pub))
			config, snippet, err := c.writeConfig(ctx, p, publicPEM)
			if err != nil {
				return err
			}
			out := map[string]string{"keyId": keys.KeyID(pub), "publicKey": publicPEM, "config": config}
			if snippet != "" {
				out["snippet"] = snippet
			}
			return c.Result(out, func(w io.Writer) {
				if config != "" {
					fmt.Fprintf(w, "key %s is in %s\n", keys.KeyID(pub), config)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "folder of the project")
	f.StringVar(&path, "key", keys.PublicFile, "public key file")
	f.StringVar(&data, "key-data", "", "public key as PEM text")
	f.BoolVarP(&force, "force", "f", false, "accepted for scripts; changes nothing")
	return cmd
}

// publicToSave finds the key as the Capgo CLI does, an existing file before the
// text, and then looks in the key store.
func (c *Command) publicToSave(ctx context.Context, source *keySource, p *project.Project, path, data string, named bool) (string, error) {
	const op = "read public key"
	if !filepath.IsAbs(path) && !named {
		path = filepath.Join(p.Root, path)
	}
	text, err := readSmall(path)
	switch {
	case err == nil:
		return string(text), nil
	case !errors.Is(err, os.ErrNotExist):
		return "", failure.Wrap(err, failure.Failed, "public_key_unreadable", op, "")
	case data != "":
		return data, nil
	case named:
		return "", failure.Newf(failure.NotFound, "key_file_missing", op, "check --key", "there is no file %s", oneLine(path))
	}
	ring, err := c.openRing(source)
	if err != nil {
		return "", err
	}
	query := p.AppID
	if rotation, ok, err := ring.Rotation(p.AppID); err == nil && ok {
		query = rotation.NewKeyID // the config is that of the next native build
	}
	rec, err := ring.Find(ctx, query)
	return rec.PublicPEM, err
}

// readSmall reads a file of at most 64 KiB.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
