// Package management is the API that operators, the console and CI use: the
// shapes of Capgo's public REST API for apps, bundles, channels, devices and
// statistics, and capstan's own routes under /capstan/v1.
//
// Every route is a row of one table with the scope it needs and where the app
// and the channel it reaches are named. One middleware authenticates, checks
// scope, app and channel, and only then calls the handler; a route cannot be
// served without a row.
package management

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/store"
)

// Config wires an API.
type Config struct {
	Store *store.Store
	About capgo.About
	// AllowHTTP reports whether a plain http URL is good enough for devices,
	// beside those of loopback: it starts with the server's own public address.
	PublicURL string
	// ObjectURL turns the name of an own object into its public URL.
	ObjectURL func(name string) string
	// Objects keeps uploads; nil leaves the object routes out.
	Objects Objects
	// Failed is told the client's address of a refused token, and Blocked asked
	// before a token is looked at. Both may be nil.
	Failed  func(r *http.Request)
	Blocked func(r *http.Request) (retryAfter time.Duration)
	Log     *slog.Logger
}

// Objects is where uploads go.
type Objects interface {
	// Put streams an upload into place; see the objects route.
	Put(w http.ResponseWriter, r *http.Request, name string) (status int, err error)
	// Head answers for the headers of an object.
	Head(w http.ResponseWriter, r *http.Request, name string) error
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
}

// where says in which part of a call an app or a channel is named.
type where int

const (
	nowhere       where = iota
	inPath              // {app_id} of the pattern
	inInput             // app_id of body or query
	inName              // the first segment of {name...}: objects are named by app
	channelField        // channel of body or query
	channelID           // channel_id of body or query
	filtered            // the handler leaves out what the token may not see; a channel that is named is checked
	wholeApp            // the call reaches every channel: tokens limited to channels may not
	optionalInput       // app_id of body or query, filtered when absent
)

// Route is one row of the table.
type Route struct {
	Method, Pattern string
	Scope           capgo.TokenScope // "" is public
	App, Channel    where
	handle          func(*call) error
	raw             bool // the body is not JSON
}

// Reach says what a route looks at before it lets a limited token in.
type Reach struct {
	App       bool // it names an app
	WholeApp  bool // it reaches every channel of the app
	Channel   bool // it names a channel
	ChannelID bool // it names a channel by its id
}

// Reach gives what the middleware looks at.
func (r Route) Reach() Reach {
	return Reach{
		App: r.App == inPath || r.App == inInput || r.App == inName || r.App == optionalInput, WholeApp: r.Channel == wholeApp,
		Channel: r.Channel == channelField || r.Channel == channelID || r.Channel == filtered, ChannelID: r.Channel == channelID,
	}
}

// call is one authorised request.
type call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context
	in    *input
	token capgo.Token
	app   string // the app it reaches, "" when none
	route Route
	// shape makes the answer of a change from its result; nil is {"status":"ok"}.
	shape func(result any) (status int, body any)
}

// API serves the management routes.
type API struct {
	Config
	routes []Route
	mux    *http.ServeMux
}

