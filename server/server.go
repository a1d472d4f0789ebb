// Package server is the update server: it answers devices, keeps bundles and
// lets operators manage both.
//
// Start with New, which opens the data directory, binds the address and, on
// the first start, makes an admin token; then Run. A server needs no other
// service: its state is one SQLite file and one folder of objects.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/decide"
	"capstan/server/management"
	"capstan/server/plugin"
	"capstan/server/store"
)

// Config says where a server listens and what it keeps where. DataDir is required.
type Config struct {
	// Listen is the address to bind, e.g. 127.0.0.1:8787; port 0 picks one. ""
	// binds nothing: the caller serves Handler itself.
	Listen string
	// DataDir holds the database and the objects. It is made when missing, mode 0700.
	DataDir string
	// PublicURL is the address under which devices reach the server, without a
	// trailing slash; "" derives it from the bound address.
	PublicURL string
	// Database is a postgres:// URL or the path of a SQLite file; "" is
	// capstan.db in DataDir.
	Database string
	// ReadDatabase is the postgres:// URL of a streaming replica of Database, for
	// lists and statistics; "" reads everything from Database.
	ReadDatabase string
	// ObjectsDir holds the objects; "" is objects in DataDir.
	ObjectsDir string
	// Bucket is the s3:// URL of a bucket that holds the objects instead; see
	// package storage for its form and where credentials are looked for.
	Bucket string
	// MaxObject is the largest upload in bytes; 1 GiB when 0.
	MaxObject int64
	// TrustedProxies are addresses or networks whose X-Forwarded-For is believed.
	TrustedProxies []string
	// Limits bound what strangers can make the server keep.
	Limits store.Limits
	// Rates bound what one address may ask for; the zero value is DefaultRates.
	Rates Rates
	// Certificate and CertificateKey are PEM files; both or neither. They are
	// read again when they change.
	Certificate, CertificateKey string
	// ACME gets certificates by itself instead, when it has domains.
	ACME ACME
	// Metrics is the address of the Prometheus endpoint; "" is none.
	Metrics string
	// Version is announced by /capstan/v1/about.
	Version string
	Log     *slog.Logger
}

// Server is one running update server.
type Server struct {
	config   Config
	log      *slog.Logger
	store    *store.Store
	objects  objects
	devices  http.Handler
	api      *management.API
	listener net.Listener
	metrics  *metrics
	issuer   *issuer       // nil without ACME
	files    *certificates // nil without certificate files
	aside    asides
	expires  atomic.Int64 // end of the certificate shown last, seconds since 1970
	limits   *limiter
	public   string
	first    string
	started  time.Time
	pulse    pulse
	lines    lines
	stopping atomic.Bool
	ready    readiness
	close    sync.Once
}

// asides are the addresses beside the one for devices; nil where there is none.
type asides struct{ metrics, challenges net.Listener }

// defaultMaxObject is the largest upload in bytes unless told otherwise.
const defaultMaxObject = 1 << 30

