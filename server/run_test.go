package server_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"capstan/internal/servertest"
	"capstan/server"
)

func writeCertificate(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

func TestTLS(t *testing.T) {
	cert, key, pool := writeCertificate(t, t.TempDir())
	s := servertest.Start(t, func(c *server.Config) { c.Certificate, c.CertificateKey = cert, key })
	if !strings.HasPrefix(s.URL(), "https://") {
		t.Errorf("public address %s", s.URL())
	}
	for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: version, MaxVersion: version}}}
		answer, err := client.Get(s.URL() + "/livez")
		if version == tls.VersionTLS11 {
			if err == nil {
				t.Error("TLS 1.1 is spoken")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 {
			t.Error(answer.StatusCode)
		}
		if got := answer.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("over TLS the server says %q", got)
		}
		client.CloseIdleConnections()
	}
}

// Behind a proxy the server leaves it to the proxy whether browsers must come by https.
func TestNoStrictTransportWithoutTLS(t *testing.T) {
	s := servertest.Start(t)
	answer, err := http.Get(s.BaseURL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := answer.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("%q", got)
	}
}

// Clients that hold connections without speaking, or speak too much, do not
// keep others from being answered.
func TestSlowAndLoudClients(t *testing.T) {
	s := servertest.Start(t)
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for i := range 300 {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		switch i % 3 {
		case 1:
			fmt.Fprint(conn, "POST /updates HTTP/1.1\r\nHost: x\r\n")
		case 2:
			fmt.Fprint(conn, "POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n[")
		}
	}
	for range 20 {
		if status, _ := call(t, s, "", "GET", "/ok", ""); status != 200 {
			t.Fatal(status)
		}
	}
	for what, request := range map[string]string{
		"10,000 headers": "GET /ok HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a: b\r\n", 10_000) + "\r\n",
		"a long line":    "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"a large body":   "POST /updates HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n",
		"no HTTP":        "\x16\x03\x01\x02\x00\x01\x00\x01",
	} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, request) // the server may close while we still speak
		text := make([]byte, 64)
		n, _ := conn.Read(text)
		conn.Close()
		if n > 0 && !strings.HasPrefix(string(text[:n]), "HTTP/1.1 4") {
			t.Errorf("%s: %q", what, text[:n])
		}
	}
}

// A client that opens HTTP/2 streams and takes them back at once, ten thousand
// times, neither stops the others nor makes the server hold what it dropped.
func TestRapidReset(t *testing.T) {
	cert, key, pool := writeCertificate(t, t.TempDir())
	s := servertest.Start(t, func(c *server.Config) { c.Certificate, c.CertificateKey = cert, key })
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("the server speaks %q", got)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/ok"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for id := uint32(1); id < 20_000; id += 2 {
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
			framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // the server may hang up on such a client
		}
		sent++
	}
	if sent < 50 {
		t.Errorf("only %d streams were opened", sent)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	for range 20 {
		answer, err := client.Get(s.URL() + "/ok")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.StatusCode)
		}
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	if memory.HeapAlloc > 256<<20 {
		t.Errorf("%d MiB are held after %d streams", memory.HeapAlloc>>20, sent)
	}
}

