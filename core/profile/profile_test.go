package profile_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/remote/storage"
)

// secrets is a key store in memory.
type secrets map[string]string

func (s secrets) Get(_ context.Context, name string) (string, error) {
	if v, ok := s[name]; ok {
		return v, nil
	}
	return "", failure.New(failure.NotFound, "secret_not_found", "read secret", "none", "")
}

// locked is a key store that cannot be opened.
type locked struct{}

func (locked) Get(context.Context, string) (string, error) {
	return "", failure.New(failure.KeyStore, "keyring_locked", "read secret", "the keyring is locked", "unlock it")
}

// place makes an empty home and a project folder with the given files.
func place(t *testing.T, project, user string) (dir string) {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"CAPSTAN_TOKEN", "CAPSTAN_TOKEN_FILE", "CAPGO_TOKEN", "CAPSTAN_SERVER", "CAPSTAN_STORAGE", "CAPSTAN_PUBLIC_URL",
		"CAPSTAN_CHANNEL", "CAPSTAN_KEY_STORE", "CAPSTAN_STORAGE_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("CAPSTAN_HOME", filepath.Join(home, "capstan"))
	dir = filepath.Join(home, "app")
	write(t, filepath.Join(dir, ".git", "HEAD"), "x")
	if project != "" {
		write(t, filepath.Join(dir, profile.FileName), project)
	}
	if user != "" {
		write(t, filepath.Join(home, "capstan", "profiles.toml"), strings.ReplaceAll(user, "ROOT", dir))
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func resolve(t *testing.T, dir, name string, flags profile.Flags) profile.Resolved {
	t.Helper()
	if flags.Secrets == nil {
		flags.Secrets = secrets{}
	}
	r, err := profile.Resolve(t.Context(), dir, name, flags)
	if err != nil {
		t.Fatalf("Resolve %q: %v", name, err)
	}
	return r
}

const twoProfiles = `
default = "staging"
[profiles.staging]
server = "https://staging.example.com"
channel = "beta"
[profiles.live]
server = "https://updates.example.com"
storage = "s3://bundles?endpoint=s3.example.com"
public_url = "https://cdn.example.com"
channel = "production"
key_store = "keyring"
`

func TestLayers(t *testing.T) {
	dir := place(t, twoProfiles, `
[profiles.live]
channel = "everywhere"
[projects."ROOT".live]
storage = "file:///srv/www"
`)
	r := resolve(t, dir, "live", profile.Flags{Channel: "night"})
	t.Logf("%+v", r.Sources)
	if r.Server != "https://updates.example.com" || r.Sources["server"] != profile.FromProject ||
		r.Storage != "file:///srv/www" || r.Sources["storage"] != profile.FromOverride ||
		r.Channel != "night" || r.Sources["channel"] != profile.FromFlag || r.KeyStore != "keyring" {
		t.Errorf("the profile is %+v from %v", r.Profile, r.Sources)
	}
	t.Setenv("CAPSTAN_SERVER", "https://other.example.com")
	if r := resolve(t, filepath.Join(dir), "live", profile.Flags{}); r.Server != "https://other.example.com" || r.Channel != "production" {
		t.Errorf("with an environment the profile is %+v", r.Profile)
	}
}

func TestDefaults(t *testing.T) {
	for what, test := range map[string]struct{ project, user, want string }{
		"nothing":               {"", "", "default"},
		"named default":         {twoProfiles, "", "staging"},
		"the only one":          {"[profiles.only]\nchannel = \"x\"\n", "", "only"},
		"called default":        {"[profiles.a]\n[profiles.default]\n", "", "default"},
		"the user's":            {"", "default = \"mine\"\n[profiles.mine]\n", "mine"},
		"project before user's": {twoProfiles, "default = \"mine\"\n[profiles.mine]\n", "staging"},
	} {
		dir := place(t, test.project, test.user)
		if r := resolve(t, dir, "", profile.Flags{}); r.Name != test.want {
			t.Errorf("%s: the profile is %s, want %s", what, r.Name, test.want)
		}
	}
	dir := place(t, "[profiles.a]\n[profiles.b]\n", "")
	if _, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "profile_ambiguous" {
		t.Errorf("two profiles without a default give %v", err)
	}
	if _, err := profile.Resolve(t.Context(), dir, "c", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "profile_unknown" || !strings.Contains(failure.HintOf(err), "a, b") {
		t.Errorf("an unknown profile gives %v (%s)", err, failure.HintOf(err))
	}
}

func TestFoundFromSubfolder(t *testing.T) {
	dir := place(t, twoProfiles, "")
	sub := filepath.Join(dir, "www", "assets")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := resolve(t, sub, "", profile.Flags{}); r.Root != dir || r.Name != "staging" {
		t.Errorf("from a subfolder the root is %s", r.Root)
	}
	// A capstan.toml above the repository belongs to something else.
	inner := filepath.Join(dir, "other")
	write(t, filepath.Join(inner, ".git", "HEAD"), "x")
	if r := resolve(t, inner, "", profile.Flags{}); r.Root != inner {
		t.Errorf("a repository without capstan.toml takes that of %s", r.Root)
	}
}

func TestTokenOrder(t *testing.T) {
	dir := place(t, twoProfiles, "")
	home := filepath.Dir(dir)
	write(t, filepath.Join(home, "token"), "from-file\nsecond line\n")
	write(t, filepath.Join(home, ".capgo"), "from-capgo-file\n")
	store := secrets{"token/staging.example.com": "from-store"}
	want := func(token, source string) {
		t.Helper()
		r := resolve(t, dir, "", profile.Flags{Secrets: store, Server: "https://staging.example.com"})
		if r.Client.Token.Reveal() != token || r.TokenSource != source {
			t.Errorf("the token is from %q, want %q", r.TokenSource, source)
		}
		if !strings.HasPrefix(r.Storage, "capstan+https://staging.example.com") || r.Credentials.Token.Reveal() != token {
			t.Errorf("the storage is %s, and its token is another one", r.Storage)
		}
	}
	t.Setenv("CAPSTAN_TOKEN", "from-env")
	t.Setenv("CAPSTAN_TOKEN_FILE", filepath.Join(home, "token"))
	t.Setenv("CAPGO_TOKEN", "from-capgo-env")
	want("from-env", "CAPSTAN_TOKEN")
	t.Setenv("CAPSTAN_TOKEN", "")
	want("from-file", "CAPSTAN_TOKEN_FILE")
	t.Setenv("CAPSTAN_TOKEN_FILE", "")
	want("from-store", "the key store")
	store = secrets{"token/updates.example.com": "of another server"}
	want("from-capgo-env", "CAPGO_TOKEN")
	t.Setenv("CAPGO_TOKEN", "")
	want("from-capgo-file", "~/.capgo")
	// Only a project's file names the server: the login for Capgo is not for it.
	if r := resolve(t, dir, "", profile.Flags{}); r.TokenSource != "" || !r.Client.Token.Empty() {
		t.Errorf("the token of ~/.capgo goes to the server that capstan.toml names")
	}
	t.Setenv("CAPSTAN_TOKEN_FILE", filepath.Join(home, "absent"))
	if _, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "token_file_unreadable" {
		t.Errorf("a token file that is absent gives %v", err)
	}
	t.Setenv("CAPSTAN_TOKEN_FILE", "")
	if _, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: locked{}}); failure.CodeOf(err) != "keyring_locked" {
		t.Errorf("a locked key store gives %v: it must not be looked past", err)
	}
}

func TestCapgoWithoutProfile(t *testing.T) {
	dir := place(t, "", "")
	write(t, filepath.Join(filepath.Dir(dir), ".capgo"), "key")
	r := resolve(t, dir, "", profile.Flags{})
	if r.Server != profile.CapgoServer || r.TokenSource != "~/.capgo" || r.Storage != "" {
		t.Errorf("with a Capgo login alone the profile is %+v, token from %q", r.Profile, r.TokenSource)
	}
	if _, err := r.Connect(); err != nil {
		t.Error(err)
	}
	if _, err := r.OpenStorage(t.Context()); failure.CodeOf(err) != "storage_missing" || failure.HintOf(err) == "" {
		t.Errorf("no storage gives %v", err)
	}
	write(t, filepath.Join(dir, "capacitor.config.json"), `{"appId":"a.b","plugins":{"CapacitorUpdater":{"localApi":"https://capgo.example.com/functions/v1"}}}`)
	if r := resolve(t, dir, "", profile.Flags{}); r.Server != "https://capgo.example.com/functions/v1" || r.TokenSource != "" {
		t.Errorf("localApi gives %+v, token from %q", r.Profile, r.TokenSource)
	}
}

func TestNothingConfigured(t *testing.T) {
	dir := place(t, "", "")
	r := resolve(t, dir, "", profile.Flags{})
	if _, err := r.Connect(); failure.CodeOf(err) != "server_missing" || failure.HintOf(err) == "" {
		t.Errorf("no server gives %v", err)
	}
	if _, err := profile.Resolve(t.Context(), dir, "", profile.Flags{}); err != nil { // the user's own key store, which is empty
		t.Errorf("the user's key store gives %v", err)
	}
}

// TestSecretsAreRefused: whatever the name and place, a secret does not pass in
// the file that is committed, and no error repeats it.
func TestSecretsAreRefused(t *testing.T) {
	const canary = "canary-b9f2"
	for what, content := range map[string]string{
		"token":           "[profiles.a]\ntoken = \"" + canary + "\"\n",
		"at the top":      "api_key = \"" + canary + "\"\n[profiles.a]\n",
		"other spelling":  "[profiles.a]\naccessKey = \"" + canary + "\"\n",
		"password":        "[profiles.a]\nPassword = \"" + canary + "\"\n",
		"in a table":      "[secrets]\nprod_token = \"" + canary + "\"\n",
		"URL":             "[profiles.a]\nstorage = \"https://user:" + canary + "@host/x\"\n",
		"header":          "[profiles.a]\nstorage = \"https://host/x\"\n[profiles.a.headers]\nAuthorization = \"Bearer " + canary + "\"\n",
		"header by name":  "[profiles.a.headers]\n\"X-JFrog-Api-Key\" = \"" + canary + "\"\n",
		"private key":     "[profiles.a]\nchannel = \"\"\"-----BEGIN RSA PRIVATE KEY-----\n" + canary + "\"\"\"\n",
		"AWS":             "# AKIAIOSFODNN7EXAMPLE " + canary + "\n",
		"age":             "[profiles.a]\nchannel = \"AGE-SECRET-KEY-1" + canary + "\"\n",
		"a forge's token": "# ghp_abcdefghijklmnopqrstuvwxyz0123456789 " + canary + "\n",
	} {
		dir := place(t, content, "")
		_, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: secrets{}})
		if failure.CodeOf(err) != "secret_in_profile" || failure.HintOf(err) == "" {
			t.Errorf("%s gives %v (%s)", what, err, failure.CodeOf(err))
		}
		if err != nil && strings.Contains(err.Error()+failure.HintOf(err), canary) {
			t.Errorf("%s: the error repeats the secret: %v", what, err)
		}
	}
	dir := place(t, "[profiles.a]\nstorage = \"http+put://host/x\"\n[profiles.a.headers]\nAuthorization = \"Bearer {token}\"\n", "")
	if r := resolve(t, dir, "a", profile.Flags{}); r.Credentials.Headers["Authorization"] != "Bearer {token}" {
		t.Errorf("a template gives %+v", r.Credentials.Headers)
	}
}

