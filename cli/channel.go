package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote"
)

func init() { registrations = append(registrations, newChannel) }

func newChannel(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{Use: "channel", Short: "See and change what each channel serves", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	f.add(command)
	command.AddCommand(
		newChannelList(c, &f), newChannelShow(c, &f), newCurrentBundle(c, &f), newChannelHistory(c, &f),
		newChannelCreate(c, &f), newChannelSet(c, &f), newChannelDelete(c, &f),
		newChannelRollout(c, &f), newChannelRollback(c, &f), newChannelPause(c, &f, true), newChannelPause(c, &f, false),
		newChannelSchedule(c, &f), newChannelFreeze(c, &f),
	)
	return command
}

// live names what a channel serves.
func live(ch capgo.Channel) string { return nameOf(ch.Version) }

func nameOf(ref *capgo.VersionRef) string {
	if ref == nil || ref.Name == "" {
		return capgo.Builtin
	}
	return ref.Name
}

// percent writes ten-thousandths as per cent.
func percent(bps int) string { return strconv.FormatFloat(float64(bps)/100, 'f', -1, 64) + " %" }

// rolloutText says in a few words where a rollout stands; "" without one.
func rolloutText(ch capgo.Channel) string {
	if ch.RolloutVersionInfo == nil {
		return ""
	}
	text := ch.RolloutVersionInfo.Name + " for " + percent(ch.RolloutPercentageBps)
	switch {
	case ch.RolloutPausedAt != nil:
		text += ", paused"
	case !ch.RolloutEnabled:
		text += ", off"
	}
	return text
}

func newChannelList(c *Command, f *registryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list [APPID]", Short: "List the channels and what they serve", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 0)
			if err != nil {
				return err
			}
			channels, err := client.Channels(cmd.Context(), appID)
			if err != nil {
				return err
			}
			return c.Result(rowsOrEmpty(channels), func(w io.Writer) {
				rows := make([][]string, 0, len(channels))
				for _, ch := range channels {
					rows = append(rows, []string{ch.Name, live(ch), orDash(rolloutText(ch)), yesNo(ch.Public), string(ch.DisableAutoUpdate), day(&ch.UpdatedAt)})
				}
				table(w, "CHANNEL\tLIVE\tROLLOUT\tDEFAULT\tBLOCKS\tCHANGED", rows)
			})
		},
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newChannelShow(c *Command, f *registryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show CHANNEL [APPID]", Short: "Show which bundle is live on a channel, and the channel's rules", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 1)
			if err != nil {
				return err
			}
			ch, err := client.Channel(cmd.Context(), appID, args[0])
			if err != nil {
				return err
			}
			return c.Result(ch, func(w io.Writer) {
				printChannel(w, ch, lastChange(cmd.Context(), client, appID, ch.Name))
				if text := drainText(cmd.Context(), client, appID); text != "" {
					fmt.Fprintf(w, "keys: %s\n", oneLine(text))
				}
			})
		},
	}
}

// lastChange says who changed the channel last and how, as "2026-01-02 15:04
// by ci: channel.promote 1.3.0 → 1.4.0"; "" where the server keeps no history.
func lastChange(ctx context.Context, client *remote.Client, appID, channel string) string {
	if !client.Can(ctx, capgo.CapHistory) {
		return ""
	}
	changes, err := client.History(ctx, appID, channel)
	if err != nil || len(changes) == 0 {
		return "" // what is live is known all the same
	}
	last := changes[0]
	text := fmt.Sprintf("%s by %s: %s", last.At.UTC().Format("2006-01-02 15:04 UTC"), last.Actor, last.Action)
	switch {
	case last.From != "" && last.To != "":
		text += " " + last.From + " → " + last.To
	case last.To != "":
		text += " " + last.To
	}
	return text
}

