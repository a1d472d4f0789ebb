package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"capstan/core/failure"
	"capstan/internal/peers"
	"capstan/internal/servertest"
	"capstan/server"
)

// acmeDomain is what the tests ask certificates for; their DNS leads it home.
const acmeDomain = "updates.example.test"

// authority is Pebble, the ACME server that Let's Encrypt tests clients with. It
// refuses one nonce in twenty and knocks at the ports it is given.
type authority struct {
	directory  string
	management string
	ownRoots   string // PEM file of the directory's own certificate
	ownPool    *x509.CertPool
	command    *exec.Cmd
}

func startAuthority(t *testing.T, tlsPort, httpPort int, validity time.Duration) *authority {
	t.Helper()
	program := peers.Program(t, "pebble", "scripts/install-peers.sh builds it")
	dir := t.TempDir()
	cert, key, pool := writeCertificate(t, dir)
	directory, management := freeAddress(t), freeAddress(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": directory, "managementListenAddress": management, "certificate": cert, "privateKey": key, "tlsPort": tlsPort, "httpPort": httpPort,
		"profiles": map[string]any{"default": map[string]any{"description": "test", "validityPeriod": int(validity.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &authority{directory: "https://" + directory + "/dir", management: "https://" + management, ownRoots: cert, ownPool: pool}
	a.command = exec.Command(program, "-config", path, "-dnsserver", serveDNS(t))
	a.command.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	client := a.client()
	for range 200 {
		if answer, err := client.Get(a.directory); err == nil {
			answer.Body.Close()
			return a
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("Pebble does not answer")
	return nil
}

func (a *authority) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.ownPool}}}
}

func (a *authority) stop() {
	_ = a.command.Process.Kill()
	_ = a.command.Wait()
}

// roots are what the certificates it gives are trusted by.
func (a *authority) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	answer, err := a.client().Get(a.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no roots in %q: %v", text, err)
	}
	return pool
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(address string) int {
	_, text, _ := net.SplitHostPort(address)
	n := 0
	_, _ = fmt.Sscan(text, &n)
	return n
}

// serveDNS answers, over TCP as Pebble asks, that every name is this machine.
func serveDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); answerDNS(conn) }()
		}
	}()
	return l.Addr().String()
}

func answerDNS(conn net.Conn) {
	for {
		var length [2]byte // before each message (RFC 1035, 4.2.2)
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(packet) != nil || len(m.Questions) != 1 {
			return
		}
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		}
		answer, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// shows connects as a device would and gives the certificate it is shown.
func shows(ctx context.Context, address, name string, roots *x509.CertPool) (*x509.Certificate, int, error) {
	var leaf *x509.Certificate
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	config := &tls.Config{RootCAs: roots, VerifyConnection: func(s tls.ConnectionState) error { leaf = s.PeerCertificates[0]; return nil }}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: config, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, "GET", "https://"+name+"/livez", nil)
	if err != nil {
		return nil, 0, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	answer.Body.Close()
	return leaf, answer.StatusCode, nil
}

func eventuallyShows(t *testing.T, s *servertest.Server, roots *x509.CertPool) *x509.Certificate {
	t.Helper()
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		leaf, status, err := shows(t.Context(), s.Addr().String(), acmeDomain, roots)
		if last = err; err == nil && status == http.StatusOK {
			return leaf
		}
	}
	t.Fatalf("no certificate: %v", last)
	return nil
}

// A server gets its certificate from a real ACME server, by either kind of
// challenge, and shows it again after a restart without asking anybody.
func TestACME(t *testing.T) {
	for _, kind := range []string{"tls-alpn-01", "http-01"} {
		t.Run(kind, func(t *testing.T) {
			listen, challenges, dir := freeAddress(t), "", t.TempDir()
			tlsPort, httpPort := port(listen), 1
			if kind == "http-01" {
				challenges = freeAddress(t)
				tlsPort, httpPort = 1, port(challenges) // nobody is at port 1
			}
			a := startAuthority(t, tlsPort, httpPort, 90*24*time.Hour)
			config := func(c *server.Config) {
				c.Listen, c.DataDir, c.Metrics, c.Log = listen, dir, "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil))
				c.ACME = server.ACME{Domains: []string{acmeDomain}, Directory: a.directory, Roots: a.ownRoots, HTTP: challenges, Email: "ops@example.test"}
			}
			var first *x509.Certificate
			var roots *x509.CertPool
			t.Run("first start", func(t *testing.T) {
				s := servertest.Start(t, config)
				if want := fmt.Sprintf("https://%s:%d", acmeDomain, port(listen)); s.URL() != want {
					t.Errorf("public address %s, want %s", s.URL(), want)
				}
				roots = a.roots(t)
				first = eventuallyShows(t, s, roots)
				if first.DNSNames[0] != acmeDomain || time.Until(first.NotAfter) < 24*time.Hour {
					t.Errorf("%v until %s", first.DNSNames, first.NotAfter)
				}
				if _, _, err := shows(t.Context(), listen, "other.example.test", roots); err == nil {
					t.Error("a name that was not configured is served")
				}
				if got := scrape(t, s)["capstan_certificate_expiry_timestamp_seconds"]; int64(got) != first.NotAfter.Unix() {
					t.Errorf("the metric says that the certificate ends at %v", got)
				}
				files, err := filepath.Glob(filepath.Join(dir, "acme", "*"))
				if err != nil || len(files) < 2 {
					t.Errorf("%v is kept, %v", files, err)
				}
				for _, path := range append(files, filepath.Join(dir, "acme")) {
					if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
						t.Errorf("%s: %v %v", path, info.Mode(), err)
					}
				}
				if challenges != "" {
					client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
					answer, err := client.Get("http://" + challenges + "/x")
					if err != nil {
						t.Fatal(err)
					}
					answer.Body.Close()
					if answer.StatusCode/100 != 3 || !strings.HasPrefix(answer.Header.Get("Location"), "https://") {
						t.Errorf("a browser at the address of challenges hears %d %s", answer.StatusCode, answer.Header.Get("Location"))
					}
				}
			})
			a.stop()
			t.Run("after a restart", func(t *testing.T) {
				again := eventuallyShows(t, servertest.Start(t, config), roots)
				if again.SerialNumber.Cmp(first.SerialNumber) != 0 {
					t.Error("another certificate is shown")
				}
			})
		})
	}
}