func TestMalformed(t *testing.T) {
	for what, content := range map[string]string{
		"no TOML":       "server = ",
		"unknown field": "[profiles.a]\nsever = \"https://x.example\"\n",
		"wrong type":    "[profiles.a]\nserver = 5\n",
		"odd name":      "[profiles.\"a b\"]\n",
		"odd store":     "[profiles.a]\nkey_store = \"drawer\"\n",
		"odd storage":   "[profiles.a]\nstorage = \"bucket\"\n",
		"overrides":     "[projects.\"/x\".a]\nchannel = \"y\"\n",
		"odd header":    "[profiles.a.headers]\n\"a b\" = \"x\"\n",
		"too large":     "# " + strings.Repeat("x", 300<<10),
	} {
		dir := place(t, content, "")
		_, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: secrets{}})
		if failure.CodeOf(err) != "profile_malformed" || !strings.Contains(err.Error(), profile.FileName) {
			t.Errorf("%s gives %v (%s)", what, err, failure.CodeOf(err))
		}
	}
	dir := place(t, "[profiles.a]\nserver = \"http://updates.example.com\"\n", "")
	if _, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "url_insecure" {
		t.Errorf("plain http gives %v", err)
	}
	dir = place(t, "[profiles.a]\nserver = \"http://updates.example.com\"\nallow_http = true\n", "")
	if r := resolve(t, dir, "", profile.Flags{}); !r.Client.AllowHTTP || !r.Credentials.AllowHTTP {
		t.Error("plain http that is allowed is not")
	}
}

