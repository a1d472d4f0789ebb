package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"capstan/core/failure"
)

// What an ACME server says is taken for a refusal where it is one, and is still
// there for the client to read.
func TestACMERefusedBy(t *testing.T) {
	for body, want := range map[string]string{
		`{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many for ops@example.test","status":429}`:                                                        "rateLimited",
		`{"type":"urn:ietf:params:acme:error:badNonce"}`:                                                                                                                 "",
		`{"status":"invalid","identifier":{"type":"dns"},"challenges":[{"type":"http-01","status":"invalid","error":{"type":"urn:ietf:params:acme:error:connection"}}]}`: "connection",
		`{"status":"invalid","error":{"type":"urn:ietf:params:acme:error:caa"}}`:                                                                                         "caa",
		`{"status":"valid","challenges":[{"type":"http-01"}]}`:                                                                                                           "",
		`{`: "",
	} {
		answer := &http.Response{Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: io.NopCloser(strings.NewReader(body))}
		err := refusedBy(answer)
		if (err != nil) != (want != "") || err != nil && (!strings.HasSuffix(err.Error(), want) || failure.CodeOf(err) != "acme_refused") {
			t.Errorf("%s: %v", body, err)
		}
		if left, err := io.ReadAll(answer.Body); err != nil || string(left) != body {
			t.Errorf("%q is left of %q, %v", left, body, err)
		}
	}
}

// Only an attempt that asked the authority and wrote no certificate has failed:
// not the first look into the cache, nor one that found the certificate renewed.
func TestRenewalsSeen(t *testing.T) {
	const name = "updates.example.test"
	refuses := roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
	r := newRenewals(autocert.DirCache(t.TempDir()), refuses)
	failed := make(chan error, 1)
	r.failed = func(domain string, err error) {
		if domain != name {
			t.Errorf("of %s", domain)
		}
		failed <- err
	}
	attempt := func(name string, ask, put bool) {
		ctx, end := context.WithCancel(t.Context())
		_, _ = r.Get(ctx, name)
		if ask {
			q, err := http.NewRequestWithContext(ctx, "GET", "https://acme.example.test/dir", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.RoundTrip(q)
		}
		if put {
			if err := r.Put(ctx, name, []byte("x")); err != nil {
				t.Error(err)
			}
		}
		end()
		for open := 1; open > 0; time.Sleep(time.Millisecond) {
			r.mu.Lock()
			open = len(r.open)
			r.mu.Unlock()
		}
	}
	attempt(name, true, false)              // there is no certificate yet: that is not a renewal
	attempt("acme_account+key", true, true) // nor is the account's key a certificate
	attempt(name, true, true)               // now there is one
	attempt(name, false, false)             // not due
	attempt(name, true, true)               // renewed
	select {
	case err := <-failed:
		t.Fatalf("%v, and nothing failed", err)
	default:
	}
	attempt(name, true, false)
	if err := <-failed; failure.CodeOf(err) != "acme_unreachable" {
		t.Errorf("%v", err)
	}
	attempt(name+"+rsa", true, true)
	attempt(name+"+rsa", true, false)
	if err := <-failed; failure.CodeOf(err) != "acme_unreachable" {
		t.Errorf("%v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
