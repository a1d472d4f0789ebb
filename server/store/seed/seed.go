// Package seed fills the SQLite database of a stopped server with what would take
// hours to come in: for measurements of the server, and for nothing else. The
// audit and the ledger know nothing of it.
package seed

import (
	"database/sql"
	"fmt"
	"time"

	_ "modernc.org/sqlite" // driver "sqlite"
)

// DeviceID is the id of device n.
func DeviceID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000001", n) }

// Apps adds a thousand apps of twenty channels and a hundred bundles that are
// as long as sealed ones.
func Apps(path string) error {
	return fill(path,
		`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
		INSERT INTO apps (app_id, revision, created_at, updated_at) SELECT printf('com.example.app%d', i), 1, 0, 0 FROM n`,
		`WITH RECURSIVE a(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM a WHERE i < 999), b(j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM b WHERE j < 100)
		INSERT INTO bundles (app_id, name, checksum, session_key, key_id, object_key, storage_provider, plain_checksum, checksum_v2, checksum_v3, object_sha256, created_at, updated_at)
		SELECT printf('com.example.app%d', i), printf('1.0.%d', j), hex(randomblob(256)), hex(randomblob(184)), hex(randomblob(10)), printf('com.example.app%d/1.0.%d/%s.zip', i, j, hex(randomblob(32))),
			'capstan', hex(randomblob(32)), hex(randomblob(172)), hex(randomblob(256)), hex(randomblob(32)), 0, 0 FROM a, b`,
		`WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < 19)
		INSERT INTO channels (app_id, name, bundle_id, public, created_at, updated_at)
		SELECT b.app_id, printf('channel%d', i), b.id, i = 0, 0, 0 FROM bundles b, k WHERE b.app_id LIKE 'com.example.app%' AND b.name = printf('1.0.%d', 100 - i)`)
}

// Devices adds devices that were seen an hour ago, evenly over apps whose ids are
// prefix and a number. Device n has the id that DeviceID gives.
func Devices(path, prefix string, apps, devices int) error {
	return fill(path, fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d - 1)
		INSERT INTO devices (app_id, device_id, platform, version_name, version_build, version_os, plugin_version, install_source, channel_id, created_at, polled_at)
		SELECT printf('%s%%d', i %% %d), printf('%%08x-0000-4000-8000-000000000001', i), 'android', '1.2.0', '1.0.0', '15', '8.51.23', 'google_play', 1, %d, %d FROM n`,
		devices, prefix, apps, time.Now().UnixMilli(), time.Now().Add(-time.Hour).UnixMilli()))
}

func fill(path string, statements ...string) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(OFF)&_pragma=cache_size(-500000)")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			return err
		}
	}
	_, err = db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}
