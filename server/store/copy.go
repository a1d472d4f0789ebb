package store

import (
	"context"
	"errors"
	"os"
	"strings"

	"capstan/core/failure"
)

// CopySQLite writes a consistent copy of a SQLite database, which may be in
// use, to a new file, and checks the copy with the database's own test. Codes
// data_dir, store_unavailable, backup_damaged.
func CopySQLite(ctx context.Context, from, to string) error {
	const op = "copy database"
	if _, err := os.Stat(from); err != nil {
		return failure.Wrap(err, failure.NotFound, "data_dir", op, "name the server's data directory with --data")
	}
	if _, err := os.Stat(to); err == nil {
		return failure.Newf(failure.Conflict, "exists", op, "choose a new name", "%s exists already", to)
	}
	db, err := connectSQLite(ctx, from)
	if err != nil {
		return err
	}
	_, err = db.write.ExecContext(ctx, `VACUUM INTO $1`, to)
	if err := errors.Join(err, db.close()); err != nil {
		return fault(op, err)
	}
	if err := os.Chmod(to, 0o600); err != nil {
		return fault(op, err)
	}
	return CheckSQLite(ctx, to)
}

// CheckSQLite reads a whole database file. Code backup_damaged.
func CheckSQLite(ctx context.Context, path string) error {
	db, err := connectSQLite(ctx, path)
	if err != nil {
		return err
	}
	var verdict string
	err = db.read.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&verdict)
	if err := errors.Join(err, db.close()); err != nil {
		return fault("check database", err)
	}
	if verdict != "ok" {
		return failure.New(failure.Verification, "backup_damaged", "check database", "the database does not pass its own test", "take another backup")
	}
	return nil
}

// IsPostgres reports whether a target of Open is a PostgreSQL URL.
func IsPostgres(target string) bool {
	return strings.HasPrefix(target, "postgres://") || strings.HasPrefix(target, "postgresql://")
}