// New opens the data directory and binds the address. Failure codes: data_dir,
// store_unavailable, schema_newer, address_in_use, public_url, trusted_proxy.
func New(c Config) (*Server, error) {
	if c.DataDir == "" {
		return nil, failure.New(failure.Usage, "data_dir", "start server", "no data directory was given", "name one with --data")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxObject == 0 {
		c.MaxObject = defaultMaxObject
	}
	if c.Database == "" {
		c.Database = filepath.Join(c.DataDir, "capstan.db")
	}
	if c.ObjectsDir == "" {
		c.ObjectsDir = filepath.Join(c.DataDir, "objects")
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if err := checkPublicURL(c.PublicURL); err != nil {
		return nil, err
	}
	s := &Server{started: time.Now()}
	c.Log = slog.New(newTee(c.Log.Handler(), &s.lines))
	s.config, s.log = c, c.Log
	if err := s.assemble(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func checkPublicURL(raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return failure.New(failure.Usage, "public_url", "start server", "the public URL is not an http or https address", "write it as https://updates.example.com")
	}
	return nil
}

func (s *Server) assemble() (err error) {
	ctx := context.Background()
	c := s.config
	if s.limits, err = newLimiter(c.Rates, c.TrustedProxies); err != nil {
		return err
	}
	signer, err := OpenLedgerKey(c.DataDir)
	if err != nil {
		return err
	}
	if s.store, err = store.Open(ctx, c.Database, store.Options{Limits: c.Limits, Log: c.Log, Ledger: signer, Replica: c.ReadDatabase}); err != nil {
		return err
	}
	if s.objects, err = openObjects(ctx, c, s.store); err != nil {
		return err
	}
	if c.Listen != "" {
		if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
			return failure.Wrap(err, failure.Failed, "address_in_use", "listen", "choose another address with --listen, or stop the program that has this one")
		}
	}
	if s.aside.metrics, err = listenMetrics(c.Metrics); err != nil {
		return err
	}
	if c.Certificate != "" && len(c.ACME.Domains) == 0 {
		if s.files, err = loadCertificates(c.Certificate, c.CertificateKey); err != nil {
			return err
		}
	}
	if len(c.ACME.Domains) > 0 {
		if err := s.assembleACME(); err != nil {
			return err
		}
	}
	s.public = s.publicURL()
	s.metrics = newMetrics(s.store, s.limits, s.expires.Load, s.certificateRefused)
	if s.issuer != nil {
		s.issuer.renewals.failed = s.noteRenewal
	}
	s.devices = plugin.New(plugin.Config{
		Apps: s.store, Devices: devices{s.store, s.metrics}, ObjectURL: s.objectURL, Log: c.Log, Crowded: s.limits.shares.over,
		Alarm: func(appID string, v *decide.Verdict) {
			s.metrics.withheld.Inc()
			s.limits.alarm(appID+" "+v.Alarm, func() {
				c.Log.Error("a bundle is withheld from devices", "app", appID, "alarm", v.Alarm, "channel", v.Channel)
			})
		},
	})
	s.api = management.New(management.Config{
		Store: s.store, PublicURL: s.public, ObjectURL: s.objectURL, Objects: s.objects, Log: c.Log,
		Failed: s.limits.authFailed, Blocked: s.limits.authBlocked,
		About: capgo.About{
			Server: "capstan", Version: c.Version, PublicURL: s.public, MaxObject: c.MaxObject,
			Capabilities: []string{
				capgo.CapHistory, capgo.CapExplain, capgo.CapEvents, capgo.CapSummary, capgo.CapObjects, capgo.CapCompareAndSet, capgo.CapPublicKey,
				capgo.CapChecksumForms, capgo.CapPlatformFlags, capgo.CapUnsecuredHTTP, capgo.CapRolloutByHash, capgo.CapDeviceOverride,
				capgo.CapDelta, capgo.CapPlatforms, capgo.CapSchedule, capgo.CapFleet, capgo.CapTwoKeys, capgo.CapDeviceSearch, capgo.CapIdempotency,
			},
		},
	})
	return s.firstToken(ctx)
}

// certificateRefused reports whether the certificate files hold something that
// cannot be shown.
func (s *Server) certificateRefused() bool { return s.files != nil && s.files.refused.Load() }

func (s *Server) assembleACME() (err error) {
	c := s.config
	if c.Certificate != "" {
		return failure.New(failure.Usage, "certificate", "start server", "certificates come from files or from ACME, not from both", "leave out --tls-cert or --acme-domain")
	}
	if s.issuer, err = newIssuer(c.ACME, c.DataDir); err != nil || c.ACME.HTTP == "" {
		return err
	}
	s.aside.challenges, err = net.Listen("tcp", c.ACME.HTTP)
	return failure.Wrap(err, failure.Failed, "address_in_use", "listen for ACME challenges", "choose another address with --acme-http")
}

// devices counts what the plugin's handler tells the store.
type devices struct {
	*store.Store
	metrics *metrics
}

func (d devices) Seen(r capgo.UpdateRequest, v decide.Verdict) {
	d.metrics.answered(v.Reason)
	d.Store.Seen(r, v)
}

func (s *Server) publicURL() string {
	if s.config.PublicURL != "" {
		return strings.TrimSuffix(s.config.PublicURL, "/")
	}
	if s.listener == nil {
		return ""
	}
	scheme := "http"
	if s.files != nil || s.issuer != nil {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(s.listener.Addr().String())
	if s.issuer != nil {
		if host = s.issuer.domains[0]; port == "443" {
			return scheme + "://" + host
		}
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func (s *Server) objectURL(name string) string { return s.public + filesPath + name }

// firstToken makes an admin token when there is none at all.
func (s *Server) firstToken(ctx context.Context) error {
	list, err := s.store.Tokens(ctx)
	if err != nil || len(list) > 0 {
		return err
	}
	token, err := s.store.CreateToken(ctx, "server", "", capgo.Token{Name: "first admin", Scope: capgo.ScopeAdmin})
	s.first = token.Secret
	return err
}

// FirstToken is the secret of the admin token that New made because there was
// no token; "" on every later start. It is nowhere else.
func (s *Server) FirstToken() string { return s.first }

// URL is the base address under which the server is public.
func (s *Server) URL() string { return s.public }

// Addr is the address that was bound; nil without Config.Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// MetricsAddr is the bound address of the metrics; nil without Config.Metrics.
func (s *Server) MetricsAddr() net.Addr {
	if s.aside.metrics == nil {
		return nil
	}
	return s.aside.metrics.Addr()
}

// Store gives the server's memory to a program that runs in the same process.
func (s *Server) Store() *store.Store { return s.store }

// API gives the management routes, for documents and tests.
func (s *Server) API() *management.API { return s.api }

// Close frees what New opened. Run calls it at its end.
func (s *Server) Close() error {
	var err error
	s.close.Do(func() {
		for _, l := range []net.Listener{s.listener, s.aside.metrics, s.aside.challenges} {
			if l != nil {
				_ = l.Close() // closed already after Run
			}
		}
		if s.store != nil {
			err = s.store.Close()
		}
		if s.objects != nil {
			err = errors.Join(err, s.objects.close())
		}
	})
	return err
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	body, err := json.Marshal(map[string]any{"error": code, "message": message, "moreInfo": map[string]any{}})
	if err != nil {
		panic(err) // strings always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone; nobody is left to tell
}

// readiness remembers the last probe of the database for a second, so that
// probes from many sides cost one write.
type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

func (s *Server) checkReady(ctx context.Context) error {
	if s.stopping.Load() {
		return errors.New("stopping")
	}
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if time.Since(s.ready.at) < time.Second {
		return s.ready.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.ready.err, s.ready.at = s.store.Ping(ctx), time.Now()
	return s.ready.err
}
