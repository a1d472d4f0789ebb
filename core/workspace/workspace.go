// Package workspace puts together what a release works with: the Capacitor
// project, the keys, the registry, the storage and the journals. The console and
// the headless commands open one and share it.
package workspace

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/release"
	"capstan/core/remote"
	"capstan/core/remote/storage"
)

// Config says where everything is.
type Config struct {
	// Dir is the project's folder or one inside it. A folder without a project
	// is allowed: the workspace then has none.
	Dir string
	// ConfigDir holds the key index, StateDir the journals. "" is the user's own.
	ConfigDir, StateDir string
	// Target is where releases go. One without a server opens no registry.
	Target profile.Resolved
	Keys   keys.Options
	// NoGit opens the project without asking git, for a first look at it.
	NoGit bool
}

// Workspace is an open Config. Parts that were not configured are nil.
type Workspace struct {
	Config   Config
	Project  *project.Project
	Keys     *keys.Ring
	Registry *remote.Client
	Storage  storage.Storage
	Journals *release.Journals
}

// Open reads the project and opens the rest. It connects to nothing.
func Open(ctx context.Context, c Config) (*Workspace, error) {
	w := &Workspace{Config: c}
	var err error
	if c.ConfigDir == "" {
		if c.ConfigDir, err = profile.ConfigDir(); err != nil {
			return nil, err
		}
	}
	if c.StateDir == "" {
		if c.StateDir, err = StateDir(); err != nil {
			return nil, err
		}
	}
	w.Config = c
	if c.Dir != "" {
		w.Project, err = project.OpenWith(ctx, c.Dir, project.Options{NoGit: c.NoGit})
		if err != nil && failure.CodeOf(err) != "project_not_found" {
			return nil, err
		}
	}
	if w.Keys, err = keys.NewRing(c.ConfigDir, c.Keys); err != nil {
		return nil, err
	}
	if w.Journals, err = release.OpenJournals(filepath.Join(c.StateDir, "releases")); err != nil {
		return nil, err
	}
	if c.Target.Server == "" {
		return w, nil
	}
	if w.Registry, err = c.Target.Connect(); err != nil {
		return nil, err
	}
	if c.Target.Storage != "" {
		c.Target.Credentials.StateDir = filepath.Join(c.StateDir, "uploads")
		w.Storage, err = c.Target.OpenStorage(ctx)
	}
	return w, err
}

// Pipeline gives the machinery of a release.
func (w *Workspace) Pipeline() (*release.Pipeline, error) {
	if w.Registry == nil {
		_, err := w.Config.Target.Connect() // says what is missing
		return nil, err
	}
	cache, err := bundle.OpenCache(filepath.Join(w.Config.StateDir, "delta"))
	if err != nil {
		return nil, err
	}
	p := &release.Pipeline{Reach: w.reach(), Journals: w.Journals, Registry: w.Registry, Storage: w.Storage, Signer: w.Keys.Signer, Cache: cache}
	if p.Storage == nil {
		p.Storage = missingStorage{}
	}
	return p, nil
}

// reach gives the flags with which another command gets to the same places, as
// far as neither the environment nor the profile of this folder says so.
func (w *Workspace) reach() release.Reach {
	var r release.Reach
	target := w.Config.Target
	if dir := w.Config.Dir; dir != "" && dir != "." {
		r.Registry = append(r.Registry, "--project="+dir)
	}
	if target.Name != "" && target.Name != profile.DefaultName {
		r.Registry = append(r.Registry, "--profile="+target.Name)
	}
	if target.Sources["server"] == profile.FromFlag {
		r.Registry = append(r.Registry, "--server="+target.Server)
	}
	if target.Sources["storage"] == profile.FromFlag {
		r.Storage = append(r.Storage, "--storage="+target.Storage)
	}
	if target.Sources["public_url"] == profile.FromFlag {
		r.Storage = append(r.Storage, "--public-url="+target.PublicURL)
	}
	return r
}

// Request is what an operator says of a release; empty fields come from the
// project and the profile.
type Request struct {
	AppID, Dir, Channel, Version, KeyID string
	// NoChannel registers without promoting.
	NoChannel bool
	// Plain leaves the bundle unencrypted and unsigned.
	Plain bool
	// CreateApp lets the release create the app and put its key on record.
	CreateApp                               bool
	MinUpdateVersion, Link, Comment, Reason string
	// AutoMinUpdateVersion and FailOnIncompatible are those of release.Plan.
	AutoMinUpdateVersion, FailOnIncompatible bool
	SourceMaps, NoCodeCheck                  bool
	// SizeBudget in bytes; 0 is the profile's.
	SizeBudget int64
	// Delta makes and registers the single files too.
	Delta        bool
	DeltaQuality int
	// FirstScheme seals for plugins that read nothing newer, with this public key,
	// whose private half the app carries; nil is the second scheme.
	FirstScheme *rsa.PublicKey
}

