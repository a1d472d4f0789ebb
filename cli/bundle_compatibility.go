package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/project"
)

func init() { bundleCommands = append(bundleCommands, newBundleCompatibility, newBundleReleaseType) }

// compatibilityResult is the object of capstan bundle compatibility --json.
type compatibilityResult struct {
	App        string                     `json:"app"`
	Channel    string                     `json:"channel"`
	Bundle     string                     `json:"bundle"`
	Compatible bool                       `json:"compatible"`
	Packages   []project.NativeDifference `json:"packages"`
}

// channelFlags say which bundle to compare the project with.
type channelFlags struct {
	registryFlags
	channel string
}

func (f *channelFlags) add(command *cobra.Command) {
	f.registryFlags.add(command)
	command.Flags().StringVarP(&f.channel, "channel", "c", "production", "channel whose bundle to compare with")
}

func newBundleCompatibility(c *Command) *cobra.Command {
	var f channelFlags
	command := &cobra.Command{
		Use: "compatibility [APPID]", Short: "Compare the project's native packages with those of a channel's bundle", Args: cobra.MaximumNArgs(1),
		Long: `Compare the project's native packages with those that the bundle on a channel was made with.
A web build runs only in native apps that hold compatible ones: with exit status 1 ship a
native build first, or release with --min-update-version.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := c.compatibility(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			err = c.Result(result, func(w io.Writer) {
				rows := make([][]string, 0, len(result.Packages))
				for _, d := range result.Packages {
					verdict := "ok"
					if !d.Compatible {
						verdict = "NO"
					}
					rows = append(rows, []string{d.Name, orDash(d.Local), orDash(d.Remote), verdict, d.Reason})
				}
				table(w, fmt.Sprintf("PACKAGE\tPROJECT\t%s\tRUNS\tBECAUSE", oneLine(result.Bundle)), rows)
			})
			if err != nil || result.Compatible {
				return err
			}
			return failure.Newf(failure.Failed, "native_incompatible", "", "ship a native build first, or keep the bundle from older apps with --min-update-version", "the web build needs native packages that the apps on %s do not have", result.Channel)
		},
	}
	f.add(command)
	return command
}

func newBundleReleaseType(c *Command) *cobra.Command {
	var f channelFlags
	command := &cobra.Command{
		Use: "releaseType [APPID]", Aliases: []string{"release-type"}, Short: "Say whether the project can go over the air, or needs a native build", Args: cobra.MaximumNArgs(1),
		Long: `Compare as bundle compatibility does, and print one word: OTA when the apps that have the
channel's bundle can run the web build, native when they cannot.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.compatibility(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			kind, next := "OTA", fmt.Sprintf("to release it: capstan release %s --channel %s", r.App, r.Channel)
			if !r.Compatible {
				kind, next = "native", "ship a native build first; capstan bundle compatibility says why"
			}
			if !c.JSON {
				c.Notef("%s", oneLine(next))
			}
			return c.Result(map[string]any{"app": r.App, "channel": r.Channel, "bundle": r.Bundle, "releaseType": kind}, func(w io.Writer) { fmt.Fprintln(w, kind) })
		},
	}
	f.add(command)
	return command
}

// compatibility compares the project's native packages with those of the bundle
// that the channel has.
func (c *Command) compatibility(ctx context.Context, f *channelFlags, args []string) (compatibilityResult, error) {
	var none compatibilityResult
	p, err := project.OpenWith(ctx, f.dir, project.Options{})
	if err != nil {
		return none, err
	}
	client, appID, err := c.connectApp(ctx, &f.registryFlags, args, 0)
	if err != nil {
		return none, err
	}
	live, err := client.Channel(ctx, appID, f.channel)
	if err != nil {
		return none, err
	}
	if live.Version == nil || live.Version.Name == capgo.Builtin {
		return none, failure.Newf(failure.NotFound, "bundle_not_found", "compare native packages", "name a channel that has a bundle with --channel", "channel %s has no bundle", f.channel)
	}
	b, err := client.Bundle(ctx, appID, live.Version.Name)
	if err != nil {
		return none, err
	}
	remote, err := project.ParseNativePackages(b.NativePackages)
	if err != nil {
		return none, err
	}
	if remote == nil {
		return none, failure.Newf(failure.NotFound, "native_packages_unknown", "compare native packages", "the next capstan release registers them", "bundle %s was registered without its native packages", b.Name)
	}
	result := compatibilityResult{App: appID, Channel: f.channel, Bundle: b.Name, Compatible: true, Packages: project.CompareNative(p.SortedNativePackages(), remote)}
	for _, d := range result.Packages {
		result.Compatible = result.Compatible && d.Compatible
	}
	return result, nil
}
