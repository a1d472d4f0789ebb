package project

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"capstan/core/failure"
	"capstan/core/project/config"
)

// checkPublicKey: does the app verify bundles, and with a key it can use?
func checkPublicKey(_ context.Context, p *Project) []Finding {
	var found []Finding
	if p.PrivateKey {
		found = append(found, p.firstScheme())
	}
	if p.PublicKey == "" {
		return append(found, Finding{Code: "public_key_missing", Level: Warn,
			Text: "the config has no publicKey: devices accept unsigned bundles", Hint: "run: capstan key create"})
	}
	if problem := config.PublicKeyProblem(p.PublicKey); problem != "" {
		return append(found, Finding{Code: "public_key_malformed", Level: Block, Text: "publicKey " + problem, Hint: "write it again with: capstan key save"})
	}
	for _, dir := range p.keyFolders() {
		path := filepath.Join(dir, ".capgo_key_v2.pub")
		if other := readText(path); other != "" && !samePublicKey(other, p.PublicKey) {
			found = append(found, Finding{Code: "public_key_file_differs", Level: Warn, Text: p.Relative(path) + " holds another key than the config", Hint: "keep the one that the released apps carry"})
		}
	}
	return orOK(found, "public_key", "publicKey is an RSA key of 2048 bits")
}

// firstScheme explains where an app with a private key in its config stands,
// and the way from there to the second scheme.
func (p *Project) firstScheme() Finding {
	f := Finding{Code: "private_key_in_config", Level: Block,
		Text: "the config carries a private key (the first scheme): everybody who has the app can read its bundles and make others that it accepts"}
	const ship = "then npx cap sync, ship a native build, and give the apps that are out a channel of their own with bundles from --format v1 until they are gone"
	switch {
	case p.PluginVersion == "":
		f.Hint = "make a pair with capstan key create, run capstan key delete_old, " + ship
	case !readsV2(p.PluginVersion):
		f.Hint = "plugin " + p.PluginVersion + " reads nothing newer: update it (6.1.18, 7.0.2 or later in its major), make a pair with capstan key create, run capstan key delete_old, " + ship
	case p.ReadsV1():
		f.Text += "; while it is there plugin " + p.PluginVersion + " opens no bundle of the second scheme"
		f.Hint = "make a pair with capstan key create, run capstan key delete_old, " + ship
	default:
		f.Text += "; plugin " + p.PluginVersion + " does not read it any more"
		f.Hint = "run capstan key delete_old; make a pair with capstan key create if the config has no publicKey"
	}
	return f
}

// keyFolders are where the Capgo CLI puts its key files: the folder it runs in.
func (p *Project) keyFolders() []string {
	if p.Root == p.Workspace {
		return []string{p.Root}
	}
	return []string{p.Root, p.Workspace}
}

func samePublicKey(a, b string) bool {
	strip := func(text string) string {
		var body strings.Builder
		for line := range strings.Lines(strings.ReplaceAll(text, "-----", "\n-----\n")) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") && !strings.Contains(line, "RSA PUBLIC KEY") {
				body.WriteString(line)
			}
		}
		return body.String()
	}
	return strip(a) == strip(b)
}

// checkPrivateKeyFiles: are private keys in the project kept from others and
// from git, and do they belong to the app?
func checkPrivateKeyFiles(ctx context.Context, p *Project) []Finding {
	var found []Finding
	files := 0
	for _, dir := range p.keyFolders() {
		for _, name := range []string{".capgo_key_v2", ".capgo_key"} {
			path := filepath.Join(dir, name)
			info, err := os.Lstat(path)
			if err != nil || info.IsDir() {
				continue
			}
			files++
			shown := p.Relative(path)
			if p.tracked(ctx, path) {
				found = append(found, Finding{Code: "private_key_tracked", Level: Block, Text: shown + " is tracked by git: everybody with the repository has the private key",
					Hint: "git rm --cached " + shown + ", and treat the key as leaked where the repository was shared"})
			} else if p.Git.Present && !p.ignored(ctx, path) {
				ignore, line := filepath.Join(dir, ".gitignore"), name
				found = append(found, Finding{Code: "private_key_not_ignored", Level: Warn, Text: shown + " is not in .gitignore: the next git add would take it", Hint: "add it to .gitignore",
					Fix: &Fix{Text: "add " + line + " to .gitignore", Apply: func(context.Context) error {
						return failure.Wrap(appendLine(ignore, line), failure.Failed, "fix_failed", "change .gitignore", "")
					}}})
			}
			// Windows has no such bits; its ACLs are inherited from the user's folder.
			if runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
				found = append(found, Finding{Code: "private_key_readable", Level: Block, Text: fmt.Sprintf("%s can be read by other users (mode %04o)", shown, info.Mode().Perm()), Hint: "chmod 600 " + shown,
					Fix: &Fix{Text: "make " + shown + " private (0600)", Apply: func(context.Context) error {
						return failure.Wrap(os.Chmod(path, 0o600), failure.Failed, "fix_failed", "change mode", "")
					}}})
			}
			if public, ok := publicHalf(readText(path)); ok && name == ".capgo_key_v2" && config.PublicKeyProblem(p.PublicKey) == "" && !samePublicKey(public, p.PublicKey) {
				found = append(found, Finding{Code: "key_pair_differs", Level: Block, Text: shown + " does not belong to the publicKey of the config: devices would refuse what it signs", Hint: "find the private key of the app, or put the right public key into the config with: capstan key save"})
			}
		}
	}
	if files == 0 {
		return nil
	}
	return orOK(found, "private_key_file", "the private key file is private and not in git")
}

// publicHalf derives the public PEM of a PKCS#1 private one.
func publicHalf(private string) (string, bool) {
	block, _ := pem.Decode([]byte(private))
	if block == nil {
		return "", false
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return "", false
	}
	return encodePublic(&key.PublicKey), true
}

func encodePublic(key *rsa.PublicKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)}))
}
