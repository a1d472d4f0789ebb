package keys

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"

	"capstan/core/failure"
)

// TestKeyringErrors is the table of what backends say, most of it recorded from
// real ones, and what capstan makes of it. Nothing but the library's own
// ErrNotFound may ever mean that a key is not there.
func TestKeyringErrors(t *testing.T) {
	_, noProgram := exec.LookPath("no-such-program-anywhere")
	for _, c := range []struct {
		err  error
		code string
	}{
		{noProgram, "keyring_absent"}, // D-Bus clients look for dbus-launch
		{&exec.Error{Name: "dbus-launch", Err: exec.ErrNotFound}, "keyring_absent"},
		{dbus.Error{Name: "org.freedesktop.DBus.Error.ServiceUnknown", Body: []any{"The name org.freedesktop.secrets was not provided by any .service files"}}, "keyring_absent"},
		{errors.New("The name org.freedesktop.secrets was not provided by any .service files"), "keyring_absent"},
		{errors.New("dial unix /run/user/1000/bus: connect: no such file or directory"), "keyring_absent"},
		{errors.New("dial unix /run/user/1000/bus: connect: connection refused"), "keyring_absent"},
		{errors.New("dbus: couldn't determine address of session bus"), "keyring_absent"},
		{errors.New("dbus: connection closed by user"), "keyring_absent"},
		{keyring.ErrUnsupportedPlatform, "keyring_absent"},
		{errors.New("failed to unlock correct collection '/org/freedesktop/secrets/aliases/default'"), "keyring_locked"},
		{errors.New("failed to unlock correct collection '/org/freedesktop/secrets/collection/login'"), "keyring_locked"},
		{errors.New("org.freedesktop.Secret.Error.IsLocked"), "keyring_locked"},
		{errors.New("security: SecKeychainItemCopyContent: User interaction is not allowed."), "keyring_locked"},
		{errors.New("prompt was dismissed"), "keyring_denied"},
		{errors.New("org.freedesktop.DBus.Error.AccessDenied"), "keyring_denied"},
		{errors.New("User canceled the operation."), "keyring_denied"},
		{errors.New("org.freedesktop.DBus.Error.NoReply"), "keyring_timeout"},
		{keyring.ErrSetDataTooBig, "keyring_too_big"},
		{errors.New("invalid or unrecognized format"), "key_store_failed"},
		{errors.New("something new"), "key_store_failed"},
		{errors.New("secret not found in some other words"), "key_store_failed"},
	} {
		s := newKeyringStore(&fakeKeyring{fail: c.err}, 0, nil)
		ref, pem := testPair(t, 0)
		_, getErr := s.Get(t.Context(), ref)
		_, hasErr := s.Has(t.Context(), ref)
		for what, err := range map[string]error{"get": getErr, "has": hasErr, "put": s.Put(t.Context(), ref, pem), "delete": s.Delete(t.Context(), ref), "probe": s.Probe(t.Context())} {
			if failure.CodeOf(err) != c.code || failure.ExitStatus(err) != int(failure.KeyStore) || failure.HintOf(err) == "" {
				t.Errorf("%v: %s gives %v (%s), want %s", c.err, what, err, failure.CodeOf(err), c.code)
			}
		}
		ring := newTestRing(t, Options{testOnlyKeyring: &fakeKeyring{fail: c.err}})
		if _, err := ring.Create(t.Context(), testApp, Keyring); failure.CodeOf(err) != c.code {
			t.Errorf("%v: create gives %v", c.err, err)
		}
		if left, _ := os.ReadDir(ring.files.dir); len(left) != 0 {
			t.Errorf("%v: the file store was used instead: %v", c.err, left)
		}
	}
}

func TestKeyringTextIsCleaned(t *testing.T) {
	s := newKeyringStore(&fakeKeyring{fail: errors.New("odd\x1b[31m\nthing " + strings.Repeat("x", 500))}, 0, nil)
	ref, _ := testPair(t, 0)
	_, err := s.Get(t.Context(), ref)
	if said := err.Error(); strings.ContainsAny(said, "\x1b\n") || len(said) > 400 {
		t.Errorf("%q", said)
	}
}

