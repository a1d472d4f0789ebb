package server_test

import (
	"bufio"
	"debug/elf"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// What the container file builds runs where there is nothing but the program
// and a folder that belongs to user 65532: no shell, no /tmp, no /etc, no HOME.
func TestEmptyRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may change the root; .ci/run does")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := binary.ImportedLibraries()
	binary.Close()
	if err != nil || len(libraries) > 0 {
		t.Skipf("this test program needs %v; it is static with CGO_ENABLED=0", libraries)
	}
	root := t.TempDir()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "capstan"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(root, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil { // TempDir's own mode shuts user 65532 out
		t.Fatal(err)
	}
	c := exec.Command("/capstan")
	c.Env = []string{childEnv + "=/data"}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	server := &child{}
	server.started(first)
	for _, q := range [][3]string{
		{"POST", "/app", `{"app_id":"` + mine + `"}`}, known, {"GET", "/readyz", ""},
		{"PUT", "/capstan/v1/freeze", `{"app_id":"` + mine + `","name":"weekend","days":["fri"],"start":"17:00","minutes":3780,"zone":"Europe/Berlin"}`},
	} {
		if status, err := server.send(server.token, q[0], q[1], q[2]); err != nil || status != http.StatusOK {
			t.Errorf("%s %s: %d %v", q[0], q[1], status, err)
		}
	}
	in.Close()
	rest, err := io.ReadAll(lines)
	if err != nil || len(rest) > 0 {
		t.Errorf("it says %q, %v", rest, err)
	}
}
