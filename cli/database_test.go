package cli

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/internal/servertest"
	"capstan/internal/servertest/postgres"
	"capstan/server"
)

// The commands of the server's machine work on PostgreSQL as on SQLite, while
// the server runs, by flag or by environment.
func TestCommandsOnPostgreSQL(t *testing.T) {
	target := postgres.Start(t).Database(t)
	s := servertest.Start(t, func(c *server.Config) { c.Database = target })
	t.Setenv("CAPSTAN_SERVER", "")
	run := func(args ...string) (string, string) {
		var out, errs bytes.Buffer
		Execute(context.Background(), &Command{In: strings.NewReader(""), Out: &out, Err: &errs}, args)
		return strings.TrimSpace(out.String()), errs.String()
	}
	secret, errs := run("token", "create", "ci", "--scope", "admin", "--data", s.DataDir, "--database", target)
	if !strings.HasPrefix(secret, "capstan_") {
		t.Fatalf("%s%s", secret, errs)
	}
	asks := func() int {
		status, _ := s.Do(t, "GET", "/app", nil, http.Header{"Capgkey": {secret}})
		return status
	}
	if status := asks(); status != http.StatusOK {
		t.Errorf("the token is answered %d", status)
	}
	t.Setenv("CAPSTAN_DATABASE", target)
	if list, errs := run("token", "list", "--data", s.DataDir); !strings.Contains(list, "ci") || !strings.Contains(list, "first admin") {
		t.Errorf("%s%s", list, errs)
	}
	id := strings.Split(secret, "_")[1]
	if out, errs := run("token", "revoke", id, "--data", s.DataDir); !strings.Contains(out, id) {
		t.Errorf("%s%s", out, errs)
	}
	if status := asks(); status != http.StatusUnauthorized {
		t.Errorf("the revoked token is answered %d", status)
	}
	file := filepath.Join(t.TempDir(), "ledger.json")
	if out, errs := run("ledger", "export", file, "--data", s.DataDir); !strings.Contains(out, "3 records") { // two tokens, one revoked
		t.Errorf("%s%s", out, errs)
	}
	if out, errs := run("ledger", "verify", file, "--key", filepath.Join(s.DataDir, "ledger.pub")); !strings.Contains(out, "verified") {
		t.Errorf("%s%s", out, errs)
	}
	// A backup of PostgreSQL, verified and restored to SQLite.
	saved, lite := filepath.Join(t.TempDir(), "x.tar"), filepath.Join(t.TempDir(), "lite")
	if out, errs := run("backup", saved, "--data", s.DataDir); !strings.Contains(out, "3 audit entries") {
		t.Errorf("%s%s", out, errs)
	}
	if out, errs := run("restore", saved, "--verify"); !strings.Contains(out, "verified") {
		t.Errorf("%s%s", out, errs)
	}
	if left, err := os.ReadDir(filepath.Dir(saved)); err != nil || len(left) != 1 {
		t.Errorf("beside the backup are %v, %v", left, err)
	}
	if _, errs := run("restore", saved, "--data", lite); !strings.Contains(errs, "database") {
		t.Errorf("into the database of a running server: %s", errs)
	}
	t.Setenv("CAPSTAN_DATABASE", "")
	if _, errs := run("restore", saved, "--data", lite, "--database", "x.db"); !strings.Contains(errs, "--data") {
		t.Error(errs)
	}
	if out, errs := run("restore", saved, "--data", lite); !strings.Contains(out, "verified") {
		t.Errorf("%s%s", out, errs)
	}
	if list, errs := run("token", "list", "--data", lite); !strings.Contains(list, "first admin") {
		t.Errorf("%s%s", list, errs)
	}
	t.Setenv("CAPSTAN_DATABASE", target)
	// Elsewhere a new key would sign what the server's own does not.
	elsewhere := t.TempDir()
	if out, errs := run("token", "create", "ci", "--data", elsewhere); !strings.Contains(errs, "ledger.key") {
		t.Errorf("%s%s", out, errs)
	}
	if made, err := os.ReadDir(elsewhere); err != nil || len(made) != 0 {
		t.Errorf("a refusal leaves %v, %v", made, err)
	}
	for _, args := range [][]string{{"token", "list"}, {"ledger", "export", file + "2"}, {"serve"}} {
		out, errs := run(append(args, "--data", elsewhere, "--database", "postgres://u:hunter2@127.0.0.1/x")...)
		if !strings.Contains(errs, "CAPSTAN_DATABASE") || strings.Contains(out+errs, "hunter2") {
			t.Errorf("%v with a password: %s%s", args, out, errs)
		}
	}
	if _, errs := run("serve", "--data", elsewhere, "--read-database", "postgres://u:hunter2@127.0.0.1/x"); !strings.Contains(errs, "CAPSTAN_READ_DATABASE") {
		t.Errorf("a replica with a password: %s", errs)
	}
}