func printChannel(w io.Writer, ch capgo.Channel, changed string) {
	rows := [][]string{{"live", live(ch)}}
	for _, platform := range platforms {
		if own, ok := ch.PlatformVersions[platform]; ok {
			rows = append(rows, []string{"live on " + platform, nameOf(&own)})
		}
	}
	if text := rolloutText(ch); text != "" {
		rows = append(rows, []string{"rollout", text})
	}
	only := func(allowed ...string) string { return orDash(strings.Join(allowed, ", ")) }
	pick := func(pairs map[string]bool, order ...string) []string {
		var names []string
		for _, name := range order {
			if pairs[name] {
				names = append(names, name)
			}
		}
		return names
	}
	rows = append(rows,
		[]string{"default channel", yesNo(ch.Public)},
		[]string{"updates across", acrossText(ch.DisableAutoUpdate)},
		[]string{"below the native version", map[bool]string{true: "blocked", false: "allowed"}[ch.DisableAutoUpdateUnderNative]},
		[]string{"devices may join by themselves", yesNo(ch.AllowDeviceSelfSet)},
		[]string{"serves", only(pick(map[string]bool{"devices": ch.AllowDevice, "emulators": ch.AllowEmulator}, "devices", "emulators")...)},
		[]string{"builds", only(pick(map[string]bool{"store": ch.AllowProd, "development": ch.AllowDev}, "store", "development")...)},
	)
	if ch.IOS != nil || ch.Android != nil || ch.Electron != nil {
		on := func(b *bool) bool { return b != nil && *b }
		rows = append(rows, []string{"platforms", only(pick(map[string]bool{"ios": on(ch.IOS), "android": on(ch.Android), "electron": on(ch.Electron)}, "ios", "android", "electron")...)})
	}
	if changed != "" {
		rows = append(rows, []string{"changed", oneLine(changed)})
	} else if !ch.UpdatedAt.IsZero() {
		rows = append(rows, []string{"changed", ch.UpdatedAt.UTC().Format("2006-01-02 15:04:05 UTC")})
	}
	table(w, "channel\t"+oneLine(ch.Name), rows)
}

// platforms that a channel may give a bundle of their own.
var platforms = []string{"ios", "android", "electron"}

// platformFlags are the flags of channel set that speak of single platforms.
type platformFlags struct {
	names  []string
	follow bool
}

func (p *platformFlags) add(command *cobra.Command) {
	command.Flags().StringSliceVar(&p.names, "platform", nil, "with --bundle: only for ios, android or electron, which then no longer follow the channel")
	command.Flags().BoolVar(&p.follow, "follow", false, "with --platform: let it follow the channel again")
	command.MarkFlagsMutuallyExclusive("follow", "bundle")
	command.MarkFlagsMutuallyExclusive("follow", "latest-remote")
}

// apply turns the change of a bundle into one of single platforms, and says in
// a sentence what it does; "" when no platform was named.
func (p *platformFlags) apply(change *capgo.ChannelChange, now capgo.Channel, bundle string) (string, error) {
	if len(p.names) == 0 {
		if p.follow {
			return "", failure.New(failure.Usage, "missing_platform", "", "--follow needs a platform", "add --platform")
		}
		return "", nil
	}
	for _, name := range p.names {
		if !slices.Contains(platforms, name) {
			return "", failure.Newf(failure.Usage, "invalid_platform", "", "", "--platform is ios, android or electron, not %s", oneLine(name))
		}
	}
	change.Version, change.PlatformVersions = nil, map[string]*string{}
	for _, name := range p.names {
		change.PlatformVersions[name] = nil
		if !p.follow {
			change.PlatformVersions[name] = &bundle
		}
	}
	who := strings.Join(p.names, " and ")
	switch {
	case p.follow:
		return fmt.Sprintf("%s devices on %s follow the channel again and get %s", who, oneLine(now.Name), oneLine(live(now))), nil
	case bundle == "":
		return "", failure.New(failure.Usage, "missing_bundle", "", "--platform needs a bundle", "add --bundle, or --follow")
	}
	return fmt.Sprintf("%s devices on %s get %s, whatever the others get", who, oneLine(now.Name), oneLine(bundle)), nil
}

