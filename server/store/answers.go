package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"capstan/core/failure"
)

// How long an answer is kept for its idempotency key, and how many of one
// token: past that the oldest go first, with the next change.
const (
	keepAnswers     = 24 * time.Hour
	answersPerToken = 1000
)

// Keep asks for the answer of a change to be kept under an idempotency key, in
// the transaction of the change itself: either both are there after a crash, or
// neither. A change that is refused keeps nothing.
type Keep struct {
	TokenID, Key string
	// Request is the hash of what was asked; the same key with another one is refused.
	Request string
	// Render turns the result of the change into the answer: what the Store's
	// method returns, a Changed for ChangeChannel, nil where it returns an error
	// alone.
	Render func(result any) (status int, body []byte, err error)

	kept bool
}

// Kept is an answer that was given before.
type Kept struct {
	Status int
	Body   []byte
}

// Error makes a Kept what a change under a key that was used before returns.
func (k *Kept) Error() string { return "the change was made before" }

type keepKey struct{}

// Keeping makes the first change under ctx keep its answer. When the key has one
// already nothing is changed and the error is a *Kept, or has the code
// idempotency_key_reused when it was for another request.
func Keeping(ctx context.Context, k *Keep) context.Context {
	return context.WithValue(ctx, keepKey{}, k)
}

// Answer gives what was answered under a key: nil when nothing was, or more than
// a day ago. Code idempotency_key_reused when it was for another request.
func (s *Store) Answer(ctx context.Context, k *Keep) (*Kept, error) {
	return s.answerIn(ctx, s.db.read, k)
}

func (s *Store) answerIn(ctx context.Context, from querier, k *Keep) (*Kept, error) {
	var request, body string
	var kept Kept
	err := from.QueryRowContext(ctx, `SELECT request, status, body FROM answers WHERE token_id = $1 AND idempotency_key = $2 AND at > $3`,
		k.TokenID, k.Key, s.ms()-keepAnswers.Milliseconds()).Scan(&request, &kept.Status, &body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fault("read the store", err)
	case request != k.Request:
		return nil, failure.New(failure.Conflict, "idempotency_key_reused", "", "the idempotency key was used for another request", "draw a new key for every change, and repeat a change with the same body")
	}
	kept.Body = []byte(body)
	return &kept, nil
}

// claim begins a change under a key: it waits for another one under the same key
// that is under way, and gives its answer as an error.
func (s *Store) claim(ctx context.Context, t *tx, k *Keep) error {
	if t.engine == enginePostgres { // SQLite has one writer
		sum := sha256.Sum256([]byte(k.TokenID + "\x00" + k.Key))
		if err := t.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(binary.BigEndian.Uint64(sum[:8]))); err != nil {
			return err
		}
	}
	kept, err := s.answerIn(ctx, t, k)
	if err == nil && kept != nil {
		err = kept
	}
	return err
}

// keep writes the answer at the end of the change.
func (s *Store) keep(ctx context.Context, t *tx, k *Keep) error {
	status, body, err := k.Render(t.result)
	if err != nil {
		return err
	}
	err = t.exec(ctx, `INSERT INTO answers (token_id, idempotency_key, request, status, body, at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (token_id, idempotency_key) DO UPDATE SET request = excluded.request, status = excluded.status, body = excluded.body, at = excluded.at`,
		k.TokenID, k.Key, k.Request, status, string(body), s.ms())
	if err != nil {
		return err
	}
	return t.exec(ctx, `DELETE FROM answers WHERE token_id = $1 AND idempotency_key NOT IN
		(SELECT idempotency_key FROM answers WHERE token_id = $1 ORDER BY at DESC, idempotency_key LIMIT $2)`, k.TokenID, answersPerToken)
}
