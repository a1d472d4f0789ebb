package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/release"
	"capstan/core/remote"
)

func init() { registrations = append(registrations, newApp) }

// registryFlags say which server and which app a command is about, over what
// the profile and the project say.
type registryFlags struct {
	dir, app string
	profile.Flags
}

func (f *registryFlags) add(command *cobra.Command) {
	flags := command.PersistentFlags()
	flags.StringVar(&f.dir, "project", ".", "folder of the Capacitor project")
	flags.StringVar(&f.app, "app", os.Getenv("CAPSTAN_APP"), "app id (default: the project's)")
	flags.StringVar(&f.Server, "server", "", "base URL of the update server or of Capgo's API")
}

// connect opens the server that flags and profile name.
func (c *Command) connect(ctx context.Context, f *registryFlags) (*remote.Client, error) {
	target, err := profile.Resolve(ctx, f.dir, c.Profile, f.Flags)
	if err != nil {
		return nil, err
	}
	return target.Connect()
}

// connectApp also finds the app: the argument in place n, else --app, else the
// project's.
func (c *Command) connectApp(ctx context.Context, f *registryFlags, args []string, n int) (*remote.Client, string, error) {
	client, err := c.connect(ctx, f)
	if err != nil {
		return nil, "", err
	}
	switch {
	case len(args) > n:
		return client, args[n], nil
	case f.app != "":
		return client, f.app, nil
	}
	p, err := project.Open(f.dir)
	if err != nil || p.AppID == "" {
		return nil, "", failure.New(failure.Usage, "app_missing", "", "which app is not said, and there is no Capacitor project here", "pass --app, or run the command in the project's folder")
	}
	return client, p.AppID, nil
}

// table prints rows whose cells are separated by tabs, without control characters.
func table(w io.Writer, head string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, oneLine(cell))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // w reports its own errors at the next write
}

// rowsOrEmpty makes a list without rows [] in JSON, not null.
func rowsOrEmpty[Row any](rows []Row) []Row {
	if rows == nil {
		return []Row{}
	}
	return rows
}

func newApp(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{Use: "app", Short: "List, add and delete apps, and put their public keys on record", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	f.add(command)
	command.AddCommand(newAppList(c, &f), newAppAdd(c, &f), newAppDelete(c, &f), newAppSetKey(c, &f))
	return command
}

func newAppList(c *Command, f *registryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the apps that the token may see", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.connect(cmd.Context(), f)
			if err != nil {
				return err
			}
			apps, err := client.Apps(cmd.Context())
			if err != nil {
				return err
			}
			return c.Result(rowsOrEmpty(apps), func(w io.Writer) {
				rows := make([][]string, 0, len(apps))
				for _, a := range apps {
					key := keyOnRecord(a)
					if a.SecondPublicKey != "" {
						key += " + " + secondOnRecord(a)
					}
					rows = append(rows, []string{a.AppID, a.Name, key, day(&a.CreatedAt)})
				}
				table(w, "APP\tNAME\tKEY\tCREATED", rows)
			})
		},
	}
}

// keyOnRecord is the id of an app's public key, "-" when none is on record.
func keyOnRecord(a capgo.App) string {
	if a.PublicKey == "" {
		return "-"
	}
	public, err := keys.ParsePublic([]byte(a.PublicKey))
	if err != nil {
		return "unreadable"
	}
	return keys.KeyID(public)
}

func newAppAdd(c *Command, f *registryFlags) *cobra.Command {
	var name string
	command := &cobra.Command{
		Use: "add [APPID]", Short: "Create an app on the server", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 0)
			if err != nil {
				return err
			}
			if name == "" {
				name = appID
				if p, err := project.Open(f.dir); err == nil && p.AppID == appID && p.AppName != "" {
					name = p.AppName
				}
			}
			if err := client.CreateApp(cmd.Context(), appID, name); err != nil {
				return err
			}
			return c.Result(map[string]string{"app_id": appID, "name": name}, func(w io.Writer) {
				fmt.Fprintf(w, "created %s (%s)\n", oneLine(appID), oneLine(name))
			})
		},
	}
	command.Flags().StringVarP(&name, "name", "n", "", "name for people (default: the project's)")
	return command
}

