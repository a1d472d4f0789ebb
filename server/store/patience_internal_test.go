package store

import (
	"strings"
	"testing"

	"capstan/internal/servertest/postgres"
)

// Every connection of the pools has its bounds, those of the URL first.
func TestConnectionsAreBounded(t *testing.T) {
	target := postgres.Start(t).Database(t)
	joint := "?"
	if strings.Contains(target, "?") {
		joint = "&"
	}
	for _, c := range []struct{ settings, statement, lock, idle string }{
		{"", "1min", "10s", "1min"},
		{joint + "statement_timeout=7s", "7s", "10s", "1min"},
		{joint + "lock_timeout=0&idle_in_transaction_session_timeout=90s", "1min", "0", "90s"},
	} {
		db, err := connectPostgres(t.Context(), target+c.settings)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			conn, err := db.write.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() // kept, so that the next one is another
			for name, want := range map[string]string{"statement_timeout": c.statement, "lock_timeout": c.lock, "idle_in_transaction_session_timeout": c.idle} {
				var got string
				if err := conn.QueryRowContext(t.Context(), `SHOW `+name).Scan(&got); err != nil || got != want {
					t.Errorf("%q: %s is %q, %v; want %s", c.settings, name, got, err, want)
				}
			}
		}
		defer db.close()
	}
}
