// Package fsck compares the places where a release leaves its traces: the
// objects in storage, the registry's rows, what the public addresses really
// serve, the signatures with the app's key, the channels' pointers and history,
// the proofs of the server's ledger, and the release journals on this machine. It names every drift, and changes
// nothing.
//
// Start with Check.
package fsck

import (
	"context"
	"crypto/rsa"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/core/remote/storage"
	"capstan/core/remote/transport"
)

// Registry is what is asked of the place where bundles are registered.
type Registry interface {
	App(ctx context.Context, appID string) (capgo.App, error)
	Bundles(ctx context.Context, appID string) ([]capgo.Bundle, error)
	Channels(ctx context.Context, appID string) ([]capgo.Channel, error)
	History(ctx context.Context, appID, channel string) ([]capgo.Change, error)
}

// deltas is a registry that keeps the files of delta updates; *remote.Client.
type deltas interface {
	Files(ctx context.Context, appID, version string) ([]capgo.NewFile, error)
}

// Storage is what is asked of the place where objects are kept.
type Storage interface {
	Stat(ctx context.Context, name string) (storage.Object, error)
	List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error]
	PublicURL(name string) string
}

// Journals are the releases of this machine.
type Journals interface {
	List(ctx context.Context) ([]release.State, error)
	Damaged(ctx context.Context) ([]string, error)
	Spool(id string) int64
}

// Config says what to compare.
type Config struct {
	AppID    string
	Registry Registry
	Storage  Storage  // nil leaves the storage out
	Journals Journals // nil leaves the journals out
	// PublicKey (PEM) stands in where the registry has no key on record; "" for none.
	PublicKey string
	// LedgerKey is what the server signs its ledger with; nil when it is not known.
	LedgerKey note.Verifier
	// All downloads every bundle, not only those that channels serve.
	All bool
	// HTTP fetches the public addresses; nil for a client with sensible limits.
	HTTP *http.Client
	// Progress hears what is looked at; may be nil.
	Progress func(done, total int, what string)
}

// Level says how much a finding matters.
type Level string

// The levels. A note is no drift: it says what could not be compared.
const (
	Note  Level = "note"
	Warn  Level = "warn"
	Block Level = "block"
)

// Finding is one drift.
type Finding struct {
	Code  string `json:"code"`
	Level Level  `json:"level"`
	// Subject is what the finding is about: a bundle, a channel, an object, a release.
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	// Hint says how to put it right.
	Hint string `json:"hint,omitempty"`
	// Served is set for a bundle that a channel serves.
	Served bool `json:"served,omitempty"`
	// Unverified is set when devices cannot or must not take the bundle, because
	// its bytes, its signature or its key are not right.
	Unverified bool `json:"unverified,omitempty"`
}

// Report is what a check found.
type Report struct {
	AppID string    `json:"app"`
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	// What was compared.
	Bundles    int   `json:"bundles"`
	Objects    int   `json:"objects"`    // looked up in storage
	Downloaded int   `json:"downloaded"` // through their public address
	Bytes      int64 `json:"bytes"`      // downloaded
	Channels   int   `json:"channels"`
	Releases   int   `json:"releases"` // journals of this app

	Findings []Finding `json:"findings"`
}

// Err sums the report up: class Verification, code served_unverified, when a
// bundle that a channel serves does not verify; else class Failed, code
// drift_found, when a finding blocks; else nil.
func (r Report) Err() error {
	blocking := 0
	for _, f := range r.Findings {
		if f.Served && f.Unverified {
			return failure.Newf(failure.Verification, "served_unverified", "", f.Hint, "%s is served and does not verify: %s", f.Subject, f.Text)
		}
		if f.Level == Block {
			blocking++
		}
	}
	if blocking == 0 {
		return nil
	}
	return failure.Newf(failure.Failed, "drift_found", "", "each finding names its fix", "%d findings need to be put right", blocking)
}

// check is one run.
type check struct {
	Config
	report   Report
	app      capgo.App
	public   *rsa.PublicKey // nil for an app without a key
	second   *rsa.PublicKey // on record too, while the app changes keys
	bundles  []capgo.Bundle
	channels []capgo.Channel
	serving  map[string][]string // bundle name → channels that serve it
	states   []release.State
}

// Check compares everything. Its error means that the comparison itself could
// not be made; what was found is in the report.
func Check(ctx context.Context, config Config) (Report, error) {
	c := &check{Config: config, serving: map[string][]string{}, report: Report{AppID: config.AppID, At: time.Now().UTC(), Findings: []Finding{}}}
	if c.HTTP == nil {
		c.HTTP = transport.NewHTTP()
	}
	for _, step := range []func(context.Context) error{c.readRegistry, c.checkKey, c.checkChannels, c.checkBundles, c.checkOrphans, c.checkJournals, c.checkLedger} {
		if err := step(ctx); err != nil {
			return c.report, err
		}
	}
	c.report.OK = c.report.Err() == nil
	return c.report, nil
}

