package server_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"capstan/internal/fault"
	"capstan/internal/servertest"
	"capstan/server"
	"capstan/server/store"
)

// childEnv makes the test program run a server instead: its value is the data
// directory, or with "|" after it the database.
const childEnv = "CAPSTAN_TEST_SERVE"

// dieEnv names the server point of package fault at which a child kills itself.
const dieEnv = "CAPSTAN_TEST_DIE_AT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(powerEnv); dir != "" {
		writeUntilPowerFails(dir)
		return
	}
	if dir := os.Getenv(childEnv); dir != "" {
		serveForParent(dir)
		return
	}
	os.Exit(m.Run())
}

func serveForParent(where string) {
	dir, database, _ := strings.Cut(where, "|")
	if point := os.Getenv(dieEnv); point != "" {
		fault.SetServer(func(at string) {
			if at == point {
				self, _ := os.FindProcess(os.Getpid()) // always there
				_ = self.Kill()
				select {} // the signal comes
			}
		})
	}
	s, err := server.New(server.Config{Listen: "127.0.0.1:0", DataDir: dir, Database: database, Metrics: "127.0.0.1:0"})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	fmt.Println(s.Addr(), s.MetricsAddr(), s.FirstToken())
	// Until the parent's pipe closes, so that no server outlives its test.
	ctx, stop := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	if err := s.Run(ctx); err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
}

// child is a server in a process of its own.
type child struct {
	command *exec.Cmd
	base    string
	metrics string // address of the metrics
	token   string
	stdin   io.Closer
	exited  chan error
}

func spawn(t *testing.T, where string) *child {
	t.Helper()
	c, started := spawnUnder(t, where)
	if !started {
		t.Fatal("the server did not start")
	}
	return c
}

// spawnUnder starts a server as the last argument of another program; false is
// one that ended before it listened.
func spawnUnder(t *testing.T, where string, wrapper ...string) (*child, bool) {
	t.Helper()
	argv := append(wrapper, os.Args[0])
	c := &child{command: exec.Command(argv[0], argv[1:]...), exited: make(chan error, 1)}
	c.command.Env = append(os.Environ(), childEnv+"="+where)
	stdin, err := c.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	out, err := c.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = c.command.Wait()
		return c, false
	}
	c.started(line)
	go func() { c.exited <- c.command.Wait() }()
	t.Cleanup(func() { _ = c.stdin.Close(); _ = c.command.Process.Kill() })
	return c, true
}

// started reads the line with which a child says where it is.
func (c *child) started(line string) {
	words := append(strings.Fields(line), "", "", "")
	c.base, c.metrics, c.token = "http://"+words[0], "http://"+words[1]+"/metrics", words[2]
}

func (c *child) kill() {
	_ = c.command.Process.Kill()
	<-c.exited
}

func (c *child) send(token, method, path, body string) (int, error) {
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("capgkey", token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// known registers the bundle that the devices of these tests run: events of
// unknown ones are refused, one by one.
var known = [3]string{"POST", "/bundle", `{"app_id":"` + mine + `","version":"0.9.0","external_url":"https://cdn.example.com/x.zip","checksum":"00"}`}

// A server that is killed in the middle of a load of events and releases has,
// when it starts again, everything that it acknowledged, whole and once.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	rounds := 4
	if os.Getenv("CAPSTAN_LONG") == "1" {
		rounds = 60
	}
	dir := t.TempDir()
	first := spawn(t, dir)
	token := first.token
	for _, c := range [][3]string{{"POST", "/app", `{"app_id":"` + mine + `"}`}, known, {"POST", "/channel", `{"app_id":"` + mine + `","channel":"production"}`}} {
		if status, err := first.send(token, c[0], c[1], c[2]); status != http.StatusOK {
			t.Fatal(status, err)
		}
	}
	first.kill()

	acknowledged := &tally{events: map[string]bool{}, bundles: map[string]bool{}}
	for round := range rounds {
		c := spawn(t, dir)
		var load sync.WaitGroup
		stop := make(chan struct{})
		for worker := range 6 {
			load.Add(1)
			go func() { defer load.Done(); acknowledged.load(c, token, round, worker, stop) }()
		}
		time.Sleep(time.Duration(120+round%5*40) * time.Millisecond)
		c.kill()
		close(stop)
		load.Wait()
	}
	if len(acknowledged.events) == 0 || len(acknowledged.bundles) == 0 {
		t.Fatal("no load got through")
	}
	acknowledged.check(t, "sqlite", filepath.Join(dir, "capstan.db"))
	t.Logf("count: %d kills, %d events and %d bundles acknowledged", rounds, len(acknowledged.events), len(acknowledged.bundles))
}

type tally struct {
	mu              sync.Mutex
	events, bundles map[string]bool
}

// load sends events, or releases, and notes what was acknowledged.
func (a *tally) load(c *child, token string, round, worker int, stop chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		if worker == 0 {
			version := fmt.Sprintf("1.%d.%d", round, n)
			status, err := c.send(token, "POST", "/bundle", fmt.Sprintf(`{"app_id":%q,"version":%q,"external_url":"https://cdn.example.com/x.zip","checksum":"00"}`, mine, version))
			if err != nil {
				return
			}
			if status == http.StatusOK {
				a.mu.Lock()
				a.bundles[version] = true
				a.mu.Unlock()
			}
			_, _ = c.send(token, "POST", "/channel", fmt.Sprintf(`{"app_id":%q,"channel":"production","version":%q}`, mine, version))
			continue
		}
		device := fmt.Sprintf("%08d-%04d-4000-8000-%012d", round, worker, n)
		var batch []string
		for i := range 3 {
			batch = append(batch, fmt.Sprintf(`{"app_id":%q,"device_id":%q,"platform":"ios","version_os":"15","version_build":"0.9.0","version_name":"0.9.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false,"action":"app_moved_to_foreground","timestamp":%d}`, mine, device, i+1))
		}
		status, err := c.send(token, "POST", "/stats", "["+strings.Join(batch, ",")+"]")
		if err != nil {
			return
		}
		if status == http.StatusOK {
			a.mu.Lock()
			for i := range 3 {
				a.events[fmt.Sprintf("%s %d", device, i+1)] = true
			}
			a.mu.Unlock()
		}
	}
}