// except names the platforms that a change of the channel's bundle leaves alone.
func except(ch capgo.Channel) string {
	text := ""
	for _, platform := range platforms {
		if own, ok := ch.PlatformVersions[platform]; ok {
			text += fmt.Sprintf("; %s stays with %s", platform, oneLine(nameOf(&own)))
		}
	}
	return text
}

// acrossText says what an update policy lets through.
func acrossText(p capgo.UpdatePolicy) string {
	switch p {
	case capgo.PolicyMajor:
		return "minor and patch versions, not major"
	case capgo.PolicyMinor:
		return "patch versions, not minor or major"
	case capgo.PolicyPatch:
		return "pre-release and build metadata only"
	case capgo.PolicyVersionNumber:
		return "all versions from the bundle's minimum on"
	case capgo.PolicyNone, "":
		return "all versions"
	}
	return string(p)
}

func newCurrentBundle(c *Command, f *registryFlags) *cobra.Command {
	var name string
	command := &cobra.Command{
		Use: "currentBundle [APPID]", Short: "Print the name of the live bundle, for scripts", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 0)
			if err != nil {
				return err
			}
			ch, err := client.Channel(cmd.Context(), appID, name)
			if err != nil {
				return err
			}
			return c.Result(map[string]string{"app_id": appID, "channel": ch.Name, "version": live(ch)}, func(w io.Writer) { fmt.Fprintln(w, oneLine(live(ch))) })
		},
	}
	command.Flags().StringVarP(&name, "channel", "c", "production", "channel")
	return command
}

func newChannelHistory(c *Command, f *registryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "history CHANNEL [APPID]", Short: "Show who changed a channel, newest first", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, appID, err := c.connectApp(cmd.Context(), f, args, 1)
			if err != nil {
				return err
			}
			history, err := client.History(cmd.Context(), appID, args[0])
			if err != nil {
				return err
			}
			return c.Result(rowsOrEmpty(history), func(w io.Writer) {
				rows := make([][]string, 0, len(history))
				for _, h := range history {
					rows = append(rows, []string{h.At.UTC().Format("2006-01-02 15:04:05"), h.Action, orDash(h.From), orDash(h.To), orDash(h.Actor), h.Note})
				}
				table(w, "WHEN (UTC)\tWHAT\tFROM\tTO\tWHO\tNOTE", rows)
			})
		},
	}
}

// settings are the flags that say how a channel behaves, with the names of the
// Capgo CLI: a switch that is not given leaves the setting alone.
type settings struct {
	state, policy string
	on, off       map[string]*bool
}

// switches are settings that are on or off, in the order of the help text.
var switches = []struct{ name, help string }{
	{"ios", "iOS"}, {"android", "Android"}, {"electron", "Electron"},
	{"self-assign", "devices that join by themselves"},
	{"dev", "development builds"}, {"prod", "store builds"},
	{"emulator", "emulators"}, {"device", "physical devices"},
	{"downgrade", "going below the native version"},
}

func (s *settings) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&s.state, "state", "s", "", "default or normal: whether devices without a channel of their own get this one")
	flags.StringVar(&s.policy, "disable-auto-update", "", "block updates across: major, minor, patch, metadata (the bundle's minimum version), none")
	s.on, s.off = map[string]*bool{}, map[string]*bool{}
	for _, sw := range switches {
		s.on[sw.name] = flags.Bool(sw.name, false, "allow "+sw.help)
		s.off[sw.name] = flags.Bool("no-"+sw.name, false, "do not allow "+sw.help)
		command.MarkFlagsMutuallyExclusive(sw.name, "no-"+sw.name)
	}
}

