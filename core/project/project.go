// Package project knows a Capacitor project: where it is, what its config says,
// which versions of what it holds, and what is wrong with it.
//
// Open finds and reads a project, (*Project).PlanEdit plans a change of its
// config, Doctor looks for what keeps releases from reaching devices. Nothing
// of the project is executed, except its capacitor.config in the sandbox of
// package config.
package project

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"

	"capstan/core/failure"
	"capstan/core/project/config"
)

// PluginName is the npm name of the updater plugin.
const PluginName = "@capgo/capacitor-updater"

// Edit is a planned change of the config.
type Edit = config.Edit

// Project is an opened Capacitor project. Paths are absolute. A value that the
// project does not have is empty.
type Project struct {
	Root       string // folder of the config
	Workspace  string // root of the monorepo, or Root
	ConfigPath string

	AppID      string // plugins.CapacitorUpdater.appId, else appId
	AppName    string
	WebDir     string // folder of the web build
	Version    string // bundle version: plugins.CapacitorUpdater.version, else package.json
	VersionIn  string // file that Version comes from
	ServerURL  string // server.url: live reload, which blocks updates
	PublicKey  string // PEM, as in the config
	PrivateKey bool   // the config carries a private key, as the V1 scheme did

	UpdateURL, StatsURL, ChannelURL, DefaultChannel string

	Plugin          Plugin
	PluginVersion   string // Plugin.Version
	CapacitorMajor  int    // major version of @capacitor/core, 0 when unknown
	Native          Native
	NativePackages  map[string]NativePackage
	Git             Git
	CI              CI
	EnvDependencies []string // environment variables that the config looks at, sorted

	// Config is the whole evaluated config; numbers are json.Number.
	Config map[string]any
	// ConfigFrom is the file that Config was read from: ConfigPath, or a copy in
	// a native project when ConfigError is set.
	ConfigFrom string
	// ConfigError says why ConfigPath itself could not be evaluated.
	ConfigError error
	// Warnings about the config, such as JSON that Capacitor cannot parse.
	Warnings []string
	// Shadowed are config files that Capacitor ignores because ConfigPath comes first.
	Shadowed []string

	file   *config.File
	env    config.Environment
	synced []synced
}

// Options change how a project is opened. The zero value is what Open uses.
type Options struct {
	// Env is what the config sees as process.env; nil is the environment of this process.
	Env config.Environment
	// NoGit leaves Project.Git empty: asking git takes several processes.
	NoGit bool
}

// Open finds the project that dir belongs to and reads it. Failure codes:
// project_not_found, project_ambiguous (class Usage; Find lists the choices,
// Remember settles it) and those of the config.
func Open(dir string) (*Project, error) {
	return OpenWith(context.Background(), dir, Options{})
}

// OpenWith is Open with a context and options.
func OpenWith(ctx context.Context, dir string, o Options) (*Project, error) {
	candidates, err := Find(dir)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(candidates)
	if err != nil {
		return nil, err
	}
	return read(ctx, chosen, o)
}

// OpenConfig opens the project of one config file.
func OpenConfig(ctx context.Context, configPath string, o Options) (*Project, error) {
	path, err := filepath.Abs(configPath)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "project_unreadable", "open project", "")
	}
	dir := filepath.Dir(path)
	return read(ctx, Candidate{Root: dir, ConfigPath: path, Workspace: workspaceOf(dir)}, o)
}

func read(ctx context.Context, c Candidate, o Options) (*Project, error) {
	env := o.Env
	if env == nil {
		env = processEnvironment()
	}
	p := &Project{Root: c.Root, Workspace: c.Workspace, ConfigPath: c.ConfigPath, ConfigFrom: c.ConfigPath, env: env}
	for _, name := range config.Names {
		other := filepath.Join(p.Root, name)
		if other != p.ConfigPath && exists(other) {
			p.Shadowed = append(p.Shadowed, other)
		}
	}
	var err error
	if p.file, err = config.Read(c.ConfigPath, p.Workspace); err != nil {
		return nil, err
	}
	p.synced = readSynced(p.Root)
	value, err := p.file.Evaluate(ctx, env)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		p.Config, p.EnvDependencies, p.Warnings = value.Object, value.Env, value.Warnings
	default:
		// The copies that cap sync made are plain JSON: good enough to show.
		p.ConfigError = err
		for _, s := range p.synced {
			if s.config != nil {
				p.Config, p.ConfigFrom = s.config, s.path
				break
			}
		}
		if p.Config == nil {
			return nil, err
		}
	}
	p.fill()
	if !o.NoGit {
		p.Git = readGit(ctx, p.Root)
	}
	p.CI = readCI(env)
	return p, nil
}

// AppPrivateKey is the private key of the first scheme that the config gives to
// the app, as PEM; "" when there is none. It is a secret of little worth: every
// copy of the app holds it.
func (p *Project) AppPrivateKey() string { return p.updater("privateKey") }

