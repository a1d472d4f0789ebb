package storage_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// freeAddress gives an address of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a service until the test ends and waits until it listens.
func start(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", cmd.Path, output.String())
		default:
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			<-ended
			t.Fatalf("%s does not listen: %s", cmd.Path, output.String())
		}
	}
}

// failing puts a proxy before a service that answers as many requests with 503
// as it is told, and gives the proxy's address.
func failing(t *testing.T, address string) (string, *atomic.Int64) {
	t.Helper()
	fails := &atomic.Int64{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
	}, ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}} // cancelled uploads
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fails.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), fails
}

// counting puts a proxy before a service that counts requests by the name that
// piece gives them, "" for none. sent gives the counts since its last call, once
// nothing of a client that died is under way any more.
func counting(t *testing.T, address string, piece func(*http.Request) string) (front string, sent func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	counts, total := map[string]int{}, 0
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
	}, ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}} // cancelled uploads
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := piece(r); name != "" {
			mu.Lock()
			counts[name]++
			total++
			mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	seen := func() int {
		mu.Lock()
		defer mu.Unlock()
		return total
	}
	return server.Listener.Addr().String(), func() map[string]int {
		for range 50 {
			before := seen()
			time.Sleep(10 * time.Millisecond)
			if seen() == before {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all := counts
		counts = map[string]int{}
		return all
	}
}