// What the log says names no device, no address and no token.
func TestLogsHoldNoPersonalData(t *testing.T) {
	var log lockedBuilder
	s := servertest.Start(t, func(c *server.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		c.TrustedProxies = []string{"127.0.0.1"}
	})
	post(t, s, "/app", `{"app_id":"`+mine+`"}`)
	const device, address, custom = "5ca1ab1e-0000-4000-8000-00000000beef", "203.0.113.99", "person@example.com"
	header := http.Header{"X-Forwarded-For": {address}}
	body := fmt.Sprintf(`{"app_id":%q,"device_id":%q,"custom_id":%q,"platform":"ios","version_os":"18","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","is_prod":true,"is_emulator":false,"action":"set"}`, mine, device, custom)
	for _, path := range []string{"/updates", "/stats", "/channel_self", "/nothing/" + device} {
		s.Do(t, "POST", path, strings.NewReader(body), header)
	}
	s.Do(t, "GET", "/device?app_id="+mine+"&device_id="+device, nil, header)
	s.Do(t, "GET", "/app", nil, http.Header{"Capgkey": {"capstan_0123456789abcdef01_canary"}})
	s.Do(t, "PUT", "/app/"+mine, strings.NewReader(`{"public_key":"canary"}`), header)
	text := log.String()
	if !strings.Contains(text, "management") {
		t.Errorf("nothing is logged: %q", text)
	}
	for _, hidden := range []string{device, address, custom, s.Token, "canary", "5ca1ab1e"} {
		if strings.Contains(text, hidden) {
			t.Errorf("the log says %q", hidden)
		}
	}
}

// lockedBuilder takes a log while a test reads it.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// writePair writes a new certificate for 127.0.0.1 and its key over the files
// that are there, and gives the number of the certificate.
func writePair(t *testing.T, dir string, until time.Time) (cert, key []byte, serial *big.Int) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if serial, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
		if text != nil && dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return cert, key, serial
}

// A renewed certificate is shown without a restart. Files that are no pair, or
// an end that is past, leave the old one in place, which log and metric say.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log lockedBuilder
	_, _, first := writePair(t, dir, time.Now().Add(time.Hour))
	s := servertest.Start(t, func(c *server.Config) {
		c.Certificate, c.CertificateKey, c.Metrics = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), "127.0.0.1:0"
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	kept, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // the certificate is compared below
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	lines := bufio.NewReader(kept)
	speaks := func() {
		t.Helper()
		if _, err := io.WriteString(kept, "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if answer, err := http.ReadResponse(lines, &http.Request{Method: "HEAD"}); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("a connection from before: %v %v", answer, err)
		}
	}
	speaks()
	shows := func() *big.Int {
		t.Helper()
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	replace := func(cert, key []byte) {
		t.Helper()
		for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
			if text == nil {
				continue
			}
			next := filepath.Join(dir, name+".new")
			if err := os.WriteFile(next, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	current := first
	refuses := func(what string, cert, key []byte) {
		t.Helper()
		before := strings.Count(log.String(), "are not taken")
		replace(cert, key)
		waitFor(t, what+": the log says nothing", func() bool { return strings.Count(log.String(), "are not taken") > before })
		if got := shows(); got.Cmp(current) != 0 {
			t.Errorf("%s: another certificate is shown", what)
		}
		if v := scrape(t, s)["capstan_certificate_refused"]; v != 1 {
			t.Errorf("%s: the metric says %v", what, v)
		}
	}
	takes := func(what string, cert, key []byte, serial *big.Int) {
		t.Helper()
		replace(cert, key)
		waitFor(t, what+" is not shown", func() bool { return shows().Cmp(serial) == 0 })
		current = serial
		waitFor(t, what+": the metric does not calm down", func() bool { return scrape(t, s)["capstan_certificate_refused"] == 0 })
	}
	if shows().Cmp(first) != 0 {
		t.Fatal("not the first certificate")
	}
	cert, key, serial := writePair(t, "", time.Now().Add(2*time.Hour))
	takes("a renewed certificate", cert, key, serial)
	cert, key, serial = writePair(t, "", time.Now().Add(3*time.Hour))
	refuses("a certificate without its key", cert, nil)
	takes("the key that came later", nil, key, serial)
	refuses("half a certificate", cert[:len(cert)/2], nil)
	refuses("an empty file", []byte{}, nil)
	cert, key, _ = writePair(t, "", time.Now().Add(-time.Hour))
	refuses("a certificate that has ended", cert, key)
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	refuses("no key at all", []byte("x"), nil)
	cert, key, serial = writePair(t, "", time.Now().Add(4*time.Hour))
	takes("the last one", cert, key, serial)
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("the log holds the key")
	}
	speaks() // a connection from before lives on
}
