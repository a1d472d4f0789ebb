// Package remote talks to where releases are registered: a capstan server,
// Capgo's cloud or a self-hosted Capgo. All three speak Capgo's management API;
// what only a capstan server can do is found out with About and Can, and asking
// another server for it gives a failure with the code "unsupported".
//
// Start with New. The client knows the API's traps: a list without rows may
// be an error, pages may overlap, and a bundle deletion without a version means
// every bundle. The types on the wire are those of core/capgo.
//
// Each call is bounded in time and answer size. Reads are repeated a few times
// with growing pauses; changes only where they certainly did not arrive. A
// change whose answer got lost fails with the code "outcome_unknown".
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Token is the API key. It never prints; NewToken makes one.
type Token = transport.Secret

// NewToken wraps the text of a token.
func NewToken(text string) Token { return transport.NewSecret(text) }

// Config says which server, and with which token.
type Config struct {
	BaseURL string // e.g. https://updates.example.com or https://api.capgo.app
	Token   Token
	// HTTP does the calls; nil for a client with sensible limits.
	HTTP *http.Client
	// AllowHTTP permits plain http to a host that is not this machine.
	AllowHTTP bool
	// Pause waits between attempts; nil sleeps.
	Pause func(ctx context.Context, d time.Duration) error
}

// Client is a connection to one server. It is safe for concurrent use.
type Client struct {
	caller transport.Caller

	mu    sync.Mutex
	about *capgo.About // nil until asked successfully
}

// New checks the configuration; it does not connect.
func New(config Config) (*Client, error) {
	base, err := transport.ParseBase(config.BaseURL, config.AllowHTTP)
	if err != nil {
		return nil, err
	}
	token := config.Token
	return &Client{caller: transport.Caller{
		Base: base, HTTP: config.HTTP, Token: token, Pause: config.Pause, Clock: new(transport.Clock),
		Authorise: func(r *http.Request) {
			// The one header that every route of every version of the API reads.
			if !token.Empty() {
				r.Header.Set("capgkey", token.Reveal())
			}
		},
	}}, nil
}

// BaseURL is the server's address, without a trailing slash.
func (c *Client) BaseURL() string { return c.caller.Base.String() }

// String names the server, for people.
func (c *Client) String() string { return c.BaseURL() }

// tolerated is how far this machine's clock may be from the server's. Tokens
// expire, plans begin and certificates end to the minute at the finest.
const tolerated = 2 * time.Minute

// CheckClock fails with the code clock_skew when this machine's clock differs
// from the server's by more than two minutes, as far as the answers up to now
// tell. It makes no call.
func (c *Client) CheckClock() error {
	ahead, heard := c.caller.Clock.Ahead()
	if !heard || ahead.Abs() <= tolerated {
		return nil
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	return failure.Newf(failure.Failed, "clock_skew", "compare the clocks",
		"set the clock of the machine that is wrong: when tokens expire, plans begin and certificates end is read from it",
		"this machine's clock is %s %s that of %s", strings.TrimSuffix(ahead.Abs().Round(time.Minute).String(), "0s"), direction, c.caller.Base.Host)
}

type idempotencyKey struct{}

// WithIdempotencyKey makes changes under ctx carry the given key, so that a
// release that is resumed repeats its change under the key of the first
// attempt. Without one each change draws its own.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, key)
}

// About says who answers and what it can do. A server without capstan's own
// routes is named "capgo" and has no capabilities. The answer is remembered.
func (c *Client) About(ctx context.Context) (capgo.About, error) {
	c.mu.Lock()
	known := c.about
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	about, err := c.askAbout(ctx)
	if err != nil {
		return capgo.About{}, err
	}
	c.mu.Lock()
	c.about = &about
	c.mu.Unlock()
	return about, nil
}

func (c *Client) askAbout(ctx context.Context) (capgo.About, error) {
	other := capgo.About{Server: "capgo"}
	answer, err := c.caller.Do(ctx, transport.Call{
		Op: "ask the server what it is", Method: http.MethodGet, Path: "/capstan/v1/about", Idempotent: true,
		// Other servers refuse an unknown route in one of these ways.
		OK: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed},
	})
	if err != nil {
		return capgo.About{}, err
	}
	if answer.Status != http.StatusOK && json.Valid(answer.Body) {
		return other, nil
	}
	var about capgo.About
	if answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &about) != nil || about.Server == "" {
		// A login page or a proxy's own answer must not be taken for a server
		// that can less: a release would leave out what protects it.
		return capgo.About{}, failure.Newf(failure.Unavailable, "answer_malformed", "ask the server what it is",
			"check the server's address, and whether a proxy or a login stands before it", "%s answers with something else than its API (HTTP %d)", c.caller.Base.Host, answer.Status)
	}
	return about, nil
}

