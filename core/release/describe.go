package release

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
)

// Intent says what one stage would do.
type Intent struct {
	Stage StageName `json:"stage"`
	Text  string    `json:"text"`
}

// Describe is a dry run: it checks what can be checked without changing
// anything and says what each stage would change. Its errors are those that
// the release would meet.
func (p *Pipeline) Describe(ctx context.Context, plan Plan) ([]Intent, error) {
	if err := plan.check(); err != nil {
		return nil, err
	}
	var intents []Intent
	add := func(stage StageName, format string, args ...any) {
		intents = append(intents, Intent{stage, fmt.Sprintf(format, args...)})
	}
	if plan.External == nil {
		report, err := bundle.Preflight(ctx, plan.Dir, plan.options(nil))
		if err != nil {
			return nil, err
		}
		if err := report.Err(); err != nil && plan.Reason == "" && !plan.NoCodeCheck {
			return nil, err
		}
		add(StagePreflight, "%s files, %s in %s; %d findings", humanize.Comma(int64(report.Files)), humanize.IBytes(uint64(report.Bytes)), plan.Dir, len(report.Findings))
	}
	app, err := p.Registry.App(ctx, plan.AppID)
	switch {
	case isClass(err, failure.NotFound) && plan.CreateApp:
		add(StagePreflight, "would create app %s on the server", plan.AppID)
	case err != nil:
		return nil, err
	case app.PublicKey == "" && plan.KeyID != "" && plan.CreateApp && !plan.v1():
		add(StagePreflight, "would put key %s on record", plan.KeyID)
	}
	if err == nil {
		r := &run{Pipeline: p, journal: &journal{state: State{Plan: plan}}}
		if err := r.checkVersionFree(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case plan.External != nil:
		add(StageSeal, "would download and check %s", plan.External.URL)
	case plan.KeyID == "":
		add(StageSeal, "would pack a plain bundle, unsigned")
	case plan.v1():
		add(StageSeal, "%s", plan.v1Text())
	case plan.Second != nil:
		add(StageSeal, "would pack once, encrypt and sign with key %s and with key %s", plan.KeyID, plan.Second.KeyID)
	default:
		add(StageSeal, "would pack, encrypt and sign with key %s", plan.KeyID)
	}
	if plan.Delta {
		about, err := p.Registry.About(ctx)
		switch {
		case err != nil:
			return nil, err
		case !has(about, capgo.CapDelta):
			add(StageSeal, "would make no delta files: %s cannot take them", serverName(about))
		default:
			if err := bundle.CheckDelta(ctx, plan.Dir, plan.options(nil)); err != nil {
				return nil, err
			}
			add(StageSeal, "would make delta files")
		}
	}
	if plan.External == nil {
		add(StageUpload, "would upload to %s", p.Storage)
	}
	add(StageProve, "would install it from its public address as the fleet's devices would")
	add(StageRegister, "would register %s %s", plan.AppID, plan.Version)
	if plan.Channel == "" {
		return intents, nil
	}
	channel, err := p.Registry.Channel(ctx, plan.AppID, plan.Channel)
	switch {
	case isClass(err, failure.NotFound):
		add(StagePromote, "would create channel %s and point it at %s", plan.Channel, plan.Version)
	case err != nil:
		return nil, err
	default:
		add(StagePromote, "would move %s: %s → %s", plan.Channel, orNone(liveName(channel)), plan.Version)
	}
	return intents, nil
}

// Describe says in a few words how far a release came.
func (s State) Describe() string {
	switch {
	case s.Promoted != nil:
		return "live"
	case s.Ended && s.Registered != nil:
		return "registered"
	case s.Ended:
		return "given up"
	case s.Failed != "":
		return fmt.Sprintf("stopped at %s: %s", s.FailedStage, s.Failed)
	}
	return "stopped before " + string(s.Next())
}

// Next is the first stage that is not done.
func (s State) Next() StageName {
	done := map[StageName]bool{
		StagePreflight: s.Preflight != nil, StageSeal: s.Sealed != nil, StageUpload: s.Uploaded != nil,
		StageProve: s.Proved != nil, StageRegister: s.Registered != nil, StagePromote: s.Promoted != nil,
	}
	for _, stage := range Stages() {
		if !done[stage] {
			return stage
		}
	}
	return StagePromote
}
