package keys

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"capstan/core/failure"
)

// Import says which private key to take in, and for whom.
type Import struct {
	AppID string
	Store Kind
	// Path is a file to read: PKCS#1 or PKCS#8 PEM, or an age file made by
	// Export. PEM is its text where there is no file.
	Path string
	PEM  []byte
	// Identities open an age file that is encrypted to recipients; one under a
	// passphrase is asked for.
	Identities []age.Identity
	// Scheme is for which bundles the key is. Empty: V1 for a file called
	// .capgo_key, else V2.
	Scheme Scheme
	// InConfig is the public key in the project's config, "" when there is none.
	InConfig string
}

// Warning is something about an imported key that the operator should know and
// that did not stop the import.
type Warning struct {
	Code string `json:"code"` // loose_mode, git_tracked, git_history, converted, public_differs, pair_differs, v1_scheme
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Import takes an existing private key into a store, after holding it against
// the key policy and against the keys that are known already. The source file
// is not touched.
func (r *Ring) Import(ctx context.Context, in Import) (Record, []Warning, error) {
	const op = "import key"
	if err := CheckAppID(in.AppID); err != nil {
		return Record{}, nil, err
	}
	store, err := r.writable(op, in.Store)
	if err != nil {
		return Record{}, nil, err
	}
	key, warnings, err := r.ReadKeyFile(ctx, in)
	if err != nil {
		return Record{}, nil, err
	}
	scheme := in.Scheme
	if scheme == "" {
		scheme = V2
		if filepath.Base(in.Path) == PrivateFileV1 {
			scheme = V1
		}
	}
	if scheme == V1 {
		warnings = append(warnings, Warning{"v1_scheme",
			"this key belongs to the first encryption scheme: the app carries the private half, and bundles are hidden but not authenticated",
			"make a new pair for the second scheme with capstan key create"})
	}
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return Record{}, nil, err
	}
	defer unlock()
	if err := r.checkSharedPrimes(op, key); err != nil {
		return Record{}, nil, err
	}
	rec := r.record(in.AppID, in.Store, scheme, key)
	rec.Imported = true
	if in.Store != Memory { // an import of the same key that died on the way is finished
		done, finished, err := r.settleOne(ctx, rec.Ref())
		if err != nil || finished {
			return done, warnings, err
		}
	}
	if err := store.Probe(ctx); err != nil {
		return Record{}, nil, err
	}
	rec, err = r.keep(ctx, op, store, rec, key)
	return rec, warnings, err
}

// settleOne is settle for one key.
func (r *Ring) settleOne(ctx context.Context, ref Ref) (Record, bool, error) {
	c, err := r.index.read()
	if err != nil {
		return Record{}, false, err
	}
	i := position(c.Pending, ref)
	if i < 0 {
		return Record{}, false, nil
	}
	return r.settle(ctx, ref.AppID, c.Pending[i].Store)
}

// ReadKeyFile reads and checks the key that an Import names, without storing
// it. The warnings are about the file, the project and what was converted.
func (r *Ring) ReadKeyFile(ctx context.Context, in Import) (*rsa.PrivateKey, []Warning, error) {
	const op = "import key"
	var warnings []Warning
	text := in.PEM
	if in.Path != "" {
		var err error
		if text, err = readKeyText(op, in.Path); err != nil {
			return nil, nil, err
		}
		warnings = fileWarnings(ctx, in.Path)
	}
	defer clear(text)
	if isAge(text) {
		opened, err := r.openAge(ctx, op, text, in.Identities, "passphrase of "+filepath.Base(in.Path))
		if err != nil {
			return nil, nil, err
		}
		if _, err := parseBackup(op, opened); err == nil {
			clear(opened)
			return nil, nil, failure.New(failure.Usage, "key_is_backup", op, "the file is a backup of keys", "capstan key restore takes it")
		}
		text = opened
	}
	key, converted, err := parseAnyPrivate(op, text)
	if err != nil {
		return nil, nil, err
	}
	if converted {
		warnings = append(warnings, Warning{"converted", "the key was PKCS#8 and is kept as PKCS#1, as the Capgo tools read it", ""})
	}
	public := string(EncodePublic(&key.PublicKey))
	if in.Path != "" {
		if w, ok := besideDiffers(in.Path, public); ok {
			warnings = append(warnings, w)
		}
	}
	if in.InConfig != "" {
		if pub, err := ParsePublic([]byte(in.InConfig)); err != nil || string(EncodePublic(pub)) != public {
			id := "something that is not a usable key"
			if err == nil {
				id = "key " + KeyID(pub)
			}
			warnings = append(warnings, Warning{"public_differs",
				fmt.Sprintf("the app's config holds %s, not this key (%s): installed apps would refuse what it signs", id, KeyID(&key.PublicKey)),
				"import the key that belongs to the app, or put this one into the config with capstan key save and ship a new native build"})
		}
	}
	return key, warnings, nil
}

