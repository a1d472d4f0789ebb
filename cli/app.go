package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
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
	command := &cobra.Command{Use: "app", Short: "List and add apps, and put their public keys on record", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	f.add(command)
	command.AddCommand(newAppList(c, &f), newAppAdd(c, &f), newAppSetKey(c, &f))
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
