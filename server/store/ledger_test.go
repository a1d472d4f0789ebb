package store_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"capstan/core/capgo"
	"capstan/server/store"
)

func ledgerKey(t *testing.T) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "test-ledger")
	ok(t, err)
	signer, err := note.NewSigner(private)
	ok(t, err)
	verifier, err := note.NewVerifier(public)
	ok(t, err)
	return signer, verifier
}

// Every change has a receipt that verifies offline, and a ledger that was
// flipped, cut, reordered, extended or forked does not.
func testLedger(t *testing.T, open opener) {
	signer, verifier := ledgerKey(t)
	target, raw := open(t)
	s := start(t, target, store.Options{Ledger: signer})
	ctx := t.Context()
	_, err := s.CreateApp(ctx, "ann", capgo.App{AppID: app})
	ok(t, err)
	early, err := s.Checkpoint(ctx)
	ok(t, err)
	for i := range 18 {
		addBundle(t, s, fmt.Sprintf("1.0.%d", i))
		point(t, s, "production", fmt.Sprintf("1.0.%d", i))
	}
	list, err := s.Changes(ctx, store.ChangeFilter{Limit: 1000})
	ok(t, err)
	for _, entry := range list {
		r, err := s.Receipt(ctx, entry.ID)
		ok(t, err)
		ok(t, store.VerifyReceipt(r, verifier))
		r.Record = json.RawMessage(strings.Replace(string(r.Record), "1.0.", "9.0.", 1) + " ")
		code(t, store.VerifyReceipt(r, verifier), "receipt_refused")
	}
	_, err = s.Receipt(ctx, 1<<40)
	code(t, err, "entry_not_found")

	records, checkpoint, err := s.ExportLedger(ctx)
	ok(t, err)
	n, err := store.VerifyLedger(records, checkpoint, early, verifier)
	ok(t, err)
	if int(n) != len(list) {
		t.Fatalf("%d records, %d entries of the audit", n, len(list))
	}
	_, stranger := ledgerKey(t)
	tampered := 0
	refuse := func(what string, records []json.RawMessage, checkpoint, earlier string, v note.Verifier) {
		t.Helper()
		tampered++
		if _, err := store.VerifyLedger(records, checkpoint, earlier, v); err == nil {
			t.Errorf("%s is not noticed", what)
		}
	}
	for i := range records {
		flipped := slices.Clone(records)
		flipped[i] = json.RawMessage(strings.Replace(string(records[i]), "test", "eve!", 1))
		if string(flipped[i]) == string(records[i]) {
			flipped[i] = json.RawMessage(strings.Replace(string(records[i]), "ann", "eve", 1))
		}
		refuse("a flipped record", flipped, checkpoint, "", verifier)
		refuse("a dropped record", slices.Delete(slices.Clone(records), i, i+1), checkpoint, "", verifier)
		refuse("a doubled record", slices.Insert(slices.Clone(records), i, records[i]), checkpoint, "", verifier)
		if i > 0 {
			swapped := slices.Clone(records)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			refuse("a swapped pair", swapped, checkpoint, "", verifier)
			refuse("a cut ledger", records[:i], checkpoint, "", verifier)
		}
		if i%7 == 0 {
			at := len(checkpoint) * i / len(records)
			// The last letter of base64 has bits that mean nothing.
			if checkpoint[at] != 'A' && at < len(checkpoint)-len("A=\n") {
				refuse("a changed checkpoint", records, checkpoint[:at]+"A"+checkpoint[at+1:], "", verifier)
			}
		}
	}
	refuse("a stranger's key", records, checkpoint, "", stranger)
	refuse("an older checkpoint replayed", records, early, "", verifier)
	refuse("a ledger shorter than before", records[:1], early, checkpoint, verifier)
	if tampered < 200 {
		t.Errorf("only %d manipulations", tampered)
	}

	// A ledger that was made anew does not continue the old one.
	forkTarget, _ := open(t)
	fork := start(t, forkTarget, store.Options{Ledger: signer})
	_, err = fork.CreateApp(ctx, "eve", capgo.App{AppID: app})
	ok(t, err)
	for i := range 20 {
		addBundle(t, fork, fmt.Sprintf("6.6.%d", i))
	}
	forked, forkedHead, err := fork.ExportLedger(ctx)
	ok(t, err)
	if _, err := store.VerifyLedger(forked, forkedHead, "", verifier); err != nil {
		t.Fatal(err)
	}
	refuse("a fork", forked, forkedHead, early, verifier)

	// Entries from before there was a ledger are taken up by the next start.
	ok(t, s.Close())
	for _, table := range []string{"ledger_nodes", "ledger_heads"} {
		_, err := raw.ExecContext(ctx, `DELETE FROM `+table)
		ok(t, err)
	}
	again := start(t, target, store.Options{Ledger: signer})
	rebuilt, head, err := again.ExportLedger(ctx)
	ok(t, err)
	if _, err := store.VerifyLedger(rebuilt, head, early, verifier); err != nil || len(rebuilt) != len(records) {
		t.Fatalf("%d records, %v", len(rebuilt), err)
	}
}
