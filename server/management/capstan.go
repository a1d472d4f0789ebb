package management

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/decide"
	"capstan/server/store"
)

func about(c *call) error { return c.ok(c.api.About) }

// history lists the audit. Without app_id a token sees every app that it is
// for; entries about tokens are for admins without limits only.
func history(c *call) error {
	f := store.ChangeFilter{AppID: c.app, Channel: c.in.text("channel"), Before: c.in.id("before"), Limit: c.in.limit()}
	if err := c.checked(); err != nil {
		return err
	}
	if c.app == "" {
		switch {
		case len(c.token.Apps) > 0:
			f.Apps = c.token.Apps
		case !allows(c.token.Scope, capgo.ScopeAdmin):
			return bad("missing_app_id", "app_id is missing")
		}
	} else if err := c.mustExist(); err != nil {
		return err
	}
	if len(c.token.Channels) > 0 && f.Channel == "" {
		return bad("missing_channel", "channel is missing: the token is limited to channels")
	}
	list, err := c.api.Store.Changes(c.ctx, f)
	if err != nil {
		return err
	}
	return c.ok(list)
}

// checkpoint gives the signed head of the ledger, which covers all apps and
// says nothing of any.
func checkpoint(c *call) error {
	text, err := c.api.Store.Checkpoint(c.ctx)
	if err != nil {
		return err
	}
	return c.ok(map[string]string{"checkpoint": text})
}

// receipt proves that an entry of an app's history is in the ledger.
func receipt(c *call) error {
	id := c.in.id("id")
	if err := c.mustExist(); err != nil {
		return err
	}
	if id == 0 {
		return bad("missing_required_fields", "id is missing: it is that of an entry of the history")
	}
	r, err := c.api.Store.Receipt(c.ctx, id)
	if err == nil && r.AppID != c.app {
		err = failure.New(failure.NotFound, "entry_not_found", "read ledger", "there is no such entry", "")
	}
	if err != nil {
		return err
	}
	return c.ok(r)
}

// explain answers what a device would hear, without noting that it asked.
func explain(c *call) error {
	text, err := json.Marshal(c.in.fields)
	if err != nil {
		return err
	}
	var request capgo.UpdateRequest
	if err := json.Unmarshal(text, &request); err != nil {
		return bad("invalid_json_body", "the body is not an update request")
	}
	request.DeviceID = strings.ToLower(request.DeviceID)
	if value, given := c.in.fields["is_prod"]; !given || value == nil {
		request.IsProd = true // as /updates takes it
	}
	app, err := c.api.Store.Snapshot(c.ctx, c.app)
	if err != nil {
		return err
	}
	if app == nil {
		return failure.New(failure.NotFound, "cannot_find_app", "", "there is no such app", "create it first, or see the app id")
	}
	v := decide.Update(app, request)
	v.Locate(c.api.ObjectURL)
	e := capgo.Explanation{Answer: v.Answer, Reason: v.Reason, Channel: v.Channel, ChannelSource: v.ChannelSource, InRollout: v.InRollout, Checks: v.Checks}
	switch {
	case v.Bundle != nil:
		e.Bundle = v.Bundle.Name
	case v.Channel != "":
		e.Bundle = capgo.Builtin
	}
	if e.Checks == nil {
		e.Checks = []capgo.Check{}
	}
	return c.ok(e)
}

func events(c *call) error {
	device, limit := c.in.text("device_id"), c.in.limit()
	before := c.in.optInt(0, 1<<53, "before")
	if err := c.mustExist(); err != nil {
		return err
	}
	var until int64
	if before != nil {
		until = *before
	}
	list, err := c.api.Store.Events(c.ctx, c.app, device, until, limit)
	if err != nil {
		return err
	}
	return c.ok(list)
}

func summary(c *call) error {
	if err := c.checked(); err != nil {
		return err
	}
	sum, err := c.api.Store.Summary(c.ctx, c.app)
	if err != nil {
		return err
	}
	if len(c.token.Channels) > 0 {
		seen := []capgo.ChannelSummary{}
		for _, channel := range sum.Channels {
			if c.mayChannel(channel.Channel) {
				seen = append(seen, channel)
			}
		}
		sum.Channels = seen
	}
	return c.ok(sum)
}

// fleet says what an app's devices would do with a bundle.
func fleet(c *call) error {
	if err := c.checked(); err != nil {
		return err
	}
	f, err := c.api.Store.Fleet(c.ctx, c.app)
	if err != nil {
		return err
	}
	return c.ok(f)
}