// New assembles the routes.
func New(c Config) *API {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{Config: c, mux: http.NewServeMux()}
	const read, upload, promote, admin = capgo.ScopeRead, capgo.ScopeUpload, capgo.ScopePromote, capgo.ScopeAdmin
	a.routes = []Route{
		{"GET", "/app", read, filtered, nowhere, listApps, false},
		{"POST", "/app", admin, inInput, wholeApp, createApp, false},
		{"GET", "/app/{app_id}", read, inPath, nowhere, getApp, false},
		{"PUT", "/app/{app_id}", admin, inPath, wholeApp, changeApp, false},
		{"DELETE", "/app/{app_id}", admin, inPath, wholeApp, deleteApp, false},

		{"GET", "/bundle", read, inInput, nowhere, listBundles, false},
		{"POST", "/bundle", upload, inInput, nowhere, createBundle, false},
		{"PUT", "/bundle", promote, inInput, channelID, linkBundle, false},
		{"DELETE", "/bundle", admin, inInput, wholeApp, deleteBundle, false},
		{"POST", "/bundle/metadata", upload, inInput, nowhere, setMetadata, false},
		{"GET", "/bundle/metadata", read, inInput, nowhere, getMetadata, false},

		{"GET", "/channel", read, inInput, filtered, listChannels, false},
		{"POST", "/channel", promote, inInput, channelField, changeChannel, false},
		{"DELETE", "/channel", admin, inInput, channelField, deleteChannel, false},

		{"GET", "/device", read, inInput, nowhere, listDevices, false},
		{"POST", "/device", promote, inInput, channelField, setOverride, false},
		{"DELETE", "/device", promote, inInput, wholeApp, clearOverride, false},

		{"GET", "/statistics/app/{app_id}", read, inPath, nowhere, appStatistics, false},
		{"GET", "/statistics/app/{app_id}/bundle_usage", read, inPath, nowhere, bundleUsage, false},
		{"GET", "/statistics/app/{app_id}/native_usage", read, inPath, nowhere, nativeUsage, false},
		{"GET", "/statistics/org/{org_id}", read, filtered, nowhere, orgStatistics, false},
		{"GET", "/statistics/user", read, filtered, nowhere, userStatistics, false},

		{"GET", "/capstan/v1/about", "", nowhere, nowhere, about, false},
		{"GET", "/capstan/v1/history", read, optionalInput, filtered, history, false},
		{"GET", "/capstan/v1/files", read, inInput, nowhere, bundleFiles, false},
		{"POST", "/capstan/v1/explain", read, inInput, nowhere, explain, false},
		{"GET", "/capstan/v1/events", read, inInput, nowhere, events, false},
		{"GET", "/capstan/v1/devices", read, inInput, nowhere, searchDevices, false},
		{"GET", "/capstan/v1/summary", read, inInput, filtered, summary, false},
		{"GET", "/capstan/v1/fleet", read, inInput, nowhere, fleet, false},
		{"GET", "/capstan/v1/schedule", read, inInput, filtered, listPlans, false},
		{"PUT", "/capstan/v1/schedule", promote, inInput, channelField, setPlan, false},
		{"DELETE", "/capstan/v1/schedule", promote, inInput, channelField, clearPlan, false},
		{"GET", "/capstan/v1/freeze", read, inInput, nowhere, listFreezes, false},
		{"PUT", "/capstan/v1/freeze", promote, inInput, wholeApp, setFreeze, false},
		{"DELETE", "/capstan/v1/freeze", promote, inInput, wholeApp, clearFreeze, false},
		{"GET", "/capstan/v1/ledger/checkpoint", read, nowhere, nowhere, checkpoint, false},
		{"GET", "/capstan/v1/ledger/receipt", read, inInput, nowhere, receipt, false},
		{"GET", "/capstan/v1/tokens", admin, filtered, nowhere, listTokens, false},
		{"POST", "/capstan/v1/tokens", admin, filtered, nowhere, createToken, false},
		{"DELETE", "/capstan/v1/tokens/{id}", admin, filtered, nowhere, revokeToken, false},
	}
	if c.Objects != nil {
		a.routes = append(a.routes,
			Route{"PUT", "/capstan/v1/objects/{name...}", upload, inName, nowhere, putObject, true},
			Route{"HEAD", "/capstan/v1/objects/{name...}", read, inName, nowhere, headObject, true},
			Route{"DELETE", "/capstan/v1/objects/{name...}", admin, inName, wholeApp, deleteObject, true},
		)
	}
	for _, route := range a.routes {
		a.mux.HandleFunc(route.Method+" "+route.Pattern, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, route) })
		if !strings.HasSuffix(route.Pattern, "...}") {
			// Capgo's clients are not careful about a slash at the end, and its own examples have one.
			a.mux.HandleFunc(route.Method+" "+route.Pattern+"/{$}", func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, route) })
		}
	}
	return a
}

// Routes lists the table, for documents and tests.
func (a *API) Routes() []Route { return a.routes }

// Prefixes are the first path segments that belong to this API.
func Prefixes() []string {
	return []string{"app", "bundle", "channel", "device", "statistics", "capstan",
		// What Capgo's own command line calls beside them.
		"rest", "functions", "private"}
}

// ServeHTTP routes a call; an unknown one is 404 not_found, or 405.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.serveCLI(w, r) {
		return
	}
	_, pattern := a.mux.Handler(r)
	if pattern == "" {
		probe := &statusOnly{header: http.Header{}}
		a.mux.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", probe.header.Get("Allow"))
			writeProblem(w, http.StatusMethodNotAllowed, capgo.APIError{Error: "method_not_allowed", Message: "this route does not know the method"})
			return
		}
		writeProblem(w, http.StatusNotFound, capgo.APIError{Error: "not_found", Message: "there is no such route"})
		return
	}
	a.mux.ServeHTTP(w, r)
}