func (c *check) add(level Level, code, subject, hint, format string, args ...any) *Finding {
	c.report.Findings = append(c.report.Findings, Finding{Code: code, Level: level, Subject: transport.Clean(subject), Text: fmt.Sprintf(format, args...), Hint: hint})
	return &c.report.Findings[len(c.report.Findings)-1]
}

func (c *check) readRegistry(ctx context.Context) (err error) {
	if c.app, err = c.Registry.App(ctx, c.AppID); err != nil {
		return err
	}
	if c.bundles, err = c.Registry.Bundles(ctx, c.AppID); err != nil {
		return err
	}
	if c.channels, err = c.Registry.Channels(ctx, c.AppID); err != nil {
		return err
	}
	if c.Journals != nil {
		all, err := c.Journals.List(ctx)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Plan.AppID == c.AppID {
				c.states = append(c.states, s)
			}
		}
	}
	c.report.Bundles, c.report.Channels, c.report.Releases = len(c.bundles), len(c.channels), len(c.states)
	for _, ch := range c.channels {
		for _, ref := range []*capgo.VersionRef{ch.Version, ch.RolloutVersionInfo} {
			c.serve(ref, ch.Name)
		}
		for platform, ref := range ch.PlatformVersions {
			c.serve(&ref, ch.Name+" on "+platform)
		}
	}
	return nil
}

// serve notes that a channel, or one of its platforms, serves a bundle.
func (c *check) serve(ref *capgo.VersionRef, by string) {
	if ref != nil && ref.Name != "" && ref.Name != capgo.Builtin {
		c.serving[ref.Name] = append(c.serving[ref.Name], by)
	}
}

// checkKey reads the key that all signatures are held against.
func (c *check) checkKey(context.Context) error {
	pem := c.app.PublicKey
	if pem == "" {
		pem = c.PublicKey
	}
	if pem == "" {
		c.add(Note, "no_key", c.AppID, "capstan app set-key puts one on record", "no public key is known, so that signatures cannot be checked")
		return nil
	}
	public, err := keys.ParsePublic([]byte(pem))
	if err != nil {
		c.add(Block, "key_unreadable", c.AppID, "put the right key on record: capstan app set-key", "the public key on record cannot be read: %v", err)
		return nil
	}
	c.public = public
	if c.app.SecondPublicKey != "" {
		if c.second, err = keys.ParsePublic([]byte(c.app.SecondPublicKey)); err != nil {
			c.add(Block, "key_unreadable", c.AppID, "put the right key on record: capstan key rotate --to both", "the second public key on record cannot be read: %v", err)
		}
	}
	if c.app.PublicKey != "" && c.PublicKey != "" {
		if own, err := keys.ParsePublic([]byte(c.PublicKey)); err == nil && !own.Equal(public) && (c.second == nil || !own.Equal(c.second)) {
			c.add(Warn, "key_differs", c.AppID, "run capstan doctor", "the server has key %s on record, this machine signs with %s", keys.KeyID(public), keys.KeyID(own))
		}
	}
	return nil
}

func (c *check) bundle(name string) *capgo.Bundle {
	for i := range c.bundles {
		if c.bundles[i].Name == name {
			return &c.bundles[i]
		}
	}
	return nil
}

// checkChannels follows the pointers, and holds the live bundle against the
// last entry of the history.
func (c *check) checkChannels(ctx context.Context) error {
	for _, ch := range c.channels {
		c.checkPointer(ch.Name, "channel_dangling", "live bundle", ch.Version)
		c.checkPointer(ch.Name, "rollout_dangling", "rollout's bundle", ch.RolloutVersionInfo)
		for _, platform := range slices.Sorted(maps.Keys(ch.PlatformVersions)) {
			ref := ch.PlatformVersions[platform]
			c.checkPointer(ch.Name, "channel_dangling", platform+" bundle", &ref)
		}
		history, err := c.Registry.History(ctx, c.AppID, ch.Name)
		if failure.CodeOf(err) == "unsupported" {
			continue
		}
		if err != nil {
			return err
		}
		last := slices.IndexFunc(history, movesLive)
		live := capgo.Builtin
		if ch.Version != nil && ch.Version.Name != "" {
			live = ch.Version.Name
		}
		switch {
		case last >= 0 && history[last].To != live:
			c.add(Block, "history_differs", ch.Name, "find out who changed the server's database; capstan channel set makes it right", "channel %s serves %s, and its history ends with %s", ch.Name, live, history[last].To)
		case last < 0 && live != capgo.Builtin && len(history) > 0:
			c.add(Warn, "history_missing", ch.Name, "", "channel %s serves %s, and its history does not say since when", ch.Name, live)
		}
	}
	return nil
}

func (c *check) checkPointer(channel, code, what string, ref *capgo.VersionRef) {
	if ref == nil || ref.Name == capgo.Builtin || ref.Name == "" || c.bundle(ref.Name) != nil {
		return
	}
	c.add(Block, code, channel, "point the channel at a bundle that exists: capstan channel set "+channel+" --bundle VERSION",
		"the %s of channel %s is %s, which does not exist", what, channel, transport.Clean(ref.Name))
}

