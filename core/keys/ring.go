package keys

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"capstan/core/failure"
)

// Options say how a Ring reaches its stores. The zero value is fit for a
// process that nobody can be asked in.
type Options struct {
	// Passphrase is asked for what exists, NewPassphrase (default: Passphrase)
	// for what is being made; the second is expected to ask twice.
	Passphrase, NewPassphrase Ask
	// Waiting is told when a keyring takes long enough that a prompt is open.
	Waiting func(message string)
	// Environment is the value of CAPSTAN_PRIVATE_KEY, see TakeEnvironment.
	Environment string
	// KeyCommand is a program and its arguments that print the private key.
	KeyCommand []string
	// SecretKind chooses where SecretStore keeps new secrets: Keyring or File.
	// Empty: the keyring where there is one, else a file, 0600.
	SecretKind Kind
	// KeyringDeadline bounds each keyring call; zero means 60 seconds.
	KeyringDeadline time.Duration
	// WorkFactor is scrypt's cost as a power of two; zero means
	// DefaultWorkFactor. Below 16 is for keys that are thrown away.
	WorkFactor int
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	testOnlyKeyring osKeyring
	testOnlyFault   func(step string) error
	testOnlyKey     *rsa.PrivateKey // what Create makes instead of a new key
}

// Ring knows every key of this user: which store holds it, since when, and for
// which app. Its methods may be called from several goroutines, and several
// processes may share one folder.
type Ring struct {
	dir     string
	opts    Options
	index   index
	disk    disk
	stores  map[Kind]Store
	keyring *keyringStore
	files   *fileStore
	now     func() time.Time

	mu       sync.Mutex
	volatile []Record // of keys in memory: they are not written down
	compared map[Ref]bool
	tokens   map[Ref]crypto.Signer // that are open
}

// NewRing opens the ring whose index and key files are in dir. Nothing is
// created or contacted yet.
func NewRing(dir string, o Options) (*Ring, error) {
	if dir == "" {
		return nil, failure.New(failure.Usage, "usage", "open key ring", "no folder is given", "")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "folder_unwritable", "open key ring", "")
	}
	if o.NewPassphrase == nil {
		o.NewPassphrase = o.Passphrase
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.testOnlyKeyring == nil {
		o.testOnlyKeyring = systemKeyring{}
	}
	d := disk{fault: o.testOnlyFault}
	r := &Ring{dir: dir, opts: o, disk: d, compared: map[Ref]bool{}, tokens: map[Ref]crypto.Signer{}, now: func() time.Time { return o.Now().UTC().Truncate(time.Second) }}
	r.index = index{dir: dir, disk: d}
	r.keyring = newKeyringStore(o.testOnlyKeyring, o.KeyringDeadline, o.Waiting)
	r.files = newFileStore(filepath.Join(dir, "keys"), o.WorkFactor, o.Passphrase, o.NewPassphrase, d)
	r.stores = map[Kind]Store{Keyring: r.keyring, File: r.files, Memory: newMemoryStore()}
	if o.Environment != "" {
		r.stores[Environment] = newEnvironmentStore(o.Environment)
	}
	if len(o.KeyCommand) != 0 {
		r.stores[Command] = newCommandStore(o.KeyCommand)
	}
	return r, nil
}

// DefaultDir is the folder of the user's ring: $CAPSTAN_HOME if set, else
// capstan in the system's folder for settings.
func DefaultDir() (string, error) {
	if home := os.Getenv("CAPSTAN_HOME"); home != "" {
		return home, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", failure.Wrap(err, failure.Failed, "no_config_folder", "find settings folder", "set CAPSTAN_HOME to a folder")
	}
	return filepath.Join(config, "capstan"), nil
}

// Dir is the ring's folder.
func (r *Ring) Dir() string { return r.dir }

// Forget clears the passphrases that were given in this run, and logs out of
// tokens.
func (r *Ring) Forget() {
	r.files.forget()
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, signer := range r.tokens {
		if session, ok := signer.(io.Closer); ok {
			_ = session.Close() // the token ends the session by itself when the process does
		}
		delete(r.tokens, ref)
	}
}

