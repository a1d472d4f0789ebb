package store_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/internal/servertest/postgres"
	"capstan/server/store"
)

// A change that meets a lock which nobody gives back, or a session that was
// left open in the middle of a transaction, ends with an error that devices and
// operators hear as "try again", and the server goes on.
func TestPostgresPatience(t *testing.T) {
	server := postgres.Start(t)
	target := server.Database(t)
	with := func(settings string) string {
		if strings.Contains(target, "?") {
			return target + "&" + settings
		}
		return target + "?" + settings
	}
	s := start(t, with("lock_timeout=300ms&statement_timeout=2s"), store.Options{})
	_, err := s.CreateApp(t.Context(), "ana", capgo.App{AppID: app})
	ok(t, err)
	raw, err := sql.Open("pgx", with("idle_in_transaction_session_timeout=3s"))
	ok(t, err)
	defer raw.Close()
	left, err := raw.BeginTx(t.Context(), nil)
	ok(t, err)
	_, err = left.ExecContext(t.Context(), `SELECT 1 FROM apps FOR UPDATE`)
	ok(t, err)
	begin := time.Now()
	_, _, err = s.ChangeChannel(t.Context(), "ana", change("production", nil))
	if f, known := failure.Find(err); !known || f.Class != failure.Unavailable {
		t.Fatalf("a change behind a lock: %v", err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it waited %s", took)
	}
	// The open session is ended by PostgreSQL, and with it its lock.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, _, err = s.ChangeChannel(t.Context(), "ana", change("production", nil)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lock is never given back: %v", err)
		}
	}
	if left.Commit() == nil {
		t.Error("the session that was left open is still there")
	}
}
