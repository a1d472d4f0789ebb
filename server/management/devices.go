package management

import (
	"regexp"
	"strings"

	"capstan/server/store"
)

// deviceID is a UUID in either case.
var deviceID = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func listDevices(c *call) error {
	if id := c.in.text("device_id"); id != "" {
		if err := c.mustExist(); err != nil {
			return err
		}
		d, err := c.api.Store.Device(c.ctx, c.app, id)
		if err != nil {
			return err
		}
		return c.ok(rowOfDevice(d))
	}
	f := store.DeviceFilter{AppID: c.app, Cursor: c.in.text("cursor"), Limit: c.in.limit(), CustomID: c.in.text("custom_id")}
	if custom := c.in.optBool("customIdMode"); custom != nil {
		f.Named = *custom
	}
	switch order := c.in.text("order"); order {
	case "asc":
		f.Oldest = true
	case "", "desc":
	default:
		return bad("invalid_order", "order is asc or desc")
	}
	c.in.coded("invalid_updated_at", func() {
		if since := c.in.optTime("updated_at"); since != nil {
			f.Since = *since
		}
	})
	if err := c.mustExist(); err != nil {
		return err
	}
	page, err := c.api.Store.Devices(c.ctx, f)
	if err != nil {
		return err
	}
	rows := make([]deviceRow, len(page.Data))
	for i, d := range page.Data {
		rows[i] = rowOfDevice(d)
	}
	return c.ok(devicePage{rows, page.NextCursor, page.HasMore})
}

// devicePage is capgo.DevicePage with every member of a row.
type devicePage struct {
	Data       []deviceRow `json:"data"`
	NextCursor string      `json:"nextCursor,omitempty"`
	HasMore    bool        `json:"hasMore"`
}

// searchDevices finds devices by a part of their id or custom id.
func searchDevices(c *call) error {
	fragment, limit := strings.TrimSpace(c.in.text("fragment")), c.in.limit()
	if err := c.mustExist(); err != nil {
		return err
	}
	if len([]rune(fragment)) < store.ShortestFragment {
		return bad("fragment_too_short", "fragment is shorter than three characters")
	}
	found, err := c.api.Store.SearchDevices(c.ctx, c.app, fragment, limit)
	if err != nil {
		return err
	}
	return c.ok(found)
}

func (c *call) device() (string, error) {
	id := c.in.text("device_id")
	if err := c.checked(); err != nil {
		return "", err
	}
	if id == "" {
		return "", bad("missing_device_id", "device_id is missing")
	}
	if !deviceID.MatchString(id) {
		return "", bad("invalid_device_id", "device_id is not a UUID")
	}
	return id, nil
}

func setOverride(c *call) error {
	if c.in.text("device_id") == "" {
		return bad("missing_device_id_or_app_id", "device_id is missing")
	}
	id, err := c.device()
	if err != nil {
		return err
	}
	if _, _, given := c.in.find([]string{"version_id"}); given {
		return bad("invalid_version_id", "a device is put on a channel, not on a bundle")
	}
	channel := c.in.text("channel")
	if channel == "" {
		return bad("missing_channel", "channel is missing")
	}
	if err := c.api.Store.SetOverride(c.ctx, c.actor(), c.app, id, channel); err != nil {
		return err
	}
	return c.ok(statusOK)
}

func clearOverride(c *call) error {
	id, err := c.device()
	if err != nil {
		return err
	}
	if err := c.mustExist(); err != nil {
		return err
	}
	if err := c.api.Store.ClearOverride(c.ctx, c.actor(), c.app, id); err != nil {
		return err
	}
	return c.ok(statusOK)
}
