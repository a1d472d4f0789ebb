package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"capstan/internal/peers"
)

// systemd itself reads the unit without a complaint, and finds little that it
// leaves open (0 is nothing, 10 is no protection at all).
func TestSystemdUnit(t *testing.T) {
	analyze := peers.Program(t, "systemd-analyze", "apt-get install systemd")
	text, err := os.ReadFile("../deploy/capstan.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// verify wants the program to be there.
	unit := filepath.Join(t.TempDir(), "capstan.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(string(text), "/usr/local/bin/capstan", program, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--offline=true", "--no-pager", "--threshold=15", unit}} {
		out, err := exec.Command(analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(strings.TrimSpace(string(out))) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
		if m := regexp.MustCompile(`Overall exposure level.*: (\S+)`).FindStringSubmatch(string(out)); m != nil {
			t.Logf("exposure %s of 10", m[1])
		}
	}
}

// Every flag that the unit and the container file give to the server is one of
// its own, and both name the same folder in the documentation.
func TestDeployedFlags(t *testing.T) {
	flags, err := os.ReadFile("../cli/serve.go")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"capstan.service", "Containerfile"} {
		text, err := os.ReadFile("../deploy/" + name)
		if err != nil {
			t.Fatal(err)
		}
		start := regexp.MustCompile(`(?m)^(ExecStart=|ENTRYPOINT).*$`).FindString(string(text))
		given := regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(start, -1)
		if len(given) == 0 {
			t.Errorf("%s starts nothing", name)
		}
		for _, f := range given {
			if f[1] != "quiet" && !strings.Contains(string(flags), `"`+f[1]+`"`) {
				t.Errorf("%s gives --%s, which serve does not know", name, f[1])
			}
		}
		if !strings.Contains(string(manual), "deploy/"+name) {
			t.Errorf("docs/operations.md does not name deploy/%s", name)
		}
	}
}