// listTokens shows a token what it could have minted: a limited admin does not
// learn of tokens that reach further than itself.
func listTokens(c *call) error {
	list, err := c.api.Store.Tokens(c.ctx)
	if err != nil {
		return err
	}
	seen := []capgo.Token{}
	for _, t := range list {
		if subset(t, c.token) {
			seen = append(seen, t)
		}
	}
	return c.ok(seen)
}

// subset reports whether a token reaches nothing that the other does not.
func subset(t, of capgo.Token) bool {
	return allows(of.Scope, t.Scope) && narrower(t.Apps, of.Apps) && narrower(t.Channels, of.Channels) && !outlives(t.ExpiresAt, of.ExpiresAt)
}

// narrower compares two limits. An empty limit is no limit, and so is within
// an empty one only.
func narrower(limit, of []string) bool {
	if len(of) == 0 {
		return true
	}
	for _, v := range limit {
		if !within(of, v) {
			return false
		}
	}
	return len(limit) > 0
}

func outlives(t, of *time.Time) bool { return of != nil && (t == nil || t.After(*of)) }

// tokenFields are the members of a capgo.Token; a client sends the whole row.
// secret is not among them: the server makes it.
var tokenFields = []string{"id", "name", "scope", "apps", "channels", "expires_at", "created_at", "last_used", "revoked"}

// maxTokenLife bounds expires_at.
const maxTokenLife = 10 * 365 * 24 * time.Hour

func createToken(c *call) error {
	c.in.only(tokenFields...)
	want := capgo.Token{Name: c.in.text("name"), Scope: capgo.TokenScope(c.in.text("scope")), Apps: c.in.list("apps"), Channels: c.in.list("channels"), ExpiresAt: c.in.optTime("expires_at")}
	for _, list := range []string{"apps", "channels"} {
		if _, given := c.in.fields[list]; given && !c.in.null(list) && len(c.in.list(list)) == 0 && c.checked() == nil {
			return bad("invalid_json_body", "%s is empty: leave it out for no limit", list)
		}
	}
	if err := c.checked(); err != nil {
		return err
	}
	now := time.Now()
	switch {
	case want.Name == "" || len(want.Name) > 80 || want.Name != clean(want.Name):
		return bad("invalid_name", "a token needs a name of at most 80 characters")
	case scopes[want.Scope] == 0:
		return bad("invalid_scope", "the scope is read, upload, promote or admin")
	case len(want.Apps) > 100 || len(want.Channels) > 100:
		return bad("invalid_json_body", "a token is limited to at most 100 apps and 100 channels")
	case want.ExpiresAt != nil && (!want.ExpiresAt.After(now) || want.ExpiresAt.After(now.Add(maxTokenLife))):
		return bad("invalid_expires_at", "expires_at is in the past, or more than ten years away")
	}
	for _, app := range want.Apps {
		if !validAppID(app) {
			return bad("invalid_app_id", "an app id is not of the form com.example.app")
		}
	}
	if !subset(want, c.token) {
		return failure.New(failure.NotAuthorised, "token_not_subset", "", "a token can only make tokens that reach no further than itself", "narrow the scope, the apps, the channels or the life of the new token")
	}
	c.shape = func(result any) (int, any) {
		made, _ := result.(capgo.Token) // what CreateToken gives
		return once(made)
	}
	made, err := c.api.Store.CreateToken(c.ctx, c.actor(), c.token.ID, want)
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, made)
}

func revokeToken(c *call) error {
	id := c.r.PathValue("id")
	t, err := c.api.Store.Token(c.ctx, id)
	if err != nil || !subset(t, c.token) {
		// The same answer for a token that reaches further and for none.
		return failure.New(failure.NotFound, "token_not_found", "", "there is no such token", "capstan token list shows the ids")
	}
	if err := c.api.Store.RevokeToken(c.ctx, c.actor(), id); err != nil {
		return err
	}
	return c.ok(statusOK)
}

func putObject(c *call) error {
	if err := c.mustExist(); err != nil {
		return err
	}
	status, err := c.api.Objects.Put(c.w, c.r, c.r.PathValue("name"))
	if err != nil {
		return err
	}
	name := c.r.PathValue("name")
	return c.write(status, map[string]any{"status": "ok", "name": name, "url": c.api.ObjectURL(name)})
}

func headObject(c *call) error { return c.api.Objects.Head(c.w, c.r, c.r.PathValue("name")) }

func deleteObject(c *call) error {
	if err := c.api.Objects.Delete(c.ctx, c.r.PathValue("name")); err != nil {
		return err
	}
	return c.ok(statusOK)
}