// TestEveryKeyFitsEveryKeyring counts as the backends do: bytes of the blob on
// Windows, characters of one command line on macOS.
func TestEveryKeyFitsEveryKeyring(t *testing.T) {
	longest := keyringUser(Ref{AppID: strings.Repeat("a", maxAppID), KeyID: strings.Repeat("A", 20)})
	for _, which := range []int{0, 1} {
		ref, pem := testPair(t, which)
		for _, user := range []string{keyringUser(ref), longest} {
			if err := fitsKeyring("test", user, string(pem)); err != nil {
				t.Errorf("%s: %v", user, err)
			}
			command := fmt.Sprintf("add-generic-password -U -s %s -a %s -w %s\n", keyringService, user, "go-keyring-base64:"+base64.StdEncoding.EncodeToString(pem))
			if len(command) > macOSCommand || len(pem) > windowsBlob {
				t.Errorf("%s: command of %d, blob of %d bytes", user, len(command), len(pem))
			}
		}
	}
	for n, fits := range map[int]bool{1: true, windowsBlob: true, windowsBlob + 1: false, 3272: false} {
		if err := fitsKeyring("test", "a/b", strings.Repeat("x", n)); (err == nil) != fits {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if err := fitsKeyring("test", strings.Repeat("a", 800), strings.Repeat("x", 2500)); failure.CodeOf(err) != "keyring_too_big" {
		t.Errorf("a command that is too long: %v", err)
	}
	if err := fitsKeyring("test", "secret/"+strings.Repeat("a", 160), strings.Repeat("x", maxSecret)); err != nil {
		t.Errorf("the largest secret: %v", err)
	}
}

// hangingKeyring answers when it is told to.
type hangingKeyring struct {
	fakeKeyring
	answer chan struct{}
}

func (h *hangingKeyring) Get(service, user string) (string, error) {
	<-h.answer
	return h.fakeKeyring.Get(service, user)
}

// TestKeyringDeadlines runs on a clock of its own, so that a minute takes no time.
func TestKeyringDeadlines(t *testing.T) {
	ref, pem := testPair(t, 0)
	synctest.Test(t, func(t *testing.T) {
		h := &hangingKeyring{answer: make(chan struct{})}
		var told []string
		s := newKeyringStore(h, 0, func(m string) { told = append(told, m) })
		start := time.Now()
		err := s.Put(t.Context(), ref, pem)
		if !errors.Is(err, ErrTimeout) || time.Since(start) != keyringDeadline || len(told) != 1 {
			t.Errorf("put: %v after %s, told %q", err, time.Since(start), told)
		}
		start = time.Now()
		if err := s.Probe(t.Context()); !errors.Is(err, ErrTimeout) || time.Since(start) != 0 {
			t.Errorf("beside a hanging call: %v after %s", err, time.Since(start))
		}
		close(h.answer) // the late call goes through
		synctest.Wait()
		if got, err := s.Get(t.Context(), ref); err != nil || string(got) != string(pem) {
			t.Errorf("after the late answer: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := &hangingKeyring{answer: make(chan struct{})}
		s := newKeyringStore(h, 0, nil)
		start := time.Now()
		if err := s.Probe(t.Context()); !errors.Is(err, ErrTimeout) || time.Since(start) != probeDeadline {
			t.Errorf("probe: %v after %s", err, time.Since(start))
		}
		close(h.answer)
	})
	synctest.Test(t, func(t *testing.T) {
		h := &hangingKeyring{answer: make(chan struct{})}
		s := newKeyringStore(h, 0, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Get(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own deadline: %v", err)
		}
		close(h.answer)
	})
}

// panickingKeyring is an answer that the library does not expect.
type panickingKeyring struct{ fakeKeyring }

func (*panickingKeyring) Get(string, string) (string, error) {
	var answer []any
	return answer[0].(string), nil
}

func TestKeyringPanicIsAnError(t *testing.T) {
	ref, _ := testPair(t, 0)
	if _, err := newKeyringStore(&panickingKeyring{}, 0, nil).Get(t.Context(), ref); failure.CodeOf(err) != "key_store_failed" {
		t.Errorf("%v", err)
	}
}
