package fsck_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	_ "modernc.org/sqlite"

	"capstan/core/fsck"
	"capstan/server"
)

// TestTamperedDatabase edits the server's database past the server, as somebody
// with access to the file could, and wants the drift named.
func TestTamperedDatabase(t *testing.T) {
	const (
		point   = `UPDATE channels SET bundle_id = (SELECT id FROM bundles WHERE name = '1.0.0') WHERE name = 'production'`
		rewrite = `UPDATE audit SET after = '1.0.0' WHERE action = 'channel.promote' AND after = '1.1.0'`
		forge   = `INSERT INTO audit (at, app_id, channel, action, actor, before, after, hash) SELECT at + 1, app_id, channel, 'channel.rollback', actor, '1.1.0', '1.0.0', hash FROM audit WHERE action = 'channel.promote' AND after = '1.1.0'`
		another = `INSERT INTO bundles (app_id, name, checksum, session_key, key_id, external_url, object_sha256, object_size, plain_checksum, checksum_v2, checksum_v3, created_at, updated_at)
			SELECT app_id, '6.6.6', checksum, session_key, key_id, external_url, object_sha256, object_size, plain_checksum, checksum_v2, checksum_v3, created_at, updated_at FROM bundles WHERE name = '1.0.0'`
	)
	for _, test := range []struct {
		name  string
		edits []string
		// without drops the journals of this machine, as on another one.
		without bool
		// key names the ledger's public key; forged signs the checkpoints with another.
		key, forged bool
		codes       []string // among those found; none means that nothing is wrong
	}{
		{name: "nothing", key: true},
		{name: "nothing, and the key is not known"},
		{name: "the channel alone", edits: []string{point}, codes: []string{"history_differs"}},
		{name: "the channel and its history", edits: []string{point, rewrite}, without: true, codes: []string{"ledger_channel"}},
		{name: "the channel and its history, where the release was made", edits: []string{point, rewrite}, codes: []string{"ledger_channel", "ledger_receipt"}},
		{name: "the channel, and an entry that was made up", edits: []string{point, forge}, without: true, codes: []string{"ledger_channel"}},
		{name: "the channel, and an entry put into the place of another", edits: []string{point, forge, `UPDATE ledger_heads SET audit_id = (SELECT MAX(id) FROM audit) WHERE size = (SELECT MAX(size) FROM ledger_heads)`},
			without: true, codes: []string{"ledger_channel"}},
		{name: "the channel, and the newest entry cut off", edits: []string{point, `DELETE FROM audit WHERE action = 'channel.promote' AND after = '1.1.0'`}, codes: []string{"ledger_receipt"}},
		{name: "who did it", edits: []string{`UPDATE audit SET actor = 'somebody else' WHERE action = 'channel.promote'`}, without: true, codes: []string{"ledger_channel"}},
		{name: "the object of the live bundle", edits: []string{`UPDATE bundles SET object_sha256 = (SELECT object_sha256 FROM bundles WHERE name = '1.0.0') WHERE name = '1.1.0'`}, codes: []string{"ledger_bundle"}},
		{name: "a bundle that nobody registered", edits: []string{another, strings.ReplaceAll(point, "1.0.0", "6.6.6")}, codes: []string{"history_differs", "ledger_bundle"}},
		{name: "all checkpoints signed by somebody else", forged: true, key: true, codes: []string{"ledger_bundle", "ledger_channel"}},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			database, err := sql.Open("sqlite", "file:"+filepath.Join(w.data, "capstan.db")+"?_pragma=busy_timeout(5000)")
			must(t, err)
			defer database.Close()
			for _, edit := range append([]string{`DROP TRIGGER audit_no_update`, `DROP TRIGGER audit_no_delete`}, test.edits...) {
				result, err := database.ExecContext(t.Context(), edit)
				must(t, err)
				if n, _ := result.RowsAffected(); n == 0 && !strings.HasPrefix(edit, "DROP") {
					t.Fatalf("nothing was edited by %s", edit)
				}
			}
			if test.forged {
				forgeCheckpoints(t, database)
			}
			config := w.config
			if test.without {
				config.Journals = nil
			}
			if test.key {
				text, err := os.ReadFile(filepath.Join(w.data, "ledger.pub"))
				must(t, err)
				config.LedgerKey, err = server.LedgerVerifier(string(text))
				must(t, err)
			}
			r, err := fsck.Check(t.Context(), config)
			must(t, err)
			found := codes(r)
			if len(test.codes) == 0 && (len(found) != 0 || r.Err() != nil) {
				t.Errorf("%v\n%+v", found, r.Findings)
			}
			for _, code := range test.codes {
				hinted := false
				for _, f := range r.Findings {
					hinted = hinted || f.Code == code && f.Level == fsck.Block && f.Hint != ""
				}
				if !hinted || r.Err() == nil {
					t.Errorf("found %v, want %s as well\n%+v", found, code, r.Findings)
				}
			}
		})
	}
}

// forgeCheckpoints signs every head of the ledger with a key of the forger's own.
func forgeCheckpoints(t *testing.T, database *sql.DB) {
	t.Helper()
	secret, _, err := note.GenerateKey(nil, "forger")
	must(t, err)
	signer, err := note.NewSigner(secret)
	must(t, err)
	rows, err := database.QueryContext(t.Context(), `SELECT size, checkpoint FROM ledger_heads`)
	must(t, err)
	forged := map[int64]string{}
	for rows.Next() {
		var size int64
		var checkpoint string
		must(t, rows.Scan(&size, &checkpoint))
		text, _, _ := strings.Cut(checkpoint, "\n\n")
		signed, err := note.Sign(&note.Note{Text: text + "\n"}, signer)
		must(t, err)
		forged[size] = string(signed)
	}
	must(t, rows.Err())
	must(t, rows.Close())
	for size, checkpoint := range forged {
		_, err := database.ExecContext(t.Context(), `UPDATE ledger_heads SET checkpoint = $1 WHERE size = $2`, checkpoint, size)
		must(t, err)
	}
}
