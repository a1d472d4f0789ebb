// Package transport makes the HTTP calls of the registry client and of the
// storage drivers: one place for time limits, bounded retries, answer size
// limits, redirects, and for turning what went wrong into a failure.
//
// Rules it keeps for every call:
//   - plain http only to a loopback address (or where the profile allows it),
//     because the token travels in a header;
//   - redirects are not followed: a custom header such as capgkey would go to
//     wherever the redirect points;
//   - an answer is read up to a limit, after decompression;
//   - only a call that is Idempotent is repeated after it may have reached the
//     server; any call is repeated when it certainly did not (the connection
//     was refused, the name did not resolve, 429).
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"capstan/core/failure"
)

// Defaults of a Caller.
const (
	DefaultAttempts    = 4
	DefaultAnswerLimit = 32 << 20 // bytes; a page of 1,000 bundles with native packages is about 10 MB
	DefaultTimeout     = 30 * time.Second
	// maxHeader is what an answer's header may take, in bytes.
	maxHeader = 256 << 10
	// longestPause bounds a pause between attempts, also one the server asks for.
	longestPause = 20 * time.Second
)

// Caller makes calls to one server.
type Caller struct {
	Base *url.URL
	// HTTP does the calls; nil for a client of its own. Its redirect policy is replaced.
	HTTP *http.Client
	// Authorise adds the credentials to a request; may be nil.
	Authorise func(*http.Request)
	// Token is scrubbed from every text that comes back.
	Token Secret
	// Attempts bounds how often a call is made in all; 0 = DefaultAttempts.
	Attempts int
	// AnswerLimit bounds an answer's body in bytes; 0 = DefaultAnswerLimit.
	AnswerLimit int64
	// Timeout bounds one attempt of a call without a streamed body; 0 = DefaultTimeout.
	Timeout time.Duration
	// Pause waits between attempts; nil sleeps. Tests replace it.
	Pause func(ctx context.Context, d time.Duration) error
	// Explain refines a refusal: given status and server code it may give
	// another class and hint. nil keeps what the status says.
	Explain func(status int, code string) (failure.Class, string)
	// Clock hears the Date of every answer; nil for none.
	Clock *Clock
}

// Call is one request.
type Call struct {
	Op     string // what is attempted, for the failure
	Method string
	Path   string // below the base, starting with a slash, not escaped
	Query  url.Values
	Header http.Header
	// Body gives the body anew for each attempt; nil for none. Size is its length.
	Body func() (io.Reader, error)
	Size int64
	// Idempotent says that making the call twice is the same as once.
	Idempotent bool
	// Deduplicated says that the server makes the call once however often it is
	// sent. It is repeated like an idempotent one; when no answer comes at all, it
	// is still unknown whether it was made.
	Deduplicated bool
	// Streaming lifts the time limit of an attempt: an upload takes as long as
	// it takes, and the context ends it.
	Streaming bool
	// Hopeless, when set, is asked after a broken attempt whether another one is
	// pointless, because the body itself was at fault.
	Hopeless func() bool
	// OK lists the statuses that count as success besides 2xx.
	OK []int
}

// Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// ParseBase checks a server's address and gives it without a trailing slash.
// Plain http passes for loopback hosts, and for others with allowHTTP.
func ParseBase(raw string, allowHTTP bool) (*url.URL, error) {
	const op = "read the server's address"
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil || u.Host == "" {
		return nil, failure.New(failure.Usage, "url_malformed", op, "not a complete address", "write it like https://updates.example.com")
	}
	if u.User != nil {
		return nil, failure.New(failure.Usage, "url_with_secret", op, "a user name or password does not belong into the address", "put the token into CAPSTAN_TOKEN or the keyring")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && (allowHTTP || IsLoopback(u.Hostname())):
	case u.Scheme == "http":
		return nil, failure.Newf(failure.Usage, "url_insecure", op, "use https, or set allow_http = true in the profile for a closed network", "http to %s would send the token in the clear", u.Hostname())
	default:
		return nil, failure.Newf(failure.Usage, "url_malformed", op, "write it like https://updates.example.com", "scheme %q is not http or https", u.Scheme)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath, u.RawQuery, u.Fragment = "", "", ""
	return u, nil
}

// IsLoopback reports whether a host name can only mean this machine.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// NewHTTP gives a client with the limits that every call wants.
func NewHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        60 * time.Second,
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  2 * time.Minute, // counted from the end of the upload
		MaxResponseHeaderBytes: maxHeader,
	}}
}

// UserAgent is "capstan/VERSION".
func UserAgent() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	return "capstan/" + version
}

// Do makes the call and reads the whole answer. A status outside 2xx and
// call.OK is a failure; so is everything that prevented an answer.
func (c *Caller) Do(ctx context.Context, call Call) (*Answer, error) {
	var answer *Answer
	err := c.attempts(ctx, call, func(ctx context.Context, response *http.Response) error {
		limit := c.AnswerLimit
		if limit == 0 {
			limit = DefaultAnswerLimit
		}
		body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
		if err != nil {
			return err
		}
		if int64(len(body)) > limit {
			return failure.Newf(failure.Failed, "answer_too_large", call.Op, "check that the address is the update server's", "the answer is larger than %d bytes", limit)
		}
		answer = &Answer{Status: response.StatusCode, Header: response.Header, Body: body}
		return nil
	}, false)
	return answer, err
}

// Stream makes the call and gives the answer's body unread; the caller closes
// it. Its time limit is the client's limit on waiting for the header.
func (c *Caller) Stream(ctx context.Context, call Call) (*http.Response, error) {
	var answer *http.Response
	call.Streaming = true
	err := c.attempts(ctx, call, func(_ context.Context, response *http.Response) error {
		answer = response
		return nil
	}, true)
	return answer, err
}

