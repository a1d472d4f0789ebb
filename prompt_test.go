package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPassphraseIsNotEchoed types passphrases in a real terminal, wrong and
// right, and looks at every byte that the terminal was sent meanwhile.
func TestPassphraseIsNotEchoed(t *testing.T) {
	const typed, other = "correct horse battery staple", "another horse altogether"
	capstan := program(t)
	dir := t.TempDir()
	sent := filepath.Join(dir, "sent")
	term := openTerminal(t, 100, 30, []string{"HOME=" + dir, "CAPSTAN_HOME=" + dir, "CAPSTAN_PASSPHRASE_FILE=", "LANG=en_US.UTF-8", "DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent"},
		capstan+" key create --app com.example.tides --no-config --store file --dir "+quote(dir))
	term.run("pipe-pane", "cat >> "+quote(sent))
	answer := func(text string) {
		term.keys("-l", text)
		term.keys("Enter")
	}
	term.await("assphrase", ":")
	answer(typed)
	term.await("again:")
	answer(other)
	term.await("the two differ, try again")
	answer(typed)
	term.await("again:\nthe two differ, try again\nnew passphrase for the key file of com.example.tides:\nagain:")
	answer(typed)
	term.await("exit ")

	bytes, err := os.ReadFile(sent)
	if err != nil {
		t.Fatal(err)
	}
	everything := string(bytes) + term.run("capture-pane", "-p", "-S", "-")
	for _, secret := range []string{typed, other, "horse", "staple", "altogether"} {
		if strings.Contains(everything, secret) {
			t.Errorf("the terminal shows %q:\n%s", secret, everything)
		}
	}
	if !strings.Contains(everything, "the two differ") || !strings.Contains(everything, "MIIBCgKCAQEA") {
		t.Errorf("the recording lacks what was to be seen:\n%s", everything)
	}
}
