package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/effect"
	"capstan/core/failure"
	"capstan/core/remote"
)

func init() { registrations = append(registrations, newPlan, newApply, newOutcome) }

func newPlan(c *Command) *cobra.Command {
	var f registryFlags
	command := &cobra.Command{
		Use: "plan", Short: "Say who gets what before a channel is changed, and save it for capstan apply", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f.add(command)
	command.AddCommand(newPlanPromote(c, &f), newPlanRollback(c, &f), newPlanShow(c))
	return command
}

func newPlanPromote(c *Command, f *registryFlags) *cobra.Command {
	var bundle, out string
	var on []string
	command := &cobra.Command{
		Use: "promote CHANNEL [APPID]", Short: "Plan to point a channel at a bundle", Args: cobra.RangeArgs(1, 2),
		Long: `plan promote counts, from what the server knows of the devices that asked in the last 30 days, who
would get the bundle and who would not and why. Nothing is changed. The plan is saved with what it
saw; capstan apply does exactly that, or refuses because the channel, the bundle or the key moved.`,
		Example: "  capstan plan promote production --bundle 1.5.0\n  capstan apply capstan-plan.json --confirm production --watch",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.plan(cmd.Context(), f, effect.Promote, args, effect.Change{Target: bundle, Platforms: on}, out)
		},
	}
	command.Flags().StringVarP(&bundle, "bundle", "b", "", "bundle to serve; builtin for the store build")
	platformFlag(command, &on)
	outFlag(command, &out)
	_ = command.MarkFlagRequired("bundle") // the flag is defined above
	return command
}

