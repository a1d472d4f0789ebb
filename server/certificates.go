package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
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
	pair      atomic.Pointer[tls.Certificate]
	refused   atomic.Bool // the files are no pair, and an older one is shown
	seen      [2]fileState
}

// fileState changes when a file does.
type fileState struct {
	changed time.Time
	size    int64
}

// lookEvery is how often the files are looked at.
const lookEvery = time.Second

func loadCertificates(cert, key string) (*certificates, error) {
	c := &certificates{cert: cert, key: key}
	c.seen = c.look()
	if err := c.load(); err != nil {
		return nil, failure.Wrap(err, failure.Usage, "certificate", "read certificate", "name a PEM certificate and its key")
	}
	return c, nil
}

// look is what the files are like now; a file that is not there has no state.
func (c *certificates) look() (now [2]fileState) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			now[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return now
}

func (c *certificates) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	if old := c.pair.Load(); old != nil && pair.Leaf.NotAfter.Before(time.Now()) && old.Leaf.NotAfter.After(pair.Leaf.NotAfter) {
		return errors.New("the new certificate has ended already")
	}
	c.pair.Store(&pair)
	return nil
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }

// watch looks at the files until ctx ends. While they are no pair (one of them
// may be written before the other) the old pair is shown, which the log says
// once for each change, and the metric as long as it lasts.
func (c *certificates) watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.look()
		if now == c.seen {
			continue
		}
		c.seen = now
		if err := c.load(); err != nil {
			c.refused.Store(true)
			log.Error("the certificate files are not taken, the old certificate is shown", "error", err, "until", c.pair.Load().Leaf.NotAfter.UTC())
			continue
		}
		c.refused.Store(false)
		log.Info("a new certificate is shown", "until", c.pair.Load().Leaf.NotAfter.UTC())
	}
}