// A certificate of 45 seconds is renewed while it is shown: no handshake fails
// meanwhile, and another certificate comes before the first one ends. A third of
// its life is left for that, which is enough on a machine that is busy.
func TestACMERenewal(t *testing.T) {
	t.Parallel()
	listen := freeAddress(t)
	a := startAuthority(t, port(listen), 1, 45*time.Second)
	s := servertest.Start(t, func(c *server.Config) {
		c.Listen, c.Metrics, c.Log = listen, "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil))
		c.ACME = server.ACME{Domains: []string{acmeDomain}, Directory: a.directory, Roots: a.ownRoots}
	})
	roots := a.roots(t)
	first := eventuallyShows(t, s, roots)
	if life := first.NotAfter.Sub(first.NotBefore); life > 50*time.Second {
		t.Fatalf("the authority gives certificates for %s", life)
	}
	seen := map[string]bool{first.SerialNumber.String(): true}
	handshakes := 0
	for deadline := time.Now().Add(2 * time.Minute); len(seen) < 2; time.Sleep(100 * time.Millisecond) {
		leaf, status, err := shows(t.Context(), listen, acmeDomain, roots) // which checks the time, too
		if err != nil || status != http.StatusOK {
			t.Fatalf("after %d handshakes and %d certificates: %d %v", handshakes, len(seen), status, err)
		}
		handshakes++
		seen[leaf.SerialNumber.String()] = true
		if time.Now().After(deadline) {
			t.Fatalf("%d certificates in two minutes", len(seen))
		}
	}
	if got := scrape(t, s)["capstan_certificate_expiry_timestamp_seconds"]; int64(got) <= first.NotAfter.Unix() {
		t.Errorf("the metric says that the certificate ends at %v, as the first one", got)
	}
	t.Logf("count: %d certificates in %d handshakes, none failed", len(seen), handshakes)
}

// An authority that has gone away when a certificate is due leaves a warning and
// a count. Should the machine be so busy that the first renewal still succeeds,
// the next one fails.
func TestACMERenewalFails(t *testing.T) {
	t.Parallel()
	listen := freeAddress(t)
	a := startAuthority(t, port(listen), 1, 30*time.Second)
	log := &lockedBuilder{}
	s := servertest.Start(t, func(c *server.Config) {
		c.Listen, c.Metrics, c.Log = listen, "127.0.0.1:0", slog.New(slog.NewJSONHandler(io.MultiWriter(log, t.Output()), nil))
		c.ACME = server.ACME{Domains: []string{acmeDomain}, Directory: a.directory, Roots: a.ownRoots, Email: "ops@example.test"}
	})
	eventuallyShows(t, s, a.roots(t))
	if got, there := scrape(t, s)["capstan_certificate_failures_total"]; got != 0 || !there {
		t.Errorf("%v failures before any, %v", got, there)
	}
	a.stop()
	const message = "certificate not renewed"
	for deadline := time.Now().Add(5 * time.Minute); !strings.Contains(log.String(), message); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is said of a renewal that failed")
		}
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, message) {
			continue
		}
		var said struct {
			Level, Domain, Code, Error, Expires string
			NextTry                             time.Duration `json:"next_try_within"`
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatal(err)
		}
		if said.Level != "WARN" || said.Domain != acmeDomain || said.Code != "acme_unreachable" || said.NextTry != time.Hour || said.Expires == "" || said.Error == "" {
			t.Errorf("it says %s", line)
		}
		if strings.Contains(line, "ops@example.test") {
			t.Error("it names the operator's address")
		}
	}
	if got := scrape(t, s)["capstan_certificate_failures_total"]; got < 1 {
		t.Errorf("%v failures are counted", got)
	}
}

func TestACMERefusals(t *testing.T) {
	cert, key, _ := writeCertificate(t, t.TempDir())
	for want, change := range map[string]func(*server.Config){
		"acme_domain":    func(c *server.Config) { c.ACME.Domains = []string{"localhost"} },
		"acme_directory": func(c *server.Config) { c.ACME.Directory = "http://acme.example.test/dir" },
		"acme_roots":     func(c *server.Config) { c.ACME.Roots = key },
		"certificate":    func(c *server.Config) { c.Certificate, c.CertificateKey = cert, key },
		"address_in_use": func(c *server.Config) { c.ACME.HTTP = "256.0.0.1:80" },
	} {
		c := server.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", ACME: server.ACME{Domains: []string{acmeDomain}}}
		change(&c)
		s, err := server.New(c)
		if failure.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
		if s != nil {
			t.Error(errors.Join(errors.New("it starts"), s.Close()))
		}
	}
}
