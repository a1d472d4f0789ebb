package remote

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"capstan/core/capgo"
)

// History gives the changes of an app, or of one of its channels when channel
// is not empty, newest first.
func (c *Client) History(ctx context.Context, appID, channel string) ([]capgo.Change, error) {
	const op = "read the history"
	var rows rowsOf[capgo.Change]
	if err := c.needApp(ctx, capgo.CapHistory, op, appID); err != nil {
		return nil, err
	}
	err := c.get(ctx, op, "/capstan/v1/history", url.Values{"app_id": {appID}, "channel": {channel}}, &rows)
	return rows, err
}

// HistoryBefore gives the entries that are older than the one with the id before,
// newest first; 0 begins with the newest. None are left when it gives none.
func (c *Client) HistoryBefore(ctx context.Context, appID, channel string, before int64) ([]capgo.Change, error) {
	const op = "read the history"
	var rows rowsOf[capgo.Change]
	if err := c.needApp(ctx, capgo.CapHistory, op, appID); err != nil {
		return nil, err
	}
	query := url.Values{"app_id": {appID}, "channel": {channel}}
	if before > 0 {
		query.Set("before", strconv.FormatInt(before, 10))
	}
	err := c.get(ctx, op, "/capstan/v1/history", query, &rows)
	return rows, err
}

// Explain says what a device would hear right now, and why, check by check.
func (c *Client) Explain(ctx context.Context, request capgo.UpdateRequest) (capgo.Explanation, error) {
	const op = "explain the answer"
	var explanation capgo.Explanation
	if err := c.needApp(ctx, capgo.CapExplain, op, request.AppID); err != nil {
		return explanation, err
	}
	// A question that changes nothing, for all that it is a POST.
	err := c.send(ctx, op, http.MethodPost, "/capstan/v1/explain", nil, request, &explanation, true)
	return explanation, err
}

// Events gives a device's last events, newest first; all devices' when deviceID is "".
func (c *Client) Events(ctx context.Context, appID, deviceID string) ([]capgo.DeviceEvent, error) {
	return c.EventsLimit(ctx, appID, deviceID, 0)
}

// EventsLimit is Events with a bound on their number; 0 leaves it to the server.
func (c *Client) EventsLimit(ctx context.Context, appID, deviceID string, limit int) ([]capgo.DeviceEvent, error) {
	const op = "read the device log"
	var rows rowsOf[capgo.DeviceEvent]
	if err := c.needApp(ctx, capgo.CapEvents, op, appID); err != nil {
		return nil, err
	}
	query := url.Values{"app_id": {appID}, "device_id": {deviceID}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	err := c.get(ctx, op, "/capstan/v1/events", query, &rows)
	return rows, err
}

// Summary gives what a board shows: each channel's health and the fleet.
func (c *Client) Summary(ctx context.Context, appID string) (capgo.Summary, error) {
	const op = "read the summary"
	var summary capgo.Summary
	if err := c.needApp(ctx, capgo.CapSummary, op, appID); err != nil {
		return summary, err
	}
	err := c.get(ctx, op, "/capstan/v1/summary", url.Values{"app_id": {appID}}, &summary)
	return summary, err
}

func (c *Client) needApp(ctx context.Context, capability, op, appID string) error {
	if err := required(op, "app_id", appID); err != nil {
		return err
	}
	return c.need(ctx, capability, op)
}

// Tokens lists the server's tokens, without their secrets.
func (c *Client) Tokens(ctx context.Context) ([]capgo.Token, error) {
	var rows rowsOf[capgo.Token]
	err := c.get(ctx, "list tokens", "/capstan/v1/tokens", nil, &rows)
	return rows, err
}

// CreateToken makes a token. Its Secret is in the answer, once.
func (c *Client) CreateToken(ctx context.Context, token capgo.Token) (capgo.Token, error) {
	const op = "create the token"
	var made capgo.Token
	if err := required(op, "name", token.Name, "scope", string(token.Scope)); err != nil {
		return made, err
	}
	token.Secret = ""
	err := c.send(ctx, op, http.MethodPost, "/capstan/v1/tokens", nil, token, &made, false)
	return made, err
}

// RevokeToken ends a token's validity at once.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	const op = "revoke the token"
	if err := required(op, "token_id", id); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "/capstan/v1/tokens/"+id, nil, struct{}{}, nil, true)
}

// Receipt proves that an entry of an app's history is in the server's ledger.
// Codes entry_not_found, ledger_empty.
func (c *Client) Receipt(ctx context.Context, appID string, entry int64) (capgo.Receipt, error) {
	const op = "read the receipt"
	var receipt capgo.Receipt
	if err := c.needApp(ctx, capgo.CapHistory, op, appID); err != nil {
		return receipt, err
	}
	err := c.get(ctx, op, "/capstan/v1/ledger/receipt", url.Values{"app_id": {appID}, "id": {strconv.FormatInt(entry, 10)}}, &receipt)
	receipt.Entry = entry
	return receipt, err
}

// Files lists the files of a bundle's delta update as they were registered; an
// older server answers not_found.
func (c *Client) Files(ctx context.Context, appID, version string) ([]capgo.NewFile, error) {
	const op = "read the delta files"
	var rows rowsOf[capgo.NewFile]
	if err := required(op, "version", version); err != nil {
		return nil, err
	}
	if err := c.needApp(ctx, capgo.CapDelta, op, appID); err != nil {
		return nil, err
	}
	err := c.get(ctx, op, "/capstan/v1/files", url.Values{"app_id": {appID}, "version": {version}}, &rows)
	return rows, err
}
