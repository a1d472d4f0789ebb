package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"capstan/core/failure"
	"capstan/server/management"
)

// Bounds of a connection. Uploads and downloads move the deadlines on while
// they keep up the pace.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 60 * time.Second
	maxHeader     = 16 << 10
	drainTime     = 20 * time.Second
	maxConns      = 20_000
)

// Handler serves everything but the metrics.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// strictTransport tells browsers, for a year, to ask this name by https only. It
// is sent where TLS is the server's own: a proxy speaks for itself.
var strictTransport = []string{"max-age=31536000"}

// operatorPaths are the first segments of the paths that are not for devices.
var operatorPaths = func() map[string]bool {
	m := map[string]bool{}
	for _, head := range management.Prefixes() {
		m[head] = true
	}
	return m
}()

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.pulse.beat(start.Unix())
	seen := &observed{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			s.recovered(seen, r, p)
		}
		s.metrics.request(kindOf(r.URL.Path), seen.code(), time.Since(start))
	}()
	if r.TLS != nil {
		w.Header()["Strict-Transport-Security"] = strictTransport
	}
	path := r.URL.Path
	if path == "/updates" && s.limits.take(s.limits.client(r), "updates", s.limits.rates.Updates, time.Minute, 1) == 0 { // nearly everything
		s.devices.ServeHTTP(seen, r)
		return
	}
	head, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case head == "files":
		s.objects.serve(seen, r)
	case operatorPaths[head]:
		s.api.ServeHTTP(seen, r)
		s.log.Info("management", "method", r.Method, "route", r.Pattern, "status", seen.code(), "took", time.Since(start).Round(time.Microsecond))
	case path == "/livez":
		writeStatus(seen, r, nil)
	case path == "/readyz":
		writeStatus(seen, r, s.checkReady(r.Context()))
	case s.limits.deviceBlocked(seen, r):
	default:
		s.devices.ServeHTTP(seen, r)
	}
}

func writeStatus(w http.ResponseWriter, _ *http.Request, err error) {
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, "not_ready", "the server is not ready")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}`))
}

// recovered answers for a handler that panicked. The text goes to the log only.
func (s *Server) recovered(w *observed, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.Error("handler panicked", "method", r.Method, "path_kind", kindOf(r.URL.Path), "panic", p)
	if w.status == 0 {
		writeError(w, http.StatusInternalServerError, "unknown_error", "the server could not do this")
	}
}

// kindOf names the part of the server that a path belongs to.
func kindOf(path string) string {
	head, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case operatorPaths[head]:
		return "management"
	case head == "updates", head == "stats", head == "channel_self", head == "files":
		return head
	case head == "livez", head == "readyz":
		return "health"
	}
	return "other"
}

// observed remembers the status of an answer.
type observed struct {
	http.ResponseWriter
	status int
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *observed) code() int {
	if o.status == 0 {
		return http.StatusOK
	}
	return o.status
}

// Run serves until ctx ends, then takes no new connections, lets the running
// requests finish for up to 20 seconds, writes what is queued and closes.
func (s *Server) Run(ctx context.Context) error {
	defer func() { _ = s.Close() }()
	if s.listener == nil {
		return failure.New(failure.Usage, "no_address", "run server", "no address was bound", "name one with --listen")
	}
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(quiet{s.log.Handler()}, slog.LevelDebug),
	}
	server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 100}
	listener := net.Listener(newConnections(s.listener, maxConns, s.limits.rates.Connections, &s.limits.refused))
	if server.TLSConfig = s.tlsConfig(); server.TLSConfig != nil {
		listener = tls.NewListener(listener, server.TLSConfig)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { s.store.Maintain(background) })
	others.Go(func() { s.store.Schedule(background) })
	if s.files != nil {
		others.Go(func() { s.files.watch(background, s.log) })
	}
	if s.aside.metrics != nil {
		defer s.metrics.serve(s.aside.metrics)()
	}
	if s.aside.challenges != nil {
		defer serveAside(s.aside.challenges, s.issuer.HTTPHandler(nil))()
	}

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if s.issuer != nil {
		go s.issuer.obtain(background, s.noteCertificate) // its last question may outlive the server
	}
	select {
	case err := <-failed:
		stop()
		return failure.Wrap(err, failure.Failed, "serve_failed", "run server", "")
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	drain, cancel := context.WithTimeout(background, drainTime)
	defer cancel()
	err := server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off after the drain time", "after", drainTime)
		err = server.Close()
	}
	stop()
	others.Wait()
	return errors.Join(err, s.Close())
}

// tlsConfig is nil for a server that speaks plain HTTP.
func (s *Server) tlsConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	switch {
	case s.issuer != nil:
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
		c.GetCertificate = shown{s.issuer.GetCertificate, &s.expires}.certificate
	case s.files != nil:
		c.GetCertificate = shown{s.files.get, &s.expires}.certificate
	default:
		return nil
	}
	return c
}

func (s *Server) noteCertificate(domain string, err error) {
	if err != nil {
		s.metrics.unissued.Inc()
		s.log.Error("no certificate", "domain", domain, "retry_after", acmeRetry, "error", err)
		return
	}
	s.log.Info("certificate is there", "domain", domain)
}

// noteRenewal tells of a renewal that failed. The certificate that is there is
// shown until it ends.
func (s *Server) noteRenewal(domain string, err error) {
	s.metrics.unissued.Inc()
	s.log.Warn("certificate not renewed", "domain", domain, "code", failure.CodeOf(err), "next_try_within", renewalRetry,
		"expires", time.Unix(s.expires.Load(), 0).UTC(), "error", err)
}

// quiet keeps the net/http server's own lines, which name client addresses,
// out of logs above debug level.
type quiet struct{ slog.Handler }
