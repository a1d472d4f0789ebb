package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/decide"
)

// manifestColumn is the text of a bundle's delta files, up to some megabytes.
// Lists and snapshots read the row without it: withoutManifest.
const manifestColumn = ` manifest,`

var withoutManifest = strings.Replace(bundleColumns, manifestColumn, ` '',`, 1)

const bundleColumns = `id, app_id, name, checksum, session_key, key_id, external_url, object_key, storage_provider,
	min_update_version, link, comment, native_packages, manifest, manifest_count, plain_checksum, checksum_v2, checksum_v3,
	object_sha256, object_size, plain_size, seals, deleted, created_at, updated_at`

// Bundle is a row of bundles with the files of its delta manifest.
type Bundle struct {
	capgo.Bundle
	Manifest []decide.ManifestFile
}

func scanBundle(row scanner) (Bundle, error) {
	var b Bundle
	var native, manifest, seals string
	var created, updated int64
	err := row.Scan(&b.ID, &b.AppID, &b.Name, &b.Checksum, &b.SessionKey, &b.KeyID, &b.ExternalURL, &b.R2Path, &b.StorageProvider,
		&b.MinUpdateVersion, &b.Link, &b.Comment, &native, &manifest, &b.ManifestCount, &b.PlainChecksum, &b.ChecksumV2, &b.ChecksumV3,
		&b.ObjectSHA256, &b.ObjectSize, &b.PlainSize, &seals, &b.Deleted, &created, &updated)
	if err != nil {
		return b, err
	}
	if native != "" {
		b.NativePackages = json.RawMessage(native)
	}
	if manifest != "" {
		err = json.Unmarshal([]byte(manifest), &b.Manifest)
	}
	if seals != "" && err == nil {
		err = json.Unmarshal([]byte(seals), &b.Seals)
	}
	b.CreatedAt, b.UpdatedAt = fromMS(created), fromMS(updated)
	return b, err
}

func noBundle() error {
	return failure.New(failure.NotFound, "cannot_find_version", "", "there is no such bundle", "see the names in the list of bundles")
}

// BundleFilter selects bundles. Zero fields do not restrict.
type BundleFilter struct {
	AppID   string
	Name    string
	ID      int64
	Deleted bool // deleted ones too
	Offset  int
	Limit   int // 1 to 1000; 50 when zero
}

// Bundles lists bundles, newest first, without their manifests.
func (s *Store) Bundles(ctx context.Context, f BundleFilter) ([]Bundle, error) {
	return collect(ctx, s.db.read, bundleQuery(f), scanBundle)
}

func bundleQuery(f BundleFilter) query {
	q := query{text: `SELECT ` + withoutManifest + ` FROM bundles WHERE TRUE`}
	q.and(`app_id = `, f.AppID)
	if f.Name != "" {
		q.and(`name = `, f.Name)
	}
	if f.ID != 0 {
		q.and(`id = `, f.ID)
	}
	if !f.Deleted {
		q.text += ` AND NOT deleted`
	}
	q.text += ` ORDER BY id DESC`
	q.limit(f.Limit, 50, 1000)
	q.text += ` OFFSET ` + q.arg(max(f.Offset, 0))
	return q
}

// AddBundle registers a bundle. The names of an app's bundles are used once:
// a name that was ever registered, deleted or not, is version_already_exists.
// With public keys on record the bundle must verify with the one that it names,
// and every further seal with another one: codes encryption_required,
// encryption_key_mismatch, bundle_unverified.
func (s *Store) AddBundle(ctx context.Context, actor string, b Bundle) (Bundle, error) {
	manifest := ""
	if len(b.Manifest) > 0 {
		text, err := json.Marshal(b.Manifest)
		if err != nil {
			return Bundle{}, fault("register bundle", err)
		}
		manifest = string(text)
	}
	var made Bundle
	err := s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, b.AppID); err != nil {
			return err
		}
		a, err := appIn(ctx, t, b.AppID)
		if err != nil {
			return err
		}
		if err := verifySeals(onRecord(a), &b); err != nil {
			return err
		}
		seals := ""
		if len(b.Seals) > 0 {
			text, err := json.Marshal(b.Seals)
			if err != nil {
				return err
			}
			seals = string(text)
		}
		now := s.ms()
		var id int64
		err = t.QueryRowContext(ctx, `INSERT INTO bundles (app_id, name, checksum, session_key, key_id, external_url, object_key, storage_provider,
			min_update_version, link, comment, native_packages, manifest, manifest_count, plain_checksum, checksum_v2, checksum_v3,
			object_sha256, object_size, plain_size, seals, deleted, created_at, updated_at) VALUES (`+placeholders(1, 24)+`) RETURNING id`,
			b.AppID, b.Name, b.Checksum, b.SessionKey, b.KeyID, b.ExternalURL, b.R2Path, b.StorageProvider,
			b.MinUpdateVersion, b.Link, b.Comment, string(b.NativePackages), manifest, len(b.Manifest), b.PlainChecksum, b.ChecksumV2, b.ChecksumV3,
			b.ObjectSHA256, b.ObjectSize, b.PlainSize, seals, b.Deleted, now, now).Scan(&id)
		if duplicate(err) {
			return failure.Newf(failure.Conflict, "version_already_exists", "", "raise the version: a name is used once, even when its bundle was deleted",
				"bundle %s was registered before", b.Name)
		}
		if err != nil {
			return err
		}
		t.touch(b.AppID)
		if err := s.note(ctx, t, capgo.Change{AppID: b.AppID, Action: "bundle.register", Actor: actor, To: b.Name, Note: b.ObjectSHA256}); err != nil {
			return err
		}
		made, err = bundleIn(ctx, t, BundleFilter{AppID: b.AppID, ID: id, Deleted: true})
		t.result = made
		return err
	})
	return made, err
}

