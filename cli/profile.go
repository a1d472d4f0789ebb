package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/remote"
	"capstan/core/remote/storage"
)

func init() { registrations = append(registrations, newProfile) }

func newProfile(c *Command) *cobra.Command {
	var dir string
	command := &cobra.Command{Use: "profile", Short: "Say where a project's releases go", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	command.PersistentFlags().StringVar(&dir, "project", ".", "folder of the Capacitor project")
	command.AddCommand(newProfileList(c, &dir), newProfileShow(c, &dir), newProfileSet(c, &dir), newProfileInit(c, &dir), newProfileLogin(c, &dir))
	return command
}

func newProfileList(c *Command, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the profiles of this project and of this user", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, standard, err := profile.List(*dir)
			if err != nil {
				return err
			}
			type row struct {
				Name    string `json:"name"`
				Default bool   `json:"default"`
				Server  string `json:"server"`
				Channel string `json:"channel"`
			}
			rows := []row{}
			for _, name := range names {
				r, err := profile.Resolve(cmd.Context(), *dir, name, profile.Flags{Secrets: noSecrets{}})
				if err != nil {
					return err
				}
				rows = append(rows, row{name, name == standard, r.Server, r.Channel})
			}
			return c.Result(rows, func(w io.Writer) {
				var lines [][]string
				for _, r := range rows {
					lines = append(lines, []string{map[bool]string{true: "*", false: " "}[r.Default], r.Name, orDash(r.Server), orDash(r.Channel)})
				}
				table(w, "\tPROFILE\tSERVER\tCHANNEL", lines)
			})
		},
	}
}

// noSecrets stands in where no token is wanted, so that no keyring is opened.
type noSecrets struct{}

func (noSecrets) Get(context.Context, string) (string, error) {
	return "", failure.New(failure.NotFound, "secret_not_found", "", "not looked for", "")
}

func newProfileShow(c *Command, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "show [PROFILE]", Short: "Show a profile, and where each value comes from", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := c.Profile
			if len(args) == 1 {
				name = args[0]
			}
			r, err := profile.Resolve(cmd.Context(), *dir, name, profile.Flags{})
			if err != nil {
				return err
			}
			type result struct {
				profile.Profile
				Root        string            `json:"root"`
				Sources     map[string]string `json:"sources"`
				TokenSource string            `json:"token_source"`
			}
			return c.Result(result{r.Profile, r.Root, r.Sources, r.TokenSource}, func(w io.Writer) {
				rows := [][]string{}
				for _, field := range [][2]string{{"server", r.Server}, {"storage", r.Storage}, {"public_url", r.PublicURL}, {"channel", r.Channel}, {"key_store", r.KeyStore}, {"size_budget", r.SizeBudget}} {
					rows = append(rows, []string{field[0], orDash(field[1]), r.Sources[field[0]]})
				}
				if r.AllowHTTP {
					rows = append(rows, []string{"allow_http", "yes", r.Sources["allow_http"]})
				}
				if len(r.UploadURL) > 0 {
					rows = append(rows, []string{"upload_url", strings.Join(r.UploadURL, " "), r.Sources["upload_url"]})
				}
				rows = append(rows, []string{"token", map[bool]string{true: "set", false: "-"}[r.TokenSource != ""], r.TokenSource})
				table(w, "profile\t"+oneLine(r.Name)+"\tfrom", rows)
			})
		},
	}
}

// setField sets one field by its name in the file; an empty value removes it.
func setField(p *profile.Profile, field, value string) error {
	switch field {
	case "server":
		p.Server = value
	case "storage":
		p.Storage = value
	case "public_url":
		p.PublicURL = value
	case "channel":
		p.Channel = value
	case "key_store":
		p.KeyStore = value
	case "size_budget":
		p.SizeBudget = value
	case "allow_http":
		if !slices.Contains([]string{"true", "false", ""}, value) {
			return failure.New(failure.Usage, "usage", "", "allow_http is true or false", "")
		}
		p.AllowHTTP = value == "true"
	case "upload_url":
		p.UploadURL = strings.Fields(value)
	default:
		if header, ok := strings.CutPrefix(field, "headers."); ok && header != "" {
			if p.Headers == nil {
				p.Headers = map[string]string{}
			}
			p.Headers[header] = value
			if value == "" {
				delete(p.Headers, header)
			}
			return nil
		}
		return failure.Newf(failure.Usage, "usage", "", "the fields are server, storage, public_url, channel, key_store, size_budget, allow_http, upload_url, headers.NAME", "there is no field %s", oneLine(field))
	}
	return nil
}