// writable gives a store that can keep a new key.
func (r *Ring) writable(op string, kind Kind) (Store, error) {
	switch kind {
	case Keyring, File, Memory:
		return r.stores[kind], nil
	case Environment, Command:
		return nil, readOnly(op, kind)
	case PKCS11:
		return nil, failure.New(failure.Usage, "store_read_only", op, "a token makes its keys itself and takes none in", "capstan key create --store pkcs11 makes one on it, capstan key import --store pkcs11 records one that is there")
	case "":
		return nil, failure.New(failure.Usage, "store_not_chosen", op, "no key store is chosen", "choose --store keyring or --store file")
	}
	if s, ok := r.stores[kind]; ok {
		return s, nil
	}
	return nil, failure.Newf(failure.Usage, "store_unknown", op, "choose --store keyring or --store file", "there is no key store %q", clean(string(kind)))
}

// Probe shows whether a new key could be kept in a kind of store.
func (r *Ring) Probe(ctx context.Context, kind Kind) error {
	s, err := r.writable("probe key store", kind)
	if err != nil {
		return err
	}
	return s.Probe(ctx)
}

// store gives the store that holds a recorded key.
func (r *Ring) store(rec Record) (Store, error) {
	if rec.Store == Command && len(rec.Command) != 0 {
		return newCommandStore(rec.Command), nil
	}
	s, ok := r.stores[rec.Store]
	if !ok {
		return nil, failure.Newf(failure.KeyStore, "store_missing", "open key store", "give the key as it was given before, or import it", "key %s came from the %s, which is not given now", rec.KeyID, rec.Store)
	}
	return s, nil
}

// Create makes a new pair for an app and stores its private half. Only after
// the half was read back and compared does the key count as created and stand
// in the index. If an earlier Create for the app and store died on the way and
// its key is whole, that key is finished and returned instead of another one.
func (r *Ring) Create(ctx context.Context, appID string, kind Kind) (Record, error) {
	const op = "create key"
	if err := CheckAppID(appID); err != nil {
		return Record{}, err
	}
	store, err := r.writable(op, kind)
	if err != nil {
		return Record{}, err
	}
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	if kind != Memory {
		if rec, done, err := r.settle(ctx, appID, kind); err != nil || done {
			return rec, err
		}
	}
	if err := store.Probe(ctx); err != nil {
		return Record{}, err
	}
	key := r.opts.testOnlyKey
	if key == nil {
		if key, err = Generate(); err != nil {
			return Record{}, err
		}
	}
	return r.keep(ctx, op, store, r.record(appID, kind, V2, key), key)
}

// record describes a key that is about to be kept.
func (r *Ring) record(appID string, kind Kind, scheme Scheme, key *rsa.PrivateKey) Record {
	return Record{
		AppID: appID, KeyID: KeyID(&key.PublicKey), PublicPEM: string(EncodePublic(&key.PublicKey)),
		Scheme: scheme, Store: kind, Created: r.now(),
	}
}

// keep stores a private half and records it: note in the index that it is
// coming, store, read back, compare, and only then turn the note into a record.
// The caller holds the creation lock.
func (r *Ring) keep(ctx context.Context, op string, store Store, rec Record, key *rsa.PrivateKey) (Record, error) {
	ref := rec.Ref()
	rec.Location = store.Location(ref)
	if err := r.vacant(ctx, op, ref); err != nil {
		return Record{}, err
	}
	if rec.Store != Memory {
		err := r.index.change(ctx, func(c *contents) error {
			c.Pending = append(without(c.Pending, ref), rec)
			return nil
		})
		if err != nil {
			return Record{}, err
		}
	}
	pem := EncodePrivate(key)
	defer clear(pem)
	if err := r.storeAndCompare(ctx, op, store, ref, pem); err != nil {
		return Record{}, err
	}
	if err := r.finish(ctx, rec); err != nil {
		return Record{}, err
	}
	return rec, nil
}

// vacant refuses a key that is recorded and in its store. One that is recorded
// and gone from there may be stored again: that is how a lost one is restored.
func (r *Ring) vacant(ctx context.Context, op string, ref Ref) error {
	known, err := r.known()
	if err != nil {
		return err
	}
	i := position(known, ref)
	if i < 0 {
		return nil
	}
	there, err := r.holds(ctx, known[i])
	if err != nil {
		return err
	}
	if there {
		return exists(op, ref, known[i].Location)
	}
	return nil
}

