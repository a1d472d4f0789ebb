package remote

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Apps lists the apps that the token may see.
func (c *Client) Apps(ctx context.Context) ([]capgo.App, error) {
	return list(ctx, c, "list apps", "/app", url.Values{"limit": {strconv.Itoa(pageRows)}}, "",
		func(a capgo.App) string { return a.AppID }, nil)
}

// App gives one app; code cannot_find_app when there is none.
func (c *Client) App(ctx context.Context, appID string) (capgo.App, error) {
	const op = "read the app"
	var app capgo.App
	if err := required(op, "app_id", appID); err != nil {
		return app, err
	}
	err := c.get(ctx, op, "/app/"+appID, nil, &app)
	return app, err
}

// CreateApp adds an app; code app_id_already_exists when it is there.
func (c *Client) CreateApp(ctx context.Context, appID, name string) error {
	const op = "create the app"
	if err := required(op, "app_id", appID); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPost, "/app", nil, map[string]string{"app_id": appID, "name": name}, nil, false)
}

// DeleteApp removes an app with its channels, bundles and devices; class
// NotFound when there is none.
func (c *Client) DeleteApp(ctx context.Context, appID string) error {
	const op = "delete the app"
	if err := required(op, "app_id", appID); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "/app/"+appID, nil, map[string]string{"app_id": appID}, nil, false)
}

// SetPublicKey puts the app's public key (PEM, PKCS#1) on record. From then on
// the server takes and serves only bundles sealed with its private half.
func (c *Client) SetPublicKey(ctx context.Context, appID, pem string) error {
	const op = "put the public key on record"
	if err := required(op, "app_id", appID, "public_key", pem); err != nil {
		return err
	}
	if err := c.need(ctx, capgo.CapPublicKey, op); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPut, "/app/"+appID, nil, map[string]string{"public_key": pem}, nil, true)
}

// SetSecondPublicKey puts a second public key on record beside the first, while
// the app changes keys; "" takes it off. Bundles may then be sealed for both, and
// the server answers a device by the key that it carries.
func (c *Client) SetSecondPublicKey(ctx context.Context, appID, pem string) error {
	return c.changeKeys(ctx, "put the second public key on record", appID, map[string]string{"second_public_key": pem})
}

// ReplacePublicKey ends a change of keys: the new key is the only one on record.
func (c *Client) ReplacePublicKey(ctx context.Context, appID, pem string) error {
	return c.changeKeys(ctx, "put the new public key on record", appID, map[string]string{"public_key": pem, "second_public_key": ""})
}

func (c *Client) changeKeys(ctx context.Context, op, appID string, change map[string]string) error {
	if err := required(op, "app_id", appID); err != nil {
		return err
	}
	if err := c.need(ctx, capgo.CapTwoKeys, op); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPut, "/app/"+appID, nil, change, nil, true)
}

// Bundles lists an app's bundles, newest first, without the deleted ones. An
// app without bundles gives an empty list.
func (c *Client) Bundles(ctx context.Context, appID string) ([]capgo.Bundle, error) {
	return c.bundles(ctx, appID, "", nil)
}

// Bundle gives one bundle by its version; code version_not_found when there is none.
func (c *Client) Bundle(ctx context.Context, appID, name string) (capgo.Bundle, error) {
	const op = "read the bundle"
	if err := required(op, "version", name); err != nil {
		return capgo.Bundle{}, err
	}
	// Servers that filter by version answer at once; others list until it comes by.
	rows, err := c.bundles(ctx, appID, name, func(b capgo.Bundle) bool { return b.Name == name })
	if err != nil && failure.CodeOf(err) != "version_not_found" && failure.CodeOf(err) != "cannot_find_version" {
		return capgo.Bundle{}, err
	}
	for _, row := range rows {
		if row.Name == name {
			return row, nil
		}
	}
	return capgo.Bundle{}, failure.Newf(failure.NotFound, "version_not_found", op, "capstan bundle list shows the bundles",
		"%s has no bundle %s", transport.Clean(appID), transport.Clean(name))
}

func (c *Client) bundles(ctx context.Context, appID, version string, done func(capgo.Bundle) bool) ([]capgo.Bundle, error) {
	const op = "list bundles"
	if err := required(op, "app_id", appID); err != nil {
		return nil, err
	}
	query := url.Values{"app_id": {appID}}
	if version != "" {
		query.Set("version", version)
	}
	rows, err := list(ctx, c, op, "/bundle", query, "cannot_get_bundle", func(b capgo.Bundle) string { return strconv.FormatInt(b.ID, 10) + b.Name }, done)
	if err != nil {
		if err := c.noRows(ctx, appID, err); err != nil {
			return nil, err
		}
	}
	live := rows[:0]
	for _, row := range rows {
		if !row.Deleted {
			live = append(live, row)
		}
	}
	return live, nil
}

