package profile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/remote"
	"capstan/core/remote/storage"
	"capstan/core/remote/transport"
)

// CapgoServer is the hosted service, used when a Capgo token is all there is.
const CapgoServer = "https://api.capgo.app"

// Secrets are the named secrets of a key store, where tokens are kept.
// *keys.Secrets is one. Get gives code secret_not_found when there is none.
type Secrets interface {
	Get(ctx context.Context, name string) (string, error)
}

// Flags are what the command line says. An empty field says nothing.
type Flags struct {
	Server, Storage, PublicURL, Channel, KeyStore string
	// Secrets is where tokens are looked for; nil for this user's key store.
	Secrets Secrets
	// HTTP does the calls of client and storage; nil for one with sensible limits.
	HTTP *http.Client
}

// Resolved is a profile with everything that is needed to use it.
type Resolved struct {
	Profile
	// Root is the project's folder: where capstan.toml is, or where it would be.
	Root string
	// Sources says where each set field comes from, by its name in the file.
	Sources map[string]string
	// TokenSource says where the server's token comes from, "" when there is none.
	TokenSource string
	// Client opens the registry; see Connect.
	Client remote.Config
	// Credentials open the storage; see OpenStorage.
	Credentials storage.Credentials
}

// Names of where a field comes from.
const (
	FromFlag        = "flag"
	FromEnvironment = "environment"
	FromOverride    = "your override for this project"
	FromProject     = FileName
	FromUser        = "your profiles.toml"
	FromCapacitor   = "the Capacitor config"
	FromCapgo       = "the Capgo token"
	FromServer      = "the server"
)

// Resolve finds the profile called name for the project in dir; name "" is the
// project's default. It reads files and the key store and connects to nothing.
// A missing server or storage is no error here but in Connect and OpenStorage.
func Resolve(ctx context.Context, dir, name string, flags Flags) (Resolved, error) {
	root, err := Root(dir)
	if err != nil {
		return Resolved{}, err
	}
	userPath, err := UserFile()
	if err != nil {
		return Resolved{}, err
	}
	project, err := readFile(filepath.Join(root, FileName), true)
	if err != nil {
		return Resolved{}, err
	}
	user, err := readFile(userPath, false)
	if err != nil {
		return Resolved{}, err
	}
	r := Resolved{Root: root, Sources: map[string]string{}}
	if r.Name, err = choose(name, root, project, user); err != nil {
		return Resolved{}, err
	}
	for _, layer := range []struct {
		profile Profile
		source  string
	}{
		{Profile{Server: flags.Server, Storage: flags.Storage, PublicURL: flags.PublicURL, Channel: flags.Channel, KeyStore: flags.KeyStore}, FromFlag},
		{Profile{Server: os.Getenv("CAPSTAN_SERVER"), Storage: os.Getenv("CAPSTAN_STORAGE"), PublicURL: os.Getenv("CAPSTAN_PUBLIC_URL"),
			Channel: os.Getenv("CAPSTAN_CHANNEL"), KeyStore: os.Getenv("CAPSTAN_KEY_STORE")}, FromEnvironment},
		{user.Projects[root][r.Name], FromOverride},
		{project.Profiles[r.Name], FromProject},
		{user.Profiles[r.Name], FromUser},
		{Profile{Server: localAPI(root)}, FromCapacitor},
	} {
		merge(&r.Profile, layer.profile, layer.source, r.Sources)
	}
	if err := r.finish(ctx, flags); err != nil {
		return Resolved{}, err
	}
	return r, nil
}

// Prepare makes a profile that is not saved yet usable, so that it can be tried
// out: nothing but p counts, and the token of its server.
func Prepare(ctx context.Context, dir string, p Profile, flags Flags) (Resolved, error) {
	root, err := Root(dir)
	if err != nil {
		return Resolved{}, err
	}
	r := Resolved{Root: root, Sources: map[string]string{}}
	r.Name = p.Name
	merge(&r.Profile, p, FromFlag, r.Sources)
	return r, r.finish(ctx, flags)
}

