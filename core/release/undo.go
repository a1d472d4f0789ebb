package release

import (
	"context"
	"fmt"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// Undo is one thing that a release which was stopped has left where others can
// see it, with the command that undoes it. The commands of a plan are meant to
// be run in its order.
type Undo struct {
	// Code is left_journal, left_channel, left_bundle, left_object, left_files or left_app;
	// left_unknown is what could not be found out, and its command finds it out.
	Code string `json:"code"`
	What string `json:"what"` // one line for people
	// Command is the command line, its first word capstan.
	Command []string `json:"command"`
}

// Shell writes the command as a shell takes it.
func (u Undo) Shell() string {
	words := make([]string, len(u.Command))
	for i, word := range u.Command {
		words[i] = quote(word)
	}
	return strings.Join(words, " ")
}

// quote puts a word in quotes where a shell would take it for more than one, or
// for something else than itself.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=+,@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Reach are the flags with which a command gets to where this release goes. Those
// of the storage come beside those of the registry.
type Reach struct{ Registry, Storage []string }

// Undo says what the release id has left and how to undo it, as the journal tells
// it and the server does now: a change whose answer got lost is found there. It
// changes nothing. A release that is through gives an empty plan.
func (p *Pipeline) Undo(ctx context.Context, id string) ([]Undo, error) {
	state, err := p.Journals.Read(id)
	if err != nil || state.Ended {
		return nil, err
	}
	return p.undo(ctx, state), nil
}

// undoing bounds how long the server is asked after a release was stopped:
// somebody waits at the terminal, and can end that with a second signal.
const undoing = 8 * time.Second

func (p *Pipeline) undo(ctx context.Context, s State) []Undo {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
	defer cancel()
	var plan []Undo
	plan = append(plan, p.undoChannel(ctx, s)...)
	plan = append(plan, p.undoBundle(ctx, s)...)
	plan = append(plan, p.undoObjects(ctx, s)...)
	plan = append(plan, p.undoApp(ctx, s)...)
	if s.Sealed != nil || len(plan) > 0 {
		// First: a release that is given up cannot be continued by mistake when
		// half of it is gone.
		plan = append([]Undo{{"left_journal", "the release waits to be continued", append(p.registryCommand("release", "--give-up="+s.ID), p.Reach.Storage...)}}, plan...)
	}
	return plan
}

// began reports whether a stage may have changed something: it is done, or it is
// the one that was stopped.
func (s State) began(stage StageName, done bool) bool { return done || s.FailedStage == stage }

func (p *Pipeline) registryCommand(words ...string) []string {
	return append(append([]string{"capstan"}, words...), p.Reach.Registry...)
}

func (p *Pipeline) undoChannel(ctx context.Context, s State) []Undo {
	name, app, version := s.Plan.Channel, s.Plan.AppID, s.Plan.Version
	if name == "" || s.Preflight == nil || !s.began(StagePromote, s.Promoted != nil) {
		return nil
	}
	channel, err := p.Registry.Channel(ctx, app, name)
	switch {
	case isClass(err, failure.NotFound):
		return nil
	case err != nil:
		return []Undo{{"left_unknown", fmt.Sprintf("whether %s has moved is not known: %s", name, err), p.registryCommand("channel", "show", name, app)}}
	case liveName(channel) != version:
		return nil
	}
	before := s.Preflight.Live
	switch {
	case before == "" && s.Preflight.Server == "capstan" && s.Preflight.Revision == 0:
		return []Undo{{"left_channel", fmt.Sprintf("channel %s is new and serves %s", name, version), p.registryCommand("channel", "delete", name, app, "--confirm="+name, "--yes")}}
	case before == "" || before == capgo.Builtin:
		return []Undo{{"left_channel", fmt.Sprintf("channel %s serves %s, and served the store build before", name, version),
			p.registryCommand("channel", "set", name, app, "--bundle="+capgo.Builtin, "--confirm="+name)}}
	}
	return []Undo{{"left_channel", fmt.Sprintf("channel %s serves %s, and served %s before", name, version, before),
		p.registryCommand("channel", "rollback", name, app, "--to="+before, "--confirm="+name)}}
}

func (p *Pipeline) undoBundle(ctx context.Context, s State) []Undo {
	app, version := s.Plan.AppID, s.Plan.Version
	if s.Sealed == nil || !s.began(StageRegister, s.Registered != nil) {
		return nil
	}
	have, err := p.Registry.Bundle(ctx, app, version)
	switch {
	case isClass(err, failure.NotFound):
		return nil
	case err != nil && s.Registered == nil:
		return []Undo{{"left_unknown", fmt.Sprintf("whether bundle %s is registered is not known: %s", version, err), p.registryCommand("bundle", "show", version, app)}}
	case err == nil && !sameBundle(have, s.Sealed):
		return nil // somebody else's
	}
	return []Undo{{"left_bundle", fmt.Sprintf("bundle %s is registered for %s", version, app), p.registryCommand("bundle", "delete", version, app, "--confirm="+version)}}
}

func (p *Pipeline) undoObjects(ctx context.Context, s State) []Undo {
	if s.Sealed == nil || s.Plan.External != nil || !s.began(StageUpload, s.Uploaded != nil) {
		return nil
	}
	names := []string{ObjectName(s.Plan.AppID, s.Plan.Version, s.Sealed.ObjectSHA256)}
	if s.SecondSealed != nil {
		names = append(names, ObjectName(s.Plan.AppID, s.Plan.Version, s.SecondSealed.ObjectSHA256))
	}
	var plan []Undo
	for _, name := range names {
		_, err := p.Storage.Stat(ctx, name)
		if isClass(err, failure.NotFound) {
			continue
		}
		what := fmt.Sprintf("object %s is in storage", name)
		if err != nil {
			what = fmt.Sprintf("object %s may be in storage: %s", name, err)
		}
		command := append(p.registryCommand("storage", "delete", name, "--yes"), p.Reach.Storage...)
		plan = append(plan, Undo{"left_object", what, command})
	}
	if s.Plan.Delta && s.Uploaded != nil && s.Uploaded.Delta != nil {
		plan = append(plan, Undo{"left_files", fmt.Sprintf("%d delta files are in storage; other bundles may use the same", s.Uploaded.Delta.Files),
			append(p.registryCommand("fsck", s.Plan.AppID), p.Reach.Storage...)})
	}
	return plan
}

// undoApp comes last: an app goes when nothing is left in it.
func (p *Pipeline) undoApp(ctx context.Context, s State) []Undo {
	if !s.NewApp {
		return nil
	}
	app := s.Plan.AppID
	_, err := p.Registry.App(ctx, app)
	switch {
	case isClass(err, failure.NotFound):
		return nil
	case err != nil:
		return []Undo{{"left_unknown", fmt.Sprintf("whether the app %s was made is not known: %s", app, err), p.registryCommand("app", "list")}}
	}
	return []Undo{{"left_app", fmt.Sprintf("the app %s is new on the server", app), p.registryCommand("app", "delete", app, "--confirm="+app)}}
}

// ParseObjectName takes a bundle's object name apart: <appId>/<version>/<sha256>.zip.
// The version is as ObjectName wrote it.
func ParseObjectName(name string) (appID, version string, ok bool) {
	appID, rest, _ := strings.Cut(name, "/")
	version, file, _ := strings.Cut(rest, "/")
	sum, zip := strings.CutSuffix(file, ".zip")
	ok = zip && appID != "" && version != "" && len(sum) == 64 && strings.Trim(sum, "0123456789abcdef") == ""
	return appID, version, ok
}