// Can reports whether the server announces a capability (capgo.CapHistory, …).
// A server that cannot be asked can nothing.
func (c *Client) Can(ctx context.Context, capability string) bool {
	about, err := c.About(ctx)
	if err != nil {
		return false
	}
	for _, have := range about.Capabilities {
		if have == capability {
			return true
		}
	}
	return false
}

// need fails with "unsupported" when the server lacks a capability.
func (c *Client) need(ctx context.Context, capability, op string) error {
	about, err := c.About(ctx)
	if err != nil {
		return err
	}
	for _, have := range about.Capabilities {
		if have == capability {
			return nil
		}
	}
	return failure.Newf(failure.Failed, "unsupported", op, "a capstan server can; Capgo's public API has no such call",
		"the server %s (%s) cannot do this", c.caller.Base.Host, transport.Clean(about.Server))
}

// get asks for a value; the query's empty values are left out.
func (c *Client) get(ctx context.Context, op, path string, query url.Values, into any) error {
	for key, values := range query {
		if len(values) == 0 || values[0] == "" {
			query.Del(key)
		}
	}
	answer, err := c.caller.Do(ctx, transport.Call{Op: op, Method: http.MethodGet, Path: path, Query: query, Idempotent: true})
	if err != nil {
		return err
	}
	return c.decode(op, answer, into)
}

// send makes a change with a JSON body. into may be nil.
func (c *Client) send(ctx context.Context, op, method, path string, query url.Values, body, into any, idempotent bool) error {
	var encoded bytes.Buffer
	e := json.NewEncoder(&encoded)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return failure.Wrap(err, failure.Failed, "encode_failed", op, "")
	}
	key, given := ctx.Value(idempotencyKey{}).(string)
	if !given {
		key = uuid.NewString()
	}
	answer, err := c.caller.Do(ctx, transport.Call{
		Op: op, Method: method, Path: path, Query: query,
		// In lower case on purpose: under its canonical name net/http takes the
		// header for a promise that the server deduplicates, and repeats the
		// change by itself when the connection breaks. Capgo's server does not,
		// and capstan's says so.
		Header:       http.Header{"Content-Type": {"application/json"}, "idempotency-key": {key}},
		Body:         func() (io.Reader, error) { return bytes.NewReader(encoded.Bytes()), nil },
		Size:         int64(encoded.Len()),
		Idempotent:   idempotent,
		Deduplicated: c.deduplicates(),
	})
	if err != nil {
		return err
	}
	if into == nil {
		return nil
	}
	return c.decode(op, answer, into)
}

// deduplicates reports whether the server is known to make a change once for its
// idempotency key. It is not asked for that.
func (c *Client) deduplicates() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.about != nil && slices.Contains(c.about.Capabilities, capgo.CapIdempotency)
}

// decode reads an answer. A success that is not JSON is a web page or another
// server, and said so.
func (c *Client) decode(op string, answer *transport.Answer, into any) error {
	if err := unmarshal(answer.Body, into); err != nil {
		hint := "check that the address is the update server's API"
		return failure.Newf(failure.Failed, "answer_malformed", op, hint, "%s answered with something else than expected (HTTP %d, %s)",
			c.caller.Base.Host, answer.Status, transport.Clean(answer.Header.Get("Content-Type")))
	}
	return nil
}

// required fails when a value that decides what a call reaches is empty, or
// when one that becomes part of a path could lead to another route. The values
// come as name, value, name, value.
func required(op string, values ...string) error {
	for i := 0; i+1 < len(values); i += 2 {
		name, value := values[i], values[i+1]
		words := strings.ReplaceAll(name, "_", " ")
		if strings.TrimSpace(value) == "" {
			return failure.Newf(failure.Usage, "missing_"+name, op, "", "no %s was given", words)
		}
		if (name == "app_id" || name == "token_id") && (strings.ContainsAny(value, "/\\?#%") || strings.Trim(value, ".") == "") {
			return failure.Newf(failure.Usage, "invalid_"+name, op, "", "%s is no %s", transport.Clean(value), words)
		}
	}
	return nil
}
