package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capstan/internal/servertest/postgres"
)

// A database of every earlier schema, with data, comes up whole: an upgrade that
// stops after any statement of any step leaves the step before, and the next
// start goes on from there.
func TestUpgrades(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		upgrades(t, engineSQLite, func(t *testing.T) string { return filepath.Join(t.TempDir(), "capstan.db") })
	})
	t.Run("postgres", func(t *testing.T) {
		server := postgres.Start(t)
		upgrades(t, enginePostgres, func(t *testing.T) string { return server.Database(t) })
	})
}

func upgrades(t *testing.T, e engine, open func(*testing.T) string) {
	steps, err := migrations(e)
	if err != nil {
		t.Fatal(err)
	}
	stops := 0
	for from := 1; from < len(steps); from++ {
		statements := statementsOf(steps[from].text)
		for after := range len(statements) + 1 {
			stops++
			t.Run(fmt.Sprintf("schema %d, stopped after statement %d of %s", steps[from-1].version, after, steps[from].name), func(t *testing.T) {
				target := open(t)
				oldDatabase(t, target, steps[:from])
				stopAfter(t, target, statements[:after])
				comeUp(t, target, len(steps))
			})
		}
	}
	t.Logf("count: %d stops of an upgrade", stops)
}

// statementsOf splits a step at the ends of its statements. The bodies of
// functions and triggers hold semicolons too, and end with an END.
func statementsOf(text string) (list []string) {
	var statement strings.Builder
	inBody := false
	for line := range strings.Lines(text) {
		statement.WriteString(line)
		code, _, _ := strings.Cut(line, "--")
		code = strings.TrimSpace(code)
		if strings.HasSuffix(code, "BEGIN") || strings.Contains(code, " BEGIN ") || strings.HasPrefix(code, "BEGIN") {
			inBody = true
		}
		if strings.HasSuffix(code, "END;") || strings.HasPrefix(code, "END $$") {
			inBody = false
		}
		if strings.HasSuffix(code, ";") && !inBody {
			list = append(list, statement.String())
			statement.Reset()
		}
	}
	return list
}

func withDatabase(t *testing.T, target string, use func(*Store)) {
	t.Helper()
	db, err := connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	use(&Store{db: db, log: slog.New(slog.DiscardHandler), now: time.Now})
	if err := db.close(); err != nil {
		t.Fatal(err)
	}
}

// oldDatabase makes a database as the program of the last of these steps left it.
func oldDatabase(t *testing.T, target string, steps []migration) {
	t.Helper()
	withDatabase(t, target, func(s *Store) {
		for _, step := range steps {
			if err := s.migrateStep(t.Context(), step); err != nil {
				t.Fatal(err)
			}
		}
		for _, statement := range []string{
			`INSERT INTO apps (app_id, name, revision, created_at, updated_at) VALUES ('com.example.tides', 'Tides', 1, 1, 1)`,
			`INSERT INTO bundles (app_id, name, checksum, external_url, storage_provider, created_at, updated_at) VALUES ('com.example.tides', '1.0.0', '00', 'https://cdn.example.com/x.zip', 'external', 1, 1)`,
			`INSERT INTO channels (app_id, name, bundle_id, public, created_at, updated_at) VALUES ('com.example.tides', 'production', 1, TRUE, 1, 1)`,
			`INSERT INTO devices (app_id, device_id, created_at, polled_at) VALUES ('com.example.tides', '00000000-0000-4000-8000-000000000001', 1, 1)`,
		} {
			if _, err := s.db.write.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// stopAfter runs some statements of a step and loses the connection.
func stopAfter(t *testing.T, target string, statements []string) {
	t.Helper()
	withDatabase(t, target, func(s *Store) {
		ctx, stop := context.WithCancel(t.Context())
		tx, err := s.db.write.BeginTx(ctx, &sql.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, s.db.rebind(statement)); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		stop() // nothing is committed
		_ = tx.Rollback()
	})
}

// comeUp starts this program on the database and looks at what it knows.
func comeUp(t *testing.T, target string, steps int) {
	t.Helper()
	ctx := t.Context()
	s, err := Open(ctx, target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := s.App(ctx, "com.example.tides")
	if err != nil || a.Name != "Tides" {
		t.Errorf("%+v, %v", a, err)
	}
	c, err := s.Channel(ctx, "com.example.tides", "production")
	if err != nil || c.Version == nil || c.Version.Name != "1.0.0" || !c.Public {
		t.Errorf("%+v, %v", c, err)
	}
	if d, err := s.Device(ctx, "com.example.tides", "00000000-0000-4000-8000-000000000001"); err != nil || !d.IsProd {
		t.Errorf("%+v, %v", d, err)
	}
	var applied int
	if err := s.db.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM schema_migrations`).Scan(&applied); err != nil || applied != steps {
		t.Errorf("%d steps of %d, %v", applied, steps, err)
	}
	if _, _, err := s.VerifyAudit(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.ChangeApp(ctx, "test", "com.example.tides", AppChange{}); err != nil {
		t.Errorf("it cannot be changed: %v", err)
	}
}