func newAppDelete(c *Command, f *registryFlags) *cobra.Command {
	var force bool
	command := &cobra.Command{
		Use: "delete [APPID]", Short: "Delete an app from the server",
		Long: `delete removes an app with its channels. One that still has bundles or devices stays, unless --force
is given: its devices then get no update any more. Objects in storage stay.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, f, args, 0)
			if err != nil {
				return err
			}
			if _, err := client.App(ctx, appID); err != nil {
				return err
			}
			holds, err := appHolds(ctx, client, appID)
			if err != nil {
				return err
			}
			if holds != "" && !force {
				return failure.Newf(failure.Conflict, "app_not_empty", "delete the app", "delete its bundles first (capstan bundle delete), or repeat the command with --force",
					"%s still has %s", oneLine(appID), holds)
			}
			question := fmt.Sprintf("the app %s is deleted for good", oneLine(appID))
			if holds != "" {
				question += ", with " + holds
			}
			if err := c.ConfirmedByName(question, appID); err != nil {
				return err
			}
			if err := client.DeleteApp(ctx, appID); err != nil {
				return err
			}
			return c.Result(map[string]any{"app_id": appID, "deleted": true}, func(w io.Writer) { fmt.Fprintln(w, "deleted", oneLine(appID)) })
		},
	}
	command.Flags().BoolVar(&force, "force", false, "also when it still has bundles or devices")
	return command
}

// appHolds says what of an app others may need, "" for nothing: bundles, and
// devices other than the one that releases are proven with.
func appHolds(ctx context.Context, client *remote.Client, appID string) (string, error) {
	bundles, err := client.Bundles(ctx, appID)
	if err != nil {
		return "", err
	}
	bundles = slices.DeleteFunc(bundles, func(b capgo.Bundle) bool { return b.Name == capgo.Builtin || b.Name == "unknown" }) // Capgo's own rows
	page, err := client.Devices(ctx, appID, "", 2)
	if err != nil {
		return "", err
	}
	devices := slices.ContainsFunc(page.Data, func(d capgo.Device) bool { return d.DeviceID != release.ProofDeviceID })
	var parts []string
	switch n := len(bundles); n {
	case 0:
	case 1:
		parts = append(parts, "1 bundle")
	default:
		parts = append(parts, fmt.Sprintf("%d bundles", n))
	}
	if devices {
		parts = append(parts, "devices")
	}
	return strings.Join(parts, " and "), nil
}

func newAppSetKey(c *Command, f *registryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "set-key [FILE] [APPID]", Short: "Put an app's public key on record",
		Long: `set-key puts the public key of FILE on record (default: the project's own, from its Capacitor
config or from .capgo_key_v2.pub). From then on the server takes and serves only bundles that are
sealed with its private half.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 1)
			if err != nil {
				return err
			}
			file := ""
			if len(args) > 0 {
				file = args[0]
			}
			pem, err := publicKey(f.dir, file)
			if err != nil {
				return err
			}
			public, err := keys.ParsePublic(pem)
			if err != nil {
				return err
			}
			app, err := client.App(cmd.Context(), appID)
			if err != nil {
				return err
			}
			old, id := keyOnRecord(app), keys.KeyID(public)
			if old != "-" && old != id {
				question := fmt.Sprintf("%s has the key %s on record; with %s its bundles of today are no longer offered", oneLine(appID), old, id)
				if err := c.ConfirmedByName(question, appID); err != nil {
					return err
				}
			}
			if old != id {
				if err := client.SetPublicKey(cmd.Context(), appID, string(keys.EncodePublic(public))); err != nil {
					return err
				}
			}
			return c.Result(map[string]any{"app_id": appID, "key_id": id, "changed": old != id}, func(w io.Writer) {
				fmt.Fprintf(w, "%s has the key %s on record\n", oneLine(appID), id)
			})
		},
	}
}

// publicKey reads a public key from a file, or from where a project has it.
func publicKey(dir, file string) ([]byte, error) {
	const op = "read the public key"
	if file == "" {
		p, err := project.Open(dir)
		if err == nil && p.PublicKey != "" {
			return []byte(p.PublicKey), nil
		}
		root := dir
		if err == nil {
			root = p.Root
		}
		file = filepath.Join(root, ".capgo_key_v2.pub")
	}
	pem, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Newf(failure.NotFound, "public_key_missing", op, "name the file, or make a pair with: capstan key create", "there is no %s", oneLine(file))
	}
	return pem, failure.Wrap(err, failure.Failed, "public_key_unreadable", op, "")
}
