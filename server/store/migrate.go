package store

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"capstan/core/failure"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

type migration struct {
	version  int
	name     string
	text     string
	checksum string
}

// migrations lists the steps for an engine in order. A file NNNN_name.sql is
// for both engines, NNNN_name.ENGINE.sql for one.
func migrations(e engine) ([]migration, error) {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var list []migration
	for _, entry := range entries {
		parts := strings.Split(strings.TrimSuffix(entry.Name(), ".sql"), ".")
		if len(parts) == 2 && parts[1] != string(e) {
			continue
		}
		number, name, ok := strings.Cut(parts[0], "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fmt.Errorf("migration %q has no number", entry.Name())
		}
		text, err := migrationFiles.ReadFile("migrations/" + entry.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		list = append(list, migration{version, name, string(text), hex.EncodeToString(sum[:])})
	}
	slices.SortFunc(list, func(a, b migration) int { return a.version - b.version })
	return list, nil
}

// migrationLock is the advisory lock that lets one node migrate at a time.
const migrationLock = 0x63617073 // "caps"

// migrate brings the schema up to date, one transaction a step. A schema that
// is newer than this program, or a step that was applied with another text, is
// refused.
func (s *Store) migrate(ctx context.Context) error {
	const op = "migrate database"
	steps, err := migrations(s.db.engine)
	if err != nil {
		return fault(op, err)
	}
	for _, step := range steps {
		if err := s.migrateStep(ctx, step); err != nil {
			return fault(op, err)
		}
	}
	var newest int
	if err := s.db.write.QueryRowContext(ctx, `SELECT MAX(version) FROM schema_migrations`).Scan(&newest); err != nil {
		return fault(op, err)
	}
	if last := steps[len(steps)-1].version; newest > last {
		return failure.Newf(failure.Conflict, "schema_newer", op, "start the newer capstan again, or restore a backup made before the upgrade",
			"the database has schema %d, this capstan knows %d", newest, last)
	}
	return nil
}

func (s *Store) migrateStep(ctx context.Context, step migration) error {
	inner, err := s.db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = inner.Rollback() }()
	if s.db.engine == enginePostgres {
		// A step over many rows, and the wait for another node that does it, take as long as they take.
		for _, name := range []string{"statement_timeout", "lock_timeout"} {
			if _, err := inner.ExecContext(ctx, `SELECT set_config($1, '0', true)`, name); err != nil {
				return err
			}
		}
		if _, err := inner.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, migrationLock); err != nil {
			return err
		}
	}
	_, err = inner.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (
		version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)`)
	if err != nil {
		return err
	}
	var applied string
	rows, err := inner.QueryContext(ctx, `SELECT checksum FROM schema_migrations WHERE version = $1`, step.version)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(&applied); err != nil {
			rows.Close()
			return err
		}
	}
	if err := rows.Close(); err != nil {
		return err
	}
	switch applied {
	case step.checksum:
		return nil
	case "":
	default:
		return failure.Newf(failure.Conflict, "schema_differs", "migrate database", "restore a backup of this capstan's own database",
			"schema step %d was applied with another text", step.version)
	}
	if _, err := inner.ExecContext(ctx, s.db.rebind(step.text)); err != nil {
		return fmt.Errorf("schema step %d (%s): %w", step.version, step.name, err)
	}
	_, err = inner.ExecContext(ctx, `INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)`,
		step.version, step.name, step.checksum, s.ms())
	if err != nil {
		return err
	}
	return inner.Commit()
}