// checkOrphans looks for objects that no bundle and no unfinished release names.
func (c *check) checkOrphans(ctx context.Context) error {
	if c.Storage == nil {
		c.add(Note, "no_storage", "", "name it with --storage", "no storage is set, so that its objects are not compared")
		return nil
	}
	files, err := c.readFiles(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, b := range c.bundles {
		known[release.ObjectName(c.AppID, b.Name, b.ObjectSHA256)] = true
		for _, s := range b.Seals {
			known[release.ObjectName(c.AppID, b.Name, s.ObjectSHA256)] = true
		}
	}
	for _, s := range c.states {
		if s.Sealed != nil && !s.Ended {
			known[release.ObjectName(c.AppID, s.Plan.Version, s.Sealed.ObjectSHA256)] = true
			// Its files are on record only when it has been registered.
			files.unsure = files.unsure || s.Plan.Delta && s.Registered == nil
			if s.SecondSealed != nil {
				known[release.ObjectName(c.AppID, s.Plan.Version, s.SecondSealed.ObjectSHA256)] = true
			}
		}
	}
	orphans, orphanBytes := 0, int64(0)
	for object, err := range c.Storage.List(ctx, c.AppID+"/") {
		if failure.CodeOf(err) == "unsupported" {
			c.add(Note, "not_listed", "", "", "the storage does not list its objects, so that leftovers cannot be found")
			return nil
		}
		if err != nil {
			return err
		}
		if files.lost(object.Name) {
			orphans, orphanBytes = orphans+1, orphanBytes+object.Size
			continue
		}
		delete(files.names, object.Name)
		if isBundleObject(object.Name, c.AppID) && !known[object.Name] {
			c.add(Warn, "object_orphan", object.Name, "if no release on another machine is under way: capstan storage delete "+transport.Clean(object.Name)+" --yes",
				"no bundle and no unfinished release of this machine names the object %s (%d bytes)", transport.Clean(object.Name), object.Size)
		}
	}
	c.reportFiles(files, orphans, orphanBytes)
	return nil
}

// isBundleObject recognises <appId>/<version>/<sha256>.zip.
func isBundleObject(name, appID string) bool {
	rest, ok := strings.CutPrefix(name, appID+"/")
	_, file, two := strings.Cut(rest, "/")
	return ok && two && len(file) == 64+len(".zip") && strings.HasSuffix(file, ".zip") && !strings.Contains(file, "/")
}

// checkJournals holds what this machine's releases say against the registry.
func (c *check) checkJournals(ctx context.Context) error {
	if c.Journals == nil {
		return nil
	}
	damaged, err := c.Journals.Damaged(ctx)
	if err != nil {
		return err
	}
	for _, id := range damaged {
		c.add(Warn, "journal_damaged", id, "it is of no further use and can be deleted", "the journal of release %s cannot be read", id)
	}
	var idle []release.State // stopped before they made anything, newest first
	for _, s := range c.states {
		if !s.Ended && s.Sealed == nil {
			idle = append(idle, s)
		} else if !s.Ended {
			c.add(Warn, "release_unfinished", s.ID, "continue it: capstan release --resume="+s.ID+"; or end it: capstan release --give-up="+s.ID,
				"release %s of %s %s", s.ID, s.Plan.Version, s.Describe())
		} else if n := c.Journals.Spool(s.ID); n > 0 {
			c.add(Warn, "spool_left", s.ID, "it can be deleted", "release %s is over and still keeps %d bytes", s.ID, n)
		}
		if s.Registered == nil || s.Sealed == nil {
			continue
		}
		b := c.bundle(s.Plan.Version)
		switch {
		case b == nil:
			c.add(Note, "bundle_gone", s.Plan.Version, "", "release %s registered bundle %s, which was deleted since", s.ID, s.Plan.Version)
		case b.PlainChecksum != "" && b.PlainChecksum != s.Sealed.PlainChecksum, b.SessionKey != s.Sealed.SessionKey,
			s.Uploaded != nil && b.ExternalURL != s.Uploaded.URL:
			f := c.add(Block, "journal_differs", s.Plan.Version, "find out who registered it; release again under a new version", "the registry's bundle %s is not the one that release %s registered", s.Plan.Version, s.ID)
			f.Served = len(c.serving[s.Plan.Version]) > 0
		}
	}
	switch n := len(idle); {
	case n == 1:
		c.add(Note, "release_unfinished", idle[0].ID, "continue it: capstan release --resume="+idle[0].ID+"; or end it: capstan release --give-up="+idle[0].ID,
			"release %s of %s packed nothing yet: it %s", idle[0].ID, idle[0].Plan.Version, idle[0].Describe())
	case n > 1:
		c.add(Note, "release_unfinished", "", "capstan release --list shows them; a new release does not need them", "%d releases packed nothing yet, the last of them of %s", n, idle[0].Plan.Version)
	}
	return nil
}