// finish finds the token and derives what opens client and storage.
func (r *Resolved) finish(ctx context.Context, flags Flags) error {
	if err := check("the resolved profile", r.Name, r.Profile); err != nil {
		return err
	}
	var fromProject Profile
	if r.Sources["storage"] == FromProject {
		fromProject.Storage = r.Storage
	}
	if r.Sources["upload_url"] == FromProject {
		fromProject.UploadURL = r.UploadURL
	}
	if err := noPrograms("read the profiles", fromProject); err != nil {
		return err
	}
	if scheme := schemeOf(r.Storage); len(r.UploadURL) > 0 && scheme != "https+put" && scheme != "http+put" {
		return failure.New(failure.Usage, "upload_url_malformed", "read the profiles", "upload_url is for a storage that takes a PUT", "write the storage as https+put:// with the address where objects are read")
	}
	secrets := flags.Secrets
	if secrets == nil {
		dir, err := ConfigDir()
		if err != nil {
			return err
		}
		ring, err := keys.NewRing(dir, keys.Options{})
		if err != nil {
			return err
		}
		secrets = ring.SecretStore()
	}
	token, source, err := r.findToken(ctx, secrets)
	if err != nil {
		return err
	}
	r.TokenSource = source
	if r.Server == "" && (source == "CAPGO_TOKEN" || source == "~/.capgo") {
		r.Server, r.Sources["server"] = CapgoServer, FromCapgo
	}
	merge(&r.Profile, Profile{Storage: ownStorage(r.Server)}, FromServer, r.Sources)
	r.Client = remote.Config{BaseURL: r.Server, Token: token, HTTP: flags.HTTP, AllowHTTP: r.AllowHTTP}
	r.Credentials = storage.Credentials{HTTP: flags.HTTP, AllowHTTP: r.AllowHTTP, Headers: r.Headers, UploadURL: r.UploadURL}
	r.Credentials.Token, err = r.storageToken(ctx, secrets, token)
	return err
}

// Connect opens the registry client.
func (r Resolved) Connect() (*remote.Client, error) {
	if r.Server == "" {
		return nil, failure.New(failure.Usage, "server_missing", "open the server", "no server is set",
			"capstan profile init asks for it; or pass --server, or set CAPSTAN_SERVER")
	}
	return remote.New(r.Client)
}

// OpenStorage opens the storage: the profile's, else the server's own.
func (r Resolved) OpenStorage(ctx context.Context) (storage.Storage, error) {
	if r.Storage == "" {
		return nil, failure.New(failure.Usage, "storage_missing", "open the storage", "no storage is set",
			"capstan profile init asks for it; or pass --storage, or set CAPSTAN_STORAGE")
	}
	return storage.Open(ctx, r.Storage, r.PublicURL, r.Credentials)
}

// choose finds which profile a name, or no name, means.
func choose(name, root string, project, user file) (string, error) {
	names := known(root, project, user)
	if name != "" {
		if slices.Contains(names, name) || name == DefaultName {
			return name, nil
		}
		hint := "capstan profile init makes one"
		if len(names) > 0 {
			hint = "known are " + strings.Join(names, ", ")
		}
		return "", failure.Newf(failure.NotFound, "profile_unknown", "choose the profile", hint, "there is no profile %s", transport.Clean(name))
	}
	switch {
	case project.Default != "":
		return choose(project.Default, root, project, user)
	case slices.Contains(names, DefaultName):
		return DefaultName, nil
	case len(project.Profiles) == 1:
		for only := range project.Profiles {
			return only, nil
		}
	case user.Default != "":
		return choose(user.Default, root, project, user)
	case len(project.Profiles) > 1:
		return "", failure.Newf(failure.Usage, "profile_ambiguous", "choose the profile", "pass --profile, or set default in "+FileName, "there are %s", strings.Join(names, ", "))
	}
	return DefaultName, nil
}

