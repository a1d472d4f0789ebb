package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"capstan/core/failure"
)

// ACME says how a server gets its certificates by itself (RFC 8555). With
// Domains the terms of the certificate authority count as accepted.
type ACME struct {
	// Domains are the names that certificates are asked for, and no others.
	Domains []string
	// Directory is the authority's ACME directory; Let's Encrypt's when "".
	Directory string
	// Email is told to the authority. Optional.
	Email string
	// HTTP is an address, normally :80, on which challenges of the kind http-01
	// are answered and browsers sent to https. "" leaves tls-alpn-01 alone, which
	// is answered on the server's own address; the authority knocks at port 443.
	HTTP string
	// Roots is a PEM file of the certificates that the directory's own https is
	// trusted by; the system's when "".
	Roots string
}

// acmeFolder, below the data directory, keeps the account's key, certificates
// and their keys.
const acmeFolder = "acme"

// issuer gets and renews certificates.
type issuer struct {
	*autocert.Manager
	domains  []string
	renewals *renewals
}

// newIssuer checks the configuration; it asks nobody yet. Codes acme_domain,
// acme_directory, acme_roots.
func newIssuer(c ACME, dataDir string) (*issuer, error) {
	const op = "set up ACME"
	client := &acme.Client{DirectoryURL: acme.LetsEncryptURL, UserAgent: "capstan"}
	for _, d := range c.Domains {
		if !strings.Contains(strings.Trim(d, "."), ".") || net.ParseIP(d) != nil || strings.ContainsAny(d, "/:@* ") {
			return nil, failure.Newf(failure.Usage, "acme_domain", op, "write it as updates.example.com", "%q is no domain that a certificate can be asked for", d)
		}
	}
	if c.Directory != "" {
		if !strings.HasPrefix(c.Directory, "https://") {
			return nil, failure.New(failure.Usage, "acme_directory", op, "the ACME directory is not an https address", "leave --acme-dir out for Let's Encrypt")
		}
		client.DirectoryURL = c.Directory
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.Roots != "" {
		text, err := os.ReadFile(c.Roots)
		pool := x509.NewCertPool()
		if err == nil && !pool.AppendCertsFromPEM(text) {
			return nil, failure.New(failure.Usage, "acme_roots", op, "the file of --acme-ca holds no PEM certificate", "")
		}
		if err != nil {
			return nil, failure.Wrap(err, failure.Usage, "acme_roots", op, "name a PEM file with --acme-ca")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	watched := newRenewals(autocert.DirCache(filepath.Join(dataDir, acmeFolder)), transport)
	client.HTTPClient = &http.Client{Transport: watched, Timeout: time.Minute}
	listed := autocert.HostWhitelist(c.Domains...)
	return &issuer{&autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: watched, Client: client, Email: c.Email,
		HostPolicy: func(ctx context.Context, host string) error {
			if name, _, err := net.SplitHostPort(host); err == nil { // an http-01 challenge at a port other than 80
				host = name
			}
			return listed(ctx, host)
		},
	}, c.Domains, watched}, nil
}

// isChallenge reports whether the authority knocks, and not a client.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto})
}

// acmeRetry is the pause after a certificate was refused: authorities count
// failures, Let's Encrypt five an hour.
const acmeRetry = 15 * time.Minute

// obtain asks for the certificates that are not there yet, so that the first
// device does not have to wait for them.
func (i *issuer) obtain(ctx context.Context, note func(domain string, err error)) {
	for _, domain := range i.domains {
		for {
			_, err := i.GetCertificate(&tls.ClientHelloInfo{
				ServerName: domain, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
				SupportedVersions: []uint16{tls.VersionTLS13}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			})
			note(domain, err)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(acmeRetry):
			}
		}
	}
}
