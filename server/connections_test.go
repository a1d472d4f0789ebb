package server

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// Past the bound of all connections new ones wait until one ends.
func TestConnectionsInAll(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") })}
	go func() { _ = server.Serve(newConnections(inner, 3, 1, &refused)) }() // ends with Close
	defer server.Close()
	var open []net.Conn
	answered := make(chan int, 10)
	for i := range 5 {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		go func() {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				answered <- i
			}
		}()
	}
	first := map[int]bool{}
	for range 3 {
		first[<-answered] = true
	}
	select {
	case i := <-answered:
		t.Fatalf("connection %d is answered beside three others", i)
	case <-time.After(100 * time.Millisecond):
	}
	for i := range first {
		open[i].Close()
	}
	for range 2 {
		select {
		case <-answered:
		case <-time.After(10 * time.Second):
			t.Fatal("a connection that waits is never answered")
		}
	}
	if refused.Load() != 0 {
		t.Errorf("%d connections of loopback are refused", refused.Load())
	}
}

// In a second that brings more than the server can do, the app that asks most
// waits and the others do not; in every other second nobody does.
func TestSharesOfASecond(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	fresh := func(busy int) *shares {
		s := newShares(busy)
		s.now = func() time.Time { return now }
		now = now.Add(time.Second)
		return s
	}
	over := func(s *shares, app string, n int) (waits int) {
		for range n {
			if s.over(app) {
				waits++
			}
		}
		return waits
	}
	s := fresh(1000)
	if n := over(s, "loud", 1000); n != 0 {
		t.Errorf("%d requests wait although the server can do them", n)
	}
	if n := over(s, "quiet", 50); n != 0 {
		t.Errorf("%d of 50 requests of the other app wait", n)
	}
	if n := over(s, "loud", 500); n != 500 {
		t.Errorf("%d of 500 requests over the share wait", n)
	}
	if s.shed.Load() != 500 {
		t.Errorf("%d are counted", s.shed.Load())
	}
	now = now.Add(time.Second)
	if n := over(s, "loud", 1000); n != 0 {
		t.Errorf("%d requests of the next second wait", n)
	}
	if n := over(fresh(1000), "alone", 5000); n != 0 {
		t.Errorf("an app that is alone waits %d times", n)
	}
	// Apps that ask alike are all answered: none takes from another.
	s, waits := fresh(1000), 0
	for range 1000 {
		for _, app := range []string{"a", "b", "c", "d"} {
			waits += over(s, app, 1)
		}
	}
	if waits != 0 {
		t.Errorf("of four apps that ask alike %d requests wait", waits)
	}
	if n := over(fresh(-1), "loud", 100_000); n != 0 {
		t.Errorf("%d requests wait without a bound", n)
	}
}
