package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"capstan/core/failure"
)

// Extract copies a PostgreSQL that servers may be using into a new SQLite file:
// every table as it was at one moment, in one transaction that only reads. Every
// row is read back and compared before the file is kept. Codes database_url,
// store_unavailable, schema_newer, schema_older, exists, transfer_differs.
func Extract(ctx context.Context, from, to string) (Transfer, error) {
	const op = "copy database"
	report := Transfer{Rows: map[string]int64{}}
	if !IsPostgres(from) {
		return report, failure.New(failure.Usage, "database_url", op, "the source is no PostgreSQL database", "write it as postgres://user@host:5432/name")
	}
	conn, err := pgx.Connect(ctx, from)
	if err != nil {
		return report, failure.Wrap(withoutURL(err), failure.Unavailable, "store_unavailable", op, "see that PostgreSQL runs and takes the connection")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	t, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return report, fault(op, err)
	}
	defer func() { _ = t.Rollback(context.WithoutCancel(ctx)) }() // it only reads
	// A large database takes its time; what the URL or the role says is for servers.
	if _, err := t.Exec(ctx, `SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)`); err != nil {
		return report, fault(op, err)
	}
	if err := sameSchema(ctx, t); err != nil {
		return report, err
	}
	file, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return report, failure.Wrap(err, failure.Failed, "exists", op, "choose a new name in a folder that this user may write to")
	}
	if err := file.Close(); err != nil {
		return report, fault(op, err)
	}
	target, err := alone(ctx, to, nil)
	if err != nil {
		return report, err
	}
	err = fill(ctx, t, target.db.write, report.Rows)
	if err == nil {
		report.AuditEntries, report.AuditHead, err = target.VerifyAudit(ctx)
	}
	if err == nil {
		report.LedgerRoot, err = target.LedgerRoot(ctx)
	}
	return report, fault(op, errors.Join(err, target.db.close()))
}

// sameSchema refuses a database of another capstan: its tables are not these.
func sameSchema(ctx context.Context, t pgx.Tx) error {
	const op = "copy database"
	steps, err := migrations(enginePostgres)
	if err != nil {
		return fault(op, err)
	}
	var there bool
	if err := t.QueryRow(ctx, `SELECT to_regclass('schema_migrations') IS NOT NULL`).Scan(&there); err != nil {
		return fault(op, err)
	}
	newest, known := 0, steps[len(steps)-1].version
	if there {
		if err := t.QueryRow(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`).Scan(&newest); err != nil {
			return fault(op, err)
		}
	}
	switch {
	case newest == 0:
		return failure.New(failure.NotFound, "database_empty", op, "the database holds no server's data", "name the server's database")
	case newest > known:
		return failure.Newf(failure.Conflict, "schema_newer", op, "use the capstan of the servers", "the database has schema %d, this capstan knows %d", newest, known)
	case newest < known:
		return failure.Newf(failure.Conflict, "schema_older", op, "use the capstan of the servers, or start this one on the database first", "the database has schema %d, this capstan makes copies of %d", newest, known)
	}
	return nil
}

// fill copies every table into an empty SQLite database and compares.
func fill(ctx context.Context, from pgx.Tx, db *sql.DB, counts map[string]int64) error {
	into, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = into.Rollback() }() // does nothing after the commit
	// The triggers count revisions, which are copied, and guard the audit.
	guards, err := collect(ctx, into, query{text: `SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name`}, func(row scanner) (guard [2]string, err error) {
		return guard, row.Scan(&guard[0], &guard[1])
	})
	if err != nil {
		return err
	}
	for _, g := range guards {
		if _, err := into.ExecContext(ctx, `DROP TRIGGER `+g[0]); err != nil {
			return err
		}
	}
	for _, table := range transferred {
		if counts[table], err = fillTable(ctx, from, into, table); err != nil {
			return err
		}
	}
	for _, g := range guards {
		if _, err := into.ExecContext(ctx, g[1]); err != nil {
			return err
		}
	}
	return into.Commit()
}

// fillTable copies one table, reads it back and compares.
func fillTable(ctx context.Context, from pgx.Tx, into *sql.Tx, table string) (int64, error) {
	columns, list, err := columnList(ctx, from, table)
	if err != nil {
		return 0, err
	}
	insert, err := into.PrepareContext(ctx, `INSERT INTO `+table+` (`+list+`) VALUES (`+placeholders(1, len(columns))+`)`)
	if err != nil {
		return 0, err
	}
	defer insert.Close()
	rows, err := from.Query(ctx, `SELECT `+list+` FROM `+table)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var read digest
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return 0, err
		}
		read.add(values)
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return 0, err
		}
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	back, err := into.QueryContext(ctx, `SELECT `+list+` FROM `+table)
	if err != nil {
		return 0, err
	}
	defer back.Close()
	written := newTableReader(back, columns)
	for written.Next() {
		if _, err := written.Values(); err != nil {
			return 0, err
		}
	}
	if err := back.Err(); err != nil {
		return 0, err
	}
	if written.sum != read {
		return 0, failure.Newf(failure.Verification, "transfer_differs", "copy database", "nothing was kept: report this",
			"table %s does not arrive as it was: %d of %d rows", table, written.sum.rows, read.rows)
	}
	return read.rows, keepSequence(ctx, from, into, table, columns)
}

// keepSequence lets ids go on where they were, also when the newest row is gone:
// an id never stands for two things.
func keepSequence(ctx context.Context, from pgx.Tx, into *sql.Tx, table string, columns []column) error {
	for _, c := range columns {
		if !c.numbers {
			continue
		}
		var last sql.NullInt64
		if err := from.QueryRow(ctx, `SELECT pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass)`, table, c.name).Scan(&last); err != nil {
			return err
		}
		if !last.Valid {
			continue
		}
		done, err := into.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = MAX(seq, $1) WHERE name = $2`, last.Int64, table)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n > 0 {
			return err
		}
		if _, err := into.ExecContext(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)`, table, last.Int64); err != nil {
			return err
		}
	}
	return nil
}

// columnList describes a table, and names its columns for a statement.
func columnList(ctx context.Context, t pgx.Tx, table string) ([]column, string, error) {
	columns, err := columnsOf(ctx, t, table)
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return columns, strings.Join(names, ", "), err
}

// LedgerRoot is the newest root of the ledger; "" of an empty one.
func (s *Store) LedgerRoot(ctx context.Context) (root string, err error) {
	err = s.db.read.QueryRowContext(ctx, `SELECT root FROM ledger_heads ORDER BY size DESC LIMIT 1`).Scan(&root)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return root, fault("read ledger", err)
}
