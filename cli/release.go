package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/release"
	"capstan/core/workspace"
)

func init() {
	registrations = append(registrations, newRelease)
	bundleCommands = append(bundleCommands, newUpload)
}

// releaseFlags are what release and bundle upload have in common.
type releaseFlags struct {
	workspace workspaceFlags
	request   workspace.Request
	budget    string
	bump      string
}

func (f *releaseFlags) add(command *cobra.Command) {
	f.workspace.add(command)
	flags := command.Flags()
	flags.StringVarP(&f.request.Dir, "path", "p", "", "build folder (default: webDir of the project)")
	flags.StringVarP(&f.request.Channel, "channel", "c", "", "channel to promote to")
	flags.StringVarP(&f.request.Version, "bundle", "b", "", "version (default: package.json)")
	flags.StringVar(&f.bump, "bump", "", "patch, minor or major: the version after the highest that is known")
	flags.StringVar(&f.request.KeyID, "key-id", "", "key to sign with (default: the app's current one)")
	flags.BoolVar(&f.request.Plain, "no-key", false, "leave the bundle unencrypted and unsigned; only for apps without a key")
	flags.StringVar(&f.request.MinUpdateVersion, "min-update-version", "", "lowest native version that may take it")
	flags.BoolVar(&f.request.AutoMinUpdateVersion, "auto-min-update-version", false, "the live bundle's minimum, or this version where native packages differ")
	flags.BoolVar(&f.request.FailOnIncompatible, "fail-on-incompatible", false, "stop when native packages differ from those of the live bundle")
	flags.StringVar(&f.budget, "size-budget", "", "how large the files may be before compression, such as 30MB (default: the profile's)")
	flags.StringVar(&f.request.Link, "link", "", "link shown with the bundle")
	flags.StringVar(&f.request.Comment, "comment", "", "comment shown with the bundle")
	flags.StringVar(&f.request.Reason, "reason", "", "release in spite of blocking findings, and keep this reason")
	flags.BoolVar(&f.request.SourceMaps, "source-maps", false, "pack *.map files too")
	flags.BoolVar(&f.request.NoCodeCheck, "no-code-check", false, "do not look for index.html and notifyAppReady")
	flags.BoolVar(&f.request.Delta, "delta", false, "make and upload the single files too, so that devices fetch only what changed")
	flags.IntVar(&f.request.DeltaQuality, "delta-quality", 0, "brotli quality of the single files, 1 to 11 (default 6)")
	flags.BoolVar(&f.request.CreateApp, "create-app", false, "create the app and put its key on record, when the server has neither")
}

// choose follows --size-budget and --bump.
func (f *releaseFlags) choose(ctx context.Context, w *workspace.Workspace) error {
	if f.budget != "" {
		var err error
		if f.request.SizeBudget, err = profile.ParseSize(f.budget); err != nil {
			return err
		}
	}
	if f.bump == "" {
		return nil
	}
	if f.request.Version != "" {
		return failure.New(failure.Usage, "usage", "", "--bump and --bundle both choose the version", "give one of them")
	}
	var err error
	f.request.Version, err = w.Bump(ctx, f.request.AppID, f.bump)
	return err
}