func newPlanRollback(c *Command, f *registryFlags) *cobra.Command {
	var to, out string
	var on []string
	command := &cobra.Command{
		Use: "rollback CHANNEL [APPID]", Short: "Plan to go back, and say which devices cannot", Args: cobra.RangeArgs(1, 2),
		Long: `plan rollback plans what capstan channel rollback does: the end of a running rollout, or the bundle
that was live before. It says which devices go back, and which cannot and why.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.plan(cmd.Context(), f, effect.Rollback, args, effect.Change{Target: to, Platforms: on}, out)
		},
	}
	command.Flags().StringVar(&to, "to", "", "bundle to go back to (default: the previous one of the history)")
	platformFlag(command, &on)
	outFlag(command, &out)
	return command
}

func platformFlag(command *cobra.Command, on *[]string) {
	command.Flags().StringSliceVar(on, "platform", nil, "only for ios, android or electron, which then no longer follow the channel")
}

func outFlag(command *cobra.Command, out *string) {
	command.Flags().StringVarP(out, "out", "o", "capstan-plan.json", "file to save the plan in; - for none")
}

func (c *Command) plan(ctx context.Context, f *registryFlags, action effect.Action, args []string, change effect.Change, out string) error {
	client, appID, err := c.connectApp(ctx, f, args, 1)
	if err != nil {
		return err
	}
	change.Channel = args[0]
	plan, err := effect.Draft(ctx, client, appID, action, change, time.Now())
	if err != nil {
		return err
	}
	if out != "-" {
		if err := plan.Write(out); err != nil {
			return err
		}
	}
	return c.Result(plan, func(w io.Writer) {
		printPlan(w, plan)
		if out != "-" {
			fmt.Fprintf(w, "saved in %s; to do it: capstan apply %s\n", oneLine(out), oneLine(out))
		}
	})
}

func newPlanShow(c *Command) *cobra.Command {
	return &cobra.Command{
		Use: "show FILE", Short: "Print a saved plan", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			plan, err := effect.Load(args[0])
			if err != nil {
				return err
			}
			return c.Result(plan, func(w io.Writer) { printPlan(w, plan) })
		},
	}
}

// printPlan writes a group of devices a line.
func printPlan(w io.Writer, p effect.Plan) {
	e := p.Effect
	fmt.Fprintf(w, "%s of %s: %s\n", oneLine(p.Channel), oneLine(p.AppID), planTitle(p))
	line := func(n int64, format string, args ...any) {
		fmt.Fprintf(w, "%9s  %s\n", humanize.Comma(n), oneLine(fmt.Sprintf(format, args...)))
	}
	// Platforms are told apart where they do not all get the same.
	apart := len(e.Own) > 0 || len(p.Platforms) > 0 || slices.ContainsFunc(e.Moves, func(m effect.Move) bool { return m.Platform != e.Moves[0].Platform })
	for _, m := range e.Moves {
		text := fmt.Sprintf("%s → %s", m.From, m.To)
		if apart {
			text += " on " + m.Platform
		}
		if m.Rollout {
			text += ", by the rollout"
		}
		if m.NativeNewer > 0 {
			text += fmt.Sprintf(" (%s of them have a newer native app)", humanize.Comma(m.NativeNewer))
		}
		line(m.Devices, "%s", text)
	}
	if e.Already > 0 {
		line(e.Already, "have it already")
	}
	for _, o := range e.Own {
		text := fmt.Sprintf("%s keeps its own bundle, %s", o.Platform, o.Bundle)
		if len(p.Platforms) > 0 {
			text = fmt.Sprintf("%s keeps what it has, %s", o.Platform, o.Bundle)
		}
		line(o.Devices, "%s", text)
	}
	for _, k := range e.Kept {
		verb := "kept"
		if p.Action == effect.Rollback {
			verb = "cannot go back"
		}
		line(k.Devices, "%s: %s", verb, k.Text)
	}
	if e.Pinned > 0 {
		line(e.Pinned, "pinned to another channel")
	}
	fmt.Fprintf(w, "of %s devices that asked since %s, %s are on this channel\n", humanize.Comma(e.Devices), e.Since.Local().Format("2006-01-02 15:04"), humanize.Comma(e.Concerned))
	if e.Uncertain > 0 {
		fmt.Fprintf(w, "%s of them have a plugin that may have chosen another channel, which the server does not tell\n", humanize.Comma(e.Uncertain))
	}
	if e.Estimated {
		fmt.Fprintln(w, "this server draws a rollout's devices in its own way: their number holds, which ones they are does not")
	}
}

func planTitle(p effect.Plan) string {
	if p.EndRollout {
		return fmt.Sprintf("the rollout of %s ends, everyone gets %s", oneLine(p.Seen.Rollout), oneLine(p.Target))
	}
	if len(p.Platforms) > 0 {
		return fmt.Sprintf("%s devices get %s, whatever the others get", oneLine(strings.Join(p.Platforms, " and ")), oneLine(p.Target))
	}
	return fmt.Sprintf("%s → %s", oneLine(p.Seen.Live), oneLine(p.Target))
}

// applyResult is the object of apply --json.
type applyResult struct {
	AppID   string        `json:"app"`
	Channel string        `json:"channel"`
	Action  effect.Action `json:"action"`
	effect.Applied
	Outcome *outcomeResult `json:"outcome,omitempty"`
}

func newApply(c *Command) *cobra.Command {
	var f registryFlags
	var watch bool
	var every time.Duration
	command := &cobra.Command{
		Use: "apply FILE", Short: "Do exactly what a saved plan says, or refuse because something moved", Args: cobra.ExactArgs(1),
		Long: `apply does what capstan plan saved. It refuses with channel_moved or state_moved (exit status 7) when
the channel, its rules, the bundle or the key on record are no longer what the plan saw. A plan that
was applied already is a success and changes nothing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			plan, err := effect.Load(args[0])
			if err != nil {
				return err
			}
			client, err := c.connect(ctx, &f)
			if err != nil {
				return err
			}
			applied, err := c.apply(ctx, client, plan)
			if err != nil {
				return err
			}
			result := applyResult{AppID: plan.AppID, Channel: plan.Channel, Action: plan.Action, Applied: applied}
			if watch {
				c.Notef("%s serves %s", oneLine(plan.Channel), oneLine(plan.Target))
				o, err := c.watch(ctx, client, plan.AppID, plan.Channel, every)
				if err != nil {
					return err
				}
				result.Outcome = &o
			}
			return c.Result(result, func(w io.Writer) {
				fmt.Fprintf(w, "%s of %s serves %s%s\n", oneLine(plan.Channel), oneLine(plan.AppID), oneLine(plan.Target), map[bool]string{true: " (applied before)"}[applied.Existed])
			})
		},
	}
	f.add(command)
	command.Flags().BoolVar(&watch, "watch", false, "stay until 99 % of the active devices confirmed")
	everyFlag(command, &every)
	return command
}