// Plan fills a release's plan from the request, the project and the keys.
func (w *Workspace) Plan(ctx context.Context, r Request) (release.Plan, error) {
	plan := release.Plan{
		AppID: r.AppID, Version: r.Version, Channel: r.Channel, Dir: r.Dir, MinUpdateVersion: r.MinUpdateVersion,
		Link: r.Link, Comment: r.Comment, Reason: r.Reason, SourceMaps: r.SourceMaps, NoCodeCheck: r.NoCodeCheck, CreateApp: r.CreateApp,
		Delta: r.Delta, DeltaQuality: r.DeltaQuality, SizeBudget: r.SizeBudget,
		AutoMinUpdateVersion: r.AutoMinUpdateVersion, FailOnIncompatible: r.FailOnIncompatible,
	}
	if plan.SizeBudget == 0 {
		var err error
		if plan.SizeBudget, err = w.Config.Target.SizeBudgetBytes(); err != nil {
			return plan, err
		}
	}
	if p := w.Project; p != nil && (plan.AppID == "" || plan.AppID == p.AppID) {
		plan.AppID, plan.AppName, plan.PluginVersion = p.AppID, p.AppName, p.PluginVersion
		plan.Version = or(plan.Version, p.Version)
		plan.Dir = or(plan.Dir, p.WebDir)
		plan.Comment = or(plan.Comment, p.Comment())
		plan.Link = or(plan.Link, p.Link())
		native, err := json.Marshal(p.SortedNativePackages())
		if err != nil {
			return plan, failure.Wrap(err, failure.Failed, "native_packages", "plan the release", "")
		}
		plan.NativePackages = string(native)
		plan.Uncommitted = p.Git.Dirty
	}
	plan.Channel = or(plan.Channel, w.Config.Target.Channel)
	if r.NoChannel {
		plan.Channel = ""
	}
	if plan.Dir != "" {
		dir, err := filepath.Abs(plan.Dir)
		if err != nil {
			return plan, failure.Wrap(err, failure.Failed, "folder_missing", "find the build folder", "")
		}
		plan.Dir = dir
	}
	plan.UpdateURL = w.serverUpdateURL()
	if w.Project != nil {
		plan.AppUpdateURL = w.Project.UpdateURL
	}
	if r.FirstScheme != nil {
		plan.Scheme, plan.KeyID, plan.PublicKey = keys.V1, keys.KeyID(r.FirstScheme), string(keys.EncodePublic(r.FirstScheme))
		return plan, nil
	}
	if r.Plain {
		return plan, nil
	}
	record, err := w.key(ctx, plan.AppID, r.KeyID)
	if err != nil {
		return plan, err
	}
	plan.KeyID, plan.PublicKey = record.KeyID, record.PublicPEM
	return plan, w.secondKey(ctx, &plan, r.KeyID)
}

// secondKey gives a release both keys of an app that changes keys, as far as the
// change has come, unless another key than the current one was asked for. First is the one in the project's config: a server that knows
// only one key gets the bundle sealed for that.
func (w *Workspace) secondKey(ctx context.Context, plan *release.Plan, asked string) error {
	rotation, ok, err := w.Keys.Rotation(plan.AppID)
	if err != nil || !ok || len(rotation.SealingKeys()) < 2 || asked != "" && asked != rotation.SealingKey() {
		return err
	}
	first, second := rotation.NewKeyID, rotation.OldKeyID
	if w.Project != nil && w.Project.AppID == plan.AppID && w.Project.PublicKey != "" {
		if inApp, err := keys.ParsePublic([]byte(w.Project.PublicKey)); err == nil && keys.KeyID(inApp) == second {
			first, second = second, first
		}
	}
	one, err := w.Keys.Find(ctx, first)
	if err != nil {
		return err
	}
	other, err := w.Keys.Find(ctx, second)
	if err != nil {
		return err
	}
	plan.KeyID, plan.PublicKey = one.KeyID, one.PublicPEM
	plan.Second = &release.SecondKey{KeyID: other.KeyID, PublicKey: other.PublicPEM}
	return nil
}

