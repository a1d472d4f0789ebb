package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/internal/servertest"
	"capstan/internal/servertest/postgres"
	"capstan/server"
)

// nodes starts servers on one database; the first has the token.
func nodes(t *testing.T, database string, n int) []*servertest.Server {
	t.Helper()
	var list []*servertest.Server
	for range n {
		s := servertest.Start(t, func(c *server.Config) { c.Database = database })
		if len(list) > 0 {
			s.Token = list[0].Token
		}
		list = append(list, s)
	}
	return list
}

// Three nodes on one database hear of a promotion within a second, whichever
// of them it was made on.
func TestNodesAgree(t *testing.T) {
	list := nodes(t, postgres.Start(t).Database(t), 3)
	send := func(s *servertest.Server, method, path, body string) {
		t.Helper()
		if status, text := s.Do(t, method, path, strings.NewReader(body), nil); status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, status, text)
		}
	}
	send(list[0], "POST", "/app", `{"app_id":"`+mine+`"}`)
	hears := func(s *servertest.Server) string {
		_, text := s.Do(t, "POST", "/updates", strings.NewReader(`{"app_id":"`+mine+`","device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"0.9.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`), nil)
		var answer struct{ Version string }
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Version
	}
	var took []time.Duration
	for i := range 9 {
		maker := list[i%3]
		version := fmt.Sprintf("1.0.%d", i+1)
		send(maker, "POST", "/bundle", fmt.Sprintf(`{"app_id":%q,"version":%q,"external_url":"https://cdn.example.com/x.zip","checksum":"00"}`, mine, version))
		send(maker, "POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"production","public":true,"version":%q}`, mine, version))
		begin := time.Now()
		if got := hears(maker); got != version {
			t.Fatalf("the node that was told answers %s after %s was promoted", got, version)
		}
		for _, other := range list {
			for deadline := time.Now().Add(time.Minute); hears(other) != version; time.Sleep(2 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("a node never hears of the promotion")
				}
			}
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("all nodes agree after %s (median), %s (longest)", took[len(took)/2], took[len(took)-1])
	// The timer that stands in for lost notices would take a second on average
	// and two at most; a machine under load may make a single one late.
	if took[len(took)/2] > time.Second {
		t.Errorf("the nodes agree after %s", took)
	}
}

// Nodes are killed and the database crashes and comes back in the middle of a
// load of events and releases: what was acknowledged is there, once.
func TestClusterKeepsWhatItAcknowledged(t *testing.T) {
	rounds := 2
	if os.Getenv("CAPSTAN_LONG") == "1" {
		rounds = 100
	}
	pg := postgres.StartOwn(t)
	database := pg.Database(t)
	where := func() string { return t.TempDir() + "|" + database }
	first := spawn(t, where())
	token := first.token
	for _, c := range [][3]string{{"POST", "/app", `{"app_id":"` + mine + `"}`}, known, {"POST", "/channel", `{"app_id":"` + mine + `","channel":"production"}`}} {
		if status, err := first.send(token, c[0], c[1], c[2]); status != http.StatusOK {
			t.Fatal(status, err)
		}
	}
	children := []*child{first, spawn(t, where()), spawn(t, where())}
	acknowledged := &tally{events: map[string]bool{}, bundles: map[string]bool{}}
	number := 0
	before := 0
	for range rounds {
		var load sync.WaitGroup
		stop := make(chan struct{})
		for _, c := range children {
			number++
			for worker := range 3 {
				load.Add(1)
				go func(round int) { defer load.Done(); acknowledged.load(c, token, round, worker, stop) }(number)
			}
		}
		time.Sleep(250 * time.Millisecond)
		children[0].kill()
		time.Sleep(100 * time.Millisecond)
		pg.Stop(t) // at once, as if the machine had died
		pg.Boot(t)
		at := acknowledged.count()
		for deadline := time.Now().Add(time.Minute); acknowledged.count() == at; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no node takes events after the database came back")
			}
		}
		close(stop)
		load.Wait()
		children = append(children[1:], spawn(t, where()))
		if acknowledged.count() == before {
			t.Fatal("no load got through")
		}
		before = acknowledged.count()
	}
	for _, c := range children {
		c.kill()
	}
	acknowledged.check(t, "pgx", database)
	t.Logf("count: %d crashes of the database, %d events and %d bundles acknowledged", rounds, len(acknowledged.events), len(acknowledged.bundles))
}

// A server with a read replica lists what devices said from there, and says so
// in its metrics.
func TestReadDatabase(t *testing.T) {
	primary := postgres.StartOwn(t)
	database := primary.Database(t)
	replica := primary.Replica(t)
	s := startWithApps(t, func(c *server.Config) {
		c.Database, c.ReadDatabase, c.Metrics = database, replica.At(t, database), "127.0.0.1:0"
	})
	call(t, s, "", "POST", "/updates", fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`, mine))
	list := func() string {
		t.Helper()
		status, text := call(t, s, "", "GET", "/device?app_id="+mine, "")
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
		return text
	}
	const fallbacks, lag = "capstan_replica_fallbacks_total", "capstan_replica_lag_seconds"
	waitFor(t, "the device is not listed", func() bool { return strings.Contains(list(), "00000000-0000-4000-8000-000000000001") })
	waitFor(t, "the replica is not used", func() bool {
		before := scrape(t, s)[fallbacks]
		list()
		return scrape(t, s)[fallbacks] == before
	})
	replica.Exec(t, `SELECT pg_wal_replay_pause()`)
	waitFor(t, "the metric does not say that the replica is behind", func() bool {
		call(t, s, "", "POST", "/updates", fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-%012d","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`, mine, time.Now().UnixMilli()%1e12))
		return scrape(t, s)[lag] > 0
	})
	replica.Stop(t)
	before := scrape(t, s)[fallbacks]
	list()
	if after := scrape(t, s)[fallbacks]; after <= before {
		t.Errorf("%s goes from %v to %v while the replica is gone", fallbacks, before, after)
	}
}

func (a *tally) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.events)
}
