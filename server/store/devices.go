package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

const deviceColumns = `d.app_id, d.device_id, d.custom_id, d.platform, d.version_name, d.version_build, d.version_os, d.plugin_version,
	d.is_prod, d.is_emulator, d.install_source, d.default_channel, d.key_id, COALESCE(c.name, ''), d.polled_at,
	COALESCE((SELECT b.id FROM bundles b WHERE b.app_id = d.app_id AND b.name = d.version_name), 0)`

const deviceTables = `devices d LEFT JOIN overrides o ON o.app_id = d.app_id AND o.device_id = d.device_id LEFT JOIN channels c ON c.id = o.channel_id`

func scanDevice(row scanner) (capgo.Device, error) {
	var d capgo.Device
	var polled int64
	err := row.Scan(&d.AppID, &d.DeviceID, &d.CustomID, &d.Platform, &d.VersionName, &d.VersionBuild, &d.VersionOS, &d.PluginVersion,
		&d.IsProd, &d.IsEmulator, &d.InstallSource, &d.DefaultChannel, &d.KeyID, &d.Channel, &polled, &d.Version)
	d.UpdatedAt = fromMS(polled)
	return d, err
}

func noDevice() error {
	return failure.New(failure.NotFound, "device_not_found", "", "the server has not seen this device", "a device appears after its first update check")
}

// DeviceFilter selects devices. Zero fields do not restrict.
type DeviceFilter struct {
	AppID    string
	CustomID string
	Named    bool      // only devices that have a custom id
	Since    time.Time // polled after
	Cursor   string    // NextCursor of the page before
	Oldest   bool      // oldest first instead of newest first
	Limit    int       // 1 to 1000; 50 when zero
}

// Devices gives one page of the devices of an app, the last seen first. Code
// invalid_cursor.
func (s *Store) Devices(ctx context.Context, f DeviceFilter) (capgo.DevicePage, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 1000)
	q := query{text: `SELECT ` + deviceColumns + ` FROM ` + deviceTables + ` WHERE TRUE`}
	q.and(`d.app_id = `, f.AppID)
	if f.CustomID != "" {
		q.and(`d.custom_id = `, f.CustomID)
	}
	if !f.Since.IsZero() {
		q.and(`d.polled_at > `, f.Since.UnixMilli())
	}
	if f.Named {
		q.text += ` AND d.custom_id <> ''`
	}
	than, order := "<", "DESC"
	if f.Oldest {
		than, order = ">", "ASC"
	}
	if f.Cursor != "" {
		at, id, err := readCursor(f.Cursor)
		if err != nil {
			return capgo.DevicePage{}, err
		}
		a, b := q.arg(at), q.arg(id)
		q.text += fmt.Sprintf(` AND (d.polled_at %s %s OR (d.polled_at = %s AND d.device_id %s %s))`, than, a, a, than, b)
	}
	q.text += fmt.Sprintf(` ORDER BY d.polled_at %s, d.device_id %s`, order, order)
	q.text += ` LIMIT ` + q.arg(limit+1)
	list, err := listed(ctx, s, func(from querier) ([]capgo.Device, error) { return collect(ctx, from, q, scanDevice) })
	if err != nil {
		return capgo.DevicePage{}, err
	}
	page := capgo.DevicePage{Data: list}
	if len(list) > limit {
		last := list[limit-1]
		page = capgo.DevicePage{Data: list[:limit], HasMore: true, NextCursor: writeCursor(last.UpdatedAt.UnixMilli(), last.DeviceID)}
	}
	return page, nil
}

func writeCursor(at int64, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at, 10) + "|" + id))
}

func readCursor(cursor string) (at int64, id string, err error) {
	bad := failure.New(failure.Usage, "invalid_cursor", "", "the cursor is not one of this server", "start again without a cursor")
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, "", bad
	}
	number, id, ok := strings.Cut(string(text), "|")
	if at, err = strconv.ParseInt(number, 10, 64); !ok || err != nil {
		return 0, "", bad
	}
	return at, id, nil
}

// Device gives one device. Code device_not_found.
func (s *Store) Device(ctx context.Context, appID, deviceID string) (capgo.Device, error) {
	q := query{text: `SELECT ` + deviceColumns + ` FROM ` + deviceTables + ` WHERE TRUE`}
	q.and(`d.app_id = `, appID)
	q.and(`d.device_id = `, strings.ToLower(deviceID))
	return listed(ctx, s, func(from querier) (capgo.Device, error) { return one(ctx, from, q, scanDevice, noDevice()) })
}