// holds reports whether a recorded key is still in its store.
func (r *Ring) holds(ctx context.Context, rec Record) (bool, error) {
	if rec.Store == PKCS11 { // to look would ask for the PIN
		return true, nil
	}
	store, err := r.store(rec)
	if err != nil {
		return false, err
	}
	return store.Has(ctx, rec.Ref())
}

// storeAndCompare puts the private half into the store and reads it back. On a
// definite failure the note in the index goes too; where the store's state is
// not known (a deadline, a cancellation) the note stays for settle to look at.
func (r *Ring) storeAndCompare(ctx context.Context, op string, store Store, ref Ref, pem []byte) error {
	err := store.Put(ctx, ref, pem)
	if err == nil {
		var back []byte
		back, err = store.Get(ctx, ref)
		defer clear(back)
		if err == nil && subtle.ConstantTimeCompare(back, pem) == 1 {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.compared[ref] = true
			return nil
		}
		if err == nil {
			err = failure.New(failure.KeyStore, "key_store_failed", op, "the store gave back another key than was stored; nothing was created", "choose another --store")
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeDeadline)
		defer cancel()
		if derr := store.Delete(undo, ref); derr != nil && !errors.Is(derr, ErrNotFound) {
			return err // the note stays: the half is still there
		}
	} else if errors.Is(err, ErrTimeout) || ctx.Err() != nil {
		return err
	}
	_ = r.index.change(context.WithoutCancel(ctx), func(c *contents) error { // a note too many is harmless
		c.Pending = without(c.Pending, ref)
		return nil
	})
	return err
}

// finish turns the note of a stored key into its record.
func (r *Ring) finish(ctx context.Context, rec Record) error {
	if rec.Store == Memory {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.volatile = append(r.volatile, rec)
		return nil
	}
	return r.index.change(ctx, func(c *contents) error {
		c.Pending = without(c.Pending, rec.Ref())
		c.Keys = append(without(c.Keys, rec.Ref()), rec)
		return nil
	})
}

// settle looks at the notes that dead or interrupted creations left for an app
// and store. A whole key is finished and returned with done; where nothing was
// stored the note is dropped. The caller holds the creation lock, so no note
// belongs to a creation that still runs.
func (r *Ring) settle(ctx context.Context, appID string, kind Kind) (rec Record, done bool, err error) {
	c, err := r.index.read()
	if err != nil {
		return Record{}, false, err
	}
	for _, rec := range c.Pending {
		if rec.AppID != appID || rec.Store != kind {
			continue
		}
		store, err := r.store(rec)
		if err != nil {
			return Record{}, false, err
		}
		there, err := store.Has(ctx, rec.Ref())
		if err != nil {
			return Record{}, false, err
		}
		if there {
			if _, err := r.open(ctx, store, rec); err != nil {
				return Record{}, false, err
			}
			return rec, true, r.finish(ctx, rec)
		}
		err = r.index.change(ctx, func(c *contents) error {
			c.Pending = without(c.Pending, rec.Ref())
			return nil
		})
		if err != nil {
			return Record{}, false, err
		}
	}
	return Record{}, false, nil
}

// Abandon drops the interrupted creation of a key, with whatever of it reached
// the store.
func (r *Ring) Abandon(ctx context.Context, rec Record) error {
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := r.index.read()
	if err != nil {
		return err
	}
	if position(c.Pending, rec.Ref()) < 0 {
		return notFound("abandon key", rec.Ref(), "the interrupted creations")
	}
	store, err := r.store(rec)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, rec.Ref()); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return r.index.change(ctx, func(c *contents) error {
		c.Pending = without(c.Pending, rec.Ref())
		return nil
	})
}

// known gives the recorded keys, those in memory included.
func (r *Ring) known() ([]Record, error) {
	c, err := r.index.read()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(c.Keys, r.volatile...), nil
}

// List gives the keys of an app, or of all apps for "", newest first. Keys
// whose creation was interrupted come with Unfinished. Keys that are only
// given for this run, by environment or command, come first, without reading
// a command's key when that fails.
func (r *Ring) List(ctx context.Context, appID string) ([]Record, error) {
	c, err := r.index.read()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	all := append(c.Keys, r.volatile...)
	r.mu.Unlock()
	for _, rec := range c.Pending {
		rec.Unfinished = true
		all = append(all, rec)
	}
	slices.SortStableFunc(all, func(a, b Record) int { return b.Created.Compare(a.Created) })
	if appID == "" {
		return all, nil
	}
	return slices.DeleteFunc(all, func(rec Record) bool { return rec.AppID != appID }), nil
}

