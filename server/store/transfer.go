package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"capstan/core/failure"
)

// transferred are the tables that a database consists of, each after those
// that it refers to. pulse and schema_migrations are every database's own.
var transferred = []string{
	"apps", "bundles", "channels", "overrides", "self_set", "plans", "freezes", "devices", "events", "event_hours", "poll_hours",
	"app_days", "version_days", "objects", "tokens", "answers", "audit", "ledger_nodes", "ledger_heads",
}

// Transfer says what was moved.
type Transfer struct {
	Rows         map[string]int64 // by table
	AuditEntries int64
	AuditHead    string // hash of the newest entry
	LedgerRoot   string // of the newest checkpoint; "" for an empty ledger
}

// Move copies a SQLite database into an empty PostgreSQL, in one transaction.
// Before it commits, every row is read back and compared; after it, the audit
// and the ledger are verified where they are now. The source stays as it is.
// Codes server_running when a server has the source open, database_not_empty,
// transfer_differs, audit_broken, store_unavailable.
func Move(ctx context.Context, from, to string, ledger note.Signer) (Transfer, error) {
	const op = "move the database"
	report := Transfer{Rows: map[string]int64{}}
	if !IsPostgres(to) {
		return report, failure.New(failure.Usage, "database_url", op, "the target is no PostgreSQL database", "write it as postgres://user@host:5432/name")
	}
	source, err := alone(ctx, from, ledger)
	if err != nil {
		return report, err
	}
	defer func() { _ = source.db.close() }() // nothing is written any more
	if report.AuditEntries, report.AuditHead, err = source.VerifyAudit(ctx); err != nil {
		return report, err
	}
	target, err := connectPostgres(ctx, to)
	if err != nil {
		return report, err
	}
	schema := &Store{db: target, log: source.log, now: source.now}
	err = errors.Join(schema.migrate(ctx), target.close())
	if err != nil {
		return report, err
	}
	if err := copyTables(ctx, source.db.read, to, report.Rows); err != nil {
		return report, err
	}
	return report, compareLedgers(ctx, source, to, &report)
}

// alone opens a SQLite database that nobody else has open, with the schema of
// this program.
func alone(ctx context.Context, path string, ledger note.Signer) (*Store, error) {
	const op = "open database"
	q := url.Values{"_txlock": {"immediate"}}
	for _, p := range []string{"locking_mode(EXCLUSIVE)", "busy_timeout(500)", "foreign_keys(1)", "trusted_schema(0)", "cell_size_check(1)", "journal_mode(WAL)", "synchronous(FULL)"} {
		q.Add("_pragma", p)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode()+"&mode=rw")
	if err != nil {
		return nil, fault(op, err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db: &database{engine: engineSQLite, write: db, read: db}, log: slog.New(slog.DiscardHandler), now: time.Now, signer: ledger}
	err = s.migrate(ctx)
	if err == nil {
		err = s.catchUp(ctx)
	}
	if err != nil {
		_ = db.Close()
		switch {
		case strings.Contains(err.Error(), "database is locked"):
			return nil, failure.New(failure.Conflict, "server_running", op, "a server has the database open", "stop it, so that nothing is written that would be left behind")
		case strings.Contains(err.Error(), "unable to open database file"):
			return nil, failure.New(failure.NotFound, "data_dir", op, "there is no database", "name the server's data directory with --data")
		}
		return nil, err
	}
	return s, nil
}

func copyTables(ctx context.Context, source *sql.DB, to string, counts map[string]int64) error {
	const op = "move the database"
	conn, err := pgx.Connect(ctx, to)
	if err != nil {
		return failure.Wrap(withoutURL(err), failure.Unavailable, "store_unavailable", op, "see that PostgreSQL runs and takes the connection")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	t, err := conn.Begin(ctx)
	if err != nil {
		return fault(op, err)
	}
	defer func() { _ = t.Rollback(context.WithoutCancel(ctx)) }() // does nothing after the commit
	if _, err := t.Exec(ctx, `LOCK TABLE `+strings.Join(transferred, ", ")+` IN ACCESS EXCLUSIVE MODE`); err != nil {
		return fault(op, err)
	}
	for _, table := range transferred {
		var taken bool
		if err := t.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+`)`).Scan(&taken); err != nil {
			return fault(op, err)
		}
		if taken {
			return failure.New(failure.Conflict, "database_not_empty", op, "the target holds data of a server already", "give it an empty database")
		}
		// The triggers count revisions, which are copied, and guard the audit.
		if _, err := t.Exec(ctx, `ALTER TABLE `+table+` DISABLE TRIGGER USER`); err != nil {
			return fault(op, err)
		}
	}
	for _, table := range transferred {
		if counts[table], err = copyTable(ctx, source, t, table); err != nil {
			return fault(op, err)
		}
	}
	for _, table := range transferred {
		if _, err := t.Exec(ctx, `ALTER TABLE `+table+` ENABLE TRIGGER USER`); err != nil {
			return fault(op, err)
		}
	}
	return fault(op, t.Commit(ctx))
}

// column is a column of a table and whether it holds truth values, which
// SQLite keeps as numbers.
type column struct {
	name    string
	isBool  bool
	numbers bool // numbers itself
}

func columnsOf(ctx context.Context, t pgx.Tx, table string) ([]column, error) {
	rows, err := t.Query(ctx, `SELECT column_name, data_type = 'boolean', is_identity = 'YES' FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position`, table)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c column, err error) {
		return c, row.Scan(&c.name, &c.isBool, &c.numbers)
	})
}

