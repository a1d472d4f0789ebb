package remote

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// Channels lists an app's channels, oldest first.
func (c *Client) Channels(ctx context.Context, appID string) ([]capgo.Channel, error) {
	const op = "list channels"
	if err := required(op, "app_id", appID); err != nil {
		return nil, err
	}
	rows, err := list(ctx, c, op, "/channel", url.Values{"app_id": {appID}}, "cannot_find_channel",
		func(ch capgo.Channel) string { return ch.Name }, nil)
	if err != nil {
		if err := c.noRows(ctx, appID, err); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Channel gives one channel by name; code channel_not_found when there is none.
func (c *Client) Channel(ctx context.Context, appID, name string) (capgo.Channel, error) {
	const op = "read the channel"
	if err := required(op, "app_id", appID, "channel", name); err != nil {
		return capgo.Channel{}, err
	}
	missing := failure.Newf(failure.NotFound, "channel_not_found", op, "capstan channel list shows the channels",
		"%s has no channel %s", transport.Clean(appID), transport.Clean(name))
	var rows rowsOf[capgo.Channel]
	err := c.get(ctx, op, "/channel", url.Values{"app_id": {appID}, "channel": {name}}, &rows)
	switch failure.CodeOf(err) {
	case "cannot_find_channel", "channel_not_found":
		return capgo.Channel{}, missing
	}
	if err != nil {
		return capgo.Channel{}, err
	}
	for _, row := range rows {
		if row.Name == name {
			return row, nil
		}
	}
	return capgo.Channel{}, missing
}

// ChangeChannel creates or changes a channel; fields left nil stay. With
// ExpectedRevision the change fails with channel_moved when somebody was
// faster: the server compares where it can, else the caller has to.
func (c *Client) ChangeChannel(ctx context.Context, change capgo.ChannelChange) error {
	const op = "change the channel"
	if err := required(op, "app_id", change.AppID, "channel", change.Channel); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPost, "/channel", nil, change, nil, false)
}

// DeleteChannel deletes a channel; its bundle stays.
func (c *Client) DeleteChannel(ctx context.Context, appID, name string) error {
	const op = "delete the channel"
	if err := required(op, "app_id", appID, "channel", name); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "/channel", url.Values{"app_id": {appID}, "channel": {name}},
		map[string]string{"app_id": appID, "channel": name}, nil, false)
}

// Devices gives one page of an app's devices. cursor is "" for the first page,
// else the page's NextCursor; limit 0 leaves the size to the server.
func (c *Client) Devices(ctx context.Context, appID, cursor string, limit int) (capgo.DevicePage, error) {
	const op = "list devices"
	var page capgo.DevicePage
	if err := required(op, "app_id", appID); err != nil {
		return page, err
	}
	query := url.Values{"app_id": {appID}, "cursor": {cursor}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	err := c.get(ctx, op, "/device", query, (*devicePage)(&page))
	return page, err
}

// devicePage also reads the bare array that older servers answer with.
type devicePage capgo.DevicePage

func (p *devicePage) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		return json.Unmarshal(raw, &p.Data)
	}
	return json.Unmarshal(raw, (*capgo.DevicePage)(p))
}

// Device gives one device; code device_not_found when it never asked.
func (c *Client) Device(ctx context.Context, appID, deviceID string) (capgo.Device, error) {
	const op = "read the device"
	var rows rowsOf[capgo.Device]
	if err := required(op, "app_id", appID, "device_id", deviceID); err != nil {
		return capgo.Device{}, err
	}
	if err := c.get(ctx, op, "/device", url.Values{"app_id": {appID}, "device_id": {deviceID}}, &rows); err != nil {
		return capgo.Device{}, err
	}
	if len(rows) != 1 || rows[0].DeviceID == "" {
		return capgo.Device{}, failure.Newf(failure.NotFound, "device_not_found", op, "a device appears after its first update check",
			"%s has no device %s", transport.Clean(appID), transport.Clean(deviceID))
	}
	return rows[0], nil
}

// DevicesNamed lists the devices whose app gave them this custom id, the last
// seen first, at most a page of them; none is no error. A server that does not
// filter by it gives those of its first page.
func (c *Client) DevicesNamed(ctx context.Context, appID, customID string) ([]capgo.Device, error) {
	const op = "find the device"
	if err := required(op, "app_id", appID, "custom_id", customID); err != nil {
		return nil, err
	}
	var page capgo.DevicePage
	if err := c.get(ctx, op, "/device", url.Values{"app_id": {appID}, "custom_id": {customID}}, (*devicePage)(&page)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(page.Data, func(d capgo.Device) bool { return d.CustomID != customID }), nil
}

// SearchDevices finds devices whose id or custom id holds a fragment of at least
// three characters, at most a page of them. Code unsupported where the server has
// no such search.
func (c *Client) SearchDevices(ctx context.Context, appID, fragment string) (capgo.DeviceSearch, error) {
	const op = "search the devices"
	var found capgo.DeviceSearch
	if err := required(op, "fragment", fragment); err != nil {
		return found, err
	}
	if err := c.needApp(ctx, capgo.CapDeviceSearch, op, appID); err != nil {
		return found, err
	}
	err := c.get(ctx, op, "/capstan/v1/devices", url.Values{"app_id": {appID}, "fragment": {fragment}, "limit": {"1000"}}, &found)
	return found, err
}

// SetOverride pins a device to a channel, whatever its app asks for.
func (c *Client) SetOverride(ctx context.Context, appID, deviceID, channel string) error {
	const op = "pin the device"
	if err := required(op, "app_id", appID, "device_id", deviceID, "channel", channel); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPost, "/device", nil,
		map[string]string{"app_id": appID, "device_id": deviceID, "channel": channel}, nil, true)
}

// ClearOverride removes a device's pin.
func (c *Client) ClearOverride(ctx context.Context, appID, deviceID string) error {
	const op = "release the device"
	if err := required(op, "app_id", appID, "device_id", deviceID); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "/device", url.Values{"app_id": {appID}, "device_id": {deviceID}},
		map[string]string{"app_id": appID, "device_id": deviceID}, nil, true)
}