func (a *tally) check(t *testing.T, driver, target string) {
	t.Helper()
	db, err := sql.Open(driver, target)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if driver == "sqlite" {
		var verdict string
		if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("integrity: %s %v", verdict, err)
		}
	}
	kept := func(query string) map[string]int {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		found := map[string]int{}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			found[id]++
		}
		return found
	}
	events, bundles := kept(`SELECT device_id || ' ' || device_time FROM events`), kept(`SELECT name FROM bundles`)
	for id := range a.events {
		if events[id] != 1 {
			t.Errorf("event %s is kept %d times", id, events[id])
		}
	}
	for name := range a.bundles {
		if bundles[name] != 1 {
			t.Errorf("bundle %s is kept %d times", name, bundles[name])
		}
	}
	s, err := store.Open(t.Context(), target, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.VerifyAudit(t.Context()); err != nil {
		t.Error(err)
	}
	// Every bundle has its entry in the audit: they share a transaction.
	registered := kept(`SELECT after FROM audit WHERE action = 'bundle.register'`)
	if len(registered) != len(bundles) {
		t.Errorf("%d bundles, %d entries that say so", len(bundles), len(registered))
	}
}

// A server that is told to stop answers what it has begun to hear, and keeps
// what it was told last.
func TestGracefulStop(t *testing.T) {
	rounds := 1
	if os.Getenv("CAPSTAN_LONG") == "1" {
		rounds = 200
	}
	for range rounds {
		gracefulStop(t)
	}
	t.Logf("count: %d stops", rounds)
}

func gracefulStop(t *testing.T) {
	dir := t.TempDir()
	c := spawn(t, dir)
	if status, err := c.send(c.token, "POST", "/app", `{"app_id":"`+mine+`"}`); status != http.StatusOK {
		t.Fatal(status, err)
	}
	if status, err := c.send(c.token, known[0], known[1], known[2]); status != http.StatusOK {
		t.Fatal(status, err)
	}
	pipe, feed := io.Pipe()
	r, err := http.NewRequest("POST", c.base+"/stats", pipe)
	if err != nil {
		t.Fatal(err)
	}
	// The body is only read once the handler asks for it.
	r.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	answered := make(chan int, 1)
	go func() {
		answer, err := client.Do(r)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		answer.Body.Close()
		answered <- answer.StatusCode
	}()
	event := fmt.Sprintf(`[{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_os":"15","version_build":"0.9.0","version_name":"0.9.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false,"action":"app_moved_to_background","timestamp":1}]`, mine)
	if _, err := feed.Write([]byte(event[:40])); err != nil {
		t.Fatal(err)
	}
	// A poll that is only in memory must be written at the end.
	poll := fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000002","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`, mine)
	if _, err := c.send("", "POST", "/updates", poll); err != nil {
		t.Fatal(err)
	}
	c.stdin.Close()
	time.Sleep(100 * time.Millisecond)
	if _, err := feed.Write([]byte(event[40:])); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("a request that had begun was answered %d", status)
	}
	if err := <-c.exited; err != nil {
		t.Errorf("exit: %v", err)
	}
	s, err := store.Open(t.Context(), filepath.Join(dir, "capstan.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Device(t.Context(), mine, "00000000-0000-4000-8000-000000000002"); err != nil {
		t.Error(err)
	}
	if list, err := s.Events(t.Context(), mine, "00000000-0000-4000-8000-000000000001", 0, 0); err != nil || len(list) != 1 {
		t.Errorf("%d events, %v", len(list), err)
	}
}

func TestHealth(t *testing.T) {
	s := servertest.Start(t)
	for _, path := range []string{"/livez", "/readyz", "/ok"} {
		if status, text := call(t, s, "", "GET", path, ""); status != http.StatusOK || text != `{"status":"ok"}` {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	var about struct{ Server, PublicURL string }
	_, text := call(t, s, "none", "GET", "/capstan/v1/about", "")
	if err := json.Unmarshal([]byte(text), &about); err != nil || about.Server != "capstan" {
		t.Errorf("%s %v", text, err)
	}
}

// waitFor looks until done says so.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}