// TestProgramsOfProjects: a cloned project cannot name a program to run.
func TestProgramsOfProjects(t *testing.T) {
	for _, storage := range []string{"exec:?put=./steal", "exec:///srv/commands.toml", "EXEC:///srv/commands.toml"} {
		dir := place(t, "[profiles.a]\nstorage = \""+storage+"\"\n", "")
		if _, err := profile.Resolve(t.Context(), dir, "", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "exec_in_project" {
			t.Errorf("%q in capstan.toml gives %v", storage, err)
		}
	}
	const put, program = "[profiles.a]\nstorage = \"https+put://files.example.com\"\n", "upload_url = [\"upload-url\", \"{name}\"]\n"
	if _, err := profile.Resolve(t.Context(), place(t, put+program, ""), "", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "exec_in_project" {
		t.Errorf("upload_url in capstan.toml gives %v", err)
	}
	for _, p := range []profile.Profile{{Name: "a", Storage: "exec:x.toml"}, {Name: "a", Storage: "https+put://h.example", UploadURL: []string{"upload-url", "{name}"}}} {
		dir := place(t, put, "")
		if _, err := profile.Save(dir, p, false); failure.CodeOf(err) != "exec_in_project" {
			t.Errorf("saving %+v gives %v", p, err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, profile.FileName)); err != nil || string(text) != put {
			t.Errorf("capstan.toml holds %q now, %v", text, err)
		}
	}
	if r := resolve(t, place(t, put, "[profiles.a]\n"+program), "a", profile.Flags{}); len(r.Credentials.UploadURL) != 2 || r.Sources["upload_url"] != profile.FromUser {
		t.Errorf("upload_url in the user's own file gives %+v", r.Credentials.UploadURL)
	}
}

// TestUploadURL: a program that could never work is refused before it is needed.
func TestUploadURL(t *testing.T) {
	for _, own := range []string{
		"storage = \"https+put://h.example\"\nupload_url = [\"{name}\", \"{name}\"]", "storage = \"https+put://h.example\"\nupload_url = [\"upload-url\"]",
		"storage = \"https+put://h.example\"\nupload_url = [\"upload-url\", \"{name}\", \"{token}\"]", "storage = \"s3://bucket\"\nupload_url = [\"upload-url\", \"{name}\"]",
	} {
		if _, err := profile.Resolve(t.Context(), place(t, "", "[profiles.a]\n"+own+"\n"), "a", profile.Flags{Secrets: secrets{}}); failure.CodeOf(err) != "upload_url_malformed" {
			t.Errorf("%s gives %v", own, err)
		}
	}
}

func TestSave(t *testing.T) {
	dir := place(t, "", "")
	p := profile.Profile{Name: "live", Server: "https://updates.example.com", Channel: "production"}
	path, err := profile.Save(dir, p, false)
	if err != nil || path != filepath.Join(dir, profile.FileName) {
		t.Fatalf("Save gives %s, %v", path, err)
	}
	if r := resolve(t, dir, "", profile.Flags{}); r.Name != "live" || r.Server != p.Server || r.Channel != "production" {
		t.Errorf("what was saved is read as %+v", r.Profile)
	}
	mine := profile.Profile{Name: "live", Channel: "mine"}
	path, err = profile.Save(dir, mine, true)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the user's file has mode %v, %v", info.Mode(), err)
	}
	if r := resolve(t, dir, "", profile.Flags{}); r.Channel != "mine" || r.Server != p.Server {
		t.Errorf("with an override it is %+v", r.Profile)
	}
	if _, err := profile.Save(dir, profile.Profile{Name: "second", Storage: "file:///srv"}, false); err != nil {
		t.Fatal(err)
	}
	names, standard, err := profile.List(dir)
	if err != nil || strings.Join(names, " ") != "live second" || standard != "live" {
		t.Errorf("List gives %v, %s, %v", names, standard, err)
	}
	for _, bad := range []profile.Profile{
		{Name: "no/name"},
		{Name: "x", Server: "updates"},
		{Name: "x", Storage: "https://a:b@host/"},
		{Name: "x", Headers: map[string]string{"Authorization": "Bearer abc"}},
	} {
		if _, err := profile.Save(dir, bad, false); failure.ExitStatus(err) != int(failure.Usage) {
			t.Errorf("saving %+v gives %v", bad, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, profile.FileName))
	if err != nil || strings.Contains(string(raw), "a:b@") {
		t.Errorf("a refused profile was written: %s, %v", raw, err)
	}
}

func TestStorageOpens(t *testing.T) {
	dir := place(t, "", "")
	r := resolve(t, dir, "", profile.Flags{Storage: "file://" + filepath.ToSlash(dir) + "/www", PublicURL: "https://cdn.example.com/"})
	s, err := r.OpenStorage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var _ storage.Storage = s
	if u := s.PublicURL("a/b.zip"); u != "https://cdn.example.com/a/b.zip" {
		t.Errorf("the public URL is %s", u)
	}
}

// TestDescribed: the files alone say what another profile is, the user's own
// override first, and the storage that comes with a server.
func TestDescribed(t *testing.T) {
	t.Setenv("CAPSTAN_SERVER", "https://environment.example.com")
	dir := place(t, "[profiles.a]\nserver = \"https://a.example.com\"\nchannel = \"beta\"\n[profiles.b]\nserver = \"https://b.example.com/\"\nstorage = \"s3://bucket\"\n", "")
	a, err := profile.Described(dir, "a")
	if err != nil || a.Name != "a" || a.Server != "https://a.example.com" || a.Storage != "capstan+https://a.example.com" || a.Channel != "beta" {
		t.Errorf("%+v %v", a, err)
	}
	if b, err := profile.Described(dir, "b"); err != nil || b.Server != "https://b.example.com/" || b.Storage != "s3://bucket" {
		t.Errorf("%+v %v", b, err)
	}
	if none, err := profile.Described(dir, "none"); err != nil || none.Server != "" || none.Storage != "" {
		t.Errorf("%+v %v", none, err)
	}
}