// RegisterBundle records a bundle whose object is already in storage. It is
// idempotent: registering the same content under the same version again gives
// the row that is there; other content fails with version_already_exists.
//
// Link and comment need a second call on Capgo's own server. A minimum native
// version cannot be set there at all, and is refused before anything is sent:
// dropping it would offer the bundle to apps that cannot run it.
func (c *Client) RegisterBundle(ctx context.Context, bundle capgo.NewBundle) (capgo.Bundle, error) {
	const op = "register the bundle"
	if err := required(op, "app_id", bundle.AppID, "version", bundle.Version, "external_url", bundle.ExternalURL, "checksum", bundle.Checksum); err != nil {
		return capgo.Bundle{}, err
	}
	if err := checkExternal(op, bundle.ExternalURL); err != nil {
		return capgo.Bundle{}, err
	}
	about, err := c.About(ctx)
	if err != nil {
		return capgo.Bundle{}, err
	}
	if bundle.MinUpdateVersion != "" && about.Server != "capstan" {
		return capgo.Bundle{}, failure.Newf(failure.Failed, "unsupported", op, "release without a minimum native version, or on a capstan server",
			"the public API of %s cannot record a minimum native version", c.caller.Base.Host)
	}
	for _, seal := range bundle.Seals {
		if err := c.need(ctx, capgo.CapTwoKeys, op); err != nil {
			return capgo.Bundle{}, err
		}
		if err := checkExternal(op, seal.ExternalURL); err != nil {
			return capgo.Bundle{}, err
		}
	}
	var answer struct {
		Bundle capgo.Bundle `json:"bundle"`
	}
	err = c.send(ctx, op, http.MethodPost, "/bundle", nil, bundle, &answer, false)
	row := answer.Bundle
	if code := failure.CodeOf(err); code == "version_already_exists" || code == "outcome_unknown" {
		there, readErr := c.Bundle(ctx, bundle.AppID, bundle.Version)
		switch {
		case readErr != nil, !sameBundle(there, bundle):
			return capgo.Bundle{}, err
		}
		row, err = there, nil
	}
	if err != nil {
		return capgo.Bundle{}, err
	}
	if row.Name == "" { // a server that answers with a bare status
		if row, err = c.Bundle(ctx, bundle.AppID, bundle.Version); err != nil {
			return capgo.Bundle{}, err
		}
	}
	if row.Link == bundle.Link && row.Comment == bundle.Comment {
		return row, nil
	}
	return c.describe(ctx, row, bundle)
}

// describe adds link and comment to a bundle that was registered without them.
func (c *Client) describe(ctx context.Context, row capgo.Bundle, bundle capgo.NewBundle) (capgo.Bundle, error) {
	body := map[string]any{"app_id": bundle.AppID, "version_id": row.ID}
	if bundle.Link != "" {
		body["link"] = bundle.Link
	}
	if bundle.Comment != "" {
		body["comment"] = bundle.Comment
	}
	if len(body) == 2 {
		return row, nil // nothing was asked for; what is there stays
	}
	if err := c.send(ctx, "describe the bundle", http.MethodPost, "/bundle/metadata", nil, body, nil, true); err != nil {
		return row, err
	}
	row.Link, row.Comment = bundle.Link, bundle.Comment
	return row, nil
}

// sameBundle reports whether the row is what the registration asked for.
func sameBundle(row capgo.Bundle, want capgo.NewBundle) bool {
	return row.ExternalURL == want.ExternalURL && row.Checksum == want.Checksum && row.SessionKey == want.SessionKey &&
		slices.EqualFunc(row.Seals, want.Seals, func(a, b capgo.Seal) bool { return a.KeyID == b.KeyID && a.SessionKey == b.SessionKey })
}

// checkExternal keeps devices from being sent to an address they refuse.
func checkExternal(op, raw string) error {
	u, err := url.Parse(raw)
	if err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && transport.IsLoopback(u.Hostname())) {
		return nil
	}
	return failure.Newf(failure.Usage, "invalid_protocol", op, "devices download over https, without credentials; set public_url in the profile",
		"%s is no address that devices accept", transport.Clean(raw))
}

// DeleteBundle deletes one bundle. The version is mandatory here because the
// API takes a request without one for "every bundle of the app".
func (c *Client) DeleteBundle(ctx context.Context, appID, name string) error {
	const op = "delete the bundle"
	if err := required(op, "app_id", appID, "version", name); err != nil {
		return err
	}
	name = strings.TrimSpace(name)
	// Both fields travel together in the body and in the query: a gateway that
	// drops the body of a DELETE must not leave the app without the version.
	return c.send(ctx, op, http.MethodDelete, "/bundle", url.Values{"app_id": {appID}, "version": {name}},
		map[string]string{"app_id": appID, "version": name}, nil, false)
}
