package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"capstan/internal/servertest"
	"capstan/internal/servertest/postgres"
	"capstan/server"
)

func TestMigrate(t *testing.T) {
	target := postgres.Start(t).Database(t)
	dir := t.TempDir()
	s, err := server.New(server.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	token := s.FirstToken()
	run := func(args ...string) (string, string) {
		var out, errs bytes.Buffer
		Execute(context.Background(), &Command{In: strings.NewReader(""), Out: &out, Err: &errs}, append([]string{"migrate", "--data", dir}, args...))
		return out.String(), errs.String()
	}
	if _, errs := run("--to", target); !strings.Contains(errs, "stop it") {
		t.Errorf("of a running server: %s", errs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, errs := run("--to", "postgres://u:hunter2@127.0.0.1/x"); !strings.Contains(errs, "CAPSTAN_DATABASE") || strings.Contains(errs, "hunter2") {
		t.Errorf("with a password: %s", errs)
	}
	t.Setenv("CAPSTAN_DATABASE", target)
	if out, errs := run(); !strings.Contains(out, "verified") {
		t.Fatalf("%s%s", out, errs)
	}
	// The server goes on where it was: with its token and its ledger's key.
	again := servertest.Start(t, func(c *server.Config) { c.DataDir, c.Database = dir, target })
	if again.FirstToken() != "" {
		t.Error("a server that was moved takes itself for a new one")
	}
	again.Token = token
	if status, text := again.Do(t, "POST", "/app", strings.NewReader(`{"app_id":"com.example.moved"}`), nil); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if _, err := again.Store().Checkpoint(t.Context()); err != nil {
		t.Error(err)
	}
}
