package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/url"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["sftp"] = openSFTP }

// sftpDir is a folder on an SSH server that a web server publishes:
//
//	sftp://deploy@www.example.com:22/srv/www/updates
//
// The server's key must be in known_hosts (CAPSTAN_KNOWN_HOSTS, else
// ~/.ssh/known_hosts), and the user's is taken from the SSH agent. Objects are
// written under a temporary name and linked to their own when they are
// complete; a server without hard links gets a rename that refuses to overwrite.
type sftpDir struct {
	user, address, dir, public string

	mu   sync.Mutex
	conn *sftp.Client // nil while there is no connection
	ssh  *ssh.Client
}

var _ Storage = (*sftpDir)(nil)

func openSFTP(_ context.Context, u *url.URL, public string, _ Credentials) (Storage, error) {
	const op = "open the storage"
	dir := path.Clean(u.Path)
	if u.Hostname() == "" || u.RawQuery != "" || !path.IsAbs(dir) || dir == "/" {
		return nil, failure.New(failure.Usage, "storage_url_malformed", op, "not a host and an absolute folder", "write it like sftp://deploy@www.example.com/srv/www/updates")
	}
	s := &sftpDir{dir: dir, public: public, user: u.User.Username()}
	if s.user == "" {
		if me, err := user.Current(); err == nil {
			s.user = me.Username
		}
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	s.address = net.JoinHostPort(u.Hostname(), port)
	return s, nil
}

func (s *sftpDir) String() string { return "sftp://" + s.user + "@" + s.address + s.dir }

func (s *sftpDir) PublicURL(name string) string { return publicURL(s.public, name) }

func (s *sftpDir) path(name string) string { return path.Join(s.dir, name) }

// client gives the connection, made anew when there is none or it broke.
func (s *sftpDir) client(ctx context.Context) (*sftp.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		if _, err := s.conn.Getwd(); err == nil {
			return s.conn, nil
		}
		_, _ = s.conn.Close(), s.ssh.Close()
		s.conn = nil
	}
	connection, err := s.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, s.translate("connect to the storage", "", err)
	}
	client, err := sftp.NewClient(connection)
	if err != nil {
		_ = connection.Close()
		return nil, s.translate("connect to the storage", "", err)
	}
	s.conn, s.ssh = client, connection
	return client, nil
}

// Close ends the connection; the next use makes a new one.
func (s *sftpDir) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	_ = s.ssh.Close() // says only that it is closed already
	s.conn = nil
	return err
}

func (s *sftpDir) dial(ctx context.Context) (*ssh.Client, error) {
	known, err := knownHosts()
	if err != nil {
		return nil, err
	}
	signers, done, err := agentSigners(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	config := &ssh.ClientConfig{
		User: s.user, HostKeyCallback: known, Timeout: 20 * time.Second,
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(signers)},
	}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	raw, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second)) // for the handshake
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, channels, requests, err := ssh.NewClientConn(raw, s.address, config)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	return ssh.NewClient(conn, channels, requests), nil
}

// knownHosts enforces the user's known_hosts; without one no server is trusted.
func knownHosts() (ssh.HostKeyCallback, error) {
	file := os.Getenv("CAPSTAN_KNOWN_HOSTS")
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(home, ".ssh", "known_hosts")
	}
	check, err := knownhosts.New(file)
	if err != nil {
		return nil, failure.Newf(failure.NotAuthorised, "known_hosts_missing", "connect to the storage", "log in once with ssh, and compare the key's fingerprint",
			"the list of known hosts cannot be read")
	}
	return check, nil
}

// agentSigners reaches the SSH agent; done ends the connection to it.
func agentSigners(ctx context.Context) (signers func() ([]ssh.Signer, error), done func(), err error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	refuse := func(text string) error {
		return failure.New(failure.NotAuthorised, "ssh_agent_missing", "connect to the storage", text, "start ssh-agent and add a key with ssh-add")
	}
	if socket == "" {
		return nil, nil, refuse("there is no SSH agent (SSH_AUTH_SOCK is not set)")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, refuse("the SSH agent does not answer")
	}
	return agent.NewClient(conn).Signers, func() { _ = conn.Close() }, nil
}

