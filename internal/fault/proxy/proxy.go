// Package proxy harms the connection between a client and a server in a test: it
// cuts, resets, delays, slices and slows, and answers in the server's place.
package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// End is how a way of a harmed connection ends.
type End string

// The ends.
const (
	Close     End = "close"      // both sides are closed in good order
	Reset     End = "reset"      // both sides are reset (RST)
	HalfClose End = "half-close" // the receiver sees the end, the other way goes on
	Stall     End = "stall"      // silence for a while, then closed
)

// stalled is how long a stall is silent.
const stalled = 300 * time.Millisecond

// Way is what happens to the bytes of one direction.
type Way struct {
	Latency time.Duration // before the first byte
	Slice   int           // bytes of a write at most; 0 is no limit
	Rate    int           // bytes a second; 0 is no limit
	End     End           // "" is never
	After   int64         // bytes that pass before End
}

// Harm is what a Proxy does to a connection.
type Harm struct {
	Name     string
	Up, Down Way
	// Answer is given to the client as it stands, instead of the server's.
	Answer string
	// Forward lets the request reach the server, whose answer is dropped; then
	// comes Answer, or a reset when there is none.
	Forward bool
}

// Proxy is a TCP relay to one server that harms chosen connections. A client
// that keeps no connection open makes one a call.
type Proxy struct {
	URL      string // http://127.0.0.1:port
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  map[net.Conn]bool
	n     int // connections so far
	harm  *Harm
	first int // number of the first connection that is harmed
	times int // how many are, from it on
}

// New relays to target, host:port, until the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{URL: "http://" + listener.Addr().String(), listener: listener, target: target, open: map[net.Conn]bool{}}
	done := make(chan struct{})
	go func() { defer close(done); p.accept() }()
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for conn := range p.open {
			_ = conn.Close()
		}
		p.mu.Unlock()
		<-done
	})
	return p
}

// Arm harms the connections from the one numbered first (from 0) on, times of them.
func (p *Proxy) Arm(h Harm, first, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.harm, p.first, p.times, p.n = &h, first, times, 0
}

// Disarm leaves further connections whole.
func (p *Proxy) Disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.harm = nil
}

// Connections is the number of connections so far, since Arm.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *Proxy) accept() {
	var relays sync.WaitGroup
	defer relays.Wait()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		var harm Harm
		if p.harm != nil && p.n >= p.first && p.n < p.first+p.times {
			harm = *p.harm
		}
		p.n++
		p.mu.Unlock()
		relays.Go(func() { p.relay(conn.(*net.TCPConn), harm) })
	}
}

// track makes a connection end with the proxy.
func (p *Proxy) track(c net.Conn) (untrack func()) {
	p.mu.Lock()
	p.open[c] = true
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
		_ = c.Close()
	}
}

func (p *Proxy) relay(client *net.TCPConn, h Harm) {
	defer p.track(client)()
	dialled, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.track(dialled)()
	server := dialled.(*net.TCPConn)
	if h.Answer != "" || h.Forward {
		h.answer(client, server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { h.Up.pump(server, client) })
	both.Go(func() { h.Down.pump(client, server) })
	both.Wait()
}

// answer speaks for the server.
func (h Harm) answer(client, server *net.TCPConn) {
	request, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	if h.Forward {
		if request.Write(server) != nil {
			return
		}
		response, err := http.ReadResponse(bufio.NewReader(server), request)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
	} else {
		_, _ = io.Copy(io.Discard, request.Body)
	}
	if h.Answer == "" {
		_ = client.SetLinger(0)
		return
	}
	_, _ = io.WriteString(client, h.Answer)
}

// pump moves bytes from one side to the other until the way ends.
func (w Way) pump(to, from *net.TCPConn) {
	time.Sleep(w.Latency)
	buffer := make([]byte, 32<<10)
	if w.Slice > 0 {
		buffer = buffer[:w.Slice]
	}
	left := w.After
	for {
		if w.End != "" && left <= 0 {
			w.end(to, from)
			return
		}
		chunk := buffer
		if w.End != "" && int64(len(chunk)) > left {
			chunk = chunk[:left]
		}
		n, err := from.Read(chunk)
		if n > 0 {
			left -= int64(n)
			if w.Rate > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(w.Rate))
			}
			if _, err := to.Write(chunk[:n]); err != nil {
				_ = from.CloseRead()
				return
			}
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

func (w Way) end(to, from *net.TCPConn) {
	switch w.End {
	case HalfClose:
		_ = to.CloseWrite()
		_, _ = io.Copy(io.Discard, from)
		return
	case Stall:
		time.Sleep(stalled)
	case Reset:
		_ = to.SetLinger(0)
		_ = from.SetLinger(0)
	}
	_ = to.Close()
	_ = from.Close()
}
