package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
)

func init() { registrations = append(registrations, newDevice) }

func newDevice(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{Use: "device", Short: "See what devices run and hear, and pin one to a channel", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	f.add(command)
	command.AddCommand(newDeviceList(c, &f), newDeviceShow(c, &f), newDeviceOverride(c, &f), newDeviceLog(c, &f))
	return command
}

func newDeviceList(c *Command, f *registryFlags) *cobra.Command {
	var limit int
	var version, channel string
	command := &cobra.Command{
		Use: "list [APPID]", Short: "List devices that asked for updates, the latest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, f, args, 0)
			if err != nil {
				return err
			}
			if limit < 1 {
				return failure.New(failure.Usage, "invalid_limit", "", "--limit is 1 or more", "")
			}
			devices := []capgo.Device{}
			more := false
			for cursor := ""; len(devices) < limit; {
				page, err := client.Devices(ctx, appID, cursor, min(limit, 1000))
				if err != nil {
					return err
				}
				for _, d := range page.Data {
					if (version == "" || d.VersionName == version) && (channel == "" || d.Channel == channel) {
						devices = append(devices, d)
					}
				}
				more = page.HasMore && page.NextCursor != "" && page.NextCursor != cursor
				if !more {
					break
				}
				cursor = page.NextCursor
			}
			more = more || len(devices) > limit
			devices = devices[:min(limit, len(devices))]
			return c.Result(devices, func(w io.Writer) {
				rows := make([][]string, 0, len(devices))
				for _, d := range devices {
					rows = append(rows, []string{d.DeviceID, d.Platform, d.VersionName, d.VersionBuild, d.PluginVersion, orDash(d.Channel), orDash(d.CustomID), d.UpdatedAt.UTC().Format("2006-01-02 15:04")})
				}
				table(w, "DEVICE\tPLATFORM\tBUNDLE\tNATIVE\tPLUGIN\tPINNED TO\tCUSTOM ID\tLAST SEEN (UTC)", rows)
				if more {
					c.Notef("there are more: --limit %d", limit*10)
				}
			})
		},
	}
	flags := command.Flags()
	flags.IntVar(&limit, "limit", 100, "how many devices at most")
	flags.StringVar(&version, "version-name", "", "only devices that run this bundle")
	flags.StringVar(&channel, "channel", "", "only devices that are pinned to this channel")
	return command
}

// deviceView is what device show knows; a part that the server cannot tell is absent.
type deviceView struct {
	Device      capgo.Device        `json:"device"`
	Explanation *capgo.Explanation  `json:"explanation,omitempty"`
	Events      []capgo.DeviceEvent `json:"events,omitempty"`
}

func newDeviceShow(c *Command, f *registryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show DEVICE [APPID]", Short: "Show what a device runs, what it would hear now and why, and its last events", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, f, args, 1)
			if err != nil {
				return err
			}
			id := strings.ToLower(args[0])
			d, err := client.Device(ctx, appID, id)
			if err != nil {
				return err
			}
			view := deviceView{Device: d}
			explanation, err := client.Explain(ctx, asks(d))
			switch {
			case err == nil:
				view.Explanation = &explanation
			case failure.CodeOf(err) != "unsupported":
				return err
			}
			if view.Events, err = client.EventsLimit(ctx, appID, id, 10); err != nil && failure.CodeOf(err) != "unsupported" {
				return err
			}
			return c.Result(view, func(w io.Writer) { printDevice(w, view) })
		},
	}
}

// asks is the update check that a device would send now, from what is known of it.
func asks(d capgo.Device) capgo.UpdateRequest {
	return capgo.UpdateRequest{
		Platform: d.Platform, DeviceID: d.DeviceID, AppID: d.AppID, CustomID: d.CustomID,
		VersionBuild: d.VersionBuild, VersionOS: d.VersionOS, VersionName: d.VersionName, PluginVersion: d.PluginVersion,
		IsEmulator: d.IsEmulator, IsProd: d.IsProd, InstallSource: d.InstallSource, DefaultChannel: d.DefaultChannel, KeyID: d.KeyID,
	}
}

