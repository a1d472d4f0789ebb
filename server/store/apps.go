package store

import (
	"context"
	"encoding/json"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

const appColumns = `app_id, name, owner_org, default_upload_channel, expose_metadata, allow_device_custom_id, retention, public_key, second_public_key, profile, created_at, updated_at`

func scanApp(row scanner) (capgo.App, error) {
	var a capgo.App
	var created, updated int64
	var profile string
	err := row.Scan(&a.AppID, &a.Name, &a.OwnerOrg, &a.DefaultUpload, &a.ExposeMetadata, &a.AllowDeviceCustomID, &a.Retention, &a.PublicKey, &a.SecondPublicKey, &profile, &created, &updated)
	if err == nil && profile != "" {
		err = json.Unmarshal([]byte(profile), &a.AppProfile)
	}
	a.CreatedAt, a.UpdatedAt = fromMS(created), fromMS(updated)
	return a, err
}

func noApp() error {
	return failure.New(failure.NotFound, "cannot_find_app", "", "there is no such app", "create it first, or see the app id")
}

// Apps lists the apps by id; with a list, only those in it. limit is 1 to
// 1000, 50 when zero.
func (s *Store) Apps(ctx context.Context, only []string, offset, limit int) ([]capgo.App, error) {
	q := query{text: `SELECT ` + appColumns + ` FROM apps WHERE TRUE`}
	if only != nil {
		q.andIn(`app_id`, only)
	}
	q.text += ` ORDER BY app_id`
	q.limit(limit, 50, 1000)
	q.text += ` OFFSET ` + q.arg(max(offset, 0))
	return collect(ctx, s.db.read, q, scanApp)
}

// App gives one app. Code cannot_find_app.
func (s *Store) App(ctx context.Context, appID string) (capgo.App, error) {
	return appIn(ctx, s.db.read, appID)
}

func appIn(ctx context.Context, from querier, appID string) (capgo.App, error) {
	q := query{text: `SELECT ` + appColumns + ` FROM apps WHERE TRUE`}
	q.and(`app_id = `, appID)
	return one(ctx, from, q, scanApp, noApp())
}

// CreateApp adds an app. Code app_id_already_exists.
func (s *Store) CreateApp(ctx context.Context, actor string, a capgo.App) (capgo.App, error) {
	if a.PublicKey != "" {
		if _, err := parsePublic(a.PublicKey); err != nil {
			return capgo.App{}, err
		}
	}
	if a.DefaultUpload == "" {
		a.DefaultUpload = "production"
	}
	if a.Retention == 0 {
		a.Retention = int64((30 * 24 * time.Hour).Seconds())
	}
	profile, err := json.Marshal(a.AppProfile)
	if err != nil {
		return capgo.App{}, fault("create app", err)
	}
	var made capgo.App
	err = s.change(ctx, func(t *tx) error {
		now := s.ms()
		// The revision starts at the clock, so that an app that is deleted and
		// made again never counts backwards.
		err := t.exec(ctx, `INSERT INTO apps (`+appColumns+`, revision) VALUES (`+placeholders(1, 13)+`)`,
			a.AppID, a.Name, a.OwnerOrg, a.DefaultUpload, a.ExposeMetadata, a.AllowDeviceCustomID, a.Retention, a.PublicKey, "", string(profile), now, now, now)
		if duplicate(err) {
			return failure.Newf(failure.Conflict, "app_id_already_exists", "", "choose another id, or use the app that is there", "app %q exists already", a.AppID)
		}
		if err != nil {
			return err
		}
		t.touch(a.AppID)
		if err := s.note(ctx, t, capgo.Change{AppID: a.AppID, Action: "app.create", Actor: actor, To: a.Name}); err != nil {
			return err
		}
		if a.PublicKey != "" {
			if err := s.noteKey(ctx, t, actor, a.AppID, "", a.PublicKey); err != nil {
				return err
			}
		}
		made, err = appIn(ctx, t, a.AppID)
		t.result = made
		return err
	})
	return made, err
}

// AppChange holds the settings to change; nil keeps what is there.
type AppChange struct {
	Name, DefaultUpload, PublicKey      *string
	SecondPublicKey                     *string // "" takes it off record
	Retention                           *int64
	ExposeMetadata, AllowDeviceCustomID *bool
	// Profile changes the app's profile in place.
	Profile func(*capgo.AppProfile)
}

// ChangeApp changes settings of an app. A public key may be put on record or
// replaced, never removed (code public_key_on_record): removing it would open
// the app to unsigned bundles. A second key may come and go beside the first
// (codes public_key_missing, public_key_on_record); making it the first takes it
// off its second place.
func (s *Store) ChangeApp(ctx context.Context, actor, appID string, c AppChange) (capgo.App, error) {
	var changed capgo.App
	err := s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		a, err := appIn(ctx, t, appID)
		if err != nil {
			return err
		}
		oldKey := a.PublicKey
		set(&a.Name, c.Name)
		set(&a.DefaultUpload, c.DefaultUpload)
		set(&a.PublicKey, c.PublicKey)
		set(&a.Retention, c.Retention)
		set(&a.ExposeMetadata, c.ExposeMetadata)
		set(&a.AllowDeviceCustomID, c.AllowDeviceCustomID)
		if c.Profile != nil {
			c.Profile(&a.AppProfile)
		}
		profile, err := json.Marshal(a.AppProfile)
		if err != nil {
			return err
		}
		if a.PublicKey != oldKey {
			if a.PublicKey == "" {
				return failure.New(failure.Conflict, "public_key_on_record", "", "a public key is on record and cannot be removed", "replace it with another key, or delete the app")
			}
			if _, err := parsePublic(a.PublicKey); err != nil {
				return err
			}
			if err := s.noteKey(ctx, t, actor, appID, oldKey, a.PublicKey); err != nil {
				return err
			}
		}
		if err := s.changeSecondKey(ctx, t, actor, &a, c.SecondPublicKey); err != nil {
			return err
		}
		err = t.exec(ctx, `UPDATE apps SET name = $1, default_upload_channel = $2, public_key = $3, second_public_key = $4, retention = $5,
			expose_metadata = $6, allow_device_custom_id = $7, updated_at = $8, profile = $9, revision = revision + 1 WHERE app_id = $10`,
			a.Name, a.DefaultUpload, a.PublicKey, a.SecondPublicKey, a.Retention, a.ExposeMetadata, a.AllowDeviceCustomID, s.ms(), string(profile), appID)
		if err != nil {
			return err
		}
		t.touch(appID)
		if err := s.note(ctx, t, capgo.Change{AppID: appID, Action: "app.settings", Actor: actor, To: a.Name}); err != nil {
			return err
		}
		changed, err = appIn(ctx, t, appID)
		t.result = changed
		return err
	})
	return changed, err
}