// ShortestFragment is how many characters a search for devices needs.
const ShortestFragment = 3

// searchTime bounds the part of a search that looks at devices one by one. With
// SQLite a million take about a second.
const searchTime = 2 * time.Second

// SearchDevices finds the devices of an app whose id or custom id holds a
// fragment, in either case: first those whose id starts with it, which an index
// answers, then the others, the last seen first, for as long as searchTime lasts.
// limit is 1 to 1000, 50 when zero.
func (s *Store) SearchDevices(ctx context.Context, appID, fragment string, limit int) (capgo.DeviceSearch, error) {
	if limit <= 0 {
		limit = 50
	}
	limit, fragment = min(limit, 1000), strings.ToLower(fragment)
	return listed(ctx, s, func(from querier) (capgo.DeviceSearch, error) {
		q := query{text: `SELECT ` + deviceColumns + ` FROM ` + deviceTables + ` WHERE TRUE`}
		q.and(`d.app_id = `, appID)
		q.and(`d.device_id >= `, fragment)
		q.and(`d.device_id < `, fragment+"\U0010FFFF")
		q.text += ` ORDER BY d.device_id`
		q.limit(limit, limit, limit)
		first, err := collect(ctx, from, q, scanDevice)
		if err != nil || len(first) == limit {
			return capgo.DeviceSearch{Devices: first, Cut: err == nil}, err
		}
		rest, cut, err := s.scanDevices(ctx, from, appID, fragment, limit)
		if err != nil {
			return capgo.DeviceSearch{}, err
		}
		seen := map[string]bool{}
		for _, d := range first {
			seen[d.DeviceID] = true
		}
		for _, d := range rest {
			if !seen[d.DeviceID] && len(first) < limit {
				first = append(first, d)
			}
		}
		return capgo.DeviceSearch{Devices: first, Cut: cut || len(first) == limit}, nil
	})
}

// scanDevices looks at an app's devices one by one, the last seen first, until
// limit of them hold the fragment or searchTime is over, which it calls cut.
func (s *Store) scanDevices(ctx context.Context, from querier, appID, fragment string, limit int) (found []capgo.Device, cut bool, err error) {
	timed, stop := context.WithTimeout(ctx, searchTime)
	defer stop()
	q := query{text: `SELECT ` + deviceColumns + ` FROM ` + deviceTables + ` WHERE TRUE`}
	q.and(`d.app_id = `, appID)
	pattern := q.arg("%" + likeLiteral.Replace(fragment) + "%")
	q.text += fmt.Sprintf(` AND (d.device_id LIKE %s ESCAPE '!' OR LOWER(d.custom_id) LIKE %s ESCAPE '!')`, pattern, pattern)
	q.text += ` ORDER BY d.polled_at DESC, d.device_id DESC`
	q.limit(limit, limit, limit)
	rows, err := from.QueryContext(timed, q.text, q.args...)
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			d, err := scanDevice(rows)
			if err != nil {
				break // rows.Err says why
			}
			found = append(found, d)
		}
		err = rows.Err()
	}
	if err != nil && ctx.Err() == nil && timed.Err() != nil {
		return found, true, nil
	}
	return found, false, fault("search the devices", err)
}

// likeLiteral makes text stand for itself in LIKE … ESCAPE '!'.
var likeLiteral = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// SetOverride forces a channel on a device, whether or not it was ever seen.
// Codes channel_not_found, public_channel_override.
func (s *Store) SetOverride(ctx context.Context, actor, appID, deviceID, channel string) error {
	deviceID = strings.ToLower(deviceID)
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		if _, err := appIn(ctx, t, appID); err != nil {
			return err
		}
		c, err := channelIn(ctx, t, appID, channel)
		if err != nil {
			return err
		}
		if c.Public {
			return failure.New(failure.Usage, "public_channel_override", "", "devices are on a public channel without an override", "clear the device's override instead")
		}
		from, err := overrideIn(ctx, t, appID, deviceID)
		if err != nil {
			return err
		}
		err = t.exec(ctx, `INSERT INTO overrides (app_id, device_id, channel_id, created_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (app_id, device_id) DO UPDATE SET channel_id = excluded.channel_id, created_at = excluded.created_at`, appID, deviceID, c.ID, s.ms())
		if err != nil {
			return err
		}
		t.touch(appID)
		return s.note(ctx, t, capgo.Change{AppID: appID, Channel: channel, Action: "device.override", Actor: actor, From: from, To: channel, Note: deviceID})
	})
}

