package store

import (
	"context"
	"encoding/json"
	"strings"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// Object is a stored object as it was uploaded.
type Object struct {
	Name   string
	SHA256 string // hex
	Size   int64
}

func scanObject(row scanner) (Object, error) {
	var o Object
	return o, row.Scan(&o.Name, &o.SHA256, &o.Size)
}

// AddObject notes an object. A known name keeps its first hash: code object_exists.
func (s *Store) AddObject(ctx context.Context, o Object) error {
	return s.change(ctx, func(t *tx) error {
		n, err := t.count(ctx, `INSERT INTO objects (name, sha256, size, created_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET size = excluded.size WHERE objects.sha256 = excluded.sha256`, o.Name, o.SHA256, o.Size, s.ms())
		if err == nil && n == 0 {
			err = failure.New(failure.Conflict, "object_exists", "", "an object of this name has other content", "objects are never overwritten: use another name")
		}
		return err
	})
}

// Object gives what is known of an object. Code object_not_found.
func (s *Store) Object(ctx context.Context, name string) (Object, error) {
	q := query{text: `SELECT name, sha256, size FROM objects WHERE TRUE`}
	q.and(`name = `, name)
	return one(ctx, s.db.read, q, scanObject, failure.New(failure.NotFound, "object_not_found", "", "there is no such object", ""))
}

// ForgetObject removes an object's row, unless a bundle that is not deleted
// has it: code object_in_use.
func (s *Store) ForgetObject(ctx context.Context, name, urlSuffix string) error {
	return s.change(ctx, func(t *tx) error {
		var used int64
		// Compared from the end and with equality: a name may hold what LIKE takes for a pattern.
		err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM bundles WHERE NOT deleted AND (object_key = $1
			OR (length(external_url) >= length($2) AND substr(external_url, length(external_url) - length($2) + 1) = $2))`, name, urlSuffix).Scan(&used)
		if err != nil {
			return err
		}
		if used == 0 {
			if used, err = sealsWith(ctx, t, name, urlSuffix); err != nil {
				return err
			}
		}
		if used > 0 {
			return failure.New(failure.Conflict, "object_in_use", "", "a bundle has this object", "delete the bundle first")
		}
		return t.exec(ctx, `DELETE FROM objects WHERE name = $1`, name)
	})
}

// sealsWith counts the further seals of bundles that have an object.
func sealsWith(ctx context.Context, from querier, name, urlSuffix string) (used int64, err error) {
	appID, _, _ := strings.Cut(name, "/")
	q := query{text: `SELECT seals FROM bundles WHERE NOT deleted AND seals <> ''`}
	q.and(`app_id = `, appID)
	texts, err := collect(ctx, from, q, func(row scanner) (text string, err error) { return text, row.Scan(&text) })
	if err != nil {
		return 0, err
	}
	for _, text := range texts {
		var seals []capgo.Seal
		if err := json.Unmarshal([]byte(text), &seals); err != nil {
			return 0, fault("read the store", err)
		}
		for _, s := range seals {
			if s.R2Path == name || strings.HasSuffix(s.ExternalURL, urlSuffix) {
				used++
			}
		}
	}
	return used, nil
}

// ObjectNames lists the names of all objects that are known.
func (s *Store) ObjectNames(ctx context.Context) ([]string, error) {
	return collect(ctx, s.db.read, query{text: `SELECT name FROM objects ORDER BY name`}, func(row scanner) (string, error) {
		var name string
		return name, row.Scan(&name)
	})
}
