// Package profile says where a project's releases go: which server, which
// storage, which public address, which channel, which key store.
//
// Two files hold profiles, both TOML:
//
//	capstan.toml   in the project's root; committed, shared, and without secrets
//	profiles.toml  in the user's configuration folder; one person's own
//
// A field comes from the first of these that has it: a flag, the environment
// (CAPSTAN_SERVER, CAPSTAN_STORAGE, CAPSTAN_PUBLIC_URL, CAPSTAN_CHANNEL,
// CAPSTAN_KEY_STORE), the user's override for this project, capstan.toml, the
// user's profile for all projects, and for the server the project's
// capacitor.config.json (localApi).
//
// Start with Resolve, which also finds the token and gives what is needed to
// open the client and the storage.
package profile

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
	"github.com/dustin/go-humanize"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/core/remote/transport"
)

// FileName is the project's file.
const FileName = "capstan.toml"

// DefaultName is the profile of a project that names none.
const DefaultName = "default"

// Profile is one place to release to. An empty field is not set.
type Profile struct {
	Name      string `toml:"-" json:"name"`
	Server    string `toml:"server,omitempty" json:"server"`         // base URL of the management API
	Storage   string `toml:"storage,omitempty" json:"storage"`       // URL of the storage, see core/remote/storage
	PublicURL string `toml:"public_url,omitempty" json:"public_url"` // base URL of the objects, for devices
	Channel   string `toml:"channel,omitempty" json:"channel"`
	KeyStore  string `toml:"key_store,omitempty" json:"key_store"` // keyring, file, environment, command
	// AllowHTTP permits plain http to hosts other than this machine, for closed networks.
	AllowHTTP bool `toml:"allow_http,omitempty" json:"allow_http"`
	// SizeBudget is how large a build may be before compression, e.g. "30 MB".
	SizeBudget string `toml:"size_budget,omitempty" json:"size_budget,omitempty"`
	// Headers are templates for storages that take a plain PUT, e.g.
	// "Authorization" = "Bearer {token}"; the token is never written here.
	Headers map[string]string `toml:"headers,omitempty" json:"headers,omitempty"`
	// UploadURL is a program that prints the presigned URL to PUT an object to,
	// for such storages: its arguments, in which {name}, {size} and {sha256} are
	// replaced. capstan.toml cannot name one.
	UploadURL []string `toml:"upload_url,omitempty" json:"upload_url,omitempty"`
}

// file is the content of capstan.toml and of profiles.toml.
type file struct {
	Default  string             `toml:"default,omitempty"`
	Profiles map[string]Profile `toml:"profiles,omitempty"`
	// Projects are overrides by project root; in the user's file only.
	Projects map[string]map[string]Profile `toml:"projects,omitempty"`
}

// ConfigDir is where this user's capstan files are: CAPSTAN_HOME, else the
// folder that the system has for configuration.
func ConfigDir() (string, error) {
	if dir := os.Getenv("CAPSTAN_HOME"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", failure.Wrap(err, failure.Failed, "no_home", "find the configuration folder", "set CAPSTAN_HOME")
	}
	return filepath.Join(dir, "capstan"), nil
}

// UserFile is the path of the user's own profiles.
func UserFile() (string, error) {
	dir, err := ConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "profiles.toml"), nil
}

// Root gives the folder that holds capstan.toml, from dir upwards; dir itself
// when there is none.
func Root(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", failure.Wrap(err, failure.Failed, "folder_missing", "find the project", "")
	}
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, FileName)); err == nil {
			return at, nil
		}
		// A repository's root is the end: a file above it belongs to something else.
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil || filepath.Dir(at) == at {
			return abs, nil
		}
	}
}

// maxFile bounds a profile file in bytes.
const maxFile = 256 << 10

// readFile reads a profile file; one that does not exist is empty.
func readFile(path string, project bool) (file, error) {
	const op = "read the profiles"
	var f file
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, failure.Wrap(err, failure.Failed, "profile_unreadable", op, "")
	}
	if len(raw) > maxFile {
		return f, failure.Newf(failure.Failed, "profile_malformed", op, "", "%s is larger than %d bytes", path, maxFile)
	}
	meta, err := toml.Decode(string(raw), &f)
	if err != nil {
		return f, malformed(path, err)
	}
	if project {
		// Looked for before unknown keys: a token is a secret under any name.
		if err := refuseSecrets(path, meta, string(raw)); err != nil {
			return file{}, err
		}
		if len(f.Projects) > 0 {
			return file{}, failure.Newf(failure.Usage, "profile_malformed", op, "overrides belong into the user's own profiles.toml", "%s has a table projects", path)
		}
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return file{}, failure.Newf(failure.Usage, "profile_malformed", op, "the fields are server, storage, public_url, channel, key_store, size_budget, allow_http, headers, upload_url",
			"%s: unknown key %s", path, transport.Clean(unknown[0].String()))
	}
	for name, p := range f.Profiles {
		if err := check(path, name, p); err != nil {
			return file{}, err
		}
	}
	for _, profiles := range f.Projects {
		for name, p := range profiles {
			if err := check(path, name, p); err != nil {
				return file{}, err
			}
		}
	}
	return f, nil
}