// apply puts the given flags into a change, and reports whether there were any.
func (s *settings) apply(change *capgo.ChannelChange) (bool, error) {
	given := false
	set := func(field **bool, value bool) { *field, given = &value, true }
	switch s.state {
	case "":
	case "default":
		set(&change.Public, true)
	case "normal":
		set(&change.Public, false)
	default:
		return false, failure.Newf(failure.Usage, "invalid_state", "", "", "--state is default or normal, not %s", oneLine(s.state))
	}
	if s.policy != "" {
		policy := capgo.UpdatePolicy(s.policy)
		if s.policy == "metadata" {
			policy = capgo.PolicyVersionNumber
		}
		switch policy {
		case capgo.PolicyMajor, capgo.PolicyMinor, capgo.PolicyPatch, capgo.PolicyVersionNumber, capgo.PolicyNone:
		default:
			return false, failure.Newf(failure.Usage, "invalid_policy", "", "", "--disable-auto-update is major, minor, patch, metadata or none, not %s", oneLine(s.policy))
		}
		change.DisableAutoUpdate, given = &policy, true
	}
	fields := map[string]**bool{"ios": &change.IOS, "android": &change.Android, "electron": &change.Electron, "self-assign": &change.AllowDeviceSelfSet,
		"dev": &change.AllowDev, "prod": &change.AllowProd, "emulator": &change.AllowEmulator, "device": &change.AllowDevice}
	for name, field := range fields {
		if *s.on[name] {
			set(field, true)
		} else if *s.off[name] {
			set(field, false)
		}
	}
	// The one switch whose sense is turned round on the wire.
	if *s.on["downgrade"] {
		set(&change.DisableAutoUpdateUnderNative, false)
	} else if *s.off["downgrade"] {
		set(&change.DisableAutoUpdateUnderNative, true)
	}
	return given, nil
}

func newChannelCreate(c *Command, f *registryFlags) *cobra.Command {
	var s settings
	var standard bool
	command := &cobra.Command{
		Use: "create CHANNEL [APPID]", Aliases: []string{"add"}, Short: "Create a channel; it serves the store build until a bundle is set", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, f, args, 1)
			if err != nil {
				return err
			}
			if _, err := client.Channel(ctx, appID, args[0]); err == nil {
				return failure.Newf(failure.Conflict, "channel_exists", "create the channel", "capstan channel set changes it", "%s has a channel %s already", oneLine(appID), oneLine(args[0]))
			} else if failure.CodeOf(err) != "channel_not_found" {
				return err
			}
			change := capgo.ChannelChange{AppID: appID, Channel: args[0]}
			if standard {
				s.state = "default"
			}
			if _, err := s.apply(&change); err != nil {
				return err
			}
			if err := client.ChangeChannel(ctx, change); err != nil {
				return err
			}
			return c.changed(ctx, client, appID, args[0], "")
		},
	}
	command.Flags().BoolVarP(&standard, "default", "d", false, "devices without a channel of their own get this one")
	s.add(command)
	return command
}

// channelResult is what a change of a channel prints: the channel as it is now,
// and what was live before.
type channelResult struct {
	capgo.Channel
	Previous string `json:"previous,omitempty"`
}

// changed reads the channel back and prints it: what the server has counts, not
// what was asked for.
func (c *Command) changed(ctx context.Context, client *remote.Client, appID, channel, previous string) error {
	ch, err := client.Channel(ctx, appID, channel)
	if err != nil {
		return err
	}
	return c.Result(channelResult{ch, previous}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s", oneLine(ch.Name), oneLine(live(ch)))
		if previous != "" && previous != live(ch) {
			fmt.Fprintf(w, " (was %s)", oneLine(previous))
		}
		if text := rolloutText(ch); text != "" {
			fmt.Fprintf(w, ", rollout of %s", oneLine(text))
		}
		fmt.Fprint(w, except(ch))
		fmt.Fprintln(w)
	})
}

// reachesEveryone reports whether a change of the channel needs its name typed.
func reachesEveryone(ch capgo.Channel) bool {
	return ch.Public || strings.EqualFold(ch.Name, "production")
}

// confirmChannel asks before a change that devices of a channel will notice.
func (c *Command) confirmChannel(ch capgo.Channel, question string) error {
	if reachesEveryone(ch) {
		return c.ConfirmedByName(question, ch.Name)
	}
	return nil
}

