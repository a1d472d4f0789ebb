package keys

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"capstan/core/failure"
	"capstan/internal/keyringtest"
)

// testPair is a key pair for tests, parsed once; which is 0 or 1.
func testPair(t testing.TB, which int) (ref Ref, pem []byte) {
	t.Helper()
	name := []string{"capgo_key_v2", "second_key_v2"}[which]
	pem, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivate(pem)
	if err != nil {
		t.Fatal(err)
	}
	return Ref{AppID: "com.example.app", KeyID: KeyID(&key.PublicKey)}, EncodePrivate(key)
}

func fixedPassphrase(p string) Ask {
	return func(context.Context, string) ([]byte, error) { return []byte(p), nil }
}

// conform holds a writable store against the Store contract.
func conform(t *testing.T, s Store) {
	ctx := t.Context()
	ref, pem := testPair(t, 0)
	other, otherPEM := testPair(t, 1)
	wantCode := func(what string, err error, code string) {
		t.Helper()
		if failure.CodeOf(err) != code {
			t.Errorf("%s: got %v, want code %s", what, err, code)
		}
	}

	if err := s.Probe(ctx); err != nil {
		t.Fatalf("probe: %v", err)
	}
	_, err := s.Get(ctx, ref)
	wantCode("get before put", err, "key_not_found")
	wantCode("delete before put", s.Delete(ctx, ref), "key_not_found")
	if has, err := s.Has(ctx, ref); has || err != nil {
		t.Errorf("has before put: %v %v", has, err)
	}
	if err := s.Put(ctx, ref, pem); err != nil {
		t.Fatalf("put: %v", err)
	}
	got, err := s.Get(ctx, ref)
	if err != nil || !bytes.Equal(got, pem) {
		t.Fatalf("get: %v, equal %v", err, bytes.Equal(got, pem))
	}
	if has, err := s.Has(ctx, ref); !has || err != nil {
		t.Errorf("has after put: %v %v", has, err)
	}
	clear(got) // the caller owns the bytes
	wantCode("put again, same bytes", s.Put(ctx, ref, pem), "key_exists")
	wantCode("put again, other bytes", s.Put(ctx, ref, otherPEM), "key_exists")
	if got, err := s.Get(ctx, ref); err != nil || !bytes.Equal(got, pem) {
		t.Errorf("a refused put changed the key: %v", err)
	}
	if err := s.Put(ctx, other, otherPEM); err != nil {
		t.Fatalf("put a second key: %v", err)
	}
	sameKeyOtherApp := Ref{AppID: "com.example.other", KeyID: ref.KeyID}
	if err := s.Put(ctx, sameKeyOtherApp, pem); err != nil {
		t.Errorf("put for another app: %v", err)
	}
	if err := s.Probe(ctx); err != nil {
		t.Errorf("probe beside keys: %v", err)
	}
	if err := s.Delete(ctx, ref); err != nil {
		t.Fatalf("delete: %v", err)
	}
	_, err = s.Get(ctx, ref)
	wantCode("get after delete", err, "key_not_found")
	if got, err := s.Get(ctx, other); err != nil || !bytes.Equal(got, otherPEM) {
		t.Errorf("deleting one key touched another: %v", err)
	}
	if err := s.Put(ctx, ref, pem); err != nil {
		t.Errorf("put after delete: %v", err)
	}
	if s.Location(ref) == "" || strings.Contains(s.Location(ref), "PRIVATE") {
		t.Errorf("location %q", s.Location(ref))
	}

	for _, bad := range []Ref{{}, {AppID: "../x", KeyID: ref.KeyID}, {AppID: "com.example.app", KeyID: "../../../etc/passwd!"}, {AppID: "a/b", KeyID: ref.KeyID}, {AppID: strings.Repeat("a", 200), KeyID: ref.KeyID}, {AppID: ref.AppID, KeyID: ""}} {
		if err := s.Put(ctx, bad, pem); failure.ExitStatus(err) != int(failure.Usage) {
			t.Errorf("put under %v: %v", bad, err)
		}
		if _, err := s.Get(ctx, bad); failure.ExitStatus(err) != int(failure.Usage) {
			t.Errorf("get of %v: %v", bad, err)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Put(cancelled, Ref{AppID: "com.example.late", KeyID: ref.KeyID}, pem); !errors.Is(err, context.Canceled) {
		t.Errorf("put with a cancelled context: %v", err)
	}
	if has, err := s.Has(ctx, Ref{AppID: "com.example.late", KeyID: ref.KeyID}); has || err != nil {
		t.Errorf("a cancelled put left a key: %v %v", has, err)
	}

	var wins, losses int
	var mu sync.Mutex
	var all sync.WaitGroup
	race := Ref{AppID: "com.example.race", KeyID: ref.KeyID}
	if s.Kind() == Keyring { // two processes are kept apart by the ring's lock; the store alone need not be
		return
	}
	for i := range 4 {
		all.Go(func() {
			err := s.Put(ctx, race, [][]byte{pem, otherPEM}[i%2])
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins++
			} else if errors.Is(err, ErrExists) {
				losses++
			}
		})
	}
	all.Wait()
	if wins != 1 || losses != 3 {
		t.Errorf("four puts at once: %d won, %d were told that the key exists", wins, losses)
	}
}

// conformReadOnly holds a read-only store of the first test key against the contract.
func conformReadOnly(t *testing.T, s Store) {
	ctx := t.Context()
	ref, pem := testPair(t, 0)
	other, _ := testPair(t, 1)
	for range 2 {
		got, err := s.Get(ctx, ref)
		if err != nil || !bytes.Equal(got, pem) {
			t.Fatalf("get: %v", err)
		}
		clear(got)
	}
	if _, err := s.Get(ctx, other); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of another key: %v", err)
	}
	if has, err := s.Has(ctx, ref); !has || err != nil {
		t.Errorf("has: %v %v", has, err)
	}
	if has, err := s.Has(ctx, other); has || err != nil {
		t.Errorf("has another: %v %v", has, err)
	}
	for what, err := range map[string]error{"put": s.Put(ctx, other, pem), "delete": s.Delete(ctx, ref), "probe": s.Probe(ctx)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// fakeKeyring is a working keyring in memory; the real one is tested below.
type fakeKeyring struct {
	mu    sync.Mutex
	items map[string]string
	fail  error
}

func (f *fakeKeyring) Set(service, user, secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if f.items == nil {
		f.items = map[string]string{}
	}
	f.items[service+"\x00"+user] = secret
	return nil
}

func (f *fakeKeyring) Get(service, user string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return "", f.fail
	}
	v, ok := f.items[service+"\x00"+user]
	if !ok {
		return "", keyring.ErrNotFound
	}
	return v, nil
}

func (f *fakeKeyring) Delete(service, user string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if _, ok := f.items[service+"\x00"+user]; !ok {
		return keyring.ErrNotFound
	}
	delete(f.items, service+"\x00"+user)
	return nil
}

func TestStoresConform(t *testing.T) {
	t.Run("memory", func(t *testing.T) { conform(t, newMemoryStore()) })
	t.Run("file", func(t *testing.T) {
		conform(t, newFileStore(filepath.Join(t.TempDir(), "keys"), 8, fixedPassphrase("correct horse"), fixedPassphrase("correct horse"), disk{}))
	})
	t.Run("keyring", func(t *testing.T) { conform(t, newKeyringStore(&fakeKeyring{}, 0, nil)) })

	_, pem := testPair(t, 0)
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("environment text", func(t *testing.T) { conformReadOnly(t, newEnvironmentStore(string(pem))) })
	t.Run("environment one line", func(t *testing.T) {
		conformReadOnly(t, newEnvironmentStore(strings.ReplaceAll(string(pem), "\n", `\n`)))
	})
	t.Run("environment path", func(t *testing.T) { conformReadOnly(t, newEnvironmentStore(path)) })
	t.Run("command", func(t *testing.T) { conformReadOnly(t, newCommandStore([]string{"cat", path})) })
}

// TestRealSecretService runs the tests below in sessions of their own.
func TestRealSecretService(t *testing.T) {
	for _, c := range []struct {
		session keyringtest.Session
		inside  string
	}{
		{keyringtest.Unlocked, "TestInsideUnlocked"},
		{keyringtest.Locked, "TestInsideLocked"},
		{keyringtest.Never, "TestInsideNever"},
		{keyringtest.NoBus, "TestInsideAbsent"},
		{keyringtest.BusOnly, "TestInsideAbsent"},
		{keyringtest.BusOnly, "TestInsidePrompt"},
	} {
		t.Run(c.inside+" "+string(c.session), func(t *testing.T) {
			t.Parallel()
			keyringtest.Run(t, c.session, c.inside)
		})
	}
}

// inside skips a test that is only meant for a session of keyringtest.
func inside(t *testing.T) {
	t.Helper()
	if keyringtest.State() == "" {
		t.Skip("runs inside a session, started by TestRealSecretService")
	}
}

func TestInsideUnlocked(t *testing.T) {
	inside(t)
	conform(t, newKeyringStore(systemKeyring{}, 0, nil))
	ring := newTestRing(t, Options{})
	rec, err := ring.Create(t.Context(), "com.example.real", Keyring)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Check(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	s := ring.SecretStore()
	if err := s.Put(t.Context(), "token:https://updates.example.com", "cap_secret"); err != nil {
		t.Fatal(err)
	}
	if kind, err := s.Kind("token:https://updates.example.com"); kind != Keyring || err != nil {
		t.Fatalf("secret kept in %q, %v", kind, err)
	}

	// Locked in mid-flow: everything says locked, nothing says absent or not found.
	keyringtest.LockNow(t)
	if _, err := ring.Signer(t.Context(), rec.KeyID); !errors.Is(err, ErrLocked) {
		t.Errorf("signer with the keyring locked meanwhile: %v", err)
	}
	if _, err := s.Get(t.Context(), "token:https://updates.example.com"); !errors.Is(err, ErrLocked) {
		t.Errorf("secret with the keyring locked meanwhile: %v", err)
	}
	if _, err := ring.Create(t.Context(), "com.example.real2", Keyring); !errors.Is(err, ErrLocked) {
		t.Errorf("create with the keyring locked meanwhile: %v", err)
	}
	if all, err := ring.List(t.Context(), ""); err != nil || len(all) != 1 {
		t.Errorf("list: %v %v", all, err)
	}
}

func TestInsideLocked(t *testing.T) {
	inside(t)
	s := newKeyringStore(systemKeyring{}, 0, nil)
	ref, pem := testPair(t, 0)
	_, getErr := s.Get(t.Context(), ref)
	_, hasErr := s.Has(t.Context(), ref)
	for what, err := range map[string]error{"get": getErr, "has": hasErr, "put": s.Put(t.Context(), ref, pem), "delete": s.Delete(t.Context(), ref), "probe": s.Probe(t.Context())} {
		if !errors.Is(err, ErrLocked) {
			t.Errorf("%s: %v, want keyring_locked", what, err)
		}
		if failure.ExitStatus(err) != int(failure.KeyStore) || failure.HintOf(err) == "" {
			t.Errorf("%s: exit status %d, hint %q", what, failure.ExitStatus(err), failure.HintOf(err))
		}
	}
	ring := newTestRing(t, Options{})
	if err := ring.SecretStore().Put(t.Context(), "token", "value"); !errors.Is(err, ErrLocked) {
		t.Errorf("a locked keyring led a secret elsewhere: %v", err)
	}
}

func TestInsideNever(t *testing.T) {
	inside(t)
	s := newKeyringStore(systemKeyring{}, 0, nil)
	if err := s.Probe(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("probe: %v, want keyring_locked", err)
	}
}

func TestInsideAbsent(t *testing.T) {
	inside(t)
	s := newKeyringStore(systemKeyring{}, 0, nil)
	ref, _ := testPair(t, 0)
	_, err := s.Get(t.Context(), ref)
	for what, err := range map[string]error{"get": err, "probe": s.Probe(t.Context())} {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v, want keyring_absent", what, err)
		}
	}
	ring := newTestRing(t, Options{})
	if _, err := ring.Create(t.Context(), "com.example.app", Keyring); !errors.Is(err, ErrAbsent) {
		t.Errorf("create: %v", err)
	}
	if all, err := ring.List(t.Context(), ""); err != nil || len(all) != 0 {
		t.Errorf("a refused creation left %v %v", all, err)
	}
	secrets := ring.SecretStore()
	if err := secrets.Put(t.Context(), "token", "value"); err != nil {
		t.Fatal(err)
	}
	if kind, err := secrets.Kind("token"); kind != File || err != nil {
		t.Errorf("without a keyring the secret went to %q, %v", kind, err)
	}
}

// TestInsidePrompt is the prompt that nobody answers: the deadline holds, the
// store refuses while the old request hangs, and works on once it is closed.
func TestInsidePrompt(t *testing.T) {
	inside(t)
	prompter := keyringtest.StartPrompter(t)
	told := make(chan string, 4)
	s := newKeyringStore(systemKeyring{}, 1500*time.Millisecond, func(m string) { told <- m })
	ref, pem := testPair(t, 0)
	start := time.Now()
	_, err := s.Get(t.Context(), ref)
	if !errors.Is(err, ErrTimeout) {
		t.Fatalf("get: %v, want keyring_timeout", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the deadline of 1.5 s took %s", took)
	}
	<-prompter.Shown
	if m := <-told; !strings.Contains(m, "unlock") {
		t.Errorf("the operator was told %q", m)
	}
	if err := s.Put(t.Context(), ref, pem); !errors.Is(err, ErrTimeout) {
		t.Errorf("put beside a hanging request: %v", err)
	}
	select {
	case <-prompter.Shown:
		t.Error("a second prompt was opened beside the first")
	default:
	}
	prompter.Dismiss(t)
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	<-stuck // the abandoned request ends on its own
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-prompter.Shown
		cancel()
	}()
	if _, err := s.Get(ctx, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait: %v", err)
	}
}
