package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
)

func init() {
	bundleCommands = append(bundleCommands, newBundleList, newBundleShow, newBundleDelete, newBundleCleanup)
}

func newBundleList(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{
		Use: "list [APPID]", Short: "List the bundles on the server, newest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), &f, args, 0)
			if err != nil {
				return err
			}
			bundles, err := client.Bundles(cmd.Context(), appID)
			if err != nil {
				return err
			}
			if c.JSON {
				return c.Result(rowsOrEmpty(bundles), nil)
			}
			channels, err := client.Channels(cmd.Context(), appID)
			if err != nil {
				return err
			}
			return c.Result(bundles, func(w io.Writer) {
				rows := make([][]string, 0, len(bundles))
				for _, b := range bundles {
					rows = append(rows, []string{b.Name, orDash(strings.Join(linkedTo(b, channels), ", ")), sealedText(b), deltaText(b), b.CreatedAt.UTC().Format("2006-01-02 15:04"), b.Comment})
				}
				table(w, "BUNDLE\tCHANNELS\tSEALED\tDELTA\tCREATED (UTC)\tCOMMENT", rows)
			})
		},
	}
	f.add(command)
	return command
}

// linkedTo names the channels that serve a bundle, live or in a rollout.
func linkedTo(b capgo.Bundle, channels []capgo.Channel) []string {
	var names []string
	for _, ch := range channels {
		switch {
		case ch.Version != nil && ch.Version.Name == b.Name:
			names = append(names, ch.Name)
		case ch.RolloutVersionInfo != nil && ch.RolloutVersionInfo.Name == b.Name:
			names = append(names, ch.Name+" (rollout)")
		}
	}
	return names
}

func sealedText(b capgo.Bundle) string {
	if b.SessionKey == "" {
		return "no"
	}
	text := "yes " + b.KeyID
	for _, seal := range b.Seals {
		text += " + " + seal.KeyID
	}
	return text
}

// deltaText counts the files of a bundle's delta update.
func deltaText(b capgo.Bundle) string {
	if b.ManifestCount == 0 {
		return "-"
	}
	return fmt.Sprintf("%d files", b.ManifestCount)
}

func newBundleShow(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{
		Use: "show BUNDLE [APPID]", Short: "Show one bundle of the server", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), &f, args, 1)
			if err != nil {
				return err
			}
			b, err := client.Bundle(cmd.Context(), appID, args[0])
			if err != nil {
				return err
			}
			return c.Result(b, func(w io.Writer) {
				rows := [][]string{{"id", fmt.Sprint(b.ID)}, {"url", orDash(b.ExternalURL)}, {"sealed", sealedText(b)}, {"checksum", b.Checksum}}
				for _, more := range [][]string{{"object SHA-256", b.ObjectSHA256}, {"minimum native version", b.MinUpdateVersion}, {"link", b.Link}, {"comment", b.Comment}} {
					if more[1] != "" {
						rows = append(rows, more)
					}
				}
				rows = append(rows, []string{"created", b.CreatedAt.UTC().Format("2006-01-02 15:04:05 UTC")})
				table(w, "bundle\t"+oneLine(b.Name), rows)
			})
		},
	}
	f.add(command)
	return command
}

func newBundleDelete(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{
		Use: "delete BUNDLE [APPID]", Short: "Delete a bundle that no channel serves", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, &f, args, 1)
			if err != nil {
				return err
			}
			b, err := client.Bundle(ctx, appID, args[0])
			if err != nil {
				return err
			}
			if err := c.ConfirmedByName(fmt.Sprintf("bundle %s of %s is deleted for good", oneLine(b.Name), oneLine(appID)), b.Name); err != nil {
				return err
			}
			if err := client.DeleteBundle(ctx, appID, b.Name); err != nil {
				return err
			}
			return c.Result(map[string]any{"app_id": appID, "version": b.Name, "deleted": true}, func(w io.Writer) { fmt.Fprintln(w, "deleted", oneLine(b.Name)) })
		},
	}
	f.add(command)
	return command
}