// expect makes a change fail when somebody was faster than the operator who
// confirmed it.
func expect(change *capgo.ChannelChange, seen capgo.Channel) {
	if seen.Revision > 0 {
		change.ExpectedRevision = &seen.Revision
	}
}

// target is a channel that a command is about, as the server has it now.
type target struct {
	client *remote.Client
	appID  string
	now    capgo.Channel
}

// target finds the channel that args name: CHANNEL [APPID].
func (c *Command) target(ctx context.Context, f *registryFlags, args []string) (target, error) {
	client, appID, err := c.connectApp(ctx, f, args, 1)
	if err != nil {
		return target{}, err
	}
	now, err := client.Channel(ctx, appID, args[0])
	return target{client, appID, now}, err
}

// changeChannel is how a channel is changed: plan looks at it, fills in the
// change and says what that means for devices; the operator is asked; the
// change is made unless somebody was faster; the channel is read back and
// printed. A plan without a question is for when there is no time: it is
// neither asked about nor compared.
func (c *Command) changeChannel(ctx context.Context, f *registryFlags, args []string, plan func(t target, change *capgo.ChannelChange) (question string, err error)) error {
	t, err := c.target(ctx, f, args)
	if err != nil {
		return err
	}
	change := capgo.ChannelChange{AppID: t.appID, Channel: t.now.Name}
	question, err := plan(t, &change)
	if err != nil {
		return err
	}
	if question != "" {
		if err := c.confirmChannel(t.now, question); err != nil {
			return err
		}
		expect(&change, t.now)
	}
	if err := t.client.ChangeChannel(ctx, change); err != nil {
		return err
	}
	return c.changed(ctx, t.client, t.appID, t.now.Name, live(t.now))
}

func newChannelSet(c *Command, f *registryFlags) *cobra.Command {
	var s settings
	var bundle string
	var latest bool
	var rollout rolloutFlags
	var single platformFlags
	var reason string
	command := &cobra.Command{
		SuggestFor: []string{"promote"}, Use: "set CHANNEL [APPID]", Short: "Point a channel at a bundle, or change its rules", Args: cobra.RangeArgs(1, 2),
		Example: "  capstan channel set production --bundle 1.5.0 --confirm production\n  capstan channel set beta --latest-remote --no-emulator\n  capstan channel set production --bundle 1.5.1 --platform ios --confirm production",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.changeChannel(ctx, f, args, func(t target, change *capgo.ChannelChange) (question string, err error) {
				client, appID, now := t.client, t.appID, t.now
				change.Note = reason
				given, err := s.apply(change)
				if err != nil {
					return "", err
				}
				rolled, err := rollout.apply(change)
				if err != nil {
					return "", err
				}
				question = fmt.Sprintf("this changes how %s of %s serves its devices", oneLine(now.Name), oneLine(appID))
				if latest {
					if bundle, err = newest(ctx, client, appID); err != nil {
						return "", err
					}
				}
				if bundle != "" {
					if err := exists(ctx, client, appID, bundle); err != nil {
						return "", err
					}
					change.Version = &bundle
					question = fmt.Sprintf("every device on %s of %s goes from %s to %s%s", oneLine(now.Name), oneLine(appID), oneLine(live(now)), oneLine(bundle), except(now))
				}
				if text, err := single.apply(change, now, bundle); err != nil {
					return "", err
				} else if text != "" {
					if !client.Can(ctx, capgo.CapPlatforms) {
						return "", failure.New(failure.Usage, "unsupported", "give a platform a bundle of its own", "this server cannot do that", "make a channel for the platform: channel create NAME --no-android")
					}
					question = text
				}
				if !given && !rolled && bundle == "" && change.PlatformVersions == nil {
					return "", failure.New(failure.Usage, "nothing_to_change", "", "no change was given", "capstan channel set --help lists what can be changed")
				}
				return question, nil
			})
		},
	}
	flags := command.Flags()
	flags.StringVarP(&bundle, "bundle", "b", "", "bundle to serve; builtin for the store build")
	flags.BoolVar(&latest, "latest-remote", false, "serve the newest bundle on the server")
	command.MarkFlagsMutuallyExclusive("bundle", "latest-remote")
	addReason(command, &reason)
	single.add(command)
	s.add(command)
	rollout.add(command)
	return command
}

