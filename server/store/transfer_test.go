package store_test

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/internal/servertest/postgres"
	"capstan/server/decide"
	"capstan/server/store"
)

// furnish gives a SQLite database with a row in every table.
func furnish(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "capstan.db")
	s, err := store.Open(t.Context(), path, store.Options{})
	ok(t, err)
	ctx := t.Context()
	_, err = s.CreateApp(ctx, "ana", capgo.App{AppID: app, Name: "Gezeiten ☾ 潮", PublicKey: publicPEM(signer())})
	ok(t, err)
	for _, name := range []string{"1.1.0", "1.2.0", "1.3.0"} {
		_, err := s.AddBundle(ctx, "ana", sealed(t, signer(), name))
		ok(t, err)
	}
	point(t, s, "production", "1.1.0")
	next, few, yes, rate := "1.2.0", 100, true, int64(900)
	nullable := &rate
	_, _, err = s.ChangeChannel(ctx, "ana", change("production", func(c *store.ChannelChange) {
		c.RolloutVersion, c.RolloutPercentageBps, c.PlatformVersions = &next, &few, map[string]*string{"ios": &next}
		c.AutoPauseEnabled, c.AutoPauseFailureRateBps = &yes, &nullable
	}))
	ok(t, err)
	beta, _, err := s.ChangeChannel(ctx, "ana", change("beta", nil))
	ok(t, err)
	ok(t, s.SetPlan(ctx, "ana", capgo.ReleasePlan{AppID: app, Channel: "beta", Version: "1.3.0", Promote: true}))
	ok(t, s.SetFreeze(ctx, "ana", capgo.Freeze{AppID: app, Name: "nights", Days: []string{"mon"}, Start: "22:00", Minutes: 480}))
	ok(t, s.SetOverride(ctx, "ana", app, device(1), "beta"))
	ok(t, s.ChooseChannel(ctx, app, device(2), beta.ID))
	ok(t, s.AddObject(ctx, store.Object{Name: app + "/1.1.0/x.zip", SHA256: strings.Repeat("a", 64), Size: 5}))
	ok(t, s.SetFreeze(store.Keeping(ctx, keep("ana's", "a key", "r")), "ana", capgo.Freeze{AppID: app, Name: "nights", Days: []string{"tue"}, Start: "22:00", Minutes: 480}))
	_, err = s.CreateToken(ctx, "ana", "", capgo.Token{Name: "ci", Scope: capgo.ScopeUpload, Apps: []string{app}})
	ok(t, err)
	for n := range 300 {
		r := request(device(n))
		r.IsEmulator = n%7 == 0
		s.Seen(r, decide.Verdict{Channel: "beta", ChannelID: beta.ID})
	}
	ok(t, s.Flush(ctx))
	for n := range 300 {
		ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(n, "set", int64(n+1)), event(n, "app_crash", 0)}))
	}
	ok(t, s.Close())
	return path
}

func TestMove(t *testing.T) {
	server := postgres.Start(t)
	path := furnish(t)
	ctx := t.Context()
	target := server.Database(t)
	code(t, moveErr(store.Move(ctx, path, path, nil)), "database_url")
	code(t, moveErr(store.Move(ctx, filepath.Join(t.TempDir(), "none.db"), target, nil)), "data_dir")
	running, err := store.Open(ctx, path, store.Options{})
	ok(t, err)
	code(t, moveErr(store.Move(ctx, path, target, nil)), "server_running")
	before := describe(t, running)
	ok(t, running.Close())

	report, err := store.Move(ctx, path, target, nil)
	ok(t, err)
	raw, err := sql.Open("sqlite", "file:"+path)
	ok(t, err)
	for _, table := range tablesOf(t, raw) {
		var n int64
		ok(t, raw.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
		if got, moved := report.Rows[table]; !moved || got != n || n == 0 {
			t.Errorf("table %s: %d of %d rows are moved", table, got, n)
		}
	}
	ok(t, raw.Close())
	if report.AuditEntries == 0 || report.LedgerRoot == "" {
		t.Errorf("%+v", report)
	}
	code(t, moveErr(store.Move(ctx, path, target, nil)), "database_not_empty")

	// The new place answers as the old one did, and goes on from there.
	s := start(t, target, store.Options{})
	if after := describe(t, s); after != before {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	made, err := s.AddBundle(ctx, "ana", sealed(t, signer(), "1.4.0"))
	ok(t, err)
	if made.ID <= 3 {
		t.Errorf("a new bundle has the id %d", made.ID)
	}
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(9, "set", 10)})) // known
	ok(t, s.Record(ctx, app, []capgo.StatsEvent{event(9, "set", 10_000)}))
	if list, err := s.Events(ctx, app, device(9), 0, 0); err != nil || len(list) != 3 {
		t.Errorf("%d events, %v", len(list), err)
	}
	_, _, err = s.VerifyAudit(ctx)
	ok(t, err)
	// What guards the tables is there again.
	there, err := sql.Open("pgx", target)
	ok(t, err)
	defer there.Close()
	if _, err := there.Exec(`UPDATE audit SET note = 'x'`); err == nil {
		t.Error("the audit can be rewritten at its new place")
	}
}

func moveErr(_ store.Transfer, err error) error { return err }

// tablesOf lists a SQLite database's tables with a server's data.
func tablesOf(t *testing.T, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name`)
	ok(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		ok(t, rows.Scan(&name))
		if !slices.Contains([]string{"pulse", "schema_migrations"}, name) {
			names = append(names, name)
		}
	}
	ok(t, rows.Err())
	return names
}

// describe writes down what a store says of everything.
func describe(t *testing.T, s *store.Store) string {
	t.Helper()
	ctx := t.Context()
	a, err := s.App(ctx, app)
	ok(t, err)
	bundles, err := s.Bundles(ctx, store.BundleFilter{AppID: app})
	ok(t, err)
	channels, err := s.Channels(ctx, app, 0, 0)
	ok(t, err)
	plans, err := s.Plans(ctx, app)
	ok(t, err)
	tokens, err := s.Tokens(ctx)
	ok(t, err)
	changes, err := s.Changes(ctx, store.ChangeFilter{})
	ok(t, err)
	sum, err := s.Summary(ctx, app)
	ok(t, err)
	answer, err := s.Answer(ctx, keep("ana's", "a key", "r"))
	ok(t, err)
	out, err := json.Marshal([]any{answer, a, bundles, channels, plans, tokens, changes, sum.Fleet, sum.Channels[0].Installs})
	ok(t, err)
	text := string(out) + "\n"
	for n := range 3 {
		v := ask(t, s, device(n))
		text += v.Channel + " " + v.Answer.Version + "\n"
	}
	return text
}