// changeSecondKey puts a second public key on record or takes it off; nil
// leaves it, unless it has become the first one.
func (s *Store) changeSecondKey(ctx context.Context, t *tx, actor string, a *capgo.App, to *string) error {
	before := a.SecondPublicKey
	set(&a.SecondPublicKey, to)
	if a.SecondPublicKey != "" {
		second, err := parsePublic(a.SecondPublicKey)
		if err != nil {
			return err
		}
		first, err := parsePublic(a.PublicKey)
		switch {
		case a.PublicKey == "":
			return failure.New(failure.Conflict, "public_key_missing", "", "a second public key needs a first one on record", "put the app's key on record first")
		case err != nil:
			return err
		case second.Equal(first) && to == nil:
			a.SecondPublicKey = ""
		case second.Equal(first):
			return failure.New(failure.Conflict, "public_key_on_record", "", "the second public key is the first one", "put the key on record that the app changes to")
		}
	}
	if a.SecondPublicKey == before {
		return nil
	}
	return s.note(ctx, t, capgo.Change{AppID: a.AppID, Action: "app.second_key", Actor: actor, From: pemID(before), To: pemID(a.SecondPublicKey)})
}

func (s *Store) noteKey(ctx context.Context, t *tx, actor, appID, before, after string) error {
	return s.note(ctx, t, capgo.Change{AppID: appID, Action: "app.key", Actor: actor, From: pemID(before), To: pemID(after)})
}

// pemID is the id of a public key, "" of none.
func pemID(pem string) string {
	key, err := parsePublic(pem)
	if err != nil {
		return ""
	}
	return keyID(key)
}

// DeleteApp removes an app with everything it holds; the audit stays.
func (s *Store) DeleteApp(ctx context.Context, actor, appID string) error {
	return s.change(ctx, func(t *tx) error {
		a, err := appIn(ctx, t, appID)
		if err != nil {
			return err
		}
		// Channels first: they hold on to their bundles.
		for _, statement := range []string{
			`DELETE FROM channels WHERE app_id = $1`, `DELETE FROM bundles WHERE app_id = $1`, `DELETE FROM apps WHERE app_id = $1`,
		} {
			if err := t.exec(ctx, statement, appID); err != nil {
				return err
			}
		}
		t.touch(appID)
		return s.note(ctx, t, capgo.Change{AppID: appID, Action: "app.delete", Actor: actor, From: a.Name})
	})
}

// set replaces a value when there is a new one.
func set[T any](v *T, to *T) {
	if to != nil {
		*v = *to
	}
}