// known lists the names of all profiles, sorted.
func known(root string, project, user file) []string {
	var names []string
	for _, from := range []map[string]Profile{project.Profiles, user.Profiles, user.Projects[root]} {
		for name := range from {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// List gives the names of the profiles that a project and this user have,
// and the one that is used without a choice ("" when there is none).
func List(dir string) (names []string, standard string, err error) {
	root, err := Root(dir)
	if err != nil {
		return nil, "", err
	}
	userPath, err := UserFile()
	if err != nil {
		return nil, "", err
	}
	project, err := readFile(filepath.Join(root, FileName), true)
	if err != nil {
		return nil, "", err
	}
	user, err := readFile(userPath, false)
	if err != nil {
		return nil, "", err
	}
	names = known(root, project, user)
	standard, err = choose("", root, project, user)
	if err != nil || !slices.Contains(names, standard) {
		standard = ""
	}
	return names, standard, nil
}

// Described gives what a profile says without opening anything: the files alone,
// in the order in which Resolve reads them, without flags, environment or token.
func Described(dir, name string) (Profile, error) {
	root, err := Root(dir)
	if err != nil {
		return Profile{}, err
	}
	userPath, err := UserFile()
	if err != nil {
		return Profile{}, err
	}
	project, err := readFile(filepath.Join(root, FileName), true)
	if err != nil {
		return Profile{}, err
	}
	user, err := readFile(userPath, false)
	if err != nil {
		return Profile{}, err
	}
	p := Profile{Name: name}
	sources := map[string]string{}
	merge(&p, user.Projects[root][name], FromOverride, sources)
	merge(&p, project.Profiles[name], FromProject, sources)
	merge(&p, user.Profiles[name], FromUser, sources)
	merge(&p, Profile{Storage: ownStorage(p.Server)}, FromServer, sources)
	return p, nil
}

// ownStorage is the storage that comes with a server; "" where none does.
func ownStorage(server string) string {
	if server == "" || isCapgo(server) {
		return ""
	}
	return "capstan+" + strings.TrimRight(server, "/")
}

// TokenName is the name under which the key store keeps a server's token. It
// holds the host, so that a token never goes to another server than the one it
// was stored for.
func TokenName(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return ""
	}
	return "token/" + strings.ToLower(u.Host)
}

// findToken looks in CAPSTAN_TOKEN, the file that CAPSTAN_TOKEN_FILE names, the
// key store, CAPGO_TOKEN and ~/.capgo, in this order.
func (r *Resolved) findToken(ctx context.Context, secrets Secrets) (remote.Token, string, error) {
	if t := remote.NewToken(os.Getenv("CAPSTAN_TOKEN")); !t.Empty() {
		return t, "CAPSTAN_TOKEN", nil
	}
	if path := os.Getenv("CAPSTAN_TOKEN_FILE"); path != "" {
		t, err := readToken(path)
		if err != nil {
			return remote.Token{}, "", failure.Wrap(err, failure.NotAuthorised, "token_file_unreadable", "read the token file", "check the path in CAPSTAN_TOKEN_FILE")
		}
		if t.Empty() {
			return remote.Token{}, "", failure.New(failure.NotAuthorised, "token_file_empty", "read the token file", "the file is empty", "check the path in CAPSTAN_TOKEN_FILE")
		}
		return t, "CAPSTAN_TOKEN_FILE", nil
	}
	if name := TokenName(r.Server); name != "" {
		t, err := secretOf(ctx, secrets, name)
		if err != nil {
			return remote.Token{}, "", err
		}
		if !t.Empty() {
			return t, "the key store", nil
		}
	}
	if t := remote.NewToken(os.Getenv("CAPGO_TOKEN")); !t.Empty() {
		return t, "CAPGO_TOKEN", nil
	}
	return r.capgoFile()
}

// secretOf gives a stored secret; none is no error, a store that is locked is.
func secretOf(ctx context.Context, secrets Secrets, name string) (remote.Token, error) {
	text, err := secrets.Get(ctx, name)
	if f, ok := failure.Find(err); ok && f.Class == failure.NotFound {
		return remote.Token{}, nil
	}
	if err != nil {
		return remote.Token{}, err
	}
	return remote.NewToken(text), nil
}

// capgoFile reads the token that the Capgo CLI stored at login. That login was
// for Capgo: the token goes to Capgo, to this machine, and to a server that the
// user named; not to one that only a project's files name.
func (r *Resolved) capgoFile() (remote.Token, string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return remote.Token{}, "", nil
	}
	t, err := readToken(filepath.Join(home, ".capgo"))
	if err != nil || t.Empty() {
		return remote.Token{}, "", nil
	}
	source := r.Sources["server"]
	if r.Server != "" && !isCapgo(r.Server) && !onThisMachine(r.Server) && (source == FromProject || source == FromCapacitor) {
		return remote.Token{}, "", nil
	}
	return t, "~/.capgo", nil
}

func onThisMachine(server string) bool {
	u, err := url.Parse(server)
	return err == nil && transport.IsLoopback(u.Hostname())
}

// isCapgo reports whether the server is Capgo's hosted service, which keeps no
// objects for this API.
func isCapgo(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return host == "capgo.app" || strings.HasSuffix(host, ".capgo.app") || strings.HasSuffix(host, ".supabase.co")
}

// readToken reads the first line of a small file.
func readToken(path string) (remote.Token, error) {
	f, err := os.Open(path)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err // the path may be private
		}
		return remote.Token{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return remote.Token{}, err
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(raw), []byte("\n"))
	return remote.NewToken(string(line)), nil
}