// fill takes the fields out of the config and the files around it.
func (p *Project) fill() {
	p.AppID = first(p.updater("appId"), p.text("appId"))
	p.AppName = p.text("appName")
	webDir := first(p.text("webDir"), "www") // Capacitor's default
	if !filepath.IsAbs(webDir) {
		webDir = filepath.Join(p.Root, filepath.FromSlash(webDir))
	}
	p.WebDir = webDir
	p.ServerURL = p.text("server", "url")
	p.PublicKey = p.updater("publicKey")
	p.PrivateKey = p.updater("privateKey") != ""
	p.UpdateURL, p.StatsURL, p.ChannelURL = p.updater("updateUrl"), p.updater("statsUrl"), p.updater("channelUrl")
	p.DefaultChannel = p.updater("defaultChannel")

	p.Version, p.VersionIn = p.updater("version"), p.ConfigFrom
	if p.Version == "" {
		p.Version, p.VersionIn = p.packageVersion()
	}
	p.Plugin = p.findPlugin()
	p.PluginVersion = p.Plugin.Version
	p.CapacitorMajor = p.capacitorMajor()
	p.Native = readNative(p.Root)
	p.NativePackages = p.findNativePackages()
}

// text gives a string of the config.
func (p *Project) text(keys ...string) string {
	v, _ := config.Lookup(p.Config, keys...)
	s, _ := v.(string)
	return s
}

// updater gives a string setting of the updater plugin.
func (p *Project) updater(key string) string { return p.text("plugins", "CapacitorUpdater", key) }

// Setting gives a setting of the updater plugin as JSON decodes it.
func (p *Project) Setting(key string) (any, bool) {
	return config.Lookup(p.Config, "plugins", "CapacitorUpdater", key)
}

// PlanEdit plans to set settings of the updater plugin; see config.Editable for
// which. Nothing is written before Apply.
func (p *Project) PlanEdit(changes map[string]string) (Edit, error) {
	return p.PlanEditContext(context.Background(), changes)
}

// PlanEditContext is PlanEdit with a context. Where the config is not under
// version control, Apply keeps the old text as a .bak file.
func (p *Project) PlanEditContext(ctx context.Context, changes map[string]string) (Edit, error) {
	edit, err := p.file.Change(ctx, changes, p.env)
	if err != nil {
		return edit, err
	}
	if edit.Changed() && !p.Git.Present {
		apply, backup, text, mode := edit.Apply, p.ConfigPath+".bak", p.file.Text, p.file.Mode.Perm()
		edit.Apply = func() error {
			if err := os.WriteFile(backup, text, mode); err != nil {
				return failure.Wrap(err, failure.Failed, "config_unwritable", "keep the old config", "")
			}
			return apply()
		}
	}
	return edit, nil
}

// Relative gives a path as people write it: relative to the project where it is inside.
func (p *Project) Relative(path string) string {
	if rel, err := filepath.Rel(p.Root, path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	if rel, err := filepath.Rel(p.Workspace, path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return path
}

func processEnvironment() config.Environment {
	env := config.Environment{}
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// pattern compiles a regular expression when it is first used: most commands
// never look at a project, and starting them should cost nothing.
func pattern(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// textLimit bounds every file that is read whole: package.json, gradle and
// Xcode files. Lock files and Xcode projects of large apps have a few MB.
const textLimit = 32 << 20

// readText reads a regular file, empty when it is absent or too large.
func readText(path string) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > textLimit {
		return ""
	}
	in, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, textLimit))
	if err != nil {
		return ""
	}
	return string(text)
}

// manifest is what is read of a package.json.
type manifest struct {
	Name             string            `json:"name"`
	Version          string            `json:"version"`
	Dependencies     map[string]string `json:"dependencies"`
	DevDependencies  map[string]string `json:"devDependencies"`
	PeerDependencies map[string]string `json:"peerDependencies"`
	Workspaces       json.RawMessage   `json:"workspaces"`
	Capacitor        struct {
		IOS     json.RawMessage `json:"ios"`
		Android json.RawMessage `json:"android"`
	} `json:"capacitor"`
}

var errNoManifest = errors.New("no package.json")

func readManifest(dir string) (manifest, error) {
	var m manifest
	text := readText(filepath.Join(dir, "package.json"))
	if text == "" {
		return m, errNoManifest
	}
	return m, json.Unmarshal([]byte(text), &m)
}

// workspaceGlobs are the folders that a package.json names as workspaces.
func (m manifest) workspaceGlobs() []string {
	var list []string
	if json.Unmarshal(m.Workspaces, &list) == nil {
		return list
	}
	var object struct{ Packages []string }
	_ = json.Unmarshal(m.Workspaces, &object)
	return object.Packages
}

// upwards gives dir and its parents up to and including stop.
func upwards(dir, stop string) []string {
	var dirs []string
	for {
		dirs = append(dirs, dir)
		parent := filepath.Dir(dir)
		if dir == stop || parent == dir {
			return dirs
		}
		dir = parent
	}
}

// packageVersion is the version of the nearest package.json that has one.
func (p *Project) packageVersion() (version, path string) {
	for _, dir := range upwards(p.Root, p.Workspace) {
		if m, err := readManifest(dir); err == nil && m.Version != "" {
			return m.Version, filepath.Join(dir, "package.json")
		}
	}
	return "", ""
}

// dependencies are the packages that the project asks for, nearest
// package.json first.
func (p *Project) dependencies() map[string]string {
	all := map[string]string{}
	for _, dir := range upwards(p.Root, p.Workspace) {
		m, err := readManifest(dir)
		if err != nil {
			continue
		}
		for _, group := range []map[string]string{m.Dependencies, m.DevDependencies} {
			for name, version := range group {
				if _, nearer := all[name]; !nearer {
					all[name] = version
				}
			}
		}
	}
	return all
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