func bundleIn(ctx context.Context, from querier, f BundleFilter) (Bundle, error) {
	return one(ctx, from, bundleQuery(f), scanBundle, noBundle())
}

// SetBundleMetadata changes link and comment; nil keeps what is there. Code
// cannot_find_version.
func (s *Store) SetBundleMetadata(ctx context.Context, actor, appID string, id int64, link, comment *string) error {
	return s.change(ctx, func(t *tx) error {
		b, err := bundleIn(ctx, t, BundleFilter{AppID: appID, ID: id})
		if err != nil {
			return err
		}
		set(&b.Link, link)
		set(&b.Comment, comment)
		if err := t.exec(ctx, `UPDATE bundles SET link = $1, comment = $2, updated_at = $3 WHERE id = $4`, b.Link, b.Comment, s.ms(), id); err != nil {
			return err
		}
		t.touch(appID)
		return s.note(ctx, t, capgo.Change{AppID: appID, Action: "bundle.metadata", Actor: actor, To: b.Name})
	})
}

// DeleteBundle marks a bundle as deleted: it is never offered again. Codes
// cannot_find_version, cannot_delete_linked_version.
func (s *Store) DeleteBundle(ctx context.Context, actor, appID, name string) error {
	return s.change(ctx, func(t *tx) error {
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		b, err := bundleIn(ctx, t, BundleFilter{AppID: appID, Name: name})
		if err != nil {
			return err
		}
		var channel string
		err = t.QueryRowContext(ctx, `SELECT name FROM channels WHERE app_id = $1 AND (bundle_id = $2 OR rollout_bundle_id = $2
			OR ios_bundle_id = $2 OR android_bundle_id = $2 OR electron_bundle_id = $2) ORDER BY id LIMIT 1`, appID, b.ID).Scan(&channel)
		if err == nil {
			return failure.Newf(failure.Conflict, "cannot_delete_linked_version", "", "point the channel at another bundle first", "bundle %s is linked to channel %s", name, channel)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var planned int
		if err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM plans WHERE bundle_id = $1`, b.ID).Scan(&planned); err != nil {
			return err
		}
		if planned > 0 {
			return failure.Newf(failure.Conflict, "cannot_delete_linked_version", "", "cancel the plan first", "a release of bundle %s is planned", name)
		}
		return s.markDeleted(ctx, t, actor, b)
	})
}

// DeleteUnlinkedBundles deletes every bundle that no channel points at and
// gives their number.
func (s *Store) DeleteUnlinkedBundles(ctx context.Context, actor, appID string) (int, error) {
	deleted := 0
	err := s.change(ctx, func(t *tx) error {
		deleted = 0
		if err := t.lock(ctx, appID); err != nil {
			return err
		}
		q := query{text: `SELECT ` + withoutManifest + ` FROM bundles b WHERE NOT deleted AND NOT EXISTS
			(SELECT 1 FROM channels c WHERE c.app_id = b.app_id AND (c.bundle_id = b.id OR c.rollout_bundle_id = b.id
				OR c.ios_bundle_id = b.id OR c.android_bundle_id = b.id OR c.electron_bundle_id = b.id))
			AND NOT EXISTS (SELECT 1 FROM plans p WHERE p.bundle_id = b.id)`}
		q.and(`b.app_id = `, appID)
		q.text += ` ORDER BY id`
		list, err := collect(ctx, t, q, scanBundle)
		if err != nil {
			return err
		}
		for _, b := range list {
			if err := s.markDeleted(ctx, t, actor, b); err != nil {
				return err
			}
		}
		deleted = len(list)
		return nil
	})
	return deleted, err
}

func (s *Store) markDeleted(ctx context.Context, t *tx, actor string, b Bundle) error {
	if err := t.exec(ctx, `UPDATE bundles SET deleted = TRUE, updated_at = $1 WHERE id = $2`, s.ms(), b.ID); err != nil {
		return err
	}
	t.touch(b.AppID)
	return s.note(ctx, t, capgo.Change{AppID: b.AppID, Action: "bundle.delete", Actor: actor, From: b.Name})
}
