package server

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// connections bounds how many are open: in all, past which new ones wait in the
// kernel's queue, and from one public address, past which they are closed.
type connections struct {
	net.Listener
	free    chan struct{}
	each    int // from one address; negative for no bound
	refused *atomic.Int64

	mu   sync.Mutex
	open map[netip.Addr]int
}

func newConnections(l net.Listener, total, each int, refused *atomic.Int64) *connections {
	return &connections{Listener: l, free: make(chan struct{}, total), each: each, refused: refused, open: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	c.free <- struct{}{}
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			<-c.free
			return nil, err
		}
		address, counted := boundedAddress(remoteAddress(conn))
		if !counted || c.enter(address) {
			return &countedConn{Conn: conn, of: c, address: address, counted: counted}, nil
		}
		c.refused.Add(1)
		_ = conn.Close() // nobody is told: an answer would cost what the bound saves
	}
}

func remoteAddress(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (c *connections) enter(address netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.each >= 0 && c.open[address] >= c.each {
		return false
	}
	c.open[address]++
	return true
}

func (c *connections) leave(address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[address]--; c.open[address] <= 0 {
		delete(c.open, address)
	}
}

type countedConn struct {
	net.Conn
	of      *connections
	address netip.Addr
	counted bool
	gone    atomic.Bool
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	if c.gone.CompareAndSwap(false, true) {
		<-c.of.free
		if c.counted {
			c.of.leave(c.address)
		}
	}
	return c.Conn.Close()
}