func readKeyText(op, path string) ([]byte, error) {
	text, err := readRegular(path)
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, failure.Newf(failure.NotFound, "key_file_missing", op, "give the path of the private key file, usually .capgo_key_v2", "there is no file %s", clean(path))
	case errors.Is(err, fs.ErrPermission):
		return nil, failure.Newf(failure.NotAuthorised, "key_file_unreadable", op, "check the file's owner and rights", "%s cannot be read", clean(path))
	}
	if info, serr := os.Stat(path); serr == nil && info.Mode().IsRegular() && info.Size() > maxPEM {
		return nil, malformed(op, "", "%s has %d bytes, far more than a key", clean(path), info.Size())
	}
	return nil, malformed(op, "give the path of the private key file, usually .capgo_key_v2", "%s is not a key file", clean(path))
}

// parseAnyPrivate is ParsePrivate that also takes PKCS#8, which it converts.
func parseAnyPrivate(op string, text []byte) (key *rsa.PrivateKey, converted bool, err error) {
	b, err := oneBlock(op, text)
	if err != nil {
		return nil, false, err
	}
	if b.Type != "PRIVATE KEY" {
		key, err = ParsePrivate(text)
		return key, false, err
	}
	if len(b.Headers) != 0 {
		return nil, false, malformed(op, "remove the lines between BEGIN and the key", "the PEM block has header lines")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, false, malformed(op, hintCopyAgain, "the block does not hold a PKCS#8 private key that can be used")
	}
	k, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, false, malformed(op, hintNewKey, "the key is not RSA")
	}
	der := x509.MarshalPKCS1PrivateKey(k)
	defer clear(der)
	key, err = privateFromDER(op, der)
	return key, true, err
}

// checkSharedPrimes refuses a key that has a prime in common with a known one:
// both can then be factored by anyone who has the two public halves.
func (r *Ring) checkSharedPrimes(op string, key *rsa.PrivateKey) error {
	known, err := r.known()
	if err != nil {
		return err
	}
	for _, rec := range known {
		pub, err := rec.Public()
		if err != nil || pub.N.Cmp(key.N) == 0 {
			continue
		}
		if new(big.Int).GCD(nil, nil, pub.N, key.N).Cmp(one) != 0 {
			return weak(op, "the key shares a prime with key %s of %s: both can be computed from their public halves", rec.KeyID, rec.AppID)
		}
	}
	return nil
}

// besideDiffers compares a private key file with the .pub file next to it.
func besideDiffers(path, public string) (Warning, bool) {
	text, err := readRegular(path + ".pub")
	if err != nil {
		return Warning{}, false
	}
	pub, err := ParsePublic(text)
	if err == nil && string(EncodePublic(pub)) == public {
		return Warning{}, false
	}
	return Warning{"pair_differs", fmt.Sprintf("%s.pub is not the public half of this key", clean(filepath.Base(path))),
		"the two files are not a pair; find out which one the app has before using either"}, true
}

