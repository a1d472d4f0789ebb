package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"capstan/core/failure"
)

// renewals watch what autocert does by itself and tells nobody: it reads a
// certificate from its cache, asks the authority, writes the new one to the
// cache, and ends the context of all that. An attempt that asked and wrote
// nothing has failed.
type renewals struct {
	autocert.Cache
	authority http.RoundTripper
	failed    func(domain string, err error)

	mu   sync.Mutex
	held map[string]bool // names of certificates that were read or written; reading one again is the start of a renewal
	open map[*attempt]bool
}

// attempt is a renewal that has begun.
type attempt struct {
	name         string
	asked, wrote bool
	err          error // the last one, nil for none
}

// renewalRetry is autocert's pause after a failed renewal, at most.
const renewalRetry = time.Hour

func newRenewals(cache autocert.Cache, authority http.RoundTripper) *renewals {
	return &renewals{Cache: cache, authority: authority, failed: func(string, error) {}, held: map[string]bool{}, open: map[*attempt]bool{}}
}

// certificateOf is the domain of a certificate's name in the cache. Other names
// are those of the account's key and of challenges.
func certificateOf(name string) (domain string, ok bool) {
	domain, kind, more := strings.Cut(name, "+")
	return domain, strings.Contains(domain, ".") && (!more || kind == "rsa")
}

// Get implements autocert.Cache.
func (r *renewals) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := r.Cache.Get(ctx, name)
	domain, ok := certificateOf(name)
	if !ok {
		return data, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[name] {
		a := &attempt{name: name}
		r.open[a] = true
		context.AfterFunc(ctx, func() { r.ended(domain, a) })
	}
	if err == nil {
		r.held[name] = true
	}
	return data, err
}

// Put implements autocert.Cache.
func (r *renewals) Put(ctx context.Context, name string, data []byte) error {
	err := r.Cache.Put(ctx, name, data)
	if _, ok := certificateOf(name); !ok {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.held[name] = true
	}
	for a := range r.open {
		if a.name == name {
			a.wrote, a.err = err == nil, err
		}
	}
	return err
}

func (r *renewals) ended(domain string, a *attempt) {
	r.mu.Lock()
	delete(r.open, a)
	r.mu.Unlock()
	if !a.asked || a.wrote { // another server had renewed it, or it was not due yet; or it is there
		return
	}
	if a.err == nil {
		a.err = errors.New("the authority gave no certificate")
	}
	r.failed(domain, a.err)
}

// RoundTrip implements http.RoundTripper: it asks the authority and remembers
// why it refused. Codes acme_unreachable, acme_refused.
func (r *renewals) RoundTrip(q *http.Request) (*http.Response, error) {
	answer, err := r.authority.RoundTrip(q)
	refusal := failure.Wrap(err, failure.Unavailable, "acme_unreachable", "ask the ACME authority", "")
	if err == nil {
		refusal = refusedBy(answer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.open {
		a.asked = true
		if refusal != nil {
			a.err = refusal
		}
	}
	return answer, err
}

// refusedBy is what an answer of an ACME server refuses: with a problem (RFC
// 8555, 6.7), or in an authorization whose challenge failed. A nonce that is too
// old is asked for again and no refusal. Of the answer's words only the type is
// taken: the rest may name addresses.
func refusedBy(answer *http.Response) error {
	if !strings.Contains(answer.Header.Get("Content-Type"), "json") {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), answer.Body), answer.Body}
	if err != nil {
		return nil // whoever reads on meets it too
	}
	type problem struct{ Type string }
	var said struct {
		problem
		Error      problem
		Challenges []struct{ Error problem }
	}
	if json.Unmarshal(text, &said) != nil {
		return nil
	}
	said.Challenges = append(said.Challenges, struct{ Error problem }{said.Error}, struct{ Error problem }{said.problem})
	for _, c := range said.Challenges {
		kind, isACME := strings.CutPrefix(c.Error.Type, "urn:ietf:params:acme:error:")
		if isACME && kind != "badNonce" {
			return failure.Newf(failure.Failed, "acme_refused", "ask the ACME authority", "", "the ACME authority refused: %.40s", kind)
		}
	}
	return nil
}
