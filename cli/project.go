package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/project"
	"capstan/core/project/config"
)

func init() { registrations = append(registrations, newProject) }

// projectResult is the object of capstan project --json.
type projectResult struct {
	Root           string                  `json:"root"`
	Workspace      string                  `json:"workspace"`
	Config         string                  `json:"config"`
	ConfigError    string                  `json:"configError,omitempty"`
	AppID          string                  `json:"appId"`
	AppName        string                  `json:"appName"`
	Version        string                  `json:"version"`
	VersionFrom    string                  `json:"versionFrom,omitempty"`
	WebDir         string                  `json:"webDir"`
	PluginVersion  string                  `json:"pluginVersion,omitempty"`
	PluginFrom     string                  `json:"pluginFrom,omitempty"`
	Capacitor      int                     `json:"capacitor,omitempty"`
	KeyID          string                  `json:"keyId,omitempty"`
	PublicKey      string                  `json:"publicKey,omitempty"`
	UpdateURL      string                  `json:"updateUrl,omitempty"`
	StatsURL       string                  `json:"statsUrl,omitempty"`
	ChannelURL     string                  `json:"channelUrl,omitempty"`
	DefaultChannel string                  `json:"defaultChannel,omitempty"`
	Android        *nativeResult           `json:"android,omitempty"`
	IOS            *nativeResult           `json:"ios,omitempty"`
	NativePackages []project.NativePackage `json:"nativePackages"`
	Git            *gitResult              `json:"git,omitempty"`
	CI             string                  `json:"ci,omitempty"`
	Comment        string                  `json:"comment,omitempty"`
	Link           string                  `json:"link,omitempty"`
	Env            []string                `json:"env"`
	Warnings       []string                `json:"warnings"`
}

type nativeResult struct {
	AppID   string `json:"appId,omitempty"`
	Version string `json:"version,omitempty"`
	Build   string `json:"build,omitempty"`
}

type gitResult struct {
	Commit string `json:"commit"`
	Branch string `json:"branch,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Remote string `json:"remote,omitempty"`
	Dirty  bool   `json:"dirty"`
}

func newProject(c *Command) *cobra.Command {
	path := "."
	cmd := &cobra.Command{
		Use:   "project",
		Short: "Show the Capacitor project that was found, and change its config",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := project.OpenWith(cmd.Context(), path, project.Options{})
			if err != nil {
				return err
			}
			return c.showProject(p)
		},
	}
	cmd.PersistentFlags().StringVar(&path, "project", ".", "folder of the project, or one inside it")

	list := &cobra.Command{
		Use:   "list",
		Short: "List the Capacitor projects of the workspace",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return c.listProjects(path) },
	}
	use := &cobra.Command{
		Use:   "use NAME",
		Short: "Remember which project of the workspace is meant",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return c.useProject(path, args[0]) },
	}
	dryRun := false
	set := &cobra.Command{
		Use:   "set SETTING=VALUE...",
		Short: "Change settings of the updater plugin in the Capacitor config",
		Long: `Change settings of the updater plugin in the Capacitor config without touching
anything else in it: ` + strings.Join(config.Editable, ", ") + `.
The change is shown as a diff first. A config that cannot be edited safely is
left alone, and the lines to add by hand are printed.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.setProject(cmd.Context(), path, args, dryRun) },
	}
	set.Flags().BoolVar(&dryRun, "dry-run", false, "show the diff only")
	cmd.AddCommand(list, use, set)
	return cmd
}

func (c *Command) showProject(p *project.Project) error {
	r := projectResult{
		Root: p.Root, Workspace: p.Workspace, Config: p.ConfigPath, AppID: p.AppID, AppName: p.AppName,
		Version: p.Version, VersionFrom: p.VersionIn, WebDir: p.WebDir,
		PluginVersion: p.PluginVersion, PluginFrom: p.Plugin.From, Capacitor: p.CapacitorMajor,
		KeyID: p.KeyID(), PublicKey: p.PublicKey,
		UpdateURL: p.UpdateURL, StatsURL: p.StatsURL, ChannelURL: p.ChannelURL, DefaultChannel: p.DefaultChannel,
		CI: p.CI.Name, Comment: p.Comment(), Link: p.Link(),
		NativePackages: []project.NativePackage{}, Env: append([]string{}, p.EnvDependencies...), Warnings: append([]string{}, p.Warnings...),
	}
	if p.ConfigError != nil {
		r.ConfigError = p.ConfigError.Error()
	}
	for _, native := range []struct {
		app *project.NativeApp
		to  **nativeResult
	}{{p.Native.Android, &r.Android}, {p.Native.IOS, &r.IOS}} {
		if native.app != nil {
			*native.to = &nativeResult{native.app.AppID, native.app.Version, native.app.Build}
		}
	}
	r.NativePackages = append(r.NativePackages, p.SortedNativePackages()...)
	if p.Git.Present {
		r.Git = &gitResult{p.Git.Commit, p.Git.Branch, p.Git.Tag, p.Git.Remote, p.Git.Dirty}
	}
	return c.Result(r, func(w io.Writer) {
		table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		row := func(name, value, from string) {
			if value == "" {
				value = "-"
			}
			if from != "" {
				value += "  (" + from + ")"
			}
			fmt.Fprintf(table, "%s\t%s\n", name, oneLine(value))
		}
		configNote := ""
		if len(p.EnvDependencies) > 0 {
			configNote = "depends on " + strings.Join(p.EnvDependencies, ", ")
		}
		if p.ConfigError != nil {
			configNote = "values from " + p.Relative(p.ConfigFrom) + ": " + p.ConfigError.Error()
		}
		row("folder", p.Root, "")
		row("config", p.Relative(p.ConfigPath), configNote)
		row("app", p.AppID, p.AppName)
		row("version", p.Version, p.Relative(p.VersionIn))
		row("web build", p.Relative(p.WebDir), "")
		row("plugin", p.PluginVersion, p.Relative(p.Plugin.From))
		row("public key", p.KeyID(), "")
		row("updates", p.UpdateURL, "")
		row("statistics", p.StatsURL, "")
		row("channels", p.ChannelURL, "")
		row("channel", p.DefaultChannel, "")
		if a := p.Native.Android; a != nil {
			row("Android", a.AppID+" "+a.Version, "build "+a.Build)
		}
		if a := p.Native.IOS; a != nil {
			row("iOS", a.AppID+" "+a.Version, "build "+a.Build)
		}
		if len(r.NativePackages) > 0 {
			names := make([]string, len(r.NativePackages))
			for i, n := range r.NativePackages {
				names[i] = n.Name + " " + n.Version
			}
			row("native packages", strings.Join(names, ", "), "")
		}
		if p.Git.Present {
			row("commit", p.Comment(), p.Git.Branch)
		}
		if p.CI.Name != "" {
			row("CI", p.CI.Name, p.CI.URL)
		}
		_ = table.Flush()
		for _, warning := range p.Warnings {
			c.Notef("warning: %s", oneLine(warning))
		}
	})
}