func malformed(path string, err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return failure.Newf(failure.Usage, "profile_malformed", "read the profiles", "", "%s line %d: %s", path, parse.Position.Line, transport.Clean(parse.Message))
	}
	return failure.Newf(failure.Usage, "profile_malformed", "read the profiles", "", "%s: %s", path, transport.Clean(err.Error()))
}

// isName tells what a profile may be called.
func isName(s string) bool {
	for i, c := range []byte(s) {
		if !alphanumeric(c) && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// check refuses a profile that could never work, with the file it stands in.
func check(path, name string, p Profile) error {
	bad := func(format string, args ...any) error {
		return failure.Newf(failure.Usage, "profile_malformed", "read the profiles", "", path+": profile "+transport.Clean(name)+": "+format, args...)
	}
	if !isName(name) {
		return bad("the name may hold letters, digits, dot, dash and underscore")
	}
	if p.Server != "" {
		if _, err := transport.ParseBase(p.Server, p.AllowHTTP); err != nil {
			return failure.Wrap(err, failure.Usage, failure.CodeOf(err), path+": profile "+name, failure.HintOf(err))
		}
	}
	if p.Storage != "" {
		u, err := url.Parse(p.Storage)
		if err != nil || u.Scheme == "" {
			return bad("storage is no complete URL")
		}
	}
	if err := storage.CheckUploadURL(p.UploadURL); err != nil {
		return failure.Wrap(err, failure.Usage, failure.CodeOf(err), path+": profile "+name, failure.HintOf(err))
	}
	if _, err := p.SizeBudgetBytes(); err != nil {
		return failure.Wrap(err, failure.Usage, failure.CodeOf(err), path+": profile "+name, failure.HintOf(err))
	}
	switch p.KeyStore {
	case "", "keyring", "file", "memory", "environment", "command":
	default:
		return bad("key_store %q is none of keyring, file, environment, command", transport.Clean(p.KeyStore))
	}
	for header, value := range p.Headers {
		if !isHeader(header) || strings.ContainsAny(value, "\r\n\x00") {
			return bad("header %q cannot be sent", transport.Clean(header))
		}
		if secretHeader(header) && !strings.Contains(value, "{") {
			return failure.Newf(failure.Usage, "secret_in_profile", "read the profiles", "write {token} in its place and put the token into the keyring or CAPSTAN_STORAGE_TOKEN",
				"%s: profile %s: the header %s holds its secret literally", path, name, header)
		}
	}
	return nil
}

// isHeader tells the name of an HTTP header.
func isHeader(s string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && !strings.ContainsRune("!#$%&'*+.^_`|~-", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func secretHeader(name string) bool {
	name = strings.ToLower(name)
	return name == "authorization" || name == "cookie" || secretKey().MatchString(name)
}

// secretKey recognises the name of a setting that holds a secret.
var secretKey = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(token|secret|passw|passphrase|api[-_]?key|access[-_]?key|private[-_]?key|credential|capgkey)`)
})

// secretValue recognises secrets by their form: a PEM block, an AWS key id, an
// age identity, GitHub's and GitLab's tokens.
var secretValue = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[0-9A-Z]{16}\b|AGE-SECRET-KEY-1|\bgh[pousr]_[A-Za-z0-9]{20,}|\bglpat-[A-Za-z0-9_-]{15,}`)
})

// refuseSecrets keeps secrets out of the file that is committed.
func refuseSecrets(path string, meta toml.MetaData, raw string) error {
	const hint = "remove it from the file and from its history, replace the secret, and put the new one into the keyring or CAPSTAN_TOKEN"
	refuse := func(what string) error {
		return failure.Newf(failure.Usage, "secret_in_profile", "read the profiles", hint, "%s holds a secret (%s), and it is committed with the project", path, transport.Clean(what))
	}
	for _, key := range meta.Keys() {
		if slices.Contains(key, "headers") {
			continue // checked by value: templates are right there
		}
		if last := key[len(key)-1]; meta.Type(key...) != "Hash" && secretKey().MatchString(last) {
			return refuse(key.String())
		}
	}
	if m := secretValue().FindString(raw); m != "" {
		return refuse("a private key or a token by its form")
	}
	for _, line := range strings.Split(raw, "\n") {
		if m := urlWithPassword().FindStringSubmatch(line); m != nil {
			return refuse("a password in a URL")
		}
	}
	return nil
}

// SizeBudgetBytes reads SizeBudget: a number with or without a unit, "30 MB" and
// "30 MiB" alike. 0 means that there is none. Code size_budget_malformed.
func (p Profile) SizeBudgetBytes() (int64, error) {
	if p.SizeBudget == "" {
		return 0, nil
	}
	return ParseSize(p.SizeBudget)
}

// ParseSize reads a size as people write it. Code size_budget_malformed.
func ParseSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, failure.Newf(failure.Usage, "size_budget_malformed", "", "write it as 30 MB", "%q is no size of a build", transport.Clean(text))
	}
	return int64(n), nil
}

