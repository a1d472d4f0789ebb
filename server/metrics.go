package server

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"capstan/core/failure"
	"capstan/server/store"
)

// metrics are what a Prometheus server reads. No label comes from a client:
// neither app ids nor device ids nor paths.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	answers  *prometheus.CounterVec
	withheld prometheus.Counter
	unissued prometheus.Counter

	// What nearly every request counts is looked up once.
	checks     prometheus.Counter
	checksTook prometheus.Observer
	reasons    sync.Map // reason → prometheus.Counter
}

// newMetrics describes the metrics. expires is the end of the certificate that
// was shown last, in seconds since 1970, or 0; refused tells whether the files of
// the next one cannot be shown.
func newMetrics(s *store.Store, l *limiter, expires func() int64, refused func() bool) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "capstan_http_requests_total", Help: "Requests by part of the server and status."}, []string{"part", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "capstan_http_request_duration_seconds", Help: "Time to answer, by part of the server.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30}}, []string{"part"}),
		answers:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "capstan_update_answers_total", Help: "Answers to update checks of known apps, by reason."}, []string{"reason"}),
		withheld: prometheus.NewCounter(prometheus.CounterOpts{Name: "capstan_bundles_withheld_total", Help: "Update checks that met a bundle which is not sealed or does not verify. Alarm on any."}),
		unissued: prometheus.NewCounter(prometheus.CounterOpts{Name: "capstan_certificate_failures_total", Help: "Times that the ACME authority gave no certificate, new or renewed."}),
	}
	m.checks, m.checksTook = m.requests.WithLabelValues("updates", "200"), m.took.WithLabelValues("updates")
	m.registry.MustRegister(m.requests, m.took, m.answers, m.withheld, m.unissued, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "capstan_bundles_unverified", Help: "Bundles on channels that do not verify with their app's key. Alarm on any."}, func() float64 { return float64(s.Refused()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "capstan_polls_dropped_total", Help: "Update checks that were answered and not recorded."}, func() float64 { return float64(s.Dropped()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "capstan_devices", Help: "Devices that the server remembers, of all apps."}, func() float64 { return float64(s.KnownDevices()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "capstan_certificate_expiry_timestamp_seconds", Help: "End of the TLS certificate that was shown last; 0 without TLS."}, func() float64 { return float64(expires()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "capstan_certificate_refused", Help: "1 while the certificate files cannot be shown and an older pair is. Alarm on it."}, func() float64 {
			if refused() {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "capstan_limited_total", Help: "Requests over a bound of their address."}, func() float64 { return float64(l.hits.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "capstan_crowded_total", Help: "Device requests of apps over their share, in seconds that brought more than the server can do."}, func() float64 { return float64(l.shares.shed.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "capstan_connections_refused_total", Help: "Connections over the bound of their address."}, func() float64 { return float64(l.refused.Load()) }),
	)
	if _, there := s.Replica(); there {
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "capstan_replica_lag_seconds", Help: "How far the read replica is behind, when last looked."}, func() float64 { r, _ := s.Replica(); return r.Lag.Seconds() }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "capstan_replica_fallbacks_total", Help: "Lists and statistics that the primary gave in the replica's stead."}, func() float64 { r, _ := s.Replica(); return float64(r.Fallbacks) }),
		)
	}
	return m
}

func (m *metrics) request(part string, status int, took time.Duration) {
	if part == "updates" && status == http.StatusOK {
		m.checks.Inc()
		m.checksTook.Observe(took.Seconds())
		return
	}
	m.requests.WithLabelValues(part, statusText(status)).Inc()
	m.took.WithLabelValues(part).Observe(took.Seconds())
}

func (m *metrics) answered(reason string) {
	counter, known := m.reasons.Load(reason)
	if !known { // one of a few dozen codes of ours
		counter, _ = m.reasons.LoadOrStore(reason, m.answers.WithLabelValues(reason))
	}
	counter.(prometheus.Counter).Inc()
}

// statusText spares the hot path the formatting of a number.
func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 400:
		return "400"
	case 404:
		return "404"
	case 429:
		return "429"
	case 503:
		return "503"
	}
	return strconv.Itoa(status)
}

// listenMetrics binds the address of the metrics; nil for none.
func listenMetrics(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", address)
	return listener, failure.Wrap(err, failure.Failed, "address_in_use", "listen for metrics", "choose another address with --metrics")
}

// serve answers for /metrics on a listener of its own; stop ends it.
func (m *metrics) serve(listener net.Listener) (stop func()) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return serveAside(listener, mux)
}

// serveAside runs a server beside the one for devices; stop ends it.
func serveAside(listener net.Listener, h http.Handler) (stop func()) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }() // ends with Close
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		_ = server.Close()
		<-done
	}
}
