// Package keyringtest runs a test binary's tests under a real Secret Service:
// a private D-Bus session and gnome-keyring-daemon with a throw-away HOME. No
// display is needed, and the user's own keyring is never touched.
//
// A test calls Run, which starts the test binary again inside such a session
// with one test selected; that test does the work, and finds out from State
// that it is inside.
package keyringtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/internal/peers"
)

// A Session is the kind of keyring that the tests inside find.
type Session string

// The sessions.
const (
	Unlocked Session = "unlocked" // a login keyring, open
	Locked   Session = "locked"   // a login keyring that exists and is locked, and no prompter
	Never    Session = "never"    // a service, but no keyring was ever made
	NoBus    Session = "nobus"    // no D-Bus session at all
	BusOnly  Session = "busonly"  // a D-Bus session without a secrets service
)

const variable = "CAPSTAN_KEYRING_SESSION"

const install = "apt-get install dbus gnome-keyring"

// State is the session that this process runs in, "" outside of any.
func State() Session { return Session(os.Getenv(variable)) }

// Require ends the test unless the programs for a session are installed. With
// CAPSTAN_REQUIRE_KEYRING=1 their absence is a failure.
func Require(t testing.TB) {
	t.Helper()
	for _, name := range []string{"dbus-run-session", "dbus-send", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CAPSTAN_REQUIRE_KEYRING") == "1" {
			t.Fatalf("%s is absent and CAPSTAN_REQUIRE_KEYRING=1: %s", name, install)
		}
		peers.Missing(t, name, install)
	}
}

// The daemon forks before it owns its bus name, and a client that comes first
// makes D-Bus start a second daemon on a half-written keyring; hence the wait.
const waitForName = `
i=0
until dbus-send --session --print-reply --dest=org.freedesktop.DBus /org/freedesktop/DBus \
      org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets 2>/dev/null | grep -q "boolean true"; do
  i=$((i+1)); [ "$i" -lt 200 ] || { echo "secret service did not start" >&2; exit 70; }
  sleep 0.05
done
`

const unlock = `printf "test-pass\n" | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1` + waitForName

const lockLogin = `
dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets \
  org.freedesktop.Secret.Service.Lock array:objpath:/org/freedesktop/secrets/collection/login >/dev/null
`

const startOnly = `gnome-keyring-daemon --start --components=secrets >/dev/null 2>&1` + waitForName

// Run starts the calling test binary again in a session, with only the test
// named inside, and fails the calling test when that one fails or is not there.
func Run(t *testing.T, session Session, inside string) {
	t.Helper()
	Require(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	script := map[Session]string{
		Unlocked: unlock,
		Locked:   unlock + lockLogin,
		Never:    startOnly,
		NoBus:    "",
		BusOnly:  "",
	}[session] + "\nexec \"$@\""
	test := []string{self, "-test.run=^" + inside + "$", "-test.v", "-test.count=1", "-test.timeout=2m"}
	argv := append([]string{"sh", "-c", script, "sh"}, test...)
	if session != NoBus {
		config := filepath.Join(home, "session.conf")
		if err := os.WriteFile(config, []byte(busConfig), 0o600); err != nil {
			t.Fatal(err)
		}
		argv = append([]string{"dbus-run-session", "--config-file=" + config, "--"}, argv...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environment(home, session)
	cmd.Dir = ""
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a session with keyring %s: %v\n%s", session, err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+inside) {
		t.Fatalf("test %s did not run inside the session:\n%s", inside, out)
	}
}

// busConfig is a session bus that starts no service by itself, so that each
// session has exactly the daemons its script starts.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// environment is the current one with everything gone that leads to the user's
// own session. Without a bus PATH is empty too, since D-Bus clients start a bus
// of their own where they find dbus-launch.
func environment(home string, session Session) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "GNOME_KEYRING_CONTROL", variable:
			continue
		case "PATH":
			if session == NoBus {
				continue
			}
		}
		env = append(env, v)
	}
	if session == NoBus {
		env = append(env, "PATH="+filepath.Join(home, "nothing"))
	}
	return append(env, "HOME="+home, variable+"="+string(session))
}

// LockNow locks the login keyring of the session that this process runs in.
func LockNow(t testing.TB) {
	t.Helper()
	out, err := exec.Command("sh", "-c", lockLogin).CombinedOutput()
	if err != nil {
		t.Fatalf("lock keyring: %v\n%s", err, out)
	}
}