var urlWithPassword = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[a-z+]+://[^/@\s"':]+:[^/@\s"']+@`)
})

// merge lays p over the fields that q has: p wins. sources learns where each
// field of p comes from.
func merge(into *Profile, from Profile, source string, sources map[string]string) {
	set := func(field string, have *string, value string) {
		if *have == "" && value != "" {
			*have, sources[field] = value, source
		}
	}
	set("server", &into.Server, from.Server)
	set("storage", &into.Storage, from.Storage)
	set("public_url", &into.PublicURL, from.PublicURL)
	set("channel", &into.Channel, from.Channel)
	set("key_store", &into.KeyStore, from.KeyStore)
	set("size_budget", &into.SizeBudget, from.SizeBudget)
	if from.AllowHTTP && !into.AllowHTTP {
		into.AllowHTTP, sources["allow_http"] = true, source
	}
	if into.Headers == nil && from.Headers != nil {
		into.Headers, sources["headers"] = from.Headers, source
	}
	if into.UploadURL == nil && from.UploadURL != nil {
		into.UploadURL, sources["upload_url"] = from.UploadURL, source
	}
}

// Stored gives what a file itself says of a profile: capstan.toml, or with mine
// this user's override for the project. One that is not there is empty.
func Stored(dir, name string, mine bool) (Profile, error) {
	root, err := Root(dir)
	if err != nil {
		return Profile{}, err
	}
	path := filepath.Join(root, FileName)
	if mine {
		if path, err = UserFile(); err != nil {
			return Profile{}, err
		}
	}
	f, err := readFile(path, !mine)
	if err != nil {
		return Profile{}, err
	}
	p := f.Profiles[name]
	if mine {
		p = f.Projects[root][name]
	}
	p.Name = name
	return p, nil
}

// Save writes a profile into the project's capstan.toml, or with mine set into
// the user's own file as an override for this project. Other profiles stay;
// comments do not survive, because the file is written anew. A program in
// capstan.toml is refused now, and not when the next release reads it.
func Save(dir string, p Profile, mine bool) (path string, err error) {
	const op = "save the profile"
	if err := check("the new profile", p.Name, p); err != nil {
		return "", err
	}
	if !mine {
		if err := noPrograms(op, p); err != nil {
			return "", err
		}
	}
	root, err := Root(dir)
	if err != nil {
		return "", err
	}
	path = filepath.Join(root, FileName)
	if mine {
		if path, err = UserFile(); err != nil {
			return "", err
		}
	}
	f, err := readFile(path, !mine)
	if err != nil {
		return "", err
	}
	if mine {
		if f.Projects == nil {
			f.Projects = map[string]map[string]Profile{}
		}
		if f.Projects[root] == nil {
			f.Projects[root] = map[string]Profile{}
		}
		f.Projects[root][p.Name] = p
	} else {
		if f.Profiles == nil {
			f.Profiles = map[string]Profile{}
		}
		f.Profiles[p.Name] = p
		if f.Default == "" {
			f.Default = p.Name
		}
	}
	var out bytes.Buffer
	out.WriteString("# Where capstan releases this project to. Secrets do not belong here.\n\n")
	if err := toml.NewEncoder(&out).Encode(f); err != nil {
		return "", failure.Wrap(err, failure.Failed, "profile_unwritable", op, "")
	}
	if !mine { // what is written must be readable again, and free of secrets
		var again file
		meta, err := toml.Decode(out.String(), &again)
		if err != nil {
			return "", failure.Wrap(err, failure.Failed, "profile_unwritable", op, "")
		}
		if err := refuseSecrets(path, meta, out.String()); err != nil {
			return "", err
		}
	}
	mode := os.FileMode(0o644)
	if mine {
		mode = 0o600
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", failure.Wrap(err, failure.Failed, "profile_unwritable", op, "")
		}
	}
	if err := writeFile(path, out.Bytes(), mode); err != nil {
		return "", failure.Wrap(err, failure.Failed, "profile_unwritable", op, "")
	}
	return path, nil
}

// writeFile puts a file in place whole or not at all.
func writeFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".capstan-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
