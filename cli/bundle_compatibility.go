package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/project"
)

func init() { bundleCommands = append(bundleCommands, newBundleCompatibility) }

// compatibilityResult is the object of capstan bundle compatibility --json.
type compatibilityResult struct {
	App        string                     `json:"app"`
	Channel    string                     `json:"channel"`
	Bundle     string                     `json:"bundle"`
	Compatible bool                       `json:"compatible"`
	Packages   []project.NativeDifference `json:"packages"`
}

func newBundleCompatibility(c *Command) *cobra.Command {
	var f registryFlags
	var channel string
	command := &cobra.Command{
		Use: "compatibility [APPID]", Short: "Compare the project's native packages with those of a channel's bundle", Args: cobra.MaximumNArgs(1),
		Long: `Compare the project's native packages with those that the bundle on a channel was made with.
A web build runs only in native apps that hold compatible ones: with exit status 1 ship a
native build first, or release with --min-update-version.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			p, err := project.OpenWith(ctx, f.dir, project.Options{})
			if err != nil {
				return err
			}
			client, appID, err := c.connectApp(ctx, &f, args, 0)
			if err != nil {
				return err
			}
			live, err := client.Channel(ctx, appID, channel)
			if err != nil {
				return err
			}
			if live.Version == nil || live.Version.Name == capgo.Builtin {
				return failure.Newf(failure.NotFound, "bundle_not_found", "compare native packages", "name a channel that has a bundle with --channel", "channel %s has no bundle", channel)
			}
			b, err := client.Bundle(ctx, appID, live.Version.Name)
			if err != nil {
				return err
			}
			remote, err := project.ParseNativePackages(b.NativePackages)
			if err != nil {
				return err
			}
			if remote == nil {
				return failure.Newf(failure.NotFound, "native_packages_unknown", "compare native packages", "the next capstan release registers them", "bundle %s was registered without its native packages", b.Name)
			}
			result := compatibilityResult{App: appID, Channel: channel, Bundle: b.Name, Compatible: true, Packages: project.CompareNative(p.SortedNativePackages(), remote)}
			for _, d := range result.Packages {
				result.Compatible = result.Compatible && d.Compatible
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
				table(w, fmt.Sprintf("PACKAGE\tPROJECT\t%s\tRUNS\tBECAUSE", oneLine(b.Name)), rows)
			})
			if err != nil || result.Compatible {
				return err
			}
			return failure.Newf(failure.Failed, "native_incompatible", "", "ship a native build first, or keep the bundle from older apps with --min-update-version", "the web build needs native packages that the apps on %s do not have", channel)
		},
	}
	f.add(command)
	command.Flags().StringVarP(&channel, "channel", "c", "production", "channel whose bundle to compare with")
	return command
}