func (s *sftpDir) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (Object, error) {
	const op = "store the object"
	if err := checkPut(name, size, sha256Hex); err != nil {
		return Object{}, err
	}
	object := Object{Name: name, Size: size, SHA256: sha256Hex}
	if there, err := s.same(ctx, name, size, sha256Hex); err != nil || there {
		object.Existed = there
		return object, err
	}
	c, err := s.client(ctx)
	if err != nil {
		return Object{}, err
	}
	if err := c.MkdirAll(path.Dir(s.path(name))); err != nil {
		return Object{}, s.translate(op, name, err)
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	temporary := path.Join(path.Dir(s.path(name)), ".capstan-"+hex.EncodeToString(random)+".part")
	defer func() { _ = c.Remove(temporary) }() // gone already after a rename
	body := newUpload(ctx, src, size, sha256Hex, progress, nil)
	err = s.write(ctx, c, temporary, body)
	switch {
	case ctx.Err() != nil:
		return Object{}, ctx.Err()
	case body.fault(name) != nil:
		return Object{}, body.fault(name)
	case err != nil:
		return Object{}, s.translate(op, name, err)
	}
	// Both refuse to overwrite, on the server.
	if err := c.Link(temporary, s.path(name)); err != nil {
		if err2 := c.Rename(temporary, s.path(name)); err2 != nil {
			there, readErr := s.same(ctx, name, size, sha256Hex)
			if readErr != nil || there {
				object.Existed = there
				return object, readErr
			}
			return Object{}, s.translate(op, name, err2)
		}
	}
	if progress != nil {
		progress(size)
	}
	return object, nil
}

// write sends body into a new file and has the server put it on its disk.
func (s *sftpDir) write(ctx context.Context, c *sftp.Client, file string, body io.Reader) error {
	f, err := c.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	// Plain writes: each is acknowledged before the next, which is what progress counts.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{body}, make([]byte, 256<<10))
	if err == nil {
		if _, ok := c.HasExtension("fsync@openssh.com"); ok {
			err = f.Sync()
		}
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// same compares what is there; object_exists when it is something else.
func (s *sftpDir) same(ctx context.Context, name string, size int64, sha256Hex string) (bool, error) {
	object, err := s.Stat(ctx, name)
	if failure.CodeOf(err) == "object_not_found" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if object.Size != size {
		return false, errExists(name)
	}
	r, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	sum, _, err := hashOf(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, s.translate("compare the object", name, err)
	}
	if sum != sha256Hex {
		return false, errExists(name)
	}
	return true, nil
}

func (s *sftpDir) Stat(ctx context.Context, name string) (Object, error) {
	if err := CheckName(name); err != nil {
		return Object{}, err
	}
	c, err := s.client(ctx)
	if err != nil {
		return Object{}, err
	}
	info, err := c.Stat(s.path(name))
	if err != nil {
		return Object{}, s.translate("look at the object", name, err)
	}
	if !info.Mode().IsRegular() {
		return Object{}, errNotFound("look at the object", name)
	}
	return Object{Name: name, Size: info.Size(), Changed: info.ModTime()}, nil
}

func (s *sftpDir) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	object, err := s.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > object.Size || offset == object.Size && offset > 0 {
		return nil, errRange(name, offset)
	}
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.Open(s.path(name))
	if err != nil {
		return nil, s.translate("read the object", name, err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, s.translate("read the object", name, err)
	}
	if length < 0 {
		return f, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, length), f}, nil
}

func (s *sftpDir) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	if err := c.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.translate("delete the object", name, err)
	}
	return nil
}

func (s *sftpDir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		c, err := s.client(ctx)
		if err != nil {
			yield(Object{}, err)
			return
		}
		for walk := c.Walk(s.dir); walk.Step(); {
			if ctx.Err() != nil {
				yield(Object{}, ctx.Err())
				return
			}
			if err := walk.Err(); err != nil {
				if walk.Path() == s.dir && errors.Is(err, fs.ErrNotExist) {
					return // nothing was ever stored
				}
				yield(Object{}, s.translate("list the objects", prefix, err))
				return
			}
			name := strings.TrimPrefix(walk.Path(), s.dir+"/")
			info := walk.Stat()
			if !info.Mode().IsRegular() || !strings.HasPrefix(name, prefix) || strings.HasPrefix(path.Base(name), ".capstan-") {
				continue
			}
			if !yield(Object{Name: name, Size: info.Size(), Changed: info.ModTime()}, nil) {
				return
			}
		}
	}
}

// translate turns the errors of three libraries into failures.
func (s *sftpDir) translate(op, name string, err error) error {
	if _, ours := failure.Find(err); ours || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	say := func(class failure.Class, code, hint string) error {
		return failure.Newf(class, code, op, hint, "%s: %s", s.address, transport.Clean(lastCause(err)))
	}
	var unknown *knownhosts.KeyError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown) && len(unknown.Want) > 0:
		return failure.Newf(failure.Verification, "host_key_changed", op, "somebody may be listening: compare the fingerprint with the server's operator before anything else", "%s has another key than known_hosts says", s.address)
	case errors.As(err, &unknown):
		return failure.Newf(failure.Verification, "host_key_unknown", op, "log in once with ssh, and compare the key's fingerprint", "the key of %s is not in known_hosts", s.address)
	case errors.As(err, &dns) && dns.IsNotFound:
		return failure.Newf(failure.Unavailable, "host_unknown", op, "check the host in the storage's URL", "the name in %s does not resolve", s.address)
	case errors.Is(err, fs.ErrNotExist):
		return errNotFound(op, name)
	case errors.Is(err, fs.ErrPermission):
		return say(failure.NotAuthorised, "storage_forbidden", "give the user write access to the folder")
	case strings.Contains(err.Error(), "unable to authenticate"):
		return failure.Newf(failure.NotAuthorised, "storage_credentials", op, "add the key that the server knows to the SSH agent with ssh-add", "%s does not take any key of the SSH agent for %s", s.address, transport.Clean(s.user))
	}
	return say(failure.Unavailable, "remote_unreachable", "check the network, then repeat the command")
}
