package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"

	"github.com/spf13/cobra"

	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/project"
)

func init() {
	registrations = append(registrations, newDoctor)
	doctorChecks = append(doctorChecks, checkGitProgram)
}

// doctorChecks look at what is around the project; other files append to it in
// an init function. The project is nil outside of one.
var doctorChecks []func(ctx context.Context, c *Command, p *project.Project) []project.Finding

// doctorResult is the object of --json.
type doctorResult struct {
	OK       bool              `json:"ok"`
	AppID    string            `json:"app,omitempty"`
	Root     string            `json:"root,omitempty"`
	Findings []project.Finding `json:"findings"`
	// Fixed holds the codes that --fix repaired.
	Fixed []string `json:"fixed,omitempty"`
}

type doctorFlags struct {
	path, channel, bundleURL string
	artifacts                []string
	fix, online, storage     bool
}

func newDoctor(c *Command) *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the project for what keeps updates from reaching devices",
		Long: `Check the project, its native apps, keys and addresses for what keeps updates
from reaching devices: one line a finding, with what to do about it. Nothing is
sent anywhere without --online, --storage or --bundle-url. Exit status 1 means
that something blocks; warnings alone give 0.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.doctor(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.path, "project", ".", "folder of the project, or one inside it")
	flags.BoolVar(&f.fix, "fix", false, "repair what can be repaired safely")
	flags.StringVar(&f.channel, "channel", "", "compare with the channel that is going to be published")
	flags.StringVar(&f.bundleURL, "bundle-url", "", "look whether a bundle can be downloaded there")
	flags.BoolVar(&f.storage, "storage", false, "try the storage with a small object, and look for unfinished uploads; with --fix those older than a day are dropped")
	flags.StringArrayVar(&f.artifacts, "artifact", nil, "compare with the config inside a built .apk, .aab or .ipa; may be given more than once")
	flags.BoolVar(&f.online, "online", false, "ask the update server which keys devices carry, and compare the clocks")
	return cmd
}

func (c *Command) doctor(ctx context.Context, f *doctorFlags) error {
	result, err := c.examine(ctx, f)
	if err != nil {
		return err
	}
	if f.fix {
		var fixed []string
		for _, finding := range result.Findings {
			if finding.Fix == nil {
				continue
			}
			if err := finding.Fix.Apply(ctx); err != nil {
				return err
			}
			fixed = append(fixed, finding.Code)
			c.Notef("fixed: %s", oneLine(finding.Fix.Text))
		}
		if len(fixed) > 0 {
			if result, err = c.examine(ctx, f); err != nil {
				return err
			}
			result.Fixed = fixed
		}
	}
	if err := c.Result(result, func(w io.Writer) { printFindings(w, result.Findings) }); err != nil {
		return err
	}
	if result.OK {
		return nil
	}
	blocking, fixable := 0, 0
	for _, finding := range result.Findings {
		if finding.Level == project.Block {
			blocking++
		}
		if finding.Fix != nil {
			fixable++
		}
	}
	hint := ""
	if fixable > 0 {
		hint = fmt.Sprintf("capstan doctor --fix repairs %d of the findings", fixable)
	}
	noun := "problems keep"
	if blocking == 1 {
		noun = "problem keeps"
	}
	return failure.Newf(failure.Failed, "doctor_blocked", "", hint, "%d %s updates from reaching devices", blocking, noun)
}

// examine runs all checks once.
func (c *Command) examine(ctx context.Context, f *doctorFlags) (doctorResult, error) {
	var result doctorResult
	p, err := project.OpenWith(ctx, f.path, project.Options{})
	switch {
	case ctx.Err() != nil:
		return result, ctx.Err()
	case failure.CodeOf(err) == "project_ambiguous":
		return result, err
	case err != nil:
		p = nil
		result.Findings = []project.Finding{{Code: failure.CodeOf(err), Level: project.Block, Text: err.Error(), Hint: failure.HintOf(err)}}
	default:
		result.AppID, result.Root = p.AppID, p.Root
		checks := []project.Check{project.ChannelCheck(f.channel)}
		if f.online {
			checks = append(checks, c.serverCheck(f))
		}
		result.Findings = project.Doctor(ctx, p, checks...)
	}
	if f.bundleURL != "" {
		result.Findings = append(result.Findings, project.BundleURLCheck(http.DefaultClient, f.bundleURL)(ctx, p)...)
	}
	if f.storage {
		result.Findings = append(result.Findings, c.checkStorage(ctx, f)...)
	}
	for _, file := range f.artifacts {
		result.Findings = append(result.Findings, project.ArtifactCheck(file)(ctx, p)...)
	}
	for _, check := range doctorChecks {
		result.Findings = append(result.Findings, check(ctx, c, p)...)
	}
	result.OK = project.Worst(result.Findings) != project.Block
	return result, ctx.Err()
}

// serverCheck asks the profile's server which keys the app's devices carry, and
// compares the clocks on the way.
func (c *Command) serverCheck(f *doctorFlags) project.Check {
	return func(ctx context.Context, p *project.Project) []project.Finding {
		unknown := func(err error) []project.Finding {
			return []project.Finding{{Code: "fleet_unknown", Level: project.Warn, Text: "the devices' keys are unknown: " + err.Error(), Hint: failure.HintOf(err)}}
		}
		resolved, err := profile.Resolve(ctx, f.path, c.Profile, profile.Flags{})
		if err != nil {
			return unknown(err)
		}
		client, err := resolved.Connect()
		if err != nil {
			return unknown(err)
		}
		summary, err := client.Summary(ctx, p.AppID)
		var found []project.Finding
		if wrong, is := failure.Find(client.CheckClock()); is {
			found = append(found, project.Finding{Code: wrong.Code, Level: project.Warn, Text: wrong.Err.Error(), Hint: wrong.Hint})
		}
		if err != nil {
			return append(found, unknown(err)...)
		}
		return append(found, project.FleetKeyCheck(summary.Fleet["key_id"])(ctx, p)...)
	}
}

// checkGitProgram: releases name their commit only where git can be run.
func checkGitProgram(_ context.Context, _ *Command, p *project.Project) []project.Finding {
	if _, err := exec.LookPath("git"); err != nil {
		return []project.Finding{{Code: "git_missing", Level: project.Warn, Text: "git is not installed: releases cannot name their commit", Hint: "install git"}}
	}
	if p != nil && !p.Git.Present {
		return []project.Finding{{Code: "git_none", Level: project.OK, Text: "the project is not in a git repository"}}
	}
	return nil
}

// printFindings writes one line a finding, with what to do about it.
func printFindings(w io.Writer, findings []project.Finding) {
	for _, f := range findings {
		line := oneLine(f.Text)
		if f.Hint != "" {
			line += " - " + oneLine(f.Hint)
		}
		if f.Fix != nil {
			line += " [--fix]"
		}
		fmt.Fprintf(w, "%-5s  %s\n", f.Level, line)
	}
}
