package project

import (
	"context"
	"sort"
)

// Level says how bad a finding is.
type Level string

// The levels. Only Block makes doctor fail.
const (
	OK    Level = "ok"
	Warn  Level = "warn"
	Block Level = "block"
)

// Finding is one line of doctor's report.
type Finding struct {
	// Code is stable, lower case with underscores.
	Code  string `json:"code"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Hint says what to do; empty when all is well.
	Hint string `json:"hint,omitempty"`
	// Fix does it, where that is safe; nil otherwise.
	Fix *Fix `json:"fix,omitempty"`
}

// Fix is a repair that changes nothing but what it says and can be repeated.
type Fix struct {
	Text  string                      `json:"text"` // in the infinitive, e.g. "make .capgo_key_v2 private (0600)"
	Apply func(context.Context) error `json:"-"`
}

// Check looks at one thing. It gives one finding with level OK when there is
// nothing to say against it, and none when it does not apply.
type Check func(ctx context.Context, p *Project) []Finding

// Doctor runs all checks on the project, then more. It reads files and git and
// connects to nothing. The findings come in the order of the checks, the worst
// first within one; use Worst for the verdict.
func Doctor(ctx context.Context, p *Project, more ...Check) []Finding {
	checks := []Check{
		checkConfig, checkIdentity, checkVersion,
		checkBuild,
		checkPlugin,
		checkPublicKey, checkPrivateKeyFiles,
		checkURLs, checkUpdaterSettings, checkTransport,
		checkNativeSync,
	}
	var all []Finding
	for _, check := range append(checks, more...) {
		if ctx.Err() != nil {
			return all
		}
		found := check(ctx, p)
		sort.SliceStable(found, func(i, j int) bool { return severity(found[i].Level) > severity(found[j].Level) })
		all = append(all, found...)
	}
	return all
}

// Worst is the level of the worst finding; OK for none.
func Worst(findings []Finding) Level {
	worst := OK
	for _, f := range findings {
		if severity(f.Level) > severity(worst) {
			worst = f.Level
		}
	}
	return worst
}

func severity(l Level) int {
	switch l {
	case Block:
		return 2
	case Warn:
		return 1
	}
	return 0
}

// orOK gives the findings, or one good line when there are none.
func orOK(found []Finding, code, text string) []Finding {
	if len(found) == 0 {
		return []Finding{{Code: code, Level: OK, Text: text}}
	}
	return found
}