func newProfileSet(c *Command, dir *string) *cobra.Command {
	var mine bool
	command := &cobra.Command{
		Use: "set PROFILE FIELD=VALUE…", Short: "Change a profile in capstan.toml, or for this user alone with --mine", Args: cobra.MinimumNArgs(2),
		Example: "  capstan profile set production server=https://updates.example.com channel=production\n  capstan profile set production storage=s3://bundles public_url=https://cdn.example.com",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := profile.Stored(*dir, args[0], mine)
			if err != nil {
				return err
			}
			for _, pair := range args[1:] {
				field, value, ok := strings.Cut(pair, "=")
				if !ok {
					return failure.Newf(failure.Usage, "usage", "", "write FIELD=VALUE", "%s has no =", oneLine(pair))
				}
				if err := setField(&p, field, value); err != nil {
					return err
				}
			}
			return c.saved(*dir, p, mine)
		},
	}
	command.Flags().BoolVar(&mine, "mine", false, "for this user and project only, outside of the project")
	return command
}

func (c *Command) saved(dir string, p profile.Profile, mine bool) error {
	path, err := profile.Save(dir, p, mine)
	if err != nil {
		return err
	}
	return c.Result(map[string]any{"profile": p, "file": path}, func(w io.Writer) { fmt.Fprintf(w, "saved profile %s in %s\n", oneLine(p.Name), oneLine(path)) })
}