// storageToken is the server's own token where the storage is the same server,
// else CAPSTAN_STORAGE_TOKEN or what the key store has for the storage's host.
func (r *Resolved) storageToken(ctx context.Context, secrets Secrets, serverToken remote.Token) (remote.Token, error) {
	if r.Storage == "" {
		return remote.Token{}, nil
	}
	u, err := url.Parse(r.Storage)
	if err != nil {
		return remote.Token{}, failure.New(failure.Usage, "storage_url_malformed", "read the profiles", "the storage is no complete URL", "")
	}
	if server, err := url.Parse(r.Server); err == nil && strings.HasPrefix(u.Scheme, "capstan+") && u.Host == server.Host && u.Scheme == "capstan+"+server.Scheme {
		return serverToken, nil
	}
	if t := remote.NewToken(os.Getenv("CAPSTAN_STORAGE_TOKEN")); !t.Empty() {
		return t, nil
	}
	if u.Host == "" || slices.Contains([]string{"file", "s3", "gs", "azblob"}, u.Scheme) {
		return remote.Token{}, nil
	}
	return secretOf(ctx, secrets, "token/"+strings.ToLower(u.Host))
}

// localAPI is the management API that the project's Capacitor config names for
// the Capgo CLI; "" when the config is not plain JSON or names none.
func localAPI(root string) string {
	raw, err := os.ReadFile(filepath.Join(root, "capacitor.config.json"))
	if err != nil || len(raw) > maxFile {
		return ""
	}
	var config struct {
		Plugins struct {
			CapacitorUpdater struct {
				LocalAPI string `json:"localApi"`
			} `json:"CapacitorUpdater"`
		} `json:"plugins"`
	}
	if json.Unmarshal(raw, &config) != nil {
		return ""
	}
	return config.Plugins.CapacitorUpdater.LocalAPI
}

// noPrograms refuses what capstan.toml must not hold: a file that comes with a
// project must not be able to run programs here. Code exec_in_project.
func noPrograms(op string, p Profile) error {
	switch {
	case schemeOf(p.Storage) == "exec":
		return failure.Newf(failure.Usage, "exec_in_project", op, "put it into your own profiles.toml, or pass it with --storage",
			"%s names a program to run as storage", FileName)
	case len(p.UploadURL) > 0:
		return failure.Newf(failure.Usage, "exec_in_project", op, "put upload_url into your own profiles.toml: capstan profile set --mine",
			"%s names a program to run for upload URLs", FileName)
	}
	return nil
}

// schemeOf is the scheme of a storage, which has no case; white space before it
// does not count.
func schemeOf(storage string) string {
	scheme, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(storage)), ":")
	return scheme
}