// Given is the key that this run was given by command or environment, in that
// order, or ok false when there is none. The record carries the app asked for.
func (r *Ring) Given(ctx context.Context, appID string) (rec Record, ok bool, err error) {
	for _, kind := range []Kind{Command, Environment} {
		s, isGiven := r.stores[kind].(*single)
		if !isGiven {
			continue
		}
		_, pem, err := s.load(ctx)
		if err != nil {
			return Record{}, false, err
		}
		key, err := ParsePrivate(pem)
		clear(pem)
		if err != nil {
			return Record{}, false, err
		}
		rec := r.record(appID, kind, V2, key)
		rec.Location, rec.Created = s.location, time.Time{}
		return rec, true, nil
	}
	return Record{}, false, nil
}

// Find gives the key to use for a query: a key id, a fingerprint, or an app id,
// which means the app's current key. A key given for this run by command or
// environment goes before the index.
func (r *Ring) Find(ctx context.Context, query string) (Record, error) {
	const op = "find key"
	byApp := !isKeyID(query) && !strings.HasPrefix(query, "SHA256:")
	given, ok, err := r.Given(ctx, "")
	if err != nil {
		return Record{}, err
	}
	if ok && byApp {
		given.AppID = query
		return given, nil
	}
	if ok && (given.KeyID == query || given.Fingerprint() == query) {
		return given, nil
	}
	known, err := r.known()
	if err != nil {
		return Record{}, err
	}
	slices.SortStableFunc(known, func(a, b Record) int { return b.Created.Compare(a.Created) })
	if byApp {
		if rec, ok, err := r.current(query, known); err != nil || ok {
			return rec, err
		}
		return Record{}, failure.Newf(failure.NotFound, "key_not_found", op, "capstan key create makes one, capstan key import takes an existing one", "no key is known for %s", clean(query))
	}
	for _, rec := range known {
		if rec.KeyID == query || rec.Fingerprint() == query {
			return rec, nil
		}
	}
	return Record{}, failure.Newf(failure.NotFound, "key_not_found", op, "capstan key list shows the keys that are known here", "no key %s is known", clean(query))
}

// current is the key that seals an app's new bundles: the one its rotation
// says, else the newest that is not retired. Keys of the first scheme, which
// every app carries, never sign. known is sorted, newest first.
func (r *Ring) current(appID string, known []Record) (Record, bool, error) {
	c, err := r.index.read()
	if err != nil {
		return Record{}, false, err
	}
	rotation, rotating := c.Rotations[appID]
	for _, rec := range known {
		if rec.AppID != appID || rec.Retired || rec.Scheme == V1 {
			continue
		}
		if rotating && rec.KeyID != rotation.SealingKey() {
			continue
		}
		return rec, true, nil
	}
	return Record{}, false, nil
}

// open reads a recorded key from its store and makes sure that it is the one
// that the record describes.
func (r *Ring) open(ctx context.Context, store Store, rec Record) (*rsa.PrivateKey, error) {
	read := func() ([]byte, error) { return store.Get(ctx, rec.Ref()) }
	if given, ok := store.(*single); ok && rec.AppID == "" { // a key given for this run, asked for by its id
		read = func() ([]byte, error) { return given.get(ctx, rec.Ref()) }
	}
	pem, err := read()
	if err != nil {
		return nil, err
	}
	defer clear(pem)
	key, err := ParsePrivate(pem)
	if err != nil {
		return nil, err
	}
	if string(EncodePublic(&key.PublicKey)) != rec.PublicPEM {
		return nil, failure.Newf(failure.KeyStore, "key_mismatch", "read key", "restore the key from a backup", "%s holds another key than %s", store.Location(rec.Ref()), rec.KeyID)
	}
	return key, nil
}

// Signer opens the private half of a key for signing. keyID may be anything
// that Find takes.
func (r *Ring) Signer(ctx context.Context, keyID string) (crypto.Signer, error) {
	rec, err := r.Find(ctx, keyID)
	if err != nil {
		return nil, err
	}
	return r.SignerOf(ctx, rec)
}