func newRelease(c *Command) *cobra.Command {
	var (
		flags          releaseFlags
		resume, giveUp string
		list, dryRun   bool
		scheme         string
	)
	command := &cobra.Command{
		Use:   "release [APPID]",
		Short: "Take a build folder to a live channel, or continue a release that stopped",
		Long: `release checks the build, packs, encrypts and signs it, uploads it, installs it from its
public address as every plugin generation of the fleet would, registers it, and points the
channel at it. A journal is kept: after any kind of stop, --resume continues.

While the app changes keys (capstan key rotate), the build is sealed for both keys. With
--format v1 it is encrypted for plugins that read nothing newer, and vouched for by nothing.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(args) == 1 {
				flags.request.AppID = args[0]
			}
			w, err := c.workspace(ctx, &flags.workspace)
			if err != nil {
				return err
			}
			switch {
			case list:
				return c.listReleases(ctx, w)
			case cmd.Flags().Changed("give-up"):
				return c.giveUp(ctx, w, strings.TrimSpace(giveUp))
			case cmd.Flags().Changed("resume"):
				return c.resume(ctx, w, strings.TrimSpace(resume))
			}
			if old, err := isV1(scheme); err != nil {
				return err
			} else if old {
				if err := c.firstScheme(ctx, &flags, w); err != nil {
					return err
				}
			}
			if err := flags.choose(ctx, w); err != nil {
				return err
			}
			plan, err := w.Plan(ctx, flags.request)
			if err != nil {
				return err
			}
			if plan.Channel == "" {
				return failure.New(failure.Usage, "channel_missing", "plan the release", "no channel to promote to", "name it with --channel, or register without promoting: capstan bundle upload")
			}
			if dryRun {
				return c.dryRun(ctx, w, plan)
			}
			return c.runRelease(ctx, w, plan, true)
		},
	}
	flags.add(command)
	formatFlag(command, &scheme)
	f := command.Flags()
	f.StringVar(&resume, "resume", "", "continue a release by its id; without one, the newest that stopped")
	f.Lookup("resume").NoOptDefVal = " "
	f.StringVar(&giveUp, "give-up", "", "end a release that shall not be continued, and say what it left")
	f.BoolVar(&list, "list", false, "list releases and where they stopped")
	f.BoolVar(&dryRun, "dry-run", false, "say what each step would change, and change nothing")
	return command
}

func newUpload(c *Command) *cobra.Command {
	var (
		flags    releaseFlags
		external release.External
		scheme   string
	)
	command := &cobra.Command{
		Use:   "upload [APPID]",
		Short: "Seal, upload and register a bundle; promote it with --channel",
		Long: `upload takes the build folder through the same steps as release and registers the bundle.
With --external it registers an object that is in its place already: the object is downloaded,
decrypted and proven first, and a signed checksum that is not given is made from it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(args) == 1 {
				flags.request.AppID = args[0]
			}
			old, err := isV1(scheme)
			if err != nil {
				return err
			}
			if old && external.URL != "" {
				return failure.New(failure.Usage, "usage", "", "--external does not go with --format v1", "leave out --external: the bundle is packed, encrypted and uploaded")
			}
			w, err := c.workspace(ctx, &flags.workspace)
			if err != nil {
				return err
			}
			if old {
				if err := c.firstScheme(ctx, &flags, w); err != nil {
					return err
				}
			}
			// Uploading alone promotes nothing, whatever the profile's channel is.
			flags.request.NoChannel = flags.request.Channel == ""
			if err := flags.choose(ctx, w); err != nil {
				return err
			}
			plan, err := w.Plan(ctx, flags.request)
			if err != nil {
				return err
			}
			if external.URL != "" {
				plan.Dir, plan.External, plan.Second = "", &external, nil
			} else if external.SessionKey != "" || external.Checksum != "" {
				return failure.New(failure.Usage, "external_missing", "register the bundle", "a session key or checksum without an object", "name the object's address with --external")
			}
			return c.runRelease(ctx, w, plan, false)
		},
	}
	flags.add(command)
	formatFlag(command, &scheme)
	f := command.Flags()
	f.StringVar(&external.URL, "external", "", "address of an object that is uploaded already")
	f.StringVar(&external.SessionKey, "iv-session-key", "", "what bundle encrypt printed for it")
	f.StringVar(&external.Checksum, "encrypted-checksum", "", "its signed checksum; made from the object when it is not given")
	return command
}

// runRelease runs a plan; events says whether --json prints its events too.
func (c *Command) runRelease(ctx context.Context, w *workspace.Workspace, plan release.Plan, events bool) error {
	pipeline, err := c.pipeline(w)
	if err != nil {
		return err
	}
	result, err := pipeline.Run(ctx, plan, c.eventPrinter(events).print)
	return c.released(w, result, err)
}

func (c *Command) resume(ctx context.Context, w *workspace.Workspace, id string) error {
	pipeline, err := c.pipeline(w)
	if err != nil {
		return err
	}
	result, err := pipeline.Resume(ctx, id, c.eventPrinter(true).print)
	return c.released(w, result, err)
}