// key finds the record of the named key, or of the app's current one, and
// refuses one that the app's own configuration does not carry.
func (w *Workspace) key(ctx context.Context, appID, keyID string) (keys.Record, error) {
	record, err := w.Keys.Find(ctx, or(keyID, appID))
	if err != nil {
		return record, err
	}
	p := w.Project
	if p == nil || p.AppID != appID || p.PublicKey == "" {
		return record, nil
	}
	inApp, err := keys.ParsePublic([]byte(p.PublicKey))
	if err != nil {
		return record, err
	}
	id := keys.KeyID(inApp)
	if rotation, ok, err := w.Keys.Rotation(appID); err != nil {
		return record, err
	} else if ok && slices.Contains(rotation.SealingKeys(), record.KeyID) && (id == rotation.OldKeyID || id == rotation.NewKeyID) {
		// The config is that of the next native build; the rotation knows which
		// key the apps that are out carry.
		return record, nil
	}
	if id != record.KeyID {
		return record, failure.Newf(failure.Verification, "key_mismatch", "choose the key", "name the key with --key-id, or run capstan doctor",
			"the app carries key %s, the store has %s: devices would refuse the bundle", id, record.KeyID)
	}
	return record, nil
}

// UpdateURL is where to ask as a device: at a capstan server itself, else where
// the app is configured to ask. "" when there is neither.
func (w *Workspace) UpdateURL(ctx context.Context) (string, error) {
	if w.Registry != nil {
		about, err := w.Registry.About(ctx)
		if err != nil {
			return "", err
		}
		if about.Server == "capstan" {
			return w.serverUpdateURL(), nil
		}
	}
	if w.Project == nil {
		return "", nil
	}
	return w.Project.UpdateURL, nil
}

// serverUpdateURL is the update endpoint of a capstan server.
func (w *Workspace) serverUpdateURL() string {
	if w.Config.Target.Server == "" {
		return ""
	}
	return strings.TrimRight(w.Config.Target.Server, "/") + "/updates"
}

// Bump gives the version after the highest one that the project or the registry
// has; part is patch, minor or major.
func (w *Workspace) Bump(ctx context.Context, appID, part string) (string, error) {
	const op = "choose the version"
	highest := semver.MustParse("0.0.0")
	if p := w.Project; p != nil && p.Version != "" && (appID == "" || appID == p.AppID) {
		own, err := semver.StrictNewVersion(p.Version)
		if err != nil {
			return "", release.CheckVersion(p.Version)
		}
		highest, appID = own, p.AppID
	}
	if w.Registry != nil {
		bundles, err := w.Registry.Bundles(ctx, appID)
		if e, ok := failure.Find(err); err != nil && (!ok || e.Class != failure.NotFound) { // the app may not exist yet
			return "", err
		}
		for _, b := range bundles {
			if v, err := semver.StrictNewVersion(b.Name); err == nil && v.GreaterThan(highest) {
				highest = v
			}
		}
	}
	switch part {
	case "patch": // of a pre-release: the release itself
		return new(highest.IncPatch()).String(), nil
	case "minor":
		return new(highest.IncMinor()).String(), nil
	case "major":
		return new(highest.IncMajor()).String(), nil
	}
	return "", failure.Newf(failure.Usage, "bump_unknown", op, "choose patch, minor or major", "there is no part %q of a version", part)
}

// NextVersion proposes the version of a release: the project's own, or the
// next patch above it that is not registered yet.
func (w *Workspace) NextVersion(ctx context.Context, appID string) (string, error) {
	start := "1.0.0"
	if w.Project != nil && w.Project.Version != "" {
		start = w.Project.Version
	}
	version, err := semver.StrictNewVersion(start)
	if err != nil {
		return "", release.CheckVersion(start)
	}
	if w.Registry == nil {
		return version.String(), nil
	}
	bundles, err := w.Registry.Bundles(ctx, appID)
	if e, ok := failure.Find(err); ok && e.Class == failure.NotFound {
		return version.String(), nil // the app itself does not exist yet
	}
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, b := range bundles {
		taken[b.Name] = true
	}
	for taken[version.String()] {
		next := version.IncPatch()
		version = &next
	}
	return version.String(), nil
}

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}

// StateDir is where journals, spool files and logs are: CAPSTAN_HOME/state, or
// capstan below XDG_STATE_HOME (~/.local/state).
func StateDir() (string, error) {
	return userDir("state", func() (string, error) {
		if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
			return dir, nil
		}
		home, err := os.UserHomeDir()
		return filepath.Join(home, ".local", "state"), err
	})
}

// DataDir is where a server and the demo keep their data: CAPSTAN_HOME/data, or
// capstan below XDG_DATA_HOME (~/.local/share).
func DataDir() (string, error) {
	return userDir("data", func() (string, error) {
		if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
			return dir, nil
		}
		home, err := os.UserHomeDir()
		return filepath.Join(home, ".local", "share"), err
	})
}

func userDir(name string, system func() (string, error)) (string, error) {
	if home := os.Getenv("CAPSTAN_HOME"); home != "" {
		return filepath.Join(home, name), nil
	}
	dir, err := system()
	if err != nil {
		return "", failure.Wrap(err, failure.Failed, "home_missing", "find the user's folders", "set HOME, or CAPSTAN_HOME to a folder for capstan's files")
	}
	return filepath.Join(dir, "capstan"), nil
}