// SignerOf is Signer for a record at hand.
func (r *Ring) SignerOf(ctx context.Context, rec Record) (crypto.Signer, error) {
	if rec.Scheme == V1 {
		return nil, failure.Newf(failure.Usage, "key_scheme", "open key", "make a pair for the second scheme with capstan key create; --format v1 uses this one",
			"key %s is of the first scheme, whose private half is in every app: its signature would prove nothing", rec.KeyID)
	}
	signer, err := r.signerOf(ctx, rec)
	if err != nil {
		return nil, err
	}
	// The date of last use is a courtesy: a folder that cannot be written must
	// not keep a release from being signed.
	_ = r.touch(ctx, rec.Ref(), func(rec *Record) { rec.LastUsed = r.now() })
	return signer, nil
}

func (r *Ring) signerOf(ctx context.Context, rec Record) (crypto.Signer, error) {
	if rec.Store == PKCS11 {
		return r.onToken(ctx, rec)
	}
	store, err := r.store(rec)
	if err != nil {
		return nil, err
	}
	key, err := r.open(ctx, store, rec)
	if err != nil {
		return nil, err
	}
	return NewSigner(key), nil
}

// touch changes a record in the index, if it is there.
func (r *Ring) touch(ctx context.Context, ref Ref, edit func(*Record)) error {
	c, err := r.index.read()
	if err != nil || position(c.Keys, ref) < 0 {
		return err
	}
	return r.index.change(ctx, func(c *contents) error {
		if i := position(c.Keys, ref); i >= 0 {
			edit(&c.Keys[i])
		}
		return nil
	})
}

// Check opens a key's private half and throws it away: nil means that the store
// holds exactly the key that is on record.
func (r *Ring) Check(ctx context.Context, rec Record) error {
	if rec.Store == PKCS11 {
		signer, err := r.onToken(ctx, rec)
		if err != nil {
			return err
		}
		return provesItself("check key", signer)
	}
	store, err := r.store(rec)
	if err != nil {
		return err
	}
	_, err = r.open(ctx, store, rec)
	return err
}

// The names of the key files in a project, as the Capgo CLI has them.
const (
	PrivateFile   = ".capgo_key_v2"
	PublicFile    = ".capgo_key_v2.pub"
	PrivateFileV1 = ".capgo_key"
	PublicFileV1  = ".capgo_key.pub"
)

// PublicFileFree reports whether the public key file in dir can be written for
// a key: absent, or already this key's ("" means any key: only absent is free).
func PublicFileFree(dir, publicPEM string) error {
	const op = "write public key"
	path := filepath.Join(dir, PublicFile)
	text, err := readRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failure.Wrap(err, failure.Failed, "public_key_unreadable", op, "")
	}
	if pub, err := ParsePublic(text); err == nil {
		if string(EncodePublic(pub)) == publicPEM {
			return nil
		}
		return failure.Newf(failure.Conflict, "key_exists", op, "keys are never overwritten; move the file away to start anew", "%s holds key %s", path, KeyID(pub))
	}
	return failure.Newf(failure.Conflict, "key_exists", op, "keys are never overwritten; move the file away to start anew", "%s exists and is not a PKCS#1 public key", path)
}

// WritePublic writes a key's public half to .capgo_key_v2.pub in dir, after its
// private half was opened and matched. A file that holds this key already is
// left as it is; any other is never overwritten.
func (r *Ring) WritePublic(ctx context.Context, rec Record, dir string) (path string, err error) {
	const op = "write public key"
	path = filepath.Join(dir, PublicFile)
	if err := PublicFileFree(dir, rec.PublicPEM); err != nil {
		return "", err
	}
	r.mu.Lock()
	compared := r.compared[rec.Ref()] // a key made just now was read back already
	r.mu.Unlock()
	if !compared {
		if err := r.Check(ctx, rec); err != nil {
			return "", err
		}
	}
	unlock, err := lock(ctx, r.dir, createLock)
	if err != nil {
		return "", err
	}
	defer unlock()
	sweep(dir)
	err = r.disk.write(path, 0o644, []byte(rec.PublicPEM), false)
	if errors.Is(err, fs.ErrExist) {
		return path, PublicFileFree(dir, rec.PublicPEM)
	}
	if err != nil {
		return "", failure.Wrap(err, failure.Failed, "public_key_unwritable", op, "check the folder's rights and the free space; the private half is stored, run the command again")
	}
	return path, nil
}

// readRegular reads a small file.
func readRegular(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return readLimited(f, maxPEM)
}
