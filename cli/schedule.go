package cli

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// moment reads a time that an operator writes: with an offset, or in the local zone.
func moment(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateTime} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return &t, nil
		}
	}
	return nil, failure.Newf(failure.Usage, "invalid_time", "", "write it like 2026-03-01T09:00 or 2026-03-01T09:00:00+01:00", "--%s is no time: %s", flag, oneLine(text))
}

func newChannelSchedule(c *Command, f *registryFlags) *cobra.Command {
	var bundle, at string
	var ramp []float64
	var every time.Duration
	var hold, cancel bool
	command := &cobra.Command{
		Use: "schedule CHANNEL [APPID]", Short: "Let the server release a bundle at a time, or to a growing share of devices",
		Long: `schedule plans a release that the server then makes by itself. --at alone promotes the bundle at that
time; --ramp gives it to growing shares of the devices, each for as long as --every, and promotes it
at the end. A pause, by hand or because devices fail, holds the plan; ending the rollout ends it.
Without flags it shows what is planned.`,
		Example: "  capstan channel schedule production --bundle 1.5.0 --at 2026-03-01T09:00 --confirm production\n" +
			"  capstan channel schedule production --bundle 1.5.0 --ramp 5,25,100 --every 2h --confirm production\n  capstan channel schedule production --cancel",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			t, err := c.target(ctx, f, args)
			if err != nil {
				return err
			}
			client, appID, now := t.client, t.appID, t.now
			if cancel {
				if err := client.ClearPlan(ctx, appID, now.Name); err != nil {
					return err
				}
				return c.Result(map[string]any{"app_id": appID, "channel": now.Name, "cancelled": true}, func(w io.Writer) {
					fmt.Fprintf(w, "%s: nothing is planned any more; it serves %s%s\n", oneLine(now.Name), oneLine(live(now)), orNothing(", rollout of ", rolloutText(now)))
				})
			}
			if bundle != "" {
				plan := capgo.ReleasePlan{AppID: appID, Channel: now.Name, Version: bundle, Promote: !hold}
				if plan.At, err = moment("at", at); err != nil {
					return err
				}
				if plan.Steps, err = rampSteps(ramp, every); err != nil {
					return err
				}
				if plan.At == nil && len(plan.Steps) == 0 {
					return failure.New(failure.Usage, "plan_invalid", "", "neither a time nor shares were given", "add --at or --ramp; capstan channel set changes it at once")
				}
				if err := exists(ctx, client, appID, bundle); err != nil {
					return err
				}
				question := fmt.Sprintf("the devices on %s of %s go from %s to %s, %s", oneLine(now.Name), oneLine(appID), oneLine(live(now)), oneLine(bundle), planWords(plan))
				if err := c.confirmChannel(now, question); err != nil {
					return err
				}
				if err := client.SetPlan(ctx, plan); err != nil {
					return err
				}
				if wrong := client.CheckClock(); wrong != nil && plan.At != nil {
					c.Notef("%s: the plan begins by the server's clock", oneLine(wrong.Error()))
				}
			} else if at != "" || len(ramp) > 0 {
				return failure.New(failure.Usage, "missing_bundle", "", "no bundle was given", "add --bundle")
			}
			plans, err := client.Plans(ctx, appID)
			if err != nil {
				return err
			}
			var own []capgo.ReleasePlan
			for _, p := range plans {
				if p.Channel == now.Name {
					own = append(own, p)
				}
			}
			return c.Result(rowsOrEmpty(own), func(w io.Writer) {
				if len(own) == 0 {
					fmt.Fprintf(w, "%s: nothing is planned\n", oneLine(now.Name))
				}
				for _, p := range own {
					fmt.Fprintf(w, "%s: %s %s; now: %s\n", oneLine(p.Channel), oneLine(p.Version), planWords(p), oneLine(p.Reason))
				}
			})
		},
	}
	flags := command.Flags()
	flags.StringVarP(&bundle, "bundle", "b", "", "bundle to release")
	flags.StringVar(&at, "at", "", "when it starts, e.g. 2026-03-01T09:00 (local time) or with an offset")
	flags.Float64SliceVar(&ramp, "ramp", nil, "growing shares of the devices in per cent, e.g. 5,25,100")
	flags.DurationVar(&every, "every", 24*time.Hour, "how long each share lasts")
	flags.BoolVar(&hold, "no-promote", false, "with --ramp: stay at the last share")
	flags.BoolVar(&cancel, "cancel", false, "drop the plan; the channel stays as it is now")
	command.MarkFlagsMutuallyExclusive("cancel", "bundle")
	return command
}

