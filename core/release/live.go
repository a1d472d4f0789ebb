package release

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/project"
)

// compareLive holds the plan against the bundle that the channel has: whether the
// web build runs in the native apps that have it, and what it contains. Without
// such a bundle there is nothing to compare.
func (r *run) compareLive(ctx context.Context, outcome *PreflightOutcome) error {
	if outcome.Live == "" || outcome.Live == capgo.Builtin {
		return nil
	}
	live, err := r.Registry.Bundle(ctx, r.plan().AppID, outcome.Live)
	if isClass(err, failure.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	outcome.LivePlain = live.PlainChecksum
	return r.compareNative(live, outcome)
}

// compareNative compares native packages as the Capgo CLI does for its uploads.
// A server that keeps none, and a build outside a project, are not compared.
func (r *run) compareNative(live capgo.Bundle, outcome *PreflightOutcome) error {
	plan := r.plan()
	local, err := project.ParseNativePackages(json.RawMessage(plan.NativePackages))
	if err != nil || local == nil {
		return err
	}
	remote, err := project.ParseNativePackages(live.NativePackages)
	if err != nil || remote == nil {
		return nil // what an older release registered is not this one's fault
	}
	apart := incompatible(project.CompareNative(local, remote))
	finding := func(level, code, hint, format string, args ...any) {
		r.event(Event{Stage: StagePreflight, Kind: EventFinding, Level: level, Code: code, Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	const hint = "ship a native build first, or keep older apps from this bundle with --min-update-version or --auto-min-update-version"
	switch {
	case len(apart) == 0:
		if plan.AutoMinUpdateVersion {
			outcome.MinUpdateVersion = live.MinUpdateVersion
		}
		finding(bundle.LevelOK, "native_compatible", "", "the native packages are those of %s on %s", live.Name, plan.Channel)
	case plan.AutoMinUpdateVersion:
		outcome.MinUpdateVersion = plan.Version
		finding(bundle.LevelOK, "native_min_version", "", "%s: only native apps from %s take the bundle", native(apart), plan.Version)
	case plan.MinUpdateVersion != "":
		finding(bundle.LevelOK, "native_min_version", "", "%s: only native apps from %s take the bundle", native(apart), plan.MinUpdateVersion)
	case plan.FailOnIncompatible && plan.Reason == "":
		return failure.Newf(failure.Failed, "native_incompatible", "compare native packages", hint, "the apps that have %s cannot run this build: %s", live.Name, native(apart))
	default:
		finding(bundle.LevelWarn, "native_incompatible", hint, "the apps that have %s may not run this build: %s", live.Name, native(apart))
	}
	return nil
}

func incompatible(list []project.NativeDifference) []project.NativeDifference {
	var apart []project.NativeDifference
	for _, d := range list {
		if !d.Compatible {
			apart = append(apart, d)
		}
	}
	return apart
}

// native names up to three packages and why they do not fit.
func native(apart []project.NativeDifference) string {
	var names []string
	for _, d := range apart[:min(len(apart), 3)] {
		names = append(names, fmt.Sprintf("%s (%s)", d.Name, d.Reason))
	}
	if more := len(apart) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// compareContent notices a build with the files that the channel has already.
func (r *run) compareContent(sealed *bundle.Sealed) {
	before := r.state.Preflight
	if before == nil || before.LivePlain == "" || before.LivePlain != sealed.PlainChecksum {
		return
	}
	r.event(Event{Stage: StageSeal, Kind: EventFinding, Level: bundle.LevelWarn, Code: "same_as_live",
		Text: fmt.Sprintf("the build has the same files as %s, which is live on %s", before.Live, r.plan().Channel),
		Hint: "build the app again if it should have changed; devices download these files once more"})
}

// minUpdateVersion is what the operator asked for, or what preflight chose.
func (r *run) minUpdateVersion() string {
	if asked := r.plan().MinUpdateVersion; asked != "" || r.state.Preflight == nil {
		return asked
	}
	return r.state.Preflight.MinUpdateVersion
}