func (c *Caller) attempts(ctx context.Context, call Call, accept func(context.Context, *http.Response) error, keepOpen bool) error {
	client := c.client()
	attempts := c.Attempts
	if attempts == 0 {
		attempts = DefaultAttempts
	}
	for attempt := 1; ; attempt++ {
		next, err := c.once(ctx, client, call, accept, keepOpen)
		if err == nil || !next.allowed || attempt >= attempts {
			return err
		}
		wait := next.wait
		if wait == 0 {
			wait = Backoff(attempt)
		}
		if c.Pause != nil {
			if p := c.Pause(ctx, wait); p != nil {
				return p
			}
			continue
		}
		if Sleep(ctx, wait) != nil {
			return ctx.Err()
		}
	}
}

// another says whether an attempt may follow a failed one, and how long the
// server asked to wait before it; 0 when it did not say.
type another struct {
	allowed bool
	wait    time.Duration
}

// once makes one attempt.
func (c *Caller) once(ctx context.Context, client *http.Client, call Call, accept func(context.Context, *http.Response) error, keepOpen bool) (another, error) {
	attemptCtx := ctx
	if !call.Streaming {
		timeout := c.Timeout
		if timeout == 0 {
			timeout = DefaultTimeout
		}
		var cancel context.CancelFunc
		attemptCtx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	request, err := c.request(attemptCtx, call)
	if err != nil {
		return another{}, err
	}
	sent := time.Now()
	response, err := client.Do(request)
	if err == nil && c.Clock != nil {
		c.Clock.hear(response.Header, sent, time.Now())
	}
	if err != nil {
		hopeless := call.Hopeless != nil && call.Hopeless()
		return another{allowed: !hopeless && ctx.Err() == nil && (call.repeatable() || neverSent(err))}, c.network(ctx, call, err)
	}
	if !keepOpen {
		defer response.Body.Close()
	}
	if accepted(response.StatusCode, call.OK) {
		err := accept(attemptCtx, response)
		if _, ours := failure.Find(err); err == nil || ours {
			return another{}, err
		}
		return another{allowed: ctx.Err() == nil && call.repeatable()}, c.network(ctx, call, err)
	}
	if keepOpen {
		defer response.Body.Close()
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	refusal := c.Refusal(call.Op, response.StatusCode, response.Header, body)
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		return another{true, retryAfter(response.Header)}, refusal
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return another{call.repeatable(), retryAfter(response.Header)}, refusal
	}
	return another{}, refusal
}

func (c Call) repeatable() bool { return c.Idempotent || c.Deduplicated }

func (c *Caller) request(ctx context.Context, call Call) (*http.Request, error) {
	u := *c.Base
	u.Path += call.Path
	u.RawQuery = call.Query.Encode()
	var body io.Reader
	if call.Body != nil {
		var err error
		if body, err = call.Body(); err != nil {
			return nil, failure.Wrap(err, failure.Failed, "read_failed", call.Op, "")
		}
		if call.Size == 0 {
			body = http.NoBody // else net/http would send it chunked
		}
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, u.String(), body)
	if err != nil {
		return nil, failure.Wrap(err, failure.Usage, "url_malformed", call.Op, "")
	}
	if body != nil {
		request.ContentLength = call.Size
	}
	for name, values := range call.Header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", UserAgent())
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/json")
	}
	if c.Authorise != nil {
		c.Authorise(request)
	}
	return request, nil
}

func (c *Caller) client() *http.Client {
	var client http.Client
	if c.HTTP != nil {
		client = *c.HTTP
	} else {
		client = *shared
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// shared keeps one pool of connections for all callers without a client of their own.
var shared = NewHTTP()

func accepted(status int, ok []int) bool {
	if status >= 200 && status < 300 {
		return true
	}
	for _, s := range ok {
		if s == status {
			return true
		}
	}
	return false
}

// Backoff is the pause before attempt n+1: 0.3 s doubling, at most
// 20 s, with full jitter over its upper half so that clients spread out.
func Backoff(n int) time.Duration {
	d := min(300*time.Millisecond<<min(n-1, 10), longestPause)
	return d/2 + rand.N(d/2)
}

// Sleep waits, or ends early with the context's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter reads the header in seconds or as a date, bounded.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, longestPause)
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, min(time.Until(at), longestPause))
	}
	return 0
}

// neverSent reports whether the request certainly did not reach a server.
func neverSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// network turns what prevented an answer into a failure. A call that is not
// idempotent and may have arrived gets the code outcome_unknown.
func (c *Caller) network(ctx context.Context, call Call, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	host := c.Base.Host
	code, hint := "remote_unreachable", "check the network and the server's address, then repeat the command"
	cause := rootCause(err)
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return failure.Newf(failure.Unavailable, "host_unknown", call.Op, "check the server's address in the profile", "the name %s does not resolve", c.Base.Hostname())
	case errors.As(err, &certificate):
		return failure.Newf(failure.Unavailable, "certificate_refused", call.Op, "check the server's certificate, and this machine's clock", "%s: %s", host, c.clean(certificate.Error()))
	case errors.Is(err, context.DeadlineExceeded):
		code, cause = "remote_timeout", "no answer in time"
	}
	if !call.Idempotent && !neverSent(err) {
		return failure.Newf(failure.Unavailable, "outcome_unknown", call.Op, "look at the server's state before repeating the command", "the connection to %s broke before the answer came: %s", host, c.clean(cause))
	}
	return failure.Newf(failure.Unavailable, code, call.Op, hint, "%s did not answer: %s", host, c.clean(cause))
}

// rootCause drops the wrapping of net/http, which repeats method and URL.
func rootCause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}
