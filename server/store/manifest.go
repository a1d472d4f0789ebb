package store

import (
	"context"

	"capstan/core/failure"
)

// BundleWithFiles gives a bundle with the files of its delta update, which the
// lists leave out. Code version_not_found.
func (s *Store) BundleWithFiles(ctx context.Context, appID, name string) (Bundle, error) {
	q := query{text: `SELECT ` + bundleColumns + ` FROM bundles WHERE NOT deleted`}
	q.and(`app_id = `, appID)
	q.and(`name = `, name)
	return one(ctx, s.db.read, q, scanBundle, failure.Newf(failure.NotFound, "version_not_found", "find bundle", "capstan bundle list shows the bundles", "there is no bundle %s", name))
}
