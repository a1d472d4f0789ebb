// Package postgres gives tests a real PostgreSQL: the server that
// CAPSTAN_POSTGRES names (a postgres:// URL of a superuser), or one of their
// own, started from the installed programs and thrown away.
package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"

	"capstan/internal/peers"
)

// Server is a running PostgreSQL.
type Server struct {
	base    *url.URL
	dir     string // "" for a server that is not ours
	command *exec.Cmd
}

var databases atomic.Int64

// Start gives a server for as long as the test runs.
func Start(t testing.TB) *Server {
	t.Helper()
	if raw := os.Getenv("CAPSTAN_POSTGRES"); raw != "" {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("CAPSTAN_POSTGRES: %v", err)
		}
		return &Server{base: u}
	}
	return StartOwn(t)
}

// StartOwn gives a server of the test's own, which it may stop and start again.
func StartOwn(t testing.TB) *Server {
	t.Helper()
	bin := programs(t)
	parent, err := os.MkdirTemp("", "capstan-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	s := &Server{dir: filepath.Join(parent, "data")}
	if err := own(parent); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(filepath.Join(bin, "initdb"), "-D", s.dir, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	if err := unprivileged(run); err != nil {
		t.Fatal(err)
	}
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.base = &url.URL{Scheme: "postgres", User: url.User("postgres"), Host: fmt.Sprintf("127.0.0.1:%d", freePort(t)), Path: "/postgres"}
	s.Boot(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// programs finds the folder of initdb and postgres.
func programs(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(found)
	slices.Reverse(found)
	for _, dir := range found {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path)
	}
	peers.Missing(t, "PostgreSQL", "apt-get install postgresql, or set CAPSTAN_POSTGRES to the URL of a running server")
	return ""
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Boot starts the server and waits until it takes connections.
func (s *Server) Boot(t testing.TB) {
	t.Helper()
	s.command = exec.Command(filepath.Join(programs(t), "postgres"), "-D", s.dir, "-h", "127.0.0.1", "-p", s.base.Port(), "-k", s.dir,
		"-c", "fsync=off") // the tests kill processes, not the machine
	if err := unprivileged(s.command); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s.command.Stderr = &out
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if s.ping() == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("PostgreSQL does not start:\n%s", out.String())
}

// Replica makes a streaming replica of the server, with pg_basebackup, and
// starts it.
func (s *Server) Replica(t testing.TB) *Server {
	t.Helper()
	bin := programs(t)
	parent, err := os.MkdirTemp("", "capstan-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	if err := own(parent); err != nil {
		t.Fatal(err)
	}
	r := &Server{dir: filepath.Join(parent, "data")}
	run := exec.Command(filepath.Join(bin, "pg_basebackup"), "-D", r.dir, "-h", s.base.Hostname(), "-p", s.base.Port(), "-U", "postgres", "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
	if err := unprivileged(run); err != nil {
		t.Fatal(err)
	}
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	base := *s.base
	base.Host = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r.base = &base
	r.Boot(t)
	t.Cleanup(func() { r.Stop(t) })
	return r
}

// At is the URL of a database that Database made, on this server: a replica has
// the same ones.
func (s *Server) At(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = s.base.Host
	return u.String()
}

// Exec runs a statement as the superuser.
func (s *Server) Exec(t testing.TB, statement string) {
	t.Helper()
	if err := s.exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (s *Server) ping() error {
	db, err := sql.Open("pgx", s.base.String())
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return db.PingContext(ctx)
}

// Stop ends a server of our own at once, as a power cut would end its sessions.
func (s *Server) Stop(testing.TB) {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Signal(immediate)
	_ = s.command.Wait()
	s.command = nil
}

// Database makes an empty place and gives its URL: a schema of its own, because
// that takes a hundredth of the time of a database.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("capstan_%d_%d", os.Getpid(), databases.Add(1))
	if err := s.exec(t.Context(), `CREATE SCHEMA `+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.dir == "" { // our own server is thrown away as a whole
			_ = s.exec(context.Background(), `DROP SCHEMA IF EXISTS `+name+` CASCADE`)
		}
	})
	u := *s.base
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

func (s *Server) exec(ctx context.Context, statement string) error {
	db, err := sql.Open("pgx", s.base.String())
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}