// apply asks where many devices will notice, and applies the plan.
func (c *Command) apply(ctx context.Context, client *remote.Client, plan effect.Plan) (effect.Applied, error) {
	ch, done, err := plan.Check(ctx, client) // before asking: a question about a plan that cannot be done helps nobody
	if err != nil {
		return effect.Applied{}, err
	}
	if !done {
		question := fmt.Sprintf("%s of %s: %s for %s devices", oneLine(plan.Channel), oneLine(plan.AppID), planTitle(plan), humanize.Comma(plan.Effect.Moving()))
		if err := c.confirmChannel(ch, question); err != nil {
			return effect.Applied{}, err
		}
	}
	return plan.Apply(ctx, client)
}

func everyFlag(command *cobra.Command, every *time.Duration) {
	command.Flags().DurationVar(every, "every", 15*time.Second, "pause between two counts")
}

func newOutcome(c *Command) *cobra.Command {
	var f registryFlags
	var every time.Duration
	var once bool
	command := &cobra.Command{
		Use: "outcome CHANNEL [APPID]", Short: "Watch the devices of a channel take its bundle, until 99 % have", Args: cobra.RangeArgs(1, 2),
		Long: `outcome counts the devices that asked in the last 24 hours and are not kept from the channel's bundle:
how many run it, and how many are still to take it. It stays until 99 % run it, or Ctrl+C.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, &f, args, 1)
			if err != nil {
				return err
			}
			var result outcomeResult
			if once {
				o, err := effect.Observe(ctx, client, appID, args[0], time.Now())
				if err != nil {
					return err
				}
				result = newOutcomeResult(o)
			} else if result, err = c.watch(ctx, client, appID, args[0], every); err != nil {
				return err
			}
			return c.Result(result, func(w io.Writer) { fmt.Fprintln(w, result.text()) })
		},
	}
	f.add(command)
	command.Flags().BoolVar(&once, "once", false, "count once, do not wait")
	everyFlag(command, &every)
	return command
}

// outcomeResult is an outcome with its share.
type outcomeResult struct {
	effect.Outcome
	Share float64 `json:"share"`
}

func newOutcomeResult(o effect.Outcome) outcomeResult { return outcomeResult{o, o.Share()} }

func (r outcomeResult) text() string {
	text := fmt.Sprintf("%s: %.1f %%, %s of %s devices of the last 24 hours", oneLine(r.Live), 100*r.Share, humanize.Comma(r.On), humanize.Comma(r.On+r.Waiting))
	if r.Live == capgo.Builtin {
		text = "store build" + text[len(capgo.Builtin):]
	}
	if r.Kept > 0 {
		text += fmt.Sprintf(" (%s more are kept from it)", humanize.Comma(r.Kept))
	}
	return text
}

// watch reports a line a count on stderr. What was seen last is printed before
// an interruption is passed on.
func (c *Command) watch(ctx context.Context, client *remote.Client, appID, channel string, every time.Duration) (outcomeResult, error) {
	if every < time.Second {
		return outcomeResult{}, failure.New(failure.Usage, "interval_too_short", "", "--every is a second at least", "")
	}
	o, err := effect.Watch(ctx, client, appID, channel, every, func(o effect.Outcome) {
		c.Notef("%s  %s", o.At.Local().Format("15:04:05"), newOutcomeResult(o).text())
	})
	return newOutcomeResult(o), err
}