// ClearOverride takes a forced channel away; a device without one stays as it is.
func (s *Store) ClearOverride(ctx context.Context, actor, appID, deviceID string) error {
	deviceID = strings.ToLower(deviceID)
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		from, err := overrideIn(ctx, t, appID, deviceID)
		if err != nil || from == "" {
			return err
		}
		if err := t.exec(ctx, `DELETE FROM overrides WHERE app_id = $1 AND device_id = $2`, appID, deviceID); err != nil {
			return err
		}
		t.touch(appID)
		return s.note(ctx, t, capgo.Change{AppID: appID, Channel: from, Action: "device.clear", Actor: actor, From: from, Note: deviceID})
	})
}

// Override gives the name of the channel forced on a device, "" when none.
func (s *Store) Override(ctx context.Context, appID, deviceID string) (string, error) {
	return overrideIn(ctx, s.db.read, appID, strings.ToLower(deviceID))
}

func overrideIn(ctx context.Context, from querier, appID, deviceID string) (string, error) {
	q := query{text: `SELECT c.name FROM overrides o JOIN channels c ON c.id = o.channel_id WHERE TRUE`}
	q.and(`o.app_id = `, appID)
	q.and(`o.device_id = `, deviceID)
	names, err := collect(ctx, from, q, func(row scanner) (string, error) {
		var name string
		return name, row.Scan(&name)
	})
	if err != nil || len(names) == 0 {
		return "", err
	}
	return names[0], nil
}

// ChooseChannel keeps the channel that a device with an old plugin chose. It
// is durable on return. Past Limits.SelfSetPerApp it fails with code
// override_not_allowed, because the ids are the devices' own word.
func (s *Store) ChooseChannel(ctx context.Context, appID, deviceID string, channelID int64) error {
	deviceID = strings.ToLower(deviceID)
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		var kept int64
		if err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM self_set WHERE app_id = $1 AND device_id <> $2`, appID, deviceID).Scan(&kept); err != nil {
			return err
		}
		if kept >= s.limits.SelfSetPerApp {
			return failure.New(failure.Conflict, "override_not_allowed", "", "the app has as many self-assigned devices as it may have", "")
		}
		n, err := t.count(ctx, `INSERT INTO self_set (app_id, device_id, channel_id, created_at)
			SELECT c.app_id, $2, c.id, $4 FROM channels c WHERE c.app_id = $1 AND c.id = $3
			ON CONFLICT (app_id, device_id) DO UPDATE SET channel_id = excluded.channel_id, created_at = excluded.created_at`, appID, deviceID, channelID, s.ms())
		if err != nil {
			return err
		}
		if n == 0 {
			return noChannel()
		}
		t.touch(appID)
		return nil
	})
}

// ForgetChannel drops what ChooseChannel kept.
func (s *Store) ForgetChannel(ctx context.Context, appID, deviceID string) error {
	return s.change(ctx, func(t *tx) error {
		n, err := t.count(ctx, `DELETE FROM self_set WHERE app_id = $1 AND device_id = $2`, appID, strings.ToLower(deviceID))
		if n > 0 {
			t.touch(appID)
		}
		return err
	})
}

// Events lists what devices reported, newest first: of one device, or of the
// whole app when deviceID is "". limit is 1 to 1000, 100 when zero.
func (s *Store) Events(ctx context.Context, appID, deviceID string, before int64, limit int) ([]capgo.DeviceEvent, error) {
	q := query{text: `SELECT at, device_id, action, version_name, old_version_name, metadata FROM events WHERE TRUE`}
	q.and(`app_id = `, appID)
	if deviceID != "" {
		q.and(`device_id = `, strings.ToLower(deviceID))
	}
	if before > 0 {
		q.and(`at < `, before)
	}
	q.text += ` ORDER BY id DESC`
	q.limit(limit, 100, 1000)
	return listed(ctx, s, func(from querier) ([]capgo.DeviceEvent, error) { return collect(ctx, from, q, scanEvent) })
}

func scanEvent(row scanner) (capgo.DeviceEvent, error) {
	var e capgo.DeviceEvent
	var at int64
	var metadata string
	if err := row.Scan(&at, &e.DeviceID, &e.Action, &e.VersionName, &e.OldVersion, &metadata); err != nil {
		return e, err
	}
	e.At = fromMS(at)
	return e, decodeMetadata(metadata, &e.Metadata)
}