// copyTable copies one table, reads it back and compares.
func copyTable(ctx context.Context, source *sql.DB, t pgx.Tx, table string) (int64, error) {
	columns, list, err := columnList(ctx, t, table)
	if err != nil {
		return 0, err
	}
	rows, err := source.QueryContext(ctx, `SELECT `+list+` FROM `+table)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	in := newTableReader(rows, columns)
	n, err := t.CopyFrom(ctx, pgx.Identifier{table}, strings.Split(list, ", "), in)
	if err != nil {
		return n, err
	}
	back, err := t.Query(ctx, `SELECT `+list+` FROM `+table)
	if err != nil {
		return n, err
	}
	defer back.Close()
	var written digest
	for back.Next() {
		values, err := back.Values()
		if err != nil {
			return n, err
		}
		written.add(values)
	}
	if err := back.Err(); err != nil {
		return n, err
	}
	if written != in.sum || written.rows != n {
		return n, failure.Newf(failure.Verification, "transfer_differs", "move the database", "nothing was kept: report this",
			"table %s does not arrive as it was: %d of %d rows", table, written.rows, in.sum.rows)
	}
	for _, c := range columns {
		if !c.numbers {
			continue
		}
		// Where SQLite was, which may be past the newest row: an id never stands for two things.
		var last int64
		err := source.QueryRowContext(ctx, `SELECT seq FROM sqlite_sequence WHERE name = $1`, table).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return n, err
		}
		if _, err := t.Exec(ctx, `SELECT setval(pg_get_serial_sequence($1, $2), $3)`, table, c.name, max(last, 1)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// tableReader feeds the rows of a SQLite table to PostgreSQL.
type tableReader struct {
	rows         *sql.Rows
	columns      []column
	values, into []any
	sum          digest
}

func newTableReader(rows *sql.Rows, columns []column) *tableReader {
	r := &tableReader{rows: rows, columns: columns, values: make([]any, len(columns)), into: make([]any, len(columns))}
	for i := range r.values {
		r.into[i] = &r.values[i]
	}
	return r
}

// Next implements pgx.CopyFromSource.
func (r *tableReader) Next() bool { return r.rows.Next() }

// Err implements pgx.CopyFromSource.
func (r *tableReader) Err() error { return r.rows.Err() }

// Values implements pgx.CopyFromSource.
func (r *tableReader) Values() ([]any, error) {
	if err := r.rows.Scan(r.into...); err != nil {
		return nil, err
	}
	for i, v := range r.values {
		switch v := v.(type) {
		case int64:
			if r.columns[i].isBool {
				r.values[i] = v != 0
			}
		case []byte:
			r.values[i] = string(v)
		case string:
			r.values[i] = plainText(v) // PostgreSQL takes no other
		}
	}
	r.sum.add(r.values)
	return r.values, nil
}

// digest stands for the rows of a table in whatever order: the sum of their
// SHA-256, and their number.
type digest struct {
	sum  [4]uint64
	rows int64
}

func (d *digest) add(row []any) {
	var text []byte
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			text = append(text, 'n')
		case bool:
			text = append(text, 'b', map[bool]byte{true: 1}[v])
		case int64:
			text = binary.BigEndian.AppendUint64(append(text, 'i'), uint64(v))
		case float64:
			text = binary.BigEndian.AppendUint64(append(text, 'f'), math.Float64bits(v))
		case string:
			text = append(binary.BigEndian.AppendUint64(append(text, 's'), uint64(len(v))), v...)
		default:
			text = fmt.Appendf(append(text, '?'), "%T %v", v, v) // equal to nothing that SQLite gives
		}
	}
	h := sha256.Sum256(text)
	for i := range d.sum {
		d.sum[i] += binary.BigEndian.Uint64(h[8*i:])
	}
	d.rows++
}

// compareLedgers verifies audit and ledger at their new place.
func compareLedgers(ctx context.Context, source *Store, to string, report *Transfer) error {
	target, err := Open(ctx, to, Options{})
	if err != nil {
		return err
	}
	defer target.Close()
	entries, head, err := target.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	before, err := source.LedgerRoot(ctx)
	if err != nil {
		return err
	}
	after, err := target.LedgerRoot(ctx)
	if err != nil {
		return err
	}
	if entries != report.AuditEntries || head != report.AuditHead || after != before {
		return failure.New(failure.Verification, "transfer_differs", "move the database", "the audit is not the same at its new place", "drop the target's tables and report this")
	}
	report.LedgerRoot = after
	return nil
}
