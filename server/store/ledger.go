package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// LedgerOrigin is the first line of a checkpoint: which log it speaks of.
const LedgerOrigin = "capstan ledger"

// record is the leaf of an audit row: a JSON array of its columns. Its bytes
// are what the tree's hash covers, so its form never changes.
func record(at int64, c capgo.Change) []byte {
	text, err := json.Marshal([]any{at, c.AppID, c.Channel, c.Action, c.Actor, c.From, c.To, c.Note})
	if err != nil {
		panic(err) // strings and one number always encode
	}
	return text
}

// nodes reads the tree's hashes within a transaction or outside.
func nodes(ctx context.Context, from querier) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		if len(indexes) == 0 {
			return nil, nil
		}
		q := query{text: `SELECT node, hash FROM ledger_nodes WHERE node IN (NULL`}
		for _, i := range indexes {
			q.text += `, ` + q.arg(i)
		}
		q.text += `)`
		type row struct {
			node int64
			hash string
		}
		list, err := collect(ctx, from, q, func(s scanner) (row, error) {
			var r row
			return r, s.Scan(&r.node, &r.hash)
		})
		if err != nil {
			return nil, err
		}
		found := make(map[int64]string, len(list))
		for _, r := range list {
			found[r.node] = r.hash
		}
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			if hashes[i], err = tlog.ParseHash(found[index]); err != nil {
				return nil, fmt.Errorf("node %d of the ledger is missing", index)
			}
		}
		return hashes, nil
	})
}

// seal adds an audit row to the tree and signs the new head, inside the
// transaction that adds the row.
func (s *Store) seal(ctx context.Context, t *tx, auditID, at int64, c capgo.Change) error {
	var size int64
	err := t.QueryRowContext(ctx, `SELECT COALESCE(MAX(size), 0) FROM ledger_heads`).Scan(&size)
	if err != nil {
		return err
	}
	hashes, err := tlog.StoredHashes(size, record(at, c), nodes(ctx, t))
	if err != nil {
		return err
	}
	for i, h := range hashes {
		if err := t.exec(ctx, `INSERT INTO ledger_nodes (node, hash) VALUES ($1, $2)`, tlog.StoredHashIndex(0, size)+int64(i), h.String()); err != nil {
			return err
		}
	}
	root, err := tlog.TreeHash(size+1, nodes(ctx, t))
	if err != nil {
		return err
	}
	checkpoint := ""
	if s.signer != nil {
		signed, err := note.Sign(&note.Note{Text: head(size+1, root)}, s.signer)
		if err != nil {
			return err
		}
		checkpoint = string(signed)
	}
	return t.exec(ctx, `INSERT INTO ledger_heads (size, audit_id, root, checkpoint) VALUES ($1, $2, $3, $4)`, size+1, auditID, root.String(), checkpoint)
}

// head is the text of a checkpoint, in the form of C2SP tlog-checkpoint.
func head(size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", LedgerOrigin, size, root)
}

// parseHead reads the text of a checkpoint.
func parseHead(text string) (size int64, root tlog.Hash, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] != LedgerOrigin {
		return 0, root, errors.New("not a checkpoint of this ledger")
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || size < 0 {
		return 0, root, errors.New("not a checkpoint of this ledger")
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}

// catchUp adds the audit rows that were written before there was a tree.
func (s *Store) catchUp(ctx context.Context) error {
	return s.change(ctx, func(t *tx) error {
		if err := s.lockAudit(ctx, t); err != nil {
			return err
		}
		type row struct {
			id, at int64
			c      capgo.Change
		}
		q := query{text: `SELECT id, at, app_id, channel, action, actor, before, after, note FROM audit WHERE id > (SELECT COALESCE(MAX(audit_id), 0) FROM ledger_heads) ORDER BY id`}
		list, err := collect(ctx, t, q, func(sc scanner) (row, error) {
			var r row
			err := sc.Scan(&r.id, &r.at, &r.c.AppID, &r.c.Channel, &r.c.Action, &r.c.Actor, &r.c.From, &r.c.To, &r.c.Note)
			return r, err
		})
		if err != nil {
			return err
		}
		for _, r := range list {
			if err := s.seal(ctx, t, r.id, r.at, r.c); err != nil {
				return err
			}
		}
		return nil
	})
}

// Checkpoint gives the newest signed tree head; code ledger_empty when nothing
// was signed yet.
func (s *Store) Checkpoint(ctx context.Context) (string, error) {
	var text string
	err := s.db.read.QueryRowContext(ctx, `SELECT checkpoint FROM ledger_heads WHERE checkpoint <> '' ORDER BY size DESC LIMIT 1`).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return "", failure.New(failure.NotFound, "ledger_empty", "read ledger", "the ledger has no signed checkpoint", "")
	}
	return text, fault("read ledger", err)
}

// Receipt proves that an entry of the audit is in the ledger: the record, its
// place, the hashes that lead from it to the root, and the signed root.
type Receipt struct {
	Index      int64           `json:"index"`
	Record     json.RawMessage `json:"record"`
	Proof      []string        `json:"proof"` // base64
	Checkpoint string          `json:"checkpoint"`
	AppID      string          `json:"-"`
}