func newProfileInit(c *Command, dir *string) *cobra.Command {
	p := profile.Profile{}
	var mine, noCheck bool
	command := &cobra.Command{
		Use: "init [PROFILE]", Short: "Set up where releases go, and try it out before saving",
		Long: `init asks for what the flags do not say when it runs on a terminal. It then asks the server who it
is, and tries the storage out with a small test object: writing, public download, ranges, deletion.
Nothing is saved while devices could not download; --no-check saves unseen.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			p.Name = profile.DefaultName
			if len(args) == 1 {
				p.Name = args[0]
			}
			if err := c.askProfile(&p, &mine); err != nil {
				return err
			}
			if p.Server == "" {
				return failure.New(failure.Usage, "server_missing", "", "no server was given", "pass --server")
			}
			if !noCheck {
				if err := c.tryProfile(ctx, *dir, p); err != nil {
					return err
				}
			}
			return c.saved(*dir, p, mine)
		},
	}
	flags := command.Flags()
	flags.StringVar(&p.Server, "server", "", "base URL of the update server or of Capgo's API")
	flags.StringVar(&p.Storage, "storage", "", "URL of the storage (default: the server's own)")
	flags.StringVar(&p.PublicURL, "public-url", "", "base URL under which devices find the objects")
	flags.StringVar(&p.Channel, "channel", "", "channel to release to")
	flags.StringVar(&p.KeyStore, "key-store", "", "keyring, file, environment or command")
	flags.BoolVar(&p.AllowHTTP, "allow-http", false, "permit plain http, in a closed network")
	flags.BoolVar(&mine, "mine", false, "for this user and project only, outside of the project")
	flags.BoolVar(&noCheck, "no-check", false, "save without trying server and storage")
	return command
}

// askProfile asks for what is missing, on a terminal. mine is set when only the
// user's own file may hold the answers.
func (c *Command) askProfile(p *profile.Profile, mine *bool) error {
	if !c.Terminal || c.Yes {
		return nil
	}
	in := bufio.NewReader(c.In)
	if err := c.askFor(in, "Server (https://…): ", &p.Server); err != nil {
		return err
	}
	if p.Storage == "" {
		if err := c.askPlace(in, p, mine); err != nil {
			return err
		}
	}
	if p.Storage != "" {
		if err := c.askFor(in, "Public address of the storage, empty when the storage knows it: ", &p.PublicURL); err != nil {
			return err
		}
	}
	return c.askFor(in, "Channel to release to, e.g. production: ", &p.Channel)
}

// askFor reads one line, unless the value is known.
func (c *Command) askFor(in *bufio.Reader, text string, value *string) error {
	if *value != "" {
		return nil
	}
	fmt.Fprint(c.Err, text)
	line, err := in.ReadString('\n')
	if err != nil && !(errors.Is(err, io.EOF) && line != "") {
		return failure.New(failure.Usage, "declined", "", "the input ended; nothing was saved", "")
	}
	*value = strings.TrimSpace(line)
	return nil
}

// askPlace lists the kinds of storage and asks for what the chosen one needs. A
// complete URL is an answer too.
func (c *Command) askPlace(in *bufio.Reader, p *profile.Profile, mine *bool) error {
	places := profile.Places()
	fmt.Fprintln(c.Err, "Where are bundles stored?")
	for i, place := range places {
		fmt.Fprintf(c.Err, "  %d  %s\n", i+1, place.Text)
	}
	var answer string
	if err := c.askFor(in, "Number, or a storage's URL [1]: ", &answer); err != nil {
		return err
	}
	if strings.Contains(answer, ":") {
		p.Storage = answer
		return nil
	}
	if answer == "" {
		answer = "1"
	}
	n, err := strconv.Atoi(answer)
	if err != nil || n < 1 || n > len(places) {
		return failure.Newf(failure.Usage, "answer_unknown", "describe the storage", "answer with one of the numbers", "there is no storage %s", oneLine(answer))
	}
	place := places[n-1]
	fmt.Fprintf(c.Err, "Credentials: %s\n", place.Login)
	answers := map[string]string{}
	for _, q := range place.Asks {
		var value string
		if err := c.askFor(in, q.Text+map[bool]string{true: ", or empty"}[q.Optional]+": ", &value); err != nil {
			return err
		}
		answers[q.Name] = value
	}
	*mine = *mine || place.Mine
	return place.Fill(p, answers)
}

// tryProfile asks the server who it is and tries the storage out.
func (c *Command) tryProfile(ctx context.Context, dir string, p profile.Profile) error {
	r, err := profile.Prepare(ctx, dir, p, profile.Flags{})
	if err != nil {
		return err
	}
	client, err := r.Connect()
	if err != nil {
		return err
	}
	about, err := client.About(ctx)
	if err != nil {
		return err
	}
	c.Notef("ok    server %s %s", oneLine(about.Server), oneLine(about.Version))
	apps, err := client.Apps(ctx)
	if err != nil {
		return err
	}
	c.Notef("ok    the token may see %d apps", len(apps))
	if r.Storage == "" {
		c.Notef("note  no storage: bundles are registered with the address that you give")
		return nil
	}
	prefix, ok := checkPrefix(dir, apps)
	if !ok && strings.HasPrefix(r.Storage, "capstan+") { // which takes objects of apps that it knows
		c.Notef("note  the storage was not tried: the server has no app yet")
		return nil
	}
	s, err := r.OpenStorage(ctx)
	if err != nil {
		return err
	}
	findings := storage.Check(ctx, s, prefix, nil)
	for _, f := range findings {
		c.Notef("%-5s %s", f.Level, oneLine(f.Text))
	}
	for _, f := range findings {
		if f.Level == "block" {
			return failure.New(failure.Verification, f.Code, "try the storage", f.Text, strings.TrimPrefix(f.Hint+"; --no-check saves the profile nevertheless", "; "))
		}
	}
	return nil
}

// checkPrefix is the app under whose name the storage is tried out: the
// project's, where the server knows it, else any.
func checkPrefix(dir string, apps []capgo.App) (string, bool) {
	if p, err := project.Open(dir); err == nil {
		for _, a := range apps {
			if a.AppID == p.AppID {
				return a.AppID, true
			}
		}
	}
	if len(apps) > 0 {
		return apps[0].AppID, true
	}
	return "capstan-check", false
}

func newProfileLogin(c *Command, dir *string) *cobra.Command {
	var server string
	command := &cobra.Command{
		Use: "login", Short: "Keep the token of a server in the key store", Args: cobra.NoArgs,
		Long: `login reads a token from the terminal, without showing it, or from standard input, asks the server
whether it takes it, and keeps it in the system's keyring (or, where there is none, in a file that
only this user can read). It is used for this server and no other.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, err := profile.Resolve(ctx, *dir, c.Profile, profile.Flags{Server: server, Secrets: noSecrets{}})
			if err != nil {
				return err
			}
			text, err := c.readSecret("token for " + oneLine(r.Server) + ": ")
			if err != nil {
				return err
			}
			r.Client.Token = remote.NewToken(text)
			if r.Client.Token.Empty() {
				return failure.New(failure.Usage, "token_missing", "", "no token was given", "")
			}
			client, err := r.Connect()
			if err != nil {
				return err
			}
			apps, err := client.Apps(ctx)
			if err != nil {
				return err
			}
			ring, err := c.openRing(environmentKeySource())
			if err != nil {
				return err
			}
			secrets, name := ring.SecretStore(), profile.TokenName(r.Server)
			if err := secrets.Put(ctx, name, r.Client.Token.Reveal()); err != nil {
				return err
			}
			kind, err := secrets.Kind(name)
			if err != nil {
				return err
			}
			return c.Result(map[string]any{"server": r.Server, "store": kind, "apps": len(apps)}, func(w io.Writer) {
				fmt.Fprintf(w, "the token for %s is in the %s; it may see %d apps\n", oneLine(r.Server), kind, len(apps))
			})
		},
	}
	command.Flags().StringVar(&server, "server", "", "base URL of the server (default: the profile's)")
	return command
}

// readSecret reads one line: hidden on a terminal, else as it comes.
func (c *Command) readSecret(prompt string) (string, error) {
	if f, ok := c.In.(*os.File); ok && c.Terminal && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(c.Err, prompt)
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.Err)
		return string(text), failure.Wrap(err, failure.Failed, "input_failed", "read the token", "")
	}
	line, err := bufio.NewReader(io.LimitReader(c.In, 8192)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", failure.Wrap(err, failure.Failed, "input_failed", "read the token", "")
	}
	return line, nil
}
