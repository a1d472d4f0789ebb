package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// auditLock orders the writers of the chain where the engine has several.
const auditLock = 0x61756469 // "audi"

// note appends to the audit inside the transaction of the change it speaks of.
// Each row carries the hash of the row before it, so that a row that is
// changed, dropped or inserted by other means breaks the chain.
func (s *Store) note(ctx context.Context, t *tx, c capgo.Change) error {
	if err := s.lockAudit(ctx, t); err != nil {
		return err
	}
	var previous string
	err := t.QueryRowContext(ctx, `SELECT hash FROM audit ORDER BY id DESC LIMIT 1`).Scan(&previous)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	at := s.ms()
	var id int64
	err = t.QueryRowContext(ctx, `INSERT INTO audit (at, app_id, channel, action, actor, before, after, note, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`,
		at, c.AppID, c.Channel, c.Action, c.Actor, c.From, c.To, c.Note, chainHash(previous, at, c)).Scan(&id)
	if err != nil {
		return err
	}
	return s.seal(ctx, t, id, at, c)
}

// lockAudit makes this transaction the only one that appends, until it ends.
func (s *Store) lockAudit(ctx context.Context, t *tx) error {
	if t.engine != enginePostgres {
		return nil
	}
	return t.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, auditLock)
}

// chainHash is the hex SHA-256 of a JSON array: the hash of the previous row
// ("" for the first) and the row's own columns.
func chainHash(previous string, at int64, c capgo.Change) string {
	row, err := json.Marshal([]any{previous, at, c.AppID, c.Channel, c.Action, c.Actor, c.From, c.To, c.Note})
	if err != nil {
		panic(err) // strings and one number always encode
	}
	sum := sha256.Sum256(row)
	return hex.EncodeToString(sum[:])
}

// ChangeFilter selects entries of the audit. Zero fields do not restrict.
type ChangeFilter struct {
	AppID   string
	Apps    []string // any of these; nil is all
	Channel string
	Before  int64 // entries with a smaller id
	Limit   int   // 1 to 1000; 100 when zero
}

// Changes lists the audit, newest first.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]capgo.Change, error) {
	return listed(ctx, s, func(from querier) ([]capgo.Change, error) { return changesIn(ctx, from, f) })
}

func changesIn(ctx context.Context, from querier, f ChangeFilter) ([]capgo.Change, error) {
	q := query{text: `SELECT id, at, app_id, channel, action, actor, before, after, note FROM audit WHERE TRUE`}
	if f.AppID != "" {
		q.and(`app_id = `, f.AppID)
	}
	if f.Apps != nil {
		q.andIn(`app_id`, f.Apps)
	}
	if f.Channel != "" {
		q.and(`channel = `, f.Channel)
	}
	if f.Before > 0 {
		q.and(`id < `, f.Before)
	}
	q.text += ` ORDER BY id DESC`
	q.limit(f.Limit, 100, 1000)
	return collect(ctx, from, q, scanChange)
}

func scanChange(row scanner) (capgo.Change, error) {
	var c capgo.Change
	var at int64
	err := row.Scan(&c.ID, &at, &c.AppID, &c.Channel, &c.Action, &c.Actor, &c.From, &c.To, &c.Note)
	c.At = fromMS(at)
	return c, err
}

// VerifyAudit walks the whole chain and gives its length and head. A break is
// a Verification failure that names the first entry that does not fit.
func (s *Store) VerifyAudit(ctx context.Context) (entries int64, head string, err error) {
	rows, err := s.db.read.QueryContext(ctx, `SELECT id, at, app_id, channel, action, actor, before, after, note, hash FROM audit ORDER BY id`)
	if err != nil {
		return 0, "", fault("verify audit", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c capgo.Change
		var at int64
		var hash string
		if err := rows.Scan(&c.ID, &at, &c.AppID, &c.Channel, &c.Action, &c.Actor, &c.From, &c.To, &c.Note, &hash); err != nil {
			return 0, "", fault("verify audit", err)
		}
		if hash != chainHash(head, at, c) {
			return entries, head, failure.Newf(failure.Verification, "audit_broken", "verify audit", "restore the newest backup whose audit verifies, and find out who wrote to the database",
				"entry %d was changed, or an entry before it is missing", c.ID)
		}
		entries, head = entries+1, hash
	}
	return entries, head, fault("verify audit", rows.Err())
}

// scanner is what a row gives its columns with.
type scanner interface{ Scan(...any) error }

// query grows a statement with its arguments.
type query struct {
	text string
	args []any
}

func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return fmt.Sprintf("$%d", len(q.args))
}

// and adds a condition: "column = " and its value.
func (q *query) and(condition string, v any) { q.text += ` AND ` + condition + q.arg(v) }

// andIn adds a condition of membership; an empty list matches nothing.
func (q *query) andIn(column string, values []string) {
	q.text += ` AND ` + column + ` IN (NULL`
	for _, v := range values {
		q.text += `, ` + q.arg(v)
	}
	q.text += `)`
}

// limit adds LIMIT: n, or standard when n is not positive, at most most.
func (q *query) limit(n, standard, most int) {
	if n <= 0 {
		n = standard
	}
	q.text += ` LIMIT ` + q.arg(min(n, most))
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// collect runs a query and reads its rows. No rows give an empty slice.
func collect[T any](ctx context.Context, from querier, q query, read func(scanner) (T, error)) ([]T, error) {
	rows, err := from.QueryContext(ctx, q.text, q.args...)
	if err != nil {
		return nil, fault("read the store", err)
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		v, err := read(rows)
		if err != nil {
			return nil, fault("read the store", err)
		}
		list = append(list, v)
	}
	return list, fault("read the store", rows.Err())
}

// one runs a query for a single row; none gives the failure missing.
func one[T any](ctx context.Context, from querier, q query, read func(scanner) (T, error), missing error) (T, error) {
	v, err := read(from.QueryRowContext(ctx, q.text, q.args...))
	if errors.Is(err, sql.ErrNoRows) {
		return v, missing
	}
	return v, fault("read the store", err)
}
