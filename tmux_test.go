package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/internal/peers"
)

// terminal is a real one: a tmux server of the test's own.
type terminal struct {
	t      *testing.T
	tmux   string
	socket string
}

// openTerminal runs a shell command in a fresh tmux window of the given size.
// The screen stays after the command ended, with its exit status as last line.
func openTerminal(t *testing.T, width, height int, env []string, command string) *terminal {
	t.Helper()
	term := &terminal{t: t, tmux: peers.Program(t, "tmux", "apt-get install tmux"), socket: filepath.Join(t.TempDir(), "tmux")}
	script := fmt.Sprintf("exec env %s sh -c %s", strings.Join(env, " "), quote(command+`; printf 'exit %d\n' $?; sleep 600`))
	term.run("-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), script)
	t.Cleanup(func() { _ = exec.Command(term.tmux, "-S", term.socket, "kill-server").Run() })
	return term
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (term *terminal) run(args ...string) string {
	term.t.Helper()
	output, err := exec.Command(term.tmux, append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %q: %v\n%s", args, err, output)
	}
	return string(output)
}

// keys presses keys by tmux's names; text is typed letter by letter.
func (term *terminal) keys(keys ...string) {
	term.t.Helper()
	term.run(append([]string{"send-keys"}, keys...)...)
}

func (term *terminal) screen() string { return term.run("capture-pane", "-p") }

// await waits until the screen shows all of the texts.
func (term *terminal) await(texts ...string) string {
	term.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		screen := term.screen()
		missing := ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
				break
			}
		}
		if missing == "" {
			return screen
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("the screen never showed %q:\n%s", missing, screen)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// program is the path of capstan as TestMain put it there: this test binary
// under the program's name.
func program(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("capstan")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNewcomerInATerminal is the whole journey in a real terminal: from the
// first screen to live on production, proven by a simulated device, with Enter
// and one typed word.
func TestNewcomerInATerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	capstan := program(t)
	home := t.TempDir()
	term := openTerminal(t, 120, 40, []string{"HOME=" + home, "LANG=en_US.UTF-8", "DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent"}, capstan+" demo --devices 5")
	term.await("Welcome", "Create a signing key")
	term.keys("Enter")
	term.await("Encrypted file", "create the key")
	term.keys("Enter")
	term.await("The key is yours", "choose the build folder")
	term.keys("Enter")
	term.await("Choose the build folder", "notifyAppReady is called")
	term.keys("Enter")
	term.await("Version and channel", "1.0.0", "production")
	term.keys("Enter")
	term.await("Promote 1.0.0 to production", "It is registered and proven")
	term.keys("Enter")
	term.await("To confirm, type production")
	term.keys("-l", "production")
	term.keys("Enter")
	term.await("1.0.0 is live on production", "took 1.0.0 at its next check")
	term.keys("Enter")
	term.await("● 1.0.0", "Timeline")

	// Two keystrokes of support: the devices, and why one has what it has.
	term.keys("4")
	term.await("00000000-0000", "explain")
	term.keys("Enter")
	term.await("In one sentence", "Why, check by check")

	// A terminal that changes its size is drawn again, and one that is too
	// small says so.
	term.run("resize-window", "-x", "80", "-y", "24")
	term.await("In one sentence")
	term.run("resize-window", "-x", "20", "-y", "5")
	time.Sleep(300 * time.Millisecond)
	term.run("resize-window", "-x", "120", "-y", "40")
	term.await("In one sentence")

	term.keys("C-c")
	term.await("exit ")
	if screen := term.screen(); strings.Contains(screen, "panic") {
		t.Errorf("the console ended with:\n%s", screen)
	}
}

// TestTerminalIsRestored ends the console by each signal and looks whether the
// terminal is as it was: cooked, echoing, on its main screen.
func TestTerminalIsRestored(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	capstan := program(t)
	for signal, status := range map[string]string{"INT": "130", "TERM": "143", "HUP": "129"} {
		t.Run(signal, func(t *testing.T) {
			home := t.TempDir()
			pidFile := filepath.Join(home, "pid")
			command := fmt.Sprintf("stty -a > %s/before; sh -c 'echo $$ > %s; exec %s demo --devices 0'; s=$?; stty -a > %s/after; cmp %s/before %s/after && echo restored; (exit $s)",
				home, pidFile, capstan, home, home, home)
			term := openTerminal(t, 80, 24, []string{"HOME=" + home, "LANG=en_US.UTF-8"}, command)
			term.await("Welcome")
			pid, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			if output, err := exec.Command("kill", "-"+signal, strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
				t.Fatalf("kill: %v %s", err, output)
			}
			screen := term.await("exit ")
			if !strings.Contains(screen, "restored") {
				t.Errorf("the terminal was left changed:\n%s", screen)
			}
			if !strings.Contains(screen, "exit "+status) {
				t.Errorf("SIG%s: want exit %s:\n%s", signal, status, screen)
			}
		})
	}
}
