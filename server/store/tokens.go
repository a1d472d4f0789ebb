package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// tokenPrefix lets scanners for leaked secrets recognise a token.
const tokenPrefix = "capstan_"

const tokenColumns = `id, name, scope, apps, channels, expires_at, created_at, last_used, revoked_at, hash`

type tokenRow struct {
	capgo.Token
	hash string
}

func scanToken(row scanner) (tokenRow, error) {
	var r tokenRow
	var scope, apps, channels string
	var expires, used, revoked sql.NullInt64
	var created int64
	if err := row.Scan(&r.ID, &r.Name, &scope, &apps, &channels, &expires, &created, &used, &revoked, &r.hash); err != nil {
		return r, err
	}
	r.Scope = capgo.TokenScope(scope)
	r.CreatedAt, r.ExpiresAt, r.LastUsed, r.Revoked = fromMS(created), fromNullMS(expires), fromNullMS(used), revoked.Valid
	for text, into := range map[string]*[]string{apps: &r.Apps, channels: &r.Channels} {
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			return r, err
		}
	}
	return r, nil
}

// CreateToken makes a token. The secret is the server's own and is only in
// the returned value; the database keeps its SHA-256 (it has 256 random bits,
// so a slow hash would add nothing). parent is the id of the token that asked
// for it, "" for the operator of the machine.
func (s *Store) CreateToken(ctx context.Context, actor, parent string, want capgo.Token) (capgo.Token, error) {
	var id [9]byte
	var secret [32]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(secret[:])
	made := want
	made.ID = hex.EncodeToString(id[:])
	made.Secret = tokenPrefix + made.ID + "_" + hex.EncodeToString(secret[:])
	made.CreatedAt, made.LastUsed, made.Revoked = fromMS(s.ms()), nil, false
	apps, err := limitList(want.Apps)
	if err != nil {
		return capgo.Token{}, fault("create token", err)
	}
	channels, err := limitList(want.Channels)
	if err != nil {
		return capgo.Token{}, fault("create token", err)
	}
	var expires any
	if want.ExpiresAt != nil {
		expires = want.ExpiresAt.UnixMilli()
	}
	err = s.change(ctx, func(t *tx) error {
		err := t.exec(ctx, `INSERT INTO tokens (id, parent, name, scope, apps, channels, hash, expires_at, created_at) VALUES (`+placeholders(1, 9)+`)`,
			made.ID, parent, made.Name, string(made.Scope), apps, channels, hashToken(made.Secret), expires, made.CreatedAt.UnixMilli())
		if err != nil {
			return err
		}
		t.result = made
		return s.note(ctx, t, capgo.Change{Action: "token.create", Actor: actor, To: made.Name, Note: made.ID + " " + string(made.Scope)})
	})
	if err != nil {
		return capgo.Token{}, err
	}
	return made, nil
}

func limitList(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	text, err := json.Marshal(values)
	return string(text), err
}

func hashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Authenticate gives the token that a secret belongs to. Code invalid_apikey
// for one that is unknown, revoked or expired: the caller cannot tell which.
func (s *Store) Authenticate(ctx context.Context, secret string) (capgo.Token, error) {
	refused := failure.New(failure.NotAuthorised, "invalid_apikey", "", "the token is not valid", "make a new one with capstan token create")
	id, _, ok := strings.Cut(strings.TrimPrefix(secret, tokenPrefix), "_")
	if !ok || !strings.HasPrefix(secret, tokenPrefix) || len(secret) > 128 {
		return capgo.Token{}, refused
	}
	q := query{text: `SELECT ` + tokenColumns + ` FROM tokens WHERE TRUE`}
	q.and(`id = `, id)
	row, err := one(ctx, s.db.read, q, scanToken, refused)
	if err != nil {
		return capgo.Token{}, err
	}
	if subtle.ConstantTimeCompare([]byte(row.hash), []byte(hashToken(secret))) != 1 {
		return capgo.Token{}, refused
	}
	if row.Revoked || row.ExpiresAt != nil && !s.now().Before(*row.ExpiresAt) {
		return capgo.Token{}, refused
	}
	s.noteUse(row.Token)
	return row.Token, nil
}

// noteUse remembers, at most once a minute, that a token was used.
func (s *Store) noteUse(token capgo.Token) {
	if token.LastUsed != nil && s.now().Sub(*token.LastUsed) < time.Minute {
		return
	}
	s.recorder.used(token.ID, s.ms())
}

// Tokens lists all tokens, oldest first, without their secrets.
func (s *Store) Tokens(ctx context.Context) ([]capgo.Token, error) {
	rows, err := collect(ctx, s.db.read, query{text: `SELECT ` + tokenColumns + ` FROM tokens ORDER BY created_at, id`}, scanToken)
	if err != nil {
		return nil, err
	}
	list := make([]capgo.Token, len(rows))
	for i, r := range rows {
		list[i] = r.Token
	}
	return list, nil
}

// Token gives one token by id. Code token_not_found.
func (s *Store) Token(ctx context.Context, id string) (capgo.Token, error) {
	row, err := tokenIn(ctx, s.db.read, id)
	return row.Token, err
}

func tokenIn(ctx context.Context, from querier, id string) (tokenRow, error) {
	q := query{text: `SELECT ` + tokenColumns + ` FROM tokens WHERE TRUE`}
	q.and(`id = `, id)
	return one(ctx, from, q, scanToken, failure.New(failure.NotFound, "token_not_found", "", "there is no such token", "capstan token list shows the ids"))
}

// RevokeToken ends a token's validity, and that of every token minted from it.
// Code token_not_found.
func (s *Store) RevokeToken(ctx context.Context, actor, id string) error {
	return s.change(ctx, func(t *tx) error {
		row, err := tokenIn(ctx, t, id)
		if err != nil {
			return err
		}
		err = t.exec(ctx, `UPDATE tokens SET revoked_at = $1 WHERE revoked_at IS NULL AND id IN (
			WITH RECURSIVE family(id) AS (SELECT CAST($2 AS TEXT) UNION SELECT t.id FROM tokens t JOIN family f ON t.parent = f.id) SELECT id FROM family)`, s.ms(), id)
		if err != nil {
			return err
		}
		return s.note(ctx, t, capgo.Change{Action: "token.revoke", Actor: actor, From: row.Name, Note: id})
	})
}