func printDevice(w io.Writer, v deviceView) {
	d := v.Device
	kind := "device"
	if d.IsEmulator {
		kind = "emulator"
	}
	build := "store build"
	if !d.IsProd {
		build = "development build"
	}
	rows := [][]string{
		{"runs", d.VersionName},
		{"native", d.VersionBuild + ", plugin " + d.PluginVersion + ", key " + orDash(d.KeyID)},
		{"is", strings.Join(slices.DeleteFunc([]string{kind, d.Platform, d.VersionOS, build}, func(s string) bool { return s == "" }), ", ")},
		{"pinned to", orDash(d.Channel)},
		{"custom id", orDash(d.CustomID)},
		{"last seen", d.UpdatedAt.UTC().Format("2006-01-02 15:04:05 UTC")},
	}
	table(w, "device\t"+oneLine(d.DeviceID), rows)
	if e := v.Explanation; e == nil {
		fmt.Fprintln(w, "\nthis server cannot say what the device would hear; capstan probe asks as the device")
	} else {
		fmt.Fprintf(w, "\nwould hear: %s\n", oneLine(answerText(*e)))
		fmt.Fprintf(w, "channel: %s (%s)\n", oneLine(orDash(e.Channel)), oneLine(orDash(e.ChannelSource)))
		for _, check := range e.Checks {
			fmt.Fprintf(w, "  %s %s: %s\n", map[bool]string{true: "pass", false: "STOP"}[check.Passed], oneLine(check.Name), oneLine(check.Detail))
		}
	}
	if len(v.Events) > 0 {
		fmt.Fprintln(w, "\nlast events:")
		printEvents(w, v.Events)
	}
}

// answerText says in one line what a device would hear.
func answerText(e capgo.Explanation) string {
	switch {
	case e.Answer.Error != "":
		return "nothing to install: " + e.Answer.Message + " (" + e.Answer.Error + ")"
	case e.Answer.Version != "" && e.InRollout:
		return "install " + e.Answer.Version + ", it is in the rollout"
	case e.Answer.Version != "":
		return "install " + e.Answer.Version
	}
	return e.Reason
}

func printEvents(w io.Writer, events []capgo.DeviceEvent) {
	rows := make([][]string, 0, len(events))
	for _, e := range events {
		version := e.VersionName
		if e.OldVersion != "" && e.OldVersion != version {
			version = e.OldVersion + " → " + version
		}
		rows = append(rows, []string{e.At.UTC().Format("2006-01-02 15:04:05"), e.DeviceID, e.Action, version, e.Metadata["error"]})
	}
	table(w, "WHEN (UTC)\tDEVICE\tWHAT\tBUNDLE\tDETAIL", rows)
}

func newDeviceLog(c *Command, f *registryFlags) *cobra.Command {
	var limit int
	command := &cobra.Command{
		Use: "log [DEVICE] [APPID]", Short: "Show what a device, or every device, reported, newest first", Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 1)
			if err != nil {
				return err
			}
			id := ""
			if len(args) > 0 {
				id = strings.ToLower(args[0])
			}
			events, err := client.EventsLimit(cmd.Context(), appID, id, limit)
			if err != nil {
				return err
			}
			return c.Result(rowsOrEmpty(events), func(w io.Writer) { printEvents(w, events) })
		},
	}
	command.Flags().IntVar(&limit, "limit", 50, "how many events at most")
	return command
}

func newDeviceOverride(c *Command, f *registryFlags) *cobra.Command {
	var clear bool
	command := &cobra.Command{
		Use: "override DEVICE [CHANNEL]", Short: "Pin a device to a channel, or release it with --clear", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if clear == (len(args) == 2) {
				return failure.New(failure.Usage, "usage", "", "name the channel, or give --clear to release the device", "")
			}
			client, appID, err := c.connectApp(ctx, f, nil, 0)
			if err != nil {
				return err
			}
			id := strings.ToLower(args[0])
			if clear {
				if err := client.ClearOverride(ctx, appID, id); err != nil {
					return err
				}
				return c.Result(map[string]any{"app_id": appID, "device_id": id, "channel": nil}, func(w io.Writer) { fmt.Fprintln(w, "released", oneLine(id)) })
			}
			if err := client.SetOverride(ctx, appID, id, args[1]); err != nil {
				return err
			}
			return c.Result(map[string]any{"app_id": appID, "device_id": id, "channel": args[1]}, func(w io.Writer) {
				fmt.Fprintf(w, "pinned %s to %s\n", oneLine(id), oneLine(args[1]))
			})
		},
	}
	command.Flags().BoolVar(&clear, "clear", false, "release the device")
	return command
}