// addReason adds --reason to a command that moves a channel forward.
func addReason(command *cobra.Command, reason *string) {
	command.Flags().StringVar(reason, "reason", "", "why, for the history; within a freeze nothing moves without")
}

// rolloutFlags are the Capgo CLI's rollout flags of channel set.
type rolloutFlags struct {
	bundle                                            string
	percentage                                        float64
	bps                                               int
	enable, disable, pause, resume, rollback, promote bool
}

func (r *rolloutFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&r.bundle, "rollout-bundle", "", "bundle for a share of the devices")
	flags.Float64Var(&r.percentage, "rollout-percentage", -1, "share of the devices, 0 to 100")
	flags.IntVar(&r.bps, "rollout-percentage-bps", -1, "share of the devices, 0 to 10000")
	flags.BoolVar(&r.enable, "rollout-enable", false, "start the rollout")
	flags.BoolVar(&r.disable, "rollout-disable", false, "stop offering the rollout's bundle")
	flags.BoolVar(&r.pause, "rollout-pause", false, "pause the rollout")
	flags.BoolVar(&r.resume, "rollout-resume", false, "go on with a paused rollout")
	flags.BoolVar(&r.rollback, "rollout-rollback", false, "end the rollout: everyone gets the live bundle")
	flags.BoolVar(&r.promote, "rollout-promote", false, "end the rollout: everyone gets its bundle")
	command.MarkFlagsMutuallyExclusive("rollout-percentage", "rollout-percentage-bps")
	command.MarkFlagsMutuallyExclusive("rollout-enable", "rollout-disable", "rollout-rollback", "rollout-promote")
	command.MarkFlagsMutuallyExclusive("rollout-pause", "rollout-resume")
}

func (r *rolloutFlags) apply(change *capgo.ChannelChange) (bool, error) {
	given := r.bundle != ""
	if given {
		change.RolloutVersion = &r.bundle
	}
	if r.percentage != -1 {
		bps, err := toBps(r.percentage)
		if err != nil {
			return false, err
		}
		r.bps = bps
	}
	if r.bps != -1 {
		if r.bps < 0 || r.bps > 10000 {
			return false, failure.New(failure.Usage, "invalid_rollout_percentage", "", "--rollout-percentage-bps is 0 to 10000", "")
		}
		change.RolloutPercentageBps, given = &r.bps, true
	}
	set := func(field **bool, value bool) { *field, given = &value, true }
	switch {
	case r.enable:
		set(&change.RolloutEnabled, true)
	case r.disable:
		set(&change.RolloutEnabled, false)
	case r.rollback:
		set(&change.Rollback, true)
	case r.promote:
		set(&change.PromoteToStable, true)
	}
	switch {
	case r.pause:
		set(&change.RolloutPaused, true)
	case r.resume:
		set(&change.RolloutPaused, false)
	}
	return given, nil
}

func toBps(percentage float64) (int, error) {
	if !(percentage >= 0 && percentage <= 100) {
		return 0, failure.New(failure.Usage, "invalid_rollout_percentage", "", "the share is 0 to 100 per cent", "")
	}
	return int(math.Round(percentage * 100)), nil
}

// exists fails when a bundle is not there; builtin always is.
func exists(ctx context.Context, client *remote.Client, appID, bundle string) error {
	if bundle == capgo.Builtin {
		return nil
	}
	_, err := client.Bundle(ctx, appID, bundle)
	return err
}

func newest(ctx context.Context, client *remote.Client, appID string) (string, error) {
	bundles, err := client.Bundles(ctx, appID)
	if err != nil {
		return "", err
	}
	if len(bundles) == 0 {
		return "", failure.Newf(failure.NotFound, "version_not_found", "", "upload one with: capstan bundle upload", "%s has no bundles", oneLine(appID))
	}
	return bundles[0].Name, nil
}

