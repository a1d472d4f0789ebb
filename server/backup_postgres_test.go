package server_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"capstan/core/failure"
	"capstan/internal/servertest"
	"capstan/internal/servertest/postgres"
	"capstan/server"
	"capstan/server/store"
)

// questions are update checks of many kinds of devices.
func questions() (list []string) {
	for i, channel := range []string{"", "beta", "private", "none"} {
		for j, version := range []string{"builtin", "1.0.0", "1.1.0", "1.2.0"} {
			for k, platform := range []string{"ios", "android", "electron"} {
				for n := range 3 {
					list = append(list, fmt.Sprintf(`{"app_id":%q,"device_id":"%08d-0000-4000-8000-%012d","platform":%q,"version_build":"1.0.0","version_name":%q,"plugin_version":"8.51.23","is_prod":%v,"is_emulator":false,"defaultChannel":%q}`,
						mine, n, 100*i+10*j+k, platform, version, n != 1, channel))
				}
			}
		}
	}
	return list
}

func answersTo(t *testing.T, s *servertest.Server, list []string) string {
	t.Helper()
	var all strings.Builder
	for _, q := range list {
		status, text := call(t, s, "none", "POST", "/updates", q)
		fmt.Fprintln(&all, status, text)
	}
	return all.String()
}

// A backup of PostgreSQL is one moment of it, also while three writers are at
// work; restored to PostgreSQL or to SQLite it answers devices alike, with the
// ledger where it was.
func TestBackupOfPostgres(t *testing.T) {
	pg := postgres.Start(t)
	database := pg.Database(t)
	const public = "https://updates.example.com"
	s := startWithApps(t, func(c *server.Config) { c.Database, c.PublicURL = database, public })
	data, sum := content(50_000)
	name := mine + "/1.0.0/" + sum + ".zip"
	if status, text := put(t, s, name, sum, bytes.NewReader(data)); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	for _, version := range []string{"0.9.0", "1.0.0", "1.1.0", "1.2.0"} {
		post(t, s, "/bundle", fmt.Sprintf(`{"app_id":%q,"version":%q,"external_url":"%s/files/%s","checksum":"00"}`, mine, version, public, name))
	}
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"production","public":true,"version":"1.1.0","disableAutoUpdate":"none"}`)
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"production","rolloutVersion":"1.2.0","rolloutEnabled":true,"rolloutPercentageBps":5000}`)
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"beta","version":"1.2.0","allow_device_self_set":true}`)
	post(t, s, "/channel", `{"app_id":"`+mine+`","channel":"private","version":"1.1.0"}`)
	post(t, s, "/device", `{"app_id":"`+mine+`","device_id":"00000000-0000-4000-8000-000000000000","channel":"private"}`)

	acknowledged := &tally{events: map[string]bool{}, bundles: map[string]bool{}}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for worker := range 3 {
		writing.Go(func() { acknowledged.load(&child{base: s.BaseURL}, s.Token, 3, worker, stop) })
	}
	stopped := false
	defer func() {
		if !stopped {
			close(stop)
			writing.Wait()
		}
	}()
	list := questions()
	rounds := 2
	if os.Getenv("CAPSTAN_LONG") == "1" {
		rounds = 30
	}
	for round := range rounds + 1 {
		if round == rounds { // at the end nothing changes any more
			close(stop)
			writing.Wait()
			stopped = true
		} else {
			before := acknowledged.count()
			waitFor(t, "no load gets through", func() bool { return acknowledged.count() > before+50 })
		}
		acknowledged.mu.Lock()
		known := &tally{events: map[string]bool{}, bundles: map[string]bool{}}
		for id := range acknowledged.events {
			known.events[id] = true
		}
		for id := range acknowledged.bundles {
			known.bundles[id] = true
		}
		acknowledged.mu.Unlock()

		var file bytes.Buffer
		report, err := server.Backup(t.Context(), server.Source{DataDir: s.DataDir, Database: database}, &file)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Files) != 4 || len(report.Missing) != 0 || report.LedgerRoot == "" {
			t.Errorf("%+v", report)
		}
		if verified, err := server.VerifyBackup(t.Context(), bytes.NewReader(file.Bytes()), t.TempDir()); err != nil || verified.LedgerRoot != report.LedgerRoot {
			t.Errorf("%+v, %v", verified, err)
		}
		lite, other, fresh := filepath.Join(t.TempDir(), "lite"), filepath.Join(t.TempDir(), "pg"), pg.Database(t)
		if _, err := server.Restore(t.Context(), bytes.NewReader(file.Bytes()), lite, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Restore(t.Context(), bytes.NewReader(file.Bytes()), other, fresh); err != nil {
			t.Fatal(err)
		}
		known.check(t, "sqlite", filepath.Join(lite, "capstan.db"))
		known.check(t, "pgx", fresh)
		onLite := servertest.Start(t, func(c *server.Config) { c.DataDir, c.PublicURL = lite, public })
		onPostgres := servertest.Start(t, func(c *server.Config) { c.DataDir, c.Database, c.PublicURL = other, fresh, public })
		first, second := answersTo(t, onLite, list), answersTo(t, onPostgres, list)
		if first != second {
			t.Errorf("round %d: the two engines answer differently:\n%s", round, firstDifference(first, second))
		}
		if !strings.Contains(first, `"version":"1.2.0"`) || !strings.Contains(first, `"version":"1.1.0"`) || !strings.Contains(first, "no_new_version_available") {
			t.Errorf("the questions do not reach what they ask for:\n%s", first)
		}
		if round < rounds {
			continue
		}
		if live := answersTo(t, s, list); live != first {
			t.Errorf("the restored servers answer differently from the live one:\n%s", firstDifference(live, first))
		}
		want, err := s.Store().Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, restored := range []*servertest.Server{onLite, onPostgres} {
			if got, err := restored.Store().Checkpoint(t.Context()); err != nil || got != want {
				t.Errorf("the ledger's head is %q, %v; want %q", got, err, want)
			}
			if restored.FirstToken() != "" {
				t.Error("a restored server takes itself for a new one")
			}
			if answer, body := get(t, restored, "GET", "/files/"+name, nil); answer.StatusCode != http.StatusOK || !bytes.Equal(body, data) {
				t.Errorf("the object: %d", answer.StatusCode)
			}
			// It goes on from there: what is guarded is guarded, ids are new.
			restored.Token = s.Token
			post(t, restored, "/bundle", `{"app_id":"`+mine+`","version":"9.0.0","external_url":"https://cdn.example.com/x.zip","checksum":"00"}`)
			if _, _, err := restored.Store().VerifyAudit(t.Context()); err != nil {
				t.Error(err)
			}
		}
		raw, err := sql.Open("sqlite", "file:"+filepath.Join(lite, "capstan.db")+"?_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		if _, err := raw.Exec(`UPDATE audit SET note = 'x'`); err == nil {
			t.Error("the audit can be rewritten in the restored SQLite")
		}
	}
	t.Logf("count: %d backups under load; %d events and %d bundles acknowledged", rounds, len(acknowledged.events), len(acknowledged.bundles))
}

// firstDifference shows the first line in which two texts differ.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n%s\n%s", i+1, x[i], y[i])
		}
	}
	return "one is longer"
}

// What cannot be backed up or restored says why, and nothing is left half done.
func TestBackupOfPostgresRefusals(t *testing.T) {
	pg := postgres.Start(t)
	database := pg.Database(t)
	s := startWithApps(t, func(c *server.Config) { c.Database = database })
	backup := func(from server.Source) ([]byte, error) {
		var file bytes.Buffer
		_, err := server.Backup(t.Context(), from, &file)
		return file.Bytes(), err
	}
	wants := func(what string, err error, code string) {
		t.Helper()
		if failure.CodeOf(err) != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	_, err := backup(server.Source{DataDir: t.TempDir(), Database: database})
	wants("the data directory of no node", err, "ledger_key")
	_, err = backup(server.Source{DataDir: s.DataDir, Database: pg.Database(t)})
	wants("an empty database", err, "database_empty")
	good, err := backup(server.Source{DataDir: s.DataDir, Database: database})
	if err != nil {
		t.Fatal(err)
	}
	restore := func(text []byte, dir, to string) error {
		_, err := server.Restore(t.Context(), bytes.NewReader(text), dir, to)
		return err
	}
	wants("onto a node's data", restore(good, s.DataDir, pg.Database(t)), "data_dir_in_use")
	empty := filepath.Join(t.TempDir(), "restored")
	wants("into a database that is used", restore(good, empty, database), "database_not_empty")
	target := pg.Database(t)
	wants("a backup that was cut short", restore(good[:len(good)/2], empty, target), "backup_damaged")
	if left, err := filepath.Glob(filepath.Join(empty, "*")); err != nil || len(left) > 1 || len(left) == 1 && filepath.Base(left[0]) != "objects" {
		t.Errorf("left behind: %v %v", left, err)
	}
	// The same folder and database take the good one afterwards.
	if err := restore(good, empty, target); err != nil {
		t.Error(err)
	}
	raw, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for change, code := range map[string]string{
		`UPDATE schema_migrations SET version = version + 1000 WHERE version = (SELECT MAX(version) FROM schema_migrations)`: "schema_newer",
		`DELETE FROM schema_migrations WHERE version = (SELECT MAX(version) FROM schema_migrations)`:                         "schema_older",
	} {
		if _, err := raw.Exec(change); err != nil {
			t.Fatal(err)
		}
		_, err = backup(server.Source{DataDir: s.DataDir, Database: database})
		wants(change, err, code)
	}
	if _, err := store.Extract(t.Context(), "x.db", filepath.Join(t.TempDir(), "y.db")); failure.CodeOf(err) != "database_url" {
		t.Error(err)
	}
}