// statusOnly takes the status of the mux's own plain-text answers.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

// serve is the one way into a handler.
func (a *API) serve(w http.ResponseWriter, r *http.Request, route Route) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	c := &call{api: a, w: w, r: r, ctx: r.Context()}
	if err := c.run(route); err != nil {
		c.fail(err)
	}
}

func (c *call) run(route Route) error {
	c.route = route
	if route.Scope != "" {
		if err := c.authenticate(); err != nil {
			return err
		}
		if !allows(c.token.Scope, route.Scope) {
			return failure.Newf(failure.NotAuthorised, "insufficient_scope", "", "use a token with the scope "+string(route.Scope),
				"the token has the scope %s, this call needs %s", c.token.Scope, route.Scope)
		}
	}
	if route.raw {
		c.in = &input{fields: map[string]any{}}
	} else {
		in, err := readInput(c.w, c.r)
		if err != nil {
			return err
		}
		if _, capgos := refusals[route.Method+" "+route.Pattern]; capgos && route.Method != http.MethodGet && route.App != inPath && in.empty() {
			return bad("invalid_json_parse_body", "there is neither a JSON body nor a query")
		}
		c.in = in
	}
	if strings.HasPrefix(route.Pattern, "/rest/") {
		c.unfilter()
	}
	if err := c.reach(route); err != nil {
		return err
	}
	answered, err := c.recall(route)
	if answered || err != nil {
		return err
	}
	err = route.handle(c)
	if kept := (*store.Kept)(nil); errors.As(err, &kept) {
		c.replay(kept) // by a call under the same key that was under way
		return nil
	}
	return err
}

// authenticate reads the token from one of the headers that Capgo's clients use.
func (c *call) authenticate() error {
	if c.api.Blocked != nil {
		if wait := c.api.Blocked(c.r); wait > 0 {
			c.w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
			return &tooMany{"too_many_failed_auth_attempts"}
		}
	}
	secret := ""
	for _, header := range []string{"capgkey", "x-api-key", "Authorization"} {
		if secret = c.r.Header.Get(header); secret != "" {
			break
		}
	}
	if scheme, rest, ok := strings.Cut(secret, " "); ok && strings.EqualFold(scheme, "Bearer") {
		secret = strings.TrimSpace(rest)
	}
	if c.r.Header.Get("x-limited-key-id") != "" {
		// To go on would be to give the whole token's reach to who asked for less.
		return &unauthenticated{failure.New(failure.NotAuthorised, "invalid_subkey", "", "this server has no sub-keys", "make a token that is limited to apps and channels, and send it alone")}
	}
	if secret == "" {
		return &unauthenticated{failure.New(failure.NotAuthorised, "no_key_provided", "", "no token was given", "send it in the header capgkey")}
	}
	token, err := c.api.Store.Authenticate(c.ctx, secret)
	if failure.CodeOf(err) == "invalid_apikey" {
		if c.api.Failed != nil {
			c.api.Failed(c.r)
		}
		return &unauthenticated{err}
	}
	c.token = token
	return err
}

type unauthenticated struct{ error }

func (u *unauthenticated) Unwrap() error { return u.error }

type tooMany struct{ reason string }

func (t *tooMany) Error() string { return "too many requests" }

// scopes in the order in which each includes those before it.
var scopes = map[capgo.TokenScope]int{capgo.ScopeRead: 1, capgo.ScopeUpload: 2, capgo.ScopePromote: 3, capgo.ScopeAdmin: 4}

func allows(have, need capgo.TokenScope) bool {
	return scopes[have] >= scopes[need] && scopes[have] > 0
}

