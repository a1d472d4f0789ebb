package storage_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// ssher is a running sshd with a user's key in a running agent.
type ssher struct {
	address, user, dir, known string
}

// newSSH starts OpenSSH's own server and agent for one test.
func newSSH(t *testing.T) *ssher {
	t.Helper()
	const how = "scripts/install-peers.sh"
	const sshd = "/usr/sbin/sshd" // refuses to start under a relative name
	if _, err := os.Stat(sshd); err != nil {
		peers.Missing(t, "sshd", how)
	}
	keygen, agent, add := peers.Program(t, "ssh-keygen", how), peers.Program(t, "ssh-agent", how), peers.Program(t, "ssh-add", how)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // the folder that privilege separation insists on
		_ = os.MkdirAll("/run/sshd", 0o755)
	}
	dir, err := os.MkdirTemp("", "ssh") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	host, key := filepath.Join(dir, "host"), filepath.Join(dir, "key")
	run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", host)
	run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	hostPublic, err := os.ReadFile(host + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	s := &ssher{address: fmt.Sprintf("127.0.0.1:%d", port), user: me.Username, dir: filepath.Join(dir, "www"), known: filepath.Join(dir, "known_hosts")}
	config := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nPidFile none\nAuthorizedKeysFile %s\nPasswordAuthentication no\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
		port, host, filepath.Join(dir, "authorized"))
	for name, content := range map[string]string{"authorized": string(public), "config": config, "known_hosts": fmt.Sprintf("[127.0.0.1]:%d %s", port, hostPublic)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := func(cmd *exec.Cmd, ready func() bool) {
		t.Helper()
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		cmd.WaitDelay = time.Second // sshd's children keep the pipe while a connection is open
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not start: %s", cmd.Path, output.String())
			}
		}
	}
	// An address that exists is not enough: for a moment nobody listens there yet.
	listens := func(network, address string) func() bool {
		return func() bool {
			c, err := net.Dial(network, address)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		}
	}
	start(exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "config")), listens("tcp", s.address))
	socket := filepath.Join(dir, "agent")
	start(exec.Command(agent, "-D", "-a", socket), listens("unix", socket))
	t.Setenv("SSH_AUTH_SOCK", socket)
	t.Setenv("CAPSTAN_KNOWN_HOSTS", s.known)
	run(add, "-q", key)
	return s
}

func (s *ssher) open(t *testing.T, public string) storage.Storage {
	t.Helper()
	opened := open(t, "sftp://"+s.user+"@"+s.address+s.dir, public, storage.Credentials{})
	t.Cleanup(func() { _ = opened.(io.Closer).Close() })
	return opened
}

func TestSFTP(t *testing.T) {
	s := newSSH(t)
	storagetest.Run(t, storagetest.Target{
		Fetches: true,
		Open: func(t *testing.T) storage.Storage {
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
			web := httptest.NewServer(http.FileServer(http.Dir(s.dir)))
			t.Cleanup(web.Close)
			return s.open(t, web.URL)
		},
		Unreachable: func(t *testing.T) storage.Storage {
			return open(t, "sftp://"+s.user+"@www.invalid/srv/www", "", storage.Credentials{})
		},
	})
	if err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".capstan-") {
			t.Errorf("%s was left behind", path)
		}
		return err
	}); err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestSFTPTrust: no server is trusted that known_hosts does not name, and the
// user's key comes from the agent or not at all.
func TestSFTPTrust(t *testing.T) {
	s := newSSH(t)
	want := func(code string) {
		t.Helper()
		_, err := s.open(t, "").Stat(t.Context(), "a.zip")
		if failure.CodeOf(err) != code || failure.HintOf(err) == "" && code != "object_not_found" {
			t.Errorf("Stat gives %v (%s), want %s", err, failure.CodeOf(err), code)
		}
	}
	want("object_not_found")
	line, err := os.ReadFile(s.known)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(s.known, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	want("host_key_unknown")
	other := filepath.Join(t.TempDir(), "other")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(other + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	write(strings.Fields(string(line))[0] + " " + string(public))
	want("host_key_changed")
	write(string(line))
	if out, err := exec.Command("ssh-add", "-q", "-D").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want("storage_credentials")
	t.Setenv("SSH_AUTH_SOCK", "")
	want("ssh_agent_missing")
	t.Setenv("CAPSTAN_KNOWN_HOSTS", filepath.Join(t.TempDir(), "absent"))
	want("known_hosts_missing")
}