func newChannelDelete(c *Command, f *registryFlags) *cobra.Command {
	var quietIfAbsent bool
	command := &cobra.Command{
		Use: "delete CHANNEL [APPID]", Short: "Delete a channel; its bundles stay", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, f, args, 1)
			if err != nil {
				return err
			}
			done := func(deleted bool) error {
				return c.Result(map[string]any{"app_id": appID, "channel": args[0], "deleted": deleted}, func(w io.Writer) {
					fmt.Fprintln(w, map[bool]string{true: "deleted", false: "there is no"}[deleted], oneLine(args[0]))
				})
			}
			now, err := client.Channel(ctx, appID, args[0])
			if failure.CodeOf(err) == "channel_not_found" && quietIfAbsent {
				return done(false)
			}
			if err != nil {
				return err
			}
			question := fmt.Sprintf("channel %s of %s serves %s; its devices fall back to the default channel", oneLine(now.Name), oneLine(appID), oneLine(live(now)))
			if reachesEveryone(now) {
				err = c.ConfirmedByName(question, now.Name)
			} else {
				err = c.Confirmed(question)
			}
			if err != nil {
				return err
			}
			if err := client.DeleteChannel(ctx, appID, now.Name); err != nil {
				return err
			}
			return done(true)
		},
	}
	command.Flags().BoolVar(&quietIfAbsent, "success-if-not-found", false, "a channel that does not exist is a success")
	return command
}

func newChannelRollout(c *Command, f *registryFlags) *cobra.Command {
	var bundle, reason string
	var percentage float64
	var promote bool
	command := &cobra.Command{
		Use: "rollout CHANNEL [APPID]", Short: "Offer a second bundle to a share of a channel's devices", Args: cobra.RangeArgs(1, 2),
		Example: "  capstan channel rollout production --bundle 1.5.0 --percentage 5\n  capstan channel rollout production --percentage 25\n  capstan channel rollout production --promote",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.changeChannel(ctx, f, args, func(t target, change *capgo.ChannelChange) (question string, err error) {
				client, appID, now := t.client, t.appID, t.now
				change.Note = reason
				switch running := now.RolloutVersionInfo; {
				case promote && running == nil, bundle == "" && !cmd.Flags().Changed("percentage") && !promote, bundle == "" && running == nil && !promote:
					return "", failure.Newf(failure.Usage, "missing_rollout_version", "", "start one with --bundle and --percentage", "no rollout is running on %s", oneLine(now.Name))
				case promote:
					yes := true
					change.PromoteToStable = &yes
					question = fmt.Sprintf("every device on %s goes from %s to %s", oneLine(now.Name), oneLine(live(now)), oneLine(running.Name))
				default:
					bps, err := toBps(percentage)
					if err != nil {
						return "", err
					}
					target := bundle
					if bundle != "" {
						if err := exists(ctx, client, appID, bundle); err != nil {
							return "", err
						}
						yes := true
						change.RolloutVersion, change.RolloutEnabled = &bundle, &yes
					} else {
						target = running.Name
					}
					if bundle == "" || cmd.Flags().Changed("percentage") {
						change.RolloutPercentageBps = &bps
					} else {
						return "", failure.New(failure.Usage, "invalid_rollout_percentage", "", "the share of the devices is not given", "add --percentage")
					}
					question = fmt.Sprintf("%s of the devices on %s are offered %s, the others stay with %s", percent(bps), oneLine(now.Name), oneLine(target), oneLine(live(now)))
				}
				return question, nil
			})
		},
	}
	flags := command.Flags()
	flags.StringVarP(&bundle, "bundle", "b", "", "bundle for a share of the devices")
	flags.Float64Var(&percentage, "percentage", 0, "share of the devices, 0 to 100")
	flags.BoolVar(&promote, "promote", false, "end the rollout: its bundle is for everyone")
	addReason(command, &reason)
	command.MarkFlagsMutuallyExclusive("promote", "bundle")
	command.MarkFlagsMutuallyExclusive("promote", "percentage")
	return command
}