func (c *Command) listProjects(path string) error {
	type row struct {
		Name   string `json:"name"`
		Root   string `json:"root"`
		Config string `json:"config"`
	}
	found, err := project.Find(path)
	if err != nil {
		return err
	}
	rows := make([]row, len(found))
	for i, f := range found {
		rows[i] = row{f.Name(), f.Root, f.ConfigPath}
	}
	return c.Result(rows, func(w io.Writer) {
		for _, r := range rows {
			fmt.Fprintln(w, oneLine(r.Name))
		}
	})
}

func (c *Command) useProject(path, name string) error {
	found, err := project.Find(path)
	if err != nil {
		return err
	}
	names := make([]string, len(found))
	for i, f := range found {
		if names[i] = f.Name(); f.Name() != name && f.Root != name {
			continue
		}
		if err := project.Remember(f); err != nil {
			return err
		}
		return c.Result(map[string]string{"name": f.Name(), "root": f.Root}, func(w io.Writer) { fmt.Fprintln(w, oneLine(f.Root)) })
	}
	return failure.Newf(failure.NotFound, "project_not_found", "choose project", "there are: "+strings.Join(names, ", "), "no project is called %q", name)
}

// setResult is the object of capstan project set --json.
type setResult struct {
	Config  string `json:"config"`
	Changed bool   `json:"changed"`
	Diff    string `json:"diff,omitempty"`
}

func (c *Command) setProject(ctx context.Context, path string, args []string, dryRun bool) error {
	changes := map[string]string{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return failure.Newf(failure.Usage, "usage", "", "write it as updateUrl=https://…", "%q is not SETTING=VALUE", arg)
		}
		changes[key] = value
	}
	p, err := project.OpenWith(ctx, path, project.Options{})
	if err != nil {
		return err
	}
	edit, err := p.PlanEditContext(ctx, changes)
	if failure.CodeOf(err) == "config_edit_refused" {
		if c.JSON { // nobody sees notes then
			return failure.Wrap(err, failure.Failed, "config_edit_refused", "", "add by hand: "+edit.Snippet)
		}
		c.Notef("%s", printable(edit.Snippet+edit.Diff))
	}
	if err != nil {
		return err
	}
	for _, warning := range edit.Warnings {
		c.Notef("warning: %s", oneLine(warning))
	}
	result := setResult{p.ConfigPath, edit.Changed() && !dryRun, edit.Diff}
	if edit.Changed() {
		if !dryRun {
			c.Notef("%s", printable(strings.TrimSuffix(edit.Diff, "\n")))
			if err := c.Confirmed("change " + p.Relative(p.ConfigPath) + "?"); err != nil {
				return err
			}
			if err := edit.Apply(); err != nil {
				return err
			}
		}
	}
	return c.Result(result, func(w io.Writer) {
		switch {
		case !edit.Changed():
			fmt.Fprintln(w, "nothing to change")
		case dryRun:
			fmt.Fprint(w, printable(edit.Diff)+"\n")
		default:
			fmt.Fprintf(w, "changed %s; run npx cap sync to bring it into the native projects\n", oneLine(p.Relative(p.ConfigPath)))
		}
	})
}

// printable cleans text of several lines for a terminal.
func printable(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		kept := strings.TrimLeft(line, " \t")
		indent := line[:len(line)-len(kept)]
		lines = append(lines, strings.ReplaceAll(indent, "\t", "    ")+oneLine(kept))
	}
	return strings.Join(lines, "\n")
}