// Receipt gives the receipt of an audit entry under the newest checkpoint.
// Code entry_not_found.
func (s *Store) Receipt(ctx context.Context, auditID int64) (Receipt, error) {
	var r Receipt
	var c capgo.Change
	var at int64
	err := s.db.read.QueryRowContext(ctx, `SELECT h.size - 1, a.at, a.app_id, a.channel, a.action, a.actor, a.before, a.after, a.note
		FROM ledger_heads h JOIN audit a ON a.id = h.audit_id WHERE a.id = $1`, auditID).
		Scan(&r.Index, &at, &c.AppID, &c.Channel, &c.Action, &c.Actor, &c.From, &c.To, &c.Note)
	if errors.Is(err, sql.ErrNoRows) {
		return r, failure.New(failure.NotFound, "entry_not_found", "read ledger", "there is no such entry", "")
	}
	if err != nil {
		return r, fault("read ledger", err)
	}
	if r.Checkpoint, err = s.Checkpoint(ctx); err != nil {
		return r, err
	}
	size, _, err := parseHead(r.Checkpoint)
	if err != nil {
		return r, fault("read ledger", err)
	}
	if r.Index >= size {
		return r, failure.New(failure.NotFound, "entry_not_found", "read ledger", "no checkpoint covers the entry yet", "")
	}
	proof, err := tlog.ProveRecord(size, r.Index, nodes(ctx, s.db.read))
	if err != nil {
		return r, fault("read ledger", err)
	}
	for _, h := range proof {
		r.Proof = append(r.Proof, h.String())
	}
	r.Record, r.AppID = record(at, c), c.AppID
	return r, nil
}

// VerifyReceipt checks a receipt offline with the ledger's public key. Code
// receipt_refused.
func VerifyReceipt(r Receipt, verifier note.Verifier) error {
	refused := func(why string) error {
		return failure.New(failure.Verification, "receipt_refused", "verify receipt", why, "")
	}
	signed, err := note.Open([]byte(r.Checkpoint), note.VerifierList(verifier))
	if err != nil {
		return refused("the checkpoint is not signed by the ledger's key")
	}
	size, root, err := parseHead(signed.Text)
	if err != nil {
		return refused(err.Error())
	}
	proof := make(tlog.RecordProof, len(r.Proof))
	for i, text := range r.Proof {
		if proof[i], err = tlog.ParseHash(text); err != nil {
			return refused("the proof cannot be read")
		}
	}
	if tlog.CheckRecord(proof, size, root, r.Index, tlog.RecordHash(r.Record)) != nil {
		return refused("the record is not in the ledger that the checkpoint signs")
	}
	return nil
}

// ExportLedger gives every record in order, one line each, and the newest checkpoint.
func (s *Store) ExportLedger(ctx context.Context) (records []json.RawMessage, checkpoint string, err error) {
	if checkpoint, err = s.Checkpoint(ctx); err != nil {
		return nil, "", err
	}
	size, _, err := parseHead(checkpoint)
	if err != nil {
		return nil, "", fault("read ledger", err)
	}
	q := query{text: `SELECT at, app_id, channel, action, actor, before, after, note FROM audit ORDER BY id LIMIT `}
	q.text += q.arg(size)
	records, err = collect(ctx, s.db.read, q, func(row scanner) (json.RawMessage, error) {
		var at int64
		var c capgo.Change
		err := row.Scan(&at, &c.AppID, &c.Channel, &c.Action, &c.Actor, &c.From, &c.To, &c.Note)
		return record(at, c), err
	})
	return records, checkpoint, err
}

// VerifyLedger checks an exported ledger offline: that the checkpoint is
// signed, that the records are exactly those it signs, and, with an earlier
// checkpoint, that the ledger has only grown since. It gives the number of
// records. Code ledger_refused.
func VerifyLedger(records []json.RawMessage, checkpoint, earlier string, verifier note.Verifier) (int64, error) {
	refused := func(why string) error {
		return failure.New(failure.Verification, "ledger_refused", "verify ledger", why, "compare with an earlier backup: somebody rewrote history")
	}
	open := func(text string) (int64, tlog.Hash, error) {
		signed, err := note.Open([]byte(text), note.VerifierList(verifier))
		if err != nil {
			return 0, tlog.Hash{}, refused("a checkpoint is not signed by the ledger's key")
		}
		size, root, err := parseHead(signed.Text)
		if err != nil {
			return 0, tlog.Hash{}, refused(err.Error())
		}
		return size, root, nil
	}
	size, root, err := open(checkpoint)
	if err != nil {
		return 0, err
	}
	if int64(len(records)) != size {
		return 0, refused(fmt.Sprintf("%d records, the checkpoint signs %d", len(records), size))
	}
	var earlierSize int64
	var earlierRoot tlog.Hash
	if earlier != "" {
		if earlierSize, earlierRoot, err = open(earlier); err != nil {
			return 0, err
		}
		if earlierSize > size {
			return 0, refused("the ledger is shorter than it was")
		}
	}
	stored := memoryNodes{}
	for i, text := range records {
		if int64(i) == earlierSize && earlier != "" {
			if got, err := tlog.TreeHash(earlierSize, stored); err != nil || got != earlierRoot {
				return 0, refused("the ledger does not continue the one that the earlier checkpoint signs")
			}
		}
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return 0, refused("a record cannot be read")
		}
		hashes, err := tlog.StoredHashes(int64(i), line.Bytes(), stored)
		if err != nil {
			return 0, refused(err.Error())
		}
		stored = append(stored, hashes...)
	}
	got, err := tlog.TreeHash(size, stored)
	if err != nil || got != root {
		return 0, refused("the records are not those that the checkpoint signs")
	}
	if earlierSize == size && earlier != "" && got != earlierRoot {
		return 0, refused("the ledger does not continue the one that the earlier checkpoint signs")
	}
	return size, nil
}

// memoryNodes are the hashes of a tree that is built in memory.
type memoryNodes []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (m memoryNodes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(m)) {
			return nil, fmt.Errorf("no node %d", index)
		}
		hashes[i] = m[index]
	}
	return hashes, nil
}