func newChannelRollback(c *Command, f *registryFlags) *cobra.Command {
	var to string
	command := &cobra.Command{
		Use: "rollback CHANNEL [APPID]", Short: "Go back to the previous bundle, or end a running rollout",
		Long: `rollback ends a rollout when one is running: everyone gets the live bundle. Without a rollout it
points the channel at the bundle that was live before, as the server's history has it; --to names
another one. Devices that run a newer bundle get the older one at their next check.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.changeChannel(ctx, f, args, func(t target, change *capgo.ChannelChange) (question string, err error) {
				client, appID, now := t.client, t.appID, t.now
				if now.RolloutVersionInfo != nil && to == "" {
					yes := true
					change.Rollback = &yes
					question = fmt.Sprintf("the rollout of %s ends, and every device on %s gets %s", oneLine(now.RolloutVersionInfo.Name), oneLine(now.Name), oneLine(live(now)))
				} else {
					target, err := rollbackTarget(ctx, client, appID, now, to)
					if err != nil {
						return "", err
					}
					change.Version = &target
					question = fmt.Sprintf("every device on %s of %s goes back from %s to %s", oneLine(now.Name), oneLine(appID), oneLine(live(now)), oneLine(target))
				}
				return question, nil
			})
		},
	}
	command.Flags().StringVar(&to, "to", "", "bundle to go back to (default: the previous one of the history)")
	return command
}

// rollbackTarget finds the bundle to go back to, and that it is still there.
func rollbackTarget(ctx context.Context, client *remote.Client, appID string, now capgo.Channel, to string) (string, error) {
	if to == "" {
		history, err := client.History(ctx, appID, now.Name)
		if failure.CodeOf(err) == "unsupported" {
			return "", failure.New(failure.Usage, "rollback_target_missing", "find the previous bundle", "this server keeps no history of its channels", "name the bundle with --to; capstan bundle list shows them")
		}
		if err != nil {
			return "", err
		}
		previous, ok := remote.Previous(history, live(now))
		if !ok {
			return "", failure.Newf(failure.NotFound, "rollback_target_missing", "find the previous bundle", "name the bundle with --to; capstan bundle list shows them",
				"the history of %s does not say what was live before %s", oneLine(now.Name), oneLine(live(now)))
		}
		to = previous
	}
	if to == live(now) {
		return "", failure.Newf(failure.Conflict, "already_live", "find the previous bundle", "", "%s is live on %s already", oneLine(to), oneLine(now.Name))
	}
	return to, exists(ctx, client, appID, to)
}

// newChannelPause makes pause and resume. Pausing asks nothing: it can only
// keep devices from a bundle, and it is for when there is no time.
func newChannelPause(c *Command, f *registryFlags, pause bool) *cobra.Command {
	verb, short := "resume", "Go on with a paused rollout"
	if pause {
		verb, short = "pause", "Stop offering a rollout's bundle to further devices, at once"
	}
	var reason string
	command := &cobra.Command{
		Use: verb + " CHANNEL [APPID]", Short: short, Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeChannel(cmd.Context(), f, args, func(t target, change *capgo.ChannelChange) (question string, err error) {
				now := t.now
				if now.RolloutVersionInfo == nil {
					return "", failure.Newf(failure.NotFound, "missing_rollout_version", verb+" the rollout", "capstan channel rollout starts one", "no rollout is running on %s", oneLine(now.Name))
				}
				change.RolloutPaused = &pause
				if pause {
					if reason != "" {
						change.RolloutPauseReason = &reason
					}
					return "", nil
				}
				change.Note = reason
				return fmt.Sprintf("%s of the devices on %s are offered %s again", percent(now.RolloutPercentageBps), oneLine(now.Name), oneLine(now.RolloutVersionInfo.Name)), nil
			})
		},
	}
	if pause {
		command.Flags().StringVar(&reason, "reason", "", "why, for those who look later")
	} else {
		addReason(command, &reason)
	}
	return command
}
