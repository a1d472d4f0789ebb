package server

import (
	"crypto/tls"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"capstan/core/failure"
)

// shown remembers when the certificate ends that clients were shown last.
type shown struct {
	get     func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	expires *atomic.Int64 // seconds since 1970
}

func (s shown) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := s.get(hello)
	if err == nil && pair.Leaf != nil && !isChallenge(hello) {
		s.expires.Store(pair.Leaf.NotAfter.Unix())
	}
	return pair, err
}

// certificates reads a pair of PEM files again when they change, so that a
// renewed certificate needs no restart.
type certificates struct {
	cert, key string

	mu      sync.Mutex
	pair    *tls.Certificate
	changed time.Time
	looked  time.Time
}

// lookEvery is how often the files are looked at.
const lookEvery = 30 * time.Second

func loadCertificates(cert, key string) (*certificates, error) {
	c := &certificates{cert: cert, key: key}
	if err := c.load(); err != nil {
		return nil, failure.Wrap(err, failure.Usage, "certificate", "read certificate", "name a PEM certificate and its key")
	}
	return c, nil
}

func (c *certificates) load() error {
	info, err := os.Stat(c.cert)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair, c.changed, c.looked = &pair, info.ModTime(), time.Now()
	return nil
}

// get gives the pair for a handshake. While new files are not right yet, the
// old pair stays.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > lookEvery {
		c.looked = time.Now()
		if info, err := os.Stat(c.cert); err == nil && !info.ModTime().Equal(c.changed) {
			_ = c.load() // the next look tries again
		}
	}
	return c.pair, nil
}
