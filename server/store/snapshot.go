package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/decide"
)

// snapshots holds every app as devices are answered from it.
type snapshots struct {
	apps sync.Map // app id → *snapshot

	// rebuilding orders the rebuilds of one process.
	rebuilding sync.Mutex
	verified   verdicts
	refused    atomic.Int64 // bundles in use that do not verify
}

// snapshot is one app at one revision. With broken set, a change is known to
// have happened that could not be read yet.
type snapshot struct {
	app      *decide.App
	revision int64
	broken   error
	refused  int64
}

// Snapshot gives the app as it is now, from memory; nil for an app that does
// not exist. It fails, rather than answer from what is known to be out of
// date, when a change could not be read back.
func (s *Store) Snapshot(_ context.Context, appID string) (*decide.App, error) {
	v, ok := s.snapshots.apps.Load(appID)
	if !ok {
		return nil, nil
	}
	snap := v.(*snapshot)
	return snap.app, snap.broken
}

// Refused is the number of bundles that channels point at and that are not
// served, because they do not verify with the key on record.
func (s *Store) Refused() int64 { return s.snapshots.refused.Load() }

func (s *Store) loadAll(ctx context.Context) error {
	ids, err := collect(ctx, s.db.read, query{text: `SELECT app_id FROM apps ORDER BY app_id`}, func(row scanner) (string, error) {
		var id string
		return id, row.Scan(&id)
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.reload(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// rebuild reads the apps that a change touched. The change is committed, so a
// client that went away does not stop it.
func (s *Store) rebuild(ctx context.Context, touched map[string]bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var failed error
	for appID := range touched {
		if err := s.reload(ctx, appID); err != nil {
			failed = err
		}
	}
	return failed
}

func (s *Store) reload(ctx context.Context, appID string) error {
	s.noteChange()
	s.snapshots.rebuilding.Lock()
	defer s.snapshots.rebuilding.Unlock()
	fresh, err := s.read(ctx, appID)
	old, _ := s.snapshots.apps.Load(appID)
	before, _ := old.(*snapshot)
	if before == nil {
		before = &snapshot{}
	}
	if err != nil {
		s.log.Error("snapshot not rebuilt", "app", appID, "error", err)
		s.snapshots.apps.Store(appID, &snapshot{app: before.app, revision: 0, broken: err, refused: before.refused})
		return err
	}
	if fresh == nil {
		s.snapshots.apps.Delete(appID)
		s.recorder.forget() // the app's devices went with it
		s.snapshots.refused.Add(-before.refused)
		return nil
	}
	if before.broken == nil && fresh.revision < before.revision {
		return nil // a later rebuild came first
	}
	s.snapshots.refused.Add(fresh.refused - before.refused)
	s.snapshots.apps.Store(appID, fresh)
	return nil
}

// read builds an app's snapshot in one consistent read; nil when it is gone.
func (s *Store) read(ctx context.Context, appID string) (*snapshot, error) {
	o := &sql.TxOptions{ReadOnly: true}
	if s.db.engine == enginePostgres {
		o.Isolation = sql.LevelRepeatableRead
	}
	t, err := s.db.read.BeginTx(ctx, o)
	if err != nil {
		return nil, fault("read the store", err)
	}
	defer func() { _ = t.Rollback() }()

	snap := &snapshot{app: &decide.App{ID: appID, Bundles: map[int64]*decide.Bundle{}, Overrides: map[string]int64{}, SelfSet: map[string]int64{}}}
	app := snap.app
	var known recordedKeys
	err = t.QueryRowContext(ctx, `SELECT revision, public_key, second_public_key, expose_metadata, allow_device_custom_id FROM apps WHERE app_id = $1`, appID).
		Scan(&snap.revision, &known.first, &known.second, &app.ExposeMetadata, &app.AllowDeviceCustomID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fault("read the store", err)
	}
	for pem, into := range map[string]*string{known.first: &app.KeyID, known.second: &app.SecondKeyID} {
		if pem == "" {
			continue
		}
		key, err := parsePublic(pem)
		if err != nil {
			return nil, err
		}
		*into = keyID(key)
	}
	q := query{text: `SELECT ` + channelColumns + ` FROM ` + channelTables + ` WHERE TRUE`}
	q.and(`c.app_id = `, appID)
	q.text += ` ORDER BY c.name, c.id`
	channels, err := collect(ctx, t, q, scanChannel)
	if err != nil {
		return nil, err
	}
	inUse := map[int64]bool{}
	for _, c := range channels {
		d := decideChannel(c)
		app.Channels = append(app.Channels, d)
		inUse[d.BundleID] = true
		for _, id := range d.PlatformBundles {
			inUse[id] = true
		}
		if d.Rollout != nil {
			inUse[d.Rollout.BundleID] = true
		}
	}
	q = query{text: `SELECT ` + withoutManifest + ` FROM bundles WHERE TRUE`}
	q.and(`app_id = `, appID)
	bundles, err := collect(ctx, t, q, scanBundle)
	if err != nil {
		return nil, err
	}
	for _, b := range bundles {
		if inUse[b.ID] {
			if b.Manifest, err = readManifest(ctx, t, b.ID); err != nil {
				return nil, err
			}
		}
		if known.first == "" || !inUse[b.ID] {
			app.Bundles[b.ID] = decideBundle(b)
			continue
		}
		d, err := s.snapshots.verified.sealed(known, b)
		app.Bundles[b.ID] = d
		if err != nil && !b.Deleted {
			snap.refused++
			s.log.Error("bundle is not served: it does not verify with the key on record", "app", appID, "bundle", b.Name, "error", err)
			s.recorder.alarm(capgo.Change{AppID: appID, Action: "bundle.refused", Actor: "server", From: b.Name, Note: err.Error()})
		}
	}
	for table, into := range map[string]map[string]int64{"overrides": app.Overrides, "self_set": app.SelfSet} {
		rows, err := t.QueryContext(ctx, `SELECT device_id, channel_id FROM `+table+` WHERE app_id = $1`, appID)
		if err != nil {
			return nil, fault("read the store", err)
		}
		for rows.Next() {
			var device string
			var channel int64
			if err := rows.Scan(&device, &channel); err != nil {
				rows.Close()
				return nil, fault("read the store", err)
			}
			into[device] = channel
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, fault("read the store", err)
		}
	}
	return snap, nil
}

// readManifest reads the delta files of one bundle. Only those of bundles in
// use are held in memory.
func readManifest(ctx context.Context, from querier, id int64) (files []decide.ManifestFile, err error) {
	var text string
	if err := from.QueryRowContext(ctx, `SELECT manifest FROM bundles WHERE id = $1`, id).Scan(&text); err != nil {
		return nil, fault("read the store", err)
	}
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &files); err != nil {
		return nil, fault("read the store", err)
	}
	return files, nil
}

func decideBundle(b Bundle) *decide.Bundle {
	return &decide.Bundle{
		ID: b.ID, Name: b.Name, ExternalURL: b.ExternalURL, ObjectKey: b.R2Path,
		Checksum: b.Checksum, PlainChecksum: b.PlainChecksum, ChecksumV2: b.ChecksumV2, ChecksumV3: b.ChecksumV3,
		SessionKey: b.SessionKey, KeyID: b.KeyID, MinUpdateVersion: b.MinUpdateVersion,
		Link: b.Link, Comment: b.Comment, Deleted: b.Deleted, Manifest: b.Manifest,
	}
}

func decideChannel(c Channel) *decide.Channel {
	d := &decide.Channel{
		ID: c.ID, Name: c.Name, Public: c.Public, IOS: *c.IOS, Android: *c.Android, Electron: *c.Electron,
		AllowDeviceSelfSet: c.AllowDeviceSelfSet, AllowDev: c.AllowDev, AllowProd: c.AllowProd,
		AllowDevice: c.AllowDevice, AllowEmulator: c.AllowEmulator,
		DisableAutoUpdate: c.DisableAutoUpdate, DisableAutoUpdateUnderNative: c.DisableAutoUpdateUnderNative,
	}
	if c.Version != nil {
		d.BundleID = c.Version.ID
	}
	if len(c.PlatformVersions) > 0 {
		d.PlatformBundles = map[string]int64{}
		for platform, own := range c.PlatformVersions {
			d.PlatformBundles[platform] = own.ID
		}
	}
	if c.RolloutVersion != nil {
		d.Rollout = &decide.Rollout{
			ID: c.RolloutID, BundleID: *c.RolloutVersion, PercentageBps: c.RolloutPercentageBps,
			Enabled: c.RolloutEnabled, PausedAt: c.RolloutPausedAt,
		}
	}
	return d
}

// verdicts remembers the outcome of verifications by everything they depend
// on, so that a rebuild costs no RSA for rows that did not change.
type verdicts struct {
	mu    sync.Mutex
	known map[[32]byte]error
}

// verdictsKept bounds the memory; past it everything is verified once more.
const verdictsKept = 50_000

// sealed gives a bundle with those of its seals that verify with the keys on
// record. The one for the first key is for devices that do not say which they
// carry. A seal for a key that is no longer on record is left out: the app has
// changed keys. err tells of a bundle without a seal that verifies, which is
// Unverified, and of a seal that ought to.
func (v *verdicts) sealed(known recordedKeys, b Bundle) (d *decide.Bundle, err error) {
	first := pemID(known.first)
	var good []*decide.Bundle
	all := []Bundle{b}
	for _, seal := range b.Seals {
		all = append(all, b.with(seal))
	}
	for _, one := range all {
		refused := v.check(known.of(one.KeyID), one)
		switch {
		case refused == nil && one.KeyID != "" && pemID(known.of(one.KeyID)) == first:
			good = append([]*decide.Bundle{decideBundle(one)}, good...)
		case refused == nil:
			good = append(good, decideBundle(one))
		case len(all) == 1 || failure.CodeOf(refused) != "encryption_key_mismatch":
			err = refused
		}
	}
	if len(good) == 0 {
		d = decideBundle(b)
		d.Unverified = true
		if err == nil {
			err = failure.New(failure.Verification, "encryption_key_mismatch", "", "the bundle was sealed with other keys than those on record", "release again")
		}
		return d, err
	}
	d = good[0]
	d.Seals = good[1:]
	return d, err
}

func (v *verdicts) check(publicKey string, b Bundle) error {
	row, err := json.Marshal([]any{publicKey, b.Checksum, b.ChecksumV2, b.ChecksumV3, b.PlainChecksum, b.SessionKey, b.KeyID, b.Manifest})
	if err != nil {
		return err
	}
	id := sha256.Sum256(row)
	v.mu.Lock()
	outcome, known := v.known[id]
	v.mu.Unlock()
	if known {
		return outcome
	}
	outcome = verifyFor(publicKey, &b)
	v.mu.Lock()
	if v.known == nil || len(v.known) >= verdictsKept {
		v.known = map[[32]byte]error{}
	}
	v.known[id] = outcome
	v.mu.Unlock()
	return outcome
}

// watch looks for changes made by other processes: on every notice of the
// engine, and on a timer for those that got lost.
func (s *Store) watch(ctx context.Context, target string, every time.Duration) {
	notices := make(chan string, 64)
	if s.db.engine == enginePostgres {
		s.running.Add(1)
		go func() { defer s.running.Done(); s.listen(ctx, target, notices) }()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case appID := <-notices:
			_ = s.reload(ctx, appID) // logged; the timer tries again
		case <-tick.C:
			s.refresh(ctx)
		}
	}
}

// refresh reloads the apps whose revision is not the one in memory.
func (s *Store) refresh(ctx context.Context) {
	type head struct {
		id       string
		revision int64
	}
	heads, err := collect(ctx, s.db.read, query{text: `SELECT app_id, revision FROM apps`}, func(row scanner) (head, error) {
		var h head
		return h, row.Scan(&h.id, &h.revision)
	})
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error("apps not refreshed", "error", err)
		}
		return
	}
	present := make(map[string]bool, len(heads))
	for _, h := range heads {
		present[h.id] = true
		v, ok := s.snapshots.apps.Load(h.id)
		if !ok || v.(*snapshot).revision != h.revision || v.(*snapshot).broken != nil {
			_ = s.reload(ctx, h.id)
		}
	}
	s.snapshots.apps.Range(func(id, _ any) bool {
		if !present[id.(string)] {
			_ = s.reload(ctx, id.(string))
		}
		return true
	})
}

// listen hears PostgreSQL's notices until ctx ends; a lost connection is made
// again after a second.
func (s *Store) listen(ctx context.Context, target string, notices chan<- string) {
	for ctx.Err() == nil {
		err := s.listenOnce(ctx, target, notices)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("change notices interrupted", "error", withoutURL(err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (s *Store) listenOnce(ctx context.Context, target string, notices chan<- string) error {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `LISTEN capstan_app`); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		select {
		case notices <- n.Payload:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