func orNothing(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func rampSteps(ramp []float64, every time.Duration) ([]capgo.PlanStep, error) {
	steps := make([]capgo.PlanStep, 0, len(ramp))
	for _, share := range ramp {
		bps, err := toBps(share)
		if err != nil {
			return nil, err
		}
		steps = append(steps, capgo.PlanStep{Bps: bps, SoakSeconds: int64(math.Round(every.Seconds()))})
	}
	return steps, nil
}

// planWords says how a plan goes about it.
func planWords(p capgo.ReleasePlan) string {
	text := "at once"
	if p.At != nil {
		text = "at " + p.At.UTC().Format("2006-01-02 15:04 UTC")
	}
	for i, step := range p.Steps {
		word := ", then "
		if i == 0 {
			word = ": "
		}
		text += word + percent(step.Bps) + " for " + (time.Duration(step.SoakSeconds) * time.Second).String()
	}
	if p.Promote && len(p.Steps) > 0 {
		text += ", then everyone"
	}
	return text
}

func newChannelFreeze(c *Command, f *registryFlags) *cobra.Command {
	var name, from, to, start, zone, remove string
	var days []string
	var length time.Duration
	command := &cobra.Command{
		Use: "freeze [APPID]", Short: "Say when nothing of an app may be released, and see when that is",
		Long: `freeze sets a time in which no bundle is promoted and no rollout grows, on any channel of the app:
planned releases wait, and operators have to give a --reason. Rolling back and pausing always work.
Without flags it lists the freezes.`,
		Example: "  capstan channel freeze --name weekend --days fri --start 17:00 --for 63h --zone Europe/Berlin\n" +
			"  capstan channel freeze --name holidays --from 2026-12-20T00:00 --to 2027-01-04T00:00\n  capstan channel freeze --remove holidays",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, appID, err := c.connectApp(ctx, f, args, 0)
			if err != nil {
				return err
			}
			switch {
			case remove != "":
				if err := client.ClearFreeze(ctx, appID, remove); err != nil {
					return err
				}
			case name != "":
				freeze := capgo.Freeze{AppID: appID, Name: name, Days: days, Start: start, Zone: zone, Minutes: int64(length / time.Minute)}
				if freeze.From, err = moment("from", from); err != nil {
					return err
				}
				if freeze.To, err = moment("to", to); err != nil {
					return err
				}
				if err := client.SetFreeze(ctx, freeze); err != nil {
					return err
				}
			case from != "" || to != "" || len(days) > 0:
				return failure.New(failure.Usage, "missing_name", "", "the freeze has no name", "add --name")
			}
			all, err := client.Freezes(ctx, appID)
			if err != nil {
				return err
			}
			return c.Result(all, func(w io.Writer) { printFreezes(w, all) })
		},
	}
	flags := command.Flags()
	flags.StringVar(&name, "name", "", "name of the freeze")
	flags.StringVar(&from, "from", "", "first moment of a single freeze, e.g. 2026-12-20T00:00 (local time) or with an offset")
	flags.StringVar(&to, "to", "", "first moment after it")
	flags.StringSliceVar(&days, "days", nil, "days of a weekly freeze: mon, tue, wed, thu, fri, sat, sun")
	flags.StringVar(&start, "start", "", "time of day at which a weekly freeze begins, e.g. 17:00")
	flags.DurationVar(&length, "for", 0, "how long a weekly freeze lasts, up to 168h")
	flags.StringVar(&zone, "zone", "", "time zone of --start, e.g. Europe/Berlin (default UTC)")
	flags.StringVar(&remove, "remove", "", "name of a freeze to remove")
	command.MarkFlagsMutuallyExclusive("remove", "name")
	return command
}

func printFreezes(w io.Writer, all capgo.Freezes) {
	rows := make([][]string, 0, len(all.Freezes))
	for _, z := range all.Freezes {
		when := ""
		if z.From != nil && z.To != nil {
			when = z.From.UTC().Format("2006-01-02 15:04") + " to " + z.To.UTC().Format("2006-01-02 15:04 UTC")
		} else {
			zone := z.Zone
			if zone == "" {
				zone = "UTC"
			}
			when = strings.Join(z.Days, ", ") + " at " + z.Start + " " + zone + " for " + strconv.FormatFloat(float64(z.Minutes)/60, 'f', -1, 64) + " h"
		}
		rows = append(rows, []string{z.Name, when})
	}
	table(w, "FREEZE\tWHEN", rows)
	if all.FrozenUntil != nil {
		fmt.Fprintf(w, "frozen now, until %s\n", all.FrozenUntil.UTC().Format("2006-01-02 15:04 UTC"))
	}
}
