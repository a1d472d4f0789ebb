package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"capstan/internal/peers"
	"capstan/internal/servertest"
	"capstan/server"
)

// publicEnv marks a run of this program in a network of its own, where
// 203.0.113.0/24 (RFC 5737) is this machine.
const publicEnv = "CAPSTAN_TEST_PUBLIC"

// inPublicNetwork runs the calling test again in a network namespace with public
// addresses, and reports whether this is that run.
func inPublicNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(publicEnv) != "" {
		return true
	}
	unshare, _ := peers.Program(t, "unshare", "apt-get install util-linux"), peers.Program(t, "ip", "apt-get install iproute2")
	if out, err := exec.Command(unshare, "-rn", "true").CombinedOutput(); err != nil {
		t.Skipf("this system gives no network namespace: %v %s", err, out)
	}
	c := exec.Command(unshare, "-rn", "sh", "-ec", `ip link set lo up; ip addr add 203.0.113.1/24 dev lo; exec "$0" -test.v -test.run "^$1\$"`, os.Args[0], t.Name())
	c.Env = append(os.Environ(), publicEnv+"=1")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// dialFrom opens a connection with an address of the client's choice.
func dialFrom(t *testing.T, address, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// askOn sends one request on an open connection; 0 is a connection that was closed.
func askOn(conn net.Conn, path, body string) int {
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	text := make([]byte, 12)
	if _, err := io.ReadFull(conn, text); err != nil {
		return 0
	}
	status := 0
	_, _ = fmt.Sscanf(string(text), "HTTP/1.1 %d", &status)
	return status
}

// A public address has so many connections and no more; others, and those of
// this machine, are not touched by it.
func TestConnectionsOfOneAddress(t *testing.T) {
	if !inPublicNetwork(t) {
		return
	}
	s := servertest.Start(t, func(c *server.Config) {
		c.Listen, c.Metrics, c.Rates = "203.0.113.1:0", "127.0.0.1:0", server.Rates{Connections: 10}
	})
	count := func(address string, n int) (answered int, open []net.Conn) {
		for range n {
			conn := dialFrom(t, address, s.Addr().String())
			if askOn(conn, "/ok", "{}") == http.StatusOK {
				answered++
				open = append(open, conn)
			}
		}
		return answered, open
	}
	answered, open := count("203.0.113.5", 25)
	if answered != 10 {
		t.Errorf("%d of 25 connections of one address are answered", answered)
	}
	if n, _ := count("203.0.113.6", 10); n != 10 {
		t.Errorf("%d of 10 connections of another address are answered", n)
	}
	if n, _ := count("127.0.0.1", 40); n != 40 {
		t.Errorf("%d of 40 connections of this machine are answered", n)
	}
	if refused := scrape(t, s)["capstan_connections_refused_total"]; refused != 15 {
		t.Errorf("the metric says that %v were refused", refused)
	}
	for _, conn := range open {
		conn.Close()
	}
	waitFor(t, "no connection is taken after the others ended", func() bool { n, _ := count("203.0.113.5", 1); return n == 1 })
}

// An address over its bound waits, whatever its bodies say; another one with the
// same bodies does not.
func TestRateOfOneAddress(t *testing.T) {
	if !inPublicNetwork(t) {
		return
	}
	s := servertest.Start(t, func(c *server.Config) { c.Listen, c.Rates = "203.0.113.1:0", server.Rates{Stats: 5, Updates: 5} })
	s.BaseURL = "http://" + s.Addr().String()
	statuses := map[int]int{}
	for i := range 40 {
		conn := dialFrom(t, "203.0.113.5", s.Addr().String())
		statuses[askOn(conn, "/stats", fmt.Sprintf(`[{"app_id":"com.example.a%d","device_id":"%08d-0000-4000-8000-000000000001"}]`, i, i))]++
	}
	if statuses[http.StatusServiceUnavailable] == 0 || statuses[http.StatusTooManyRequests] == 0 || statuses[0] != 0 ||
		statuses[http.StatusServiceUnavailable]+statuses[http.StatusTooManyRequests] != 35 {
		t.Errorf("%v", statuses)
	}
	if status := askOn(dialFrom(t, "203.0.113.6", s.Addr().String()), "/stats", `[]`); status == http.StatusServiceUnavailable {
		t.Errorf("another address hears %d", status)
	}
}

// In a second that brings more than the server can do, devices of the app that
// asks most hear that updates are blocked and their events wait; devices of the
// other app hear what they always hear.
func TestOneAppDoesNotCrowdOutAnother(t *testing.T) {
	s := startWithApps(t, func(c *server.Config) { c.Metrics, c.Rates = "127.0.0.1:0", server.Rates{Busy: 400} })
	for _, app := range []string{mine, theirs} {
		post(t, s, "/bundle", `{"app_id":"`+app+`","version":"1.1.0","external_url":"https://cdn.example.com/x.zip","checksum":"00"}`)
		post(t, s, "/channel", `{"app_id":"`+app+`","channel":"production","public":true,"version":"1.1.0","disableAutoUpdate":"none"}`)
	}
	check := func(app string) string {
		_, text := call(t, s, "none", "POST", "/updates", fmt.Sprintf(`{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false}`, app))
		return text
	}
	waitFor(t, "the loud app is never told to wait", func() bool { // until 400 fall into one second
		for range 600 {
			if strings.Contains(check(mine), `"kind":"blocked"`) {
				return true
			}
			if text := check(theirs); !strings.Contains(text, `"1.1.0"`) {
				t.Fatalf("the quiet app hears %s", text)
			}
			for range 9 {
				check(mine)
			}
		}
		return false
	})
	crowded := scrape(t, s)["capstan_crowded_total"]
	if crowded == 0 {
		t.Error("the metric does not move")
	}
	waitFor(t, "events of the loud app are never told to wait", func() bool {
		for range 800 {
			check(mine)
		}
		for range 20 {
			check(theirs)
		}
		status, _ := call(t, s, "none", "POST", "/stats", fmt.Sprintf(`[{"app_id":%q,"device_id":"00000000-0000-4000-8000-000000000001","platform":"ios","version_os":"15","version_build":"1.0.0","version_name":"1.1.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false,"action":"set","timestamp":1}]`, mine))
		return status == http.StatusServiceUnavailable
	})
}