func newBundleCleanup(c *Command) *cobra.Command {
	var f registryFlags
	var keep int
	var within string
	var force, dryRun bool
	command := &cobra.Command{
		Use: "cleanup [APPID]", Short: "Delete old bundles that no channel serves", Args: cobra.MaximumNArgs(1),
		Long: `cleanup keeps the newest bundles and every bundle that a channel serves, live or in a rollout, and
deletes the others after asking. --bundle limits it to the versions from that one up to the next
major version.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, &f, args, 0)
			if err != nil {
				return err
			}
			bundles, err := client.Bundles(ctx, appID)
			if err != nil {
				return err
			}
			channels, err := client.Channels(ctx, appID)
			if err != nil {
				return err
			}
			doomed, err := superfluous(bundles, channels, keep, within)
			if err != nil {
				return err
			}
			if len(doomed) > 0 && !dryRun && !force {
				if err := c.Confirmed(fmt.Sprintf("%d bundles of %s are deleted for good: %s", len(doomed), oneLine(appID), oneLine(strings.Join(doomed, ", ")))); err != nil {
					return err
				}
			}
			deleted := []string{}
			if !dryRun {
				if deleted, err = c.deleteAll(ctx, client.DeleteBundle, appID, doomed); err != nil {
					return err
				}
			}
			return c.Result(map[string]any{"app_id": appID, "deleted": deleted, "would_delete": rowsOrEmpty(doomed), "kept": len(bundles) - len(doomed)}, func(w io.Writer) {
				if dryRun {
					fmt.Fprintf(w, "would delete %d, keep %d: %s\n", len(doomed), len(bundles)-len(doomed), oneLine(strings.Join(doomed, ", ")))
					return
				}
				fmt.Fprintf(w, "deleted %d, kept %d\n", len(deleted), len(bundles)-len(doomed))
			})
		},
	}
	f.add(command)
	flags := command.Flags()
	flags.IntVarP(&keep, "keep", "k", 4, "how many of the newest to keep")
	flags.StringVarP(&within, "bundle", "b", "", "only versions from this one up to the next major")
	flags.BoolVarP(&force, "force", "f", false, "do not ask")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would be deleted")
	return command
}

// deleteAll deletes one after the other and stops at the first failure, having
// said what is gone.
func (c *Command) deleteAll(ctx context.Context, del func(ctx context.Context, appID, name string) error, appID string, names []string) ([]string, error) {
	deleted := []string{}
	for _, name := range names {
		err := del(ctx, appID, name)
		if failure.CodeOf(err) == "cannot_delete_linked_version" { // promoted meanwhile: it stays
			c.Notef("%s is served by a channel now and stays", oneLine(name))
			continue
		}
		if err != nil {
			return deleted, failure.Newf(classOf(err), failure.CodeOf(err), "delete "+oneLine(name), failure.HintOf(err), "%w (%d of %d were deleted before)", err, len(deleted), len(names))
		}
		deleted = append(deleted, name)
	}
	return deleted, nil
}

func classOf(err error) failure.Class {
	if f, ok := failure.Find(err); ok {
		return f.Class
	}
	return failure.Failed
}

// superfluous names the bundles that cleanup deletes, oldest first.
func superfluous(bundles []capgo.Bundle, channels []capgo.Channel, keep int, within string) ([]string, error) {
	if keep < 0 {
		return nil, failure.New(failure.Usage, "invalid_keep", "", "--keep is 0 or more", "")
	}
	var from *semver.Version
	if within != "" {
		var err error
		if from, err = semver.StrictNewVersion(within); err != nil {
			return nil, failure.Newf(failure.Usage, "invalid_version_format", "", "write it like 1.2.3", "%s is no version", oneLine(within))
		}
	}
	var names []string
	kept := 0
	for _, b := range bundles { // newest first
		if from != nil {
			v, err := semver.StrictNewVersion(b.Name)
			if err != nil || v.LessThan(from) || v.Major() != from.Major() {
				continue
			}
		}
		if kept < keep {
			kept++
			continue
		}
		if b.Name == capgo.Builtin || b.Name == capgo.Unknown || len(linkedTo(b, channels)) > 0 {
			continue
		}
		names = append(names, b.Name)
	}
	slices.Reverse(names)
	return names, nil
}