// fileWarnings are about where a private key file lies and who could have read it.
func fileWarnings(ctx context.Context, path string) []Warning {
	var warnings []Warning
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		warnings = append(warnings, Warning{"loose_mode",
			fmt.Sprintf("%s can be read by others (mode %04o), as the Capgo tools write it", clean(path), info.Mode().Perm()),
			"remove the file once the key is imported and backed up, or: chmod 600"})
	}
	tracked, inHistory := GitKnows(ctx, path)
	switch {
	case tracked:
		warnings = append(warnings, Warning{"git_tracked", fmt.Sprintf("%s is tracked by git: everyone with the repository has the key", clean(path)),
			"git rm --cached it, add it to .gitignore, and change to a new key with capstan key rotate"})
	case inHistory:
		warnings = append(warnings, Warning{"git_history", fmt.Sprintf("%s is in the history of the git repository: everyone with a clone has the key", clean(path)),
			"change to a new key with capstan key rotate"})
	}
	return warnings
}

// GitKnows reports whether git tracks a file now, and whether any commit ever
// held it. Without git, or outside a repository, both are false.
func GitKnows(ctx context.Context, path string) (tracked, inHistory bool) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false, false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", filepath.Dir(abs)}, args...)...)
		cmd.Env = slices.DeleteFunc(environWithoutKey(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
		cmd.WaitDelay = time.Second
		out, err := cmd.Output()
		return string(out), err == nil
	}
	name := filepath.Base(abs)
	_, tracked = git("ls-files", "--error-unmatch", "--", ":(literal)"+name)
	commits, _ := git("rev-list", "--all", "--max-count=1", "--", ":(literal)"+name)
	return tracked, strings.TrimSpace(commits) != ""
}

// Adopt records the key that this run was given by command, so that later runs
// find it without being given it: the index then holds the command's words. The
// private half stays where it is.
func (r *Ring) Adopt(ctx context.Context, appID string) (Record, error) {
	const op = "adopt key"
	if err := CheckAppID(appID); err != nil {
		return Record{}, err
	}
	s, ok := r.stores[Command].(*single)
	if !ok {
		return Record{}, failure.New(failure.Usage, "usage", op, "no command is given", "give it with --key-command")
	}
	_, text, err := s.load(ctx)
	if err != nil {
		return Record{}, err
	}
	defer clear(text)
	key, err := ParsePrivate(text)
	if err != nil {
		return Record{}, err
	}
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	if err := r.checkSharedPrimes(op, key); err != nil {
		return Record{}, err
	}
	rec := r.record(appID, Command, V2, key)
	rec.Location, rec.Command, rec.Imported = s.location, r.opts.KeyCommand, true
	if known, err := r.known(); err != nil {
		return Record{}, err
	} else if position(known, rec.Ref()) >= 0 {
		return Record{}, exists(op, rec.Ref(), "the index")
	}
	return rec, r.finish(ctx, rec)
}

// Remove deletes a key's private half from its store, and then its record. A
// key that an external command, the environment or a token holds is only forgotten.
func (r *Ring) Remove(ctx context.Context, rec Record) error {
	const op = "remove key"
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := r.index.read()
	if err != nil {
		return err
	}
	if rotation, ok := c.Rotations[rec.AppID]; ok && slices.Contains(rotation.SealingKeys(), rec.KeyID) && rotation.State != Retired {
		return failure.Newf(failure.Conflict, "key_in_rotation", op, "finish or cancel the rotation first", "key %s takes part in the rotation of %s", rec.KeyID, rec.AppID)
	}
	known, err := r.known()
	if err != nil {
		return err
	}
	if position(known, rec.Ref()) < 0 {
		return notFound(op, rec.Ref(), "the index")
	}
	if rec.Store != Command && rec.Store != Environment && rec.Store != PKCS11 {
		store, err := r.store(rec)
		if err != nil {
			return err
		}
		if err := store.Delete(ctx, rec.Ref()); err != nil && !errors.Is(err, ErrNotFound) { // absent: a removal that died half-way
			return err
		}
	}
	if rec.Store == Memory {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.volatile = without(r.volatile, rec.Ref())
		return nil
	}
	return r.index.change(ctx, func(c *contents) error {
		c.Keys = without(c.Keys, rec.Ref())
		return nil
	})
}