// released prints the outcome of a release, or how to go on with one that stopped.
func (c *Command) released(w *workspace.Workspace, result release.Result, err error) error {
	if err != nil {
		if state, read := w.Journals.Read(result.ID); result.ID != "" && read == nil && state.Sealed != nil {
			c.Notef("to continue: capstan release --resume=%s", result.ID)
			if len(result.Undo) > 0 {
				if !c.Quiet && !c.JSON {
					printUndo(c.Err, result.Undo)
				}
			} else {
				for _, left := range state.Leftovers() {
					c.Notef("left behind: %s", left)
				}
			}
		}
		if c.JSON && len(result.Undo) > 0 {
			e := json.NewEncoder(c.Out)
			e.SetEscapeHTML(false)
			_ = e.Encode(map[string]any{"id": result.ID, "stopped": true, "undo": result.Undo}) // the error itself follows on stderr
		}
		return err
	}
	return c.Result(result, func(out io.Writer) {
		if result.Channel == "" {
			fmt.Fprintf(out, "%s %s is registered; no channel points at it\n", result.App, result.Version)
			printReceipt(out, result.Receipt)
			return
		}
		fmt.Fprintf(out, "%s %s is live on %s", result.App, result.Version, result.Channel)
		if result.Previous != "" {
			fmt.Fprintf(out, " (before: %s)", result.Previous)
		}
		fmt.Fprintln(out)
		printReceipt(out, result.Receipt)
		if d := result.Device; d != nil && !d.Installed {
			fmt.Fprintf(out, "a simulated device (plugin %s) does not take it: %s\n", d.PluginVersion, oneLine(d.Reason))
		}
		if d := result.SecondDevice; d != nil && !d.Installed {
			fmt.Fprintf(out, "a simulated device with key %s (plugin %s) does not take it: %s\n", result.SecondKeyID, d.PluginVersion, oneLine(d.Reason))
		}
		if result.SecondKeyID != "" {
			fmt.Fprintf(out, "sealed for keys %s and %s\n", result.KeyID, result.SecondKeyID)
		}
		for _, warning := range result.Warnings {
			fmt.Fprintf(out, "warning: %s\n", oneLine(warning))
		}
	})
}

// printReceipt says where the release is in the server's ledger.
func printReceipt(out io.Writer, r *release.Receipt) {
	if r != nil {
		fmt.Fprintf(out, "receipt: %s\n", oneLine(r.Text()))
	}
}

func (c *Command) listReleases(ctx context.Context, w *workspace.Workspace) error {
	states, err := w.Journals.List(ctx)
	if err != nil {
		return err
	}
	return c.Result(states, func(out io.Writer) {
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "ID\tAPP\tVERSION\tCHANNEL\tSTATE")
		for _, s := range states {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.ID, s.Plan.AppID, s.Plan.Version, s.Plan.Channel, oneLine(s.Describe()))
		}
		_ = t.Flush()
	})
}

func (c *Command) giveUp(ctx context.Context, w *workspace.Workspace, id string) error {
	var undo []release.Undo
	if pipeline, err := w.Pipeline(); err == nil { // without a server the release is ended all the same
		if undo, err = pipeline.Undo(ctx, id); err != nil {
			return err
		}
		undo = slices.DeleteFunc(undo, func(u release.Undo) bool { return u.Code == "left_journal" })
	}
	left, err := w.Journals.GiveUp(id)
	if err != nil {
		return err
	}
	return c.Result(map[string]any{"ended": id, "left": left, "undo": rowsOrEmpty(undo)}, func(out io.Writer) {
		fmt.Fprintf(out, "release %s is ended\n", id)
		if len(undo) == 0 {
			for _, l := range left {
				fmt.Fprintf(out, "left behind: %s\n", l)
			}
		}
		for _, u := range undo {
			fmt.Fprintf(out, "left behind: %s\n  %s\n", oneLine(u.What), oneLine(u.Shell()))
		}
	})
}

// printUndo writes the commands of an undo plan, each below what it undoes.
func printUndo(out io.Writer, plan []release.Undo) {
	fmt.Fprintln(out, "to undo it, in this order:")
	for _, u := range plan {
		fmt.Fprintf(out, "  # %s\n  %s\n", oneLine(u.What), oneLine(u.Shell()))
	}
}

// PrintStopped says, once the console is closed, how to go on with releases that
// were not finished in it since a moment, and how to undo them.
func PrintStopped(ctx context.Context, out io.Writer, w *workspace.Workspace, since time.Time) {
	states, err := w.Journals.List(ctx)
	if err != nil {
		return
	}
	for _, s := range states {
		if s.Ended || s.Sealed == nil || s.Updated.Before(since) {
			continue
		}
		pipeline, err := w.Pipeline()
		if err != nil {
			return
		}
		fmt.Fprintf(out, "release %s of %s is not finished; to continue: capstan release --resume=%s\n", oneLine(s.Plan.Version), oneLine(s.Plan.AppID), s.ID)
		if plan, err := pipeline.Undo(ctx, s.ID); err == nil && len(plan) > 0 {
			printUndo(out, plan)
		}
	}
}

// dryRun says what each stage would do.
func (c *Command) dryRun(ctx context.Context, w *workspace.Workspace, plan release.Plan) error {
	pipeline, err := w.Pipeline()
	if err != nil {
		return err
	}
	steps, err := pipeline.Describe(ctx, plan)
	if err != nil {
		return err
	}
	return c.Result(map[string]any{"plan": plan, "steps": steps}, func(out io.Writer) {
		for _, s := range steps {
			fmt.Fprintf(out, "%-10s %s\n", s.Stage, oneLine(s.Text))
		}
	})
}