// reach finds the app and the channel that a call names and refuses those that
// the token is not for. The refusal is the same whether they exist or not.
func (c *call) reach(route Route) error {
	if route.Scope == "" {
		return nil
	}
	switch route.App {
	case inPath:
		c.app = c.r.PathValue("app_id")
	case inInput, optionalInput:
		c.app = c.in.text("app_id")
	case inName:
		c.app, _, _ = strings.Cut(c.r.PathValue("name"), "/")
	}
	switch {
	case c.app != "":
		if !validAppID(c.app) {
			return bad("invalid_app_id", "the app id is not of the form com.example.app")
		}
		if !c.mayApp(c.app) {
			return noAccess()
		}
	case route.App == inPath, route.App == inInput, route.App == inName:
		return bad("missing_app_id", "app_id is missing")
	}
	if len(c.token.Channels) == 0 {
		return nil
	}
	switch route.Channel {
	case wholeApp:
		return failure.New(failure.NotAuthorised, "cannot_access_app", "", "the token is limited to channels, and this call reaches more", "use a token without that limit")
	case channelField:
		if !c.mayChannel(c.in.text("channel")) {
			return noAccessToChannel()
		}
	case filtered:
		if name := c.in.text("channel"); name != "" && !c.mayChannel(name) {
			return noAccessToChannel()
		}
	case channelID:
		channel, err := c.api.Store.ChannelByID(c.ctx, c.app, c.in.id("channel_id"))
		if err != nil || !c.mayChannel(channel.Name) {
			return noAccessToChannel()
		}
	}
	return nil
}

func noAccess() error {
	return failure.New(failure.NotAuthorised, "cannot_access_app", "", "the token is not for this app", "use a token of this app")
}

func noAccessToChannel() error {
	return failure.New(failure.NotAuthorised, "cannot_access_channel", "", "the token is not for this channel", "use a token of this channel")
}

func (c *call) mayApp(appID string) bool { return within(c.token.Apps, appID) }

func (c *call) mayChannel(name string) bool { return within(c.token.Channels, name) }

// within reports whether a limit admits a value; an empty limit admits all.
func within(limit []string, value string) bool {
	if len(limit) == 0 {
		return true
	}
	for _, l := range limit {
		if l == value {
			return true
		}
	}
	return false
}

// actor is the name that the audit gives to the caller.
func (c *call) actor() string { return c.token.Name }

// checked gives the first problem of the values that were read.
func (c *call) checked() error { return c.in.problem }

// ok writes a success.
func (c *call) ok(v any) error { return c.write(http.StatusOK, v) }

func (c *call) write(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the client is gone; nobody is left to tell
	return nil
}

// fail answers with an error in Capgo's shape.
func (c *call) fail(err error) {
	var limited *tooMany
	var anonymous *unauthenticated
	status := http.StatusInternalServerError
	body := capgo.APIError{Error: "unknown_error", Message: "the server could not do this"}
	f, known := failure.Find(err)
	switch {
	case errors.As(err, &limited):
		writeProblem(c.w, http.StatusTooManyRequests, capgo.APIError{Error: "too_many_requests", Message: limited.Error(), MoreInfo: map[string]any{"reason": limited.reason}})
		return
	case errors.Is(err, context.Canceled) && c.r.Context().Err() != nil:
		return // nobody listens
	case known:
		body.Error, body.Message = f.Code, f.Error()
		if hint := failure.HintOf(err); hint != "" {
			body.MoreInfo = map[string]any{"hint": hint}
		}
		status = statusOf(f)
	}
	if errors.As(err, &anonymous) {
		status = http.StatusUnauthorized
	}
	if status >= 500 {
		c.api.Log.Error("management call failed", "method", c.r.Method, "route", c.r.Pattern, "error", err)
		body.Message = "the server cannot do this now, try again"
		if !known {
			body.Message = "the server could not do this"
		}
	}
	status = translate(c.route, status, &body)
	writeProblem(c.w, status, body)
}

func statusOf(f *failure.Error) int {
	switch f.Code {
	case "body_too_large", "object_too_large":
		return http.StatusRequestEntityTooLarge
	case "hash_mismatch":
		return http.StatusUnprocessableEntity
	}
	switch f.Class {
	case failure.Usage:
		return http.StatusBadRequest
	case failure.NotFound:
		return http.StatusNotFound
	case failure.NotAuthorised:
		return http.StatusForbidden
	case failure.Conflict:
		return http.StatusConflict
	case failure.Verification:
		return http.StatusBadRequest
	case failure.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func writeProblem(w http.ResponseWriter, status int, body capgo.APIError) {
	if body.MoreInfo == nil {
		body.MoreInfo = map[string]any{}
	}
	text, err := json.Marshal(struct {
		Error    string         `json:"error"`
		Message  string         `json:"message"`
		MoreInfo map[string]any `json:"moreInfo"`
	}{body.Error, body.Message, body.MoreInfo})
	if err != nil {
		panic(err) // strings always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone; nobody is left to tell
}
