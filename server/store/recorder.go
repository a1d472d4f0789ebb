package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/decide"
)

// recorder writes what devices say, many at a time: one transaction takes all
// events and polls that came in while the one before was written.
type recorder struct {
	s    *Store
	wake chan struct{}

	mu      sync.Mutex
	batches []*batch
	events  int // waiting
	polls   map[deviceKey]poll
	waits   map[string]waits // by app
	alarms  []capgo.Change
	uses    map[string]int64 // token id → last use
	marks   marks

	known   atomic.Int64 // device rows of all apps
	dropped atomic.Int64 // polls not recorded, because the queue or the app's devices were full

	// The rest is the writer's own.
	writing sync.Mutex
	devices map[string]int64 // rows of devices by app
	words   map[string]map[string]bool
	period  int64 // the hour that words are of
}

// waits are what of an app waits to be written.
type waits struct{ events, polls int }

// crowds reports whether an app has to leave the rest of a queue to others: the
// later half of it is for apps that have less than an equal share of the whole.
func (r *recorder) crowds(mine, more, all, limit int) bool {
	return all+more > limit || mine > 0 && all+more > limit/2 && mine+more > limit/(len(r.waits)+1)
}

type deviceKey struct{ app, device string }

// poll is the last update check of a device within a batch.
type poll struct {
	request capgo.UpdateRequest
	channel int64
	onLive  bool
	at      int64
}

type batch struct {
	app    string
	events []capgo.StatsEvent
	at     int64
	done   chan error
}

// pollsEvery is how long polls may wait to be written together.
const pollsEvery = 500 * time.Millisecond

func (r *recorder) open(ctx context.Context, s *Store) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s, r.wake = s, make(chan struct{}, 1)
	r.marks.seed = maphash.MakeSeed()
	r.polls, r.devices, r.uses, r.waits = map[deviceKey]poll{}, map[string]int64{}, map[string]int64{}, map[string]waits{}
	return r.count(ctx)
}

// count takes the number of device rows of each app from the table.
func (r *recorder) count(ctx context.Context) error {
	rows, err := r.s.db.read.QueryContext(ctx, `SELECT app_id, COUNT(*) FROM devices GROUP BY app_id`)
	if err != nil {
		return fault("count devices", err)
	}
	defer rows.Close()
	devices, total := map[string]int64{}, int64(0)
	for rows.Next() {
		var app string
		var n int64
		if err := rows.Scan(&app, &n); err != nil {
			return fault("count devices", err)
		}
		devices[app] = n
		total += n
	}
	r.devices = devices
	r.known.Store(total)
	return fault("count devices", rows.Err())
}

// Seen notes an update check and what was decided. It never blocks: past
// Limits.QueueDevices, or the app's share of it, the poll is dropped and counted.
func (s *Store) Seen(request capgo.UpdateRequest, v decide.Verdict) {
	onLive := v.Bundle != nil && v.Bundle.Name == request.VersionName
	if v.Bundle == nil && v.ChannelID != 0 {
		onLive = request.VersionName == capgo.Builtin || request.VersionName == request.VersionBuild
	}
	p := poll{request: request, channel: v.ChannelID, onLive: onLive, at: s.ms()}
	key := deviceKey{request.AppID, request.DeviceID}
	r := &s.recorder
	id, print := r.marks.of(key, p)
	r.mu.Lock()
	if r.marks.repeats(id, print, p.at) {
		r.mu.Unlock()
		return
	}
	_, waiting := r.polls[key]
	mine := r.waits[key.app]
	full := !waiting && r.crowds(mine.polls, 1, len(r.polls), s.limits.QueueDevices)
	if full {
		delete(r.marks.fresh, id)
	} else {
		r.polls[key] = p
	}
	if !waiting && !full {
		mine.polls++
		r.waits[key.app] = mine
	}
	r.mu.Unlock()
	if full {
		r.dropped.Add(1)
	}
}

// marks remember which devices said what lately, so that a device which asks
// again and has not changed costs no write: its row is written again after
// marksFor, and at the first poll of an hour.
type marks struct {
	seed         maphash.Seed
	fresh, stale map[uint64]mark
}

// mark is 8 bytes, because there may be millions.
type mark struct {
	print  uint32 // of what the device said and was told
	minute uint32 // since 1970
}

const (
	marksFor  = 10 // minutes
	marksKept = 1_500_000
)

// of gives the id of a device and the print of a poll.
func (m *marks) of(key deviceKey, p poll) (id uint64, print uint32) {
	var h maphash.Hash
	h.SetSeed(m.seed)
	text := func(s string) { _, _ = h.WriteString(s); _ = h.WriteByte(0) } // neither fails
	text(key.app)
	text(key.device)
	id = h.Sum64()
	r := &p.request
	for _, s := range [...]string{r.CustomID, r.Platform, r.VersionName, r.VersionBuild, r.VersionOS, r.PluginVersion, r.InstallSource, r.DefaultChannel, r.KeyID} {
		text(s)
	}
	for _, b := range [...]bool{r.IsProd, r.IsEmulator, p.onLive} {
		if b {
			_ = h.WriteByte(1)
		}
		_ = h.WriteByte(0)
	}
	for shift := 0; shift < 64; shift += 8 {
		_ = h.WriteByte(byte(p.channel >> shift))
	}
	return id, uint32(h.Sum64())
}

// repeats reports whether a poll says nothing new, and remembers it otherwise.
func (m *marks) repeats(id uint64, print uint32, at int64) bool {
	minute := uint32(at / int64(time.Minute/time.Millisecond))
	known, ok := m.fresh[id]
	if !ok {
		known, ok = m.stale[id]
	}
	if ok && known.print == print && minute-known.minute < marksFor && minute/60 == known.minute/60 {
		return true
	}
	if m.fresh == nil || len(m.fresh) >= marksKept {
		m.fresh, m.stale = map[uint64]mark{}, m.fresh
	}
	m.fresh[id] = mark{print, minute}
	return false
}

// forget drops all marks: rows went away by other means than time.
func (r *recorder) forget() {
	r.mu.Lock()
	r.marks.fresh, r.marks.stale = nil, nil
	r.mu.Unlock()
}

// Dropped is the number of polls that were answered and not recorded.
func (s *Store) Dropped() int64 { return s.recorder.dropped.Load() }

// KnownDevices is the number of devices that are remembered, of all apps.
func (s *Store) KnownDevices() int64 { return s.recorder.known.Load() }

// Record keeps events that devices of one app reported. On return without an
// error they are on disk. An event that is known already (same device, action,
// version and device time) is taken and not kept twice. Code stats_busy when
// too many wait, of this app or in all.
func (s *Store) Record(ctx context.Context, appID string, events []capgo.StatsEvent) error {
	if len(events) == 0 {
		return nil
	}
	b := &batch{app: appID, events: events, at: s.ms(), done: make(chan error, 1)}
	r := &s.recorder
	r.mu.Lock()
	mine := r.waits[appID]
	if r.crowds(mine.events, len(events), r.events, s.limits.QueueEvents) {
		r.mu.Unlock()
		return failure.New(failure.Unavailable, "stats_busy", "record events", "too many events wait to be written", "")
	}
	r.events += len(events)
	mine.events += len(events)
	r.waits[appID] = mine
	r.batches = append(r.batches, b)
	r.mu.Unlock()
	r.poke()
	select {
	case err := <-b.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alarm queues an entry of the audit that nobody waits for.
func (r *recorder) alarm(c capgo.Change) {
	r.mu.Lock()
	r.alarms = append(r.alarms, c)
	r.mu.Unlock()
	r.poke()
}

// used notes the last use of a token.
func (r *recorder) used(id string, at int64) {
	r.mu.Lock()
	r.uses[id] = at
	r.mu.Unlock()
}

func (r *recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Flush writes what waits. Tests and a stopping server call it.
func (s *Store) Flush(ctx context.Context) error { return s.recorder.write(ctx) }

func (r *recorder) run(ctx context.Context) {
	tick := time.NewTicker(pollsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			defer cancel()
			if err := r.write(last); err != nil {
				r.s.log.Error("last events not written", "error", err)
			}
			return
		case <-r.wake:
		case <-tick.C:
		}
		if err := r.write(ctx); err != nil && ctx.Err() == nil {
			r.s.log.Error("events not written", "error", err)
		}
	}
}

// write takes what waits and commits it in one transaction. Polls and alarms
// of a failed transaction are put back, events are answered with the error.
func (r *recorder) write(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	batches, polls, alarms, uses := r.batches, r.polls, r.alarms, r.uses
	if len(batches) == 0 && len(polls) == 0 && len(alarms) == 0 && len(uses) == 0 {
		r.mu.Unlock()
		return nil
	}
	r.batches, r.polls, r.alarms, r.uses, r.events = nil, map[deviceKey]poll{}, nil, map[string]int64{}, 0
	r.waits = map[string]waits{}
	r.mu.Unlock()

	var added map[string]int64
	// A stopping server still writes: the context of the loop may be over.
	ctx = context.WithoutCancel(ctx)
	err := r.s.change(ctx, func(t *tx) error {
		added = map[string]int64{}
		w := &eventWriter{s: r.s, t: t, now: r.s.ms(), counts: newCounts()}
		defer w.close()
		before, err := w.earlier(ctx, polls)
		if err != nil {
			return err
		}
		for key, p := range polls {
			isNew, err := w.poll(ctx, key, p, before[key], r.devices[key.app]+added[key.app] < r.s.limits.DevicesPerApp)
			if err != nil {
				return err
			}
			switch isNew {
			case rowAdded:
				added[key.app]++
			case rowRefused:
				r.dropped.Add(1)
			}
		}
		for _, b := range batches {
			if err := w.batch(ctx, b); err != nil {
				return err
			}
		}
		if err := w.writeCounts(ctx); err != nil {
			return err
		}
		for id, at := range uses {
			if err := t.exec(ctx, `UPDATE tokens SET last_used = $1 WHERE id = $2`, at, id); err != nil {
				return err
			}
		}
		for _, c := range alarms {
			if err := r.s.note(ctx, t, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for app, n := range added {
			r.devices[app] += n
			r.known.Add(n)
		}
	} else {
		r.putBack(polls, alarms)
	}
	for _, b := range batches {
		b.done <- err
	}
	return err
}

func (r *recorder) putBack(polls map[deviceKey]poll, alarms []capgo.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, p := range polls {
		if _, newer := r.polls[key]; !newer && len(r.polls) < r.s.limits.QueueDevices {
			r.polls[key] = p
			mine := r.waits[key.app]
			mine.polls++
			r.waits[key.app] = mine
		}
	}
	r.alarms = append(alarms, r.alarms...)
}

// eventWriter holds the prepared statements of one transaction.
type eventWriter struct {
	s        *Store
	t        *tx
	now      int64
	prepared map[string]*sql.Stmt
	counts   counts
}

func (w *eventWriter) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if p, ok := w.prepared[text]; ok {
		return p, nil
	}
	p, err := w.t.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if w.prepared == nil {
		w.prepared = map[string]*sql.Stmt{}
	}
	w.prepared[text] = p
	return p, nil
}

func (w *eventWriter) close() {
	for _, p := range w.prepared {
		p.Close()
	}
}

func (w *eventWriter) exec(ctx context.Context, text string, args ...any) (int64, error) {
	p, err := w.stmt(ctx, text)
	if err != nil {
		return 0, err
	}
	r, err := p.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// rowOutcome says what became of a device's row.
type rowOutcome int

const (
	rowChanged rowOutcome = iota
	rowAdded
	rowRefused // the app has as many devices as it may have, or is gone
)

const hour = int64(time.Hour / time.Millisecond)

const day = 24 * hour

// earlier is what a device's row said before a poll.
type earlier struct {
	known          bool
	channel        int64
	onLive         bool
	bundle, native string
	polled         int64
}

// askedAtOnce is how many rows one statement looks up.
const askedAtOnce = 256

// earlier looks up the rows of the devices that polled; those that have none are
// not in it.
func (w *eventWriter) earlier(ctx context.Context, polls map[deviceKey]poll) (map[deviceKey]earlier, error) {
	byApp := map[string][]string{}
	for key := range polls {
		byApp[key.app] = append(byApp[key.app], key.device)
	}
	found := make(map[deviceKey]earlier, len(polls))
	for app, devices := range byApp {
		for some := range slices.Chunk(devices, askedAtOnce) {
			if err := w.lookUp(ctx, app, some, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func (w *eventWriter) lookUp(ctx context.Context, app string, devices []string, found map[deviceKey]earlier) error {
	// The last one is asked for again until the number is a power of two, so that few statements are prepared.
	n := 1 << bits.Len(uint(len(devices)-1))
	args := []any{app}
	for i := range n {
		args = append(args, devices[min(i, len(devices)-1)])
	}
	find, err := w.stmt(ctx, `SELECT device_id, channel_id, on_live, version_name, version_build, polled_at FROM devices WHERE app_id = $1 AND device_id IN (`+placeholders(2, n)+`)`)
	if err != nil {
		return err
	}
	rows, err := find.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		before, device := earlier{known: true}, ""
		if err := rows.Scan(&device, &before.channel, &before.onLive, &before.bundle, &before.native, &before.polled); err != nil {
			return err
		}
		found[deviceKey{app, device}] = before
	}
	return rows.Err()
}

// poll writes a device's row and counts it once an hour for its channel.
func (w *eventWriter) poll(ctx context.Context, key deviceKey, p poll, before earlier, room bool) (rowOutcome, error) {
	known := before.known
	if !known && !room {
		return rowRefused, nil
	}
	n, err := w.deviceRow(ctx, key, p, known)
	if err != nil || n == 0 {
		return rowRefused, err
	}
	if p.channel != 0 {
		counted := known && before.polled/hour == p.at/hour && before.channel == p.channel
		w.countPoll(key.app, p, counted, before.onLive)
	}
	w.countDay(key.app, p, before)
	if known {
		return rowChanged, nil
	}
	return rowAdded, nil
}

// deviceRow writes a device's row and gives the number of rows written: none
// where the app is gone.
func (w *eventWriter) deviceRow(ctx context.Context, key deviceKey, p poll, known bool) (int64, error) {
	d := p.request
	args := []any{key.app, key.device, clip(d.CustomID, 128), clip(d.Platform, 16), clip(d.VersionName, 128), clip(d.VersionBuild, 128), clip(d.VersionOS, 64), clip(d.PluginVersion, 64),
		d.IsProd, d.IsEmulator, clip(d.InstallSource, 64), clip(d.DefaultChannel, 128), clip(d.KeyID, 20), p.channel, p.onLive, p.at}
	if known { // nearly always, and less work than the other statement
		n, err := w.exec(ctx, `UPDATE devices SET custom_id = $3, platform = $4, version_name = $5, version_build = $6, version_os = $7, plugin_version = $8,
			is_prod = $9, is_emulator = $10, install_source = $11, default_channel = $12, key_id = $13, channel_id = $14, on_live = $15, polled_at = $16
			WHERE app_id = $1 AND device_id = $2`, args...)
		if err != nil || n > 0 {
			return n, err
		}
	}
	return w.exec(ctx, `INSERT INTO devices (app_id, device_id, custom_id, platform, version_name, version_build, version_os, plugin_version,
			is_prod, is_emulator, install_source, default_channel, key_id, channel_id, on_live, created_at, polled_at)
		SELECT app_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16 FROM apps WHERE app_id = $1
		ON CONFLICT (app_id, device_id) DO UPDATE SET custom_id = excluded.custom_id, platform = excluded.platform, version_name = excluded.version_name,
			version_build = excluded.version_build, version_os = excluded.version_os, plugin_version = excluded.plugin_version, is_prod = excluded.is_prod,
			is_emulator = excluded.is_emulator, install_source = excluded.install_source, default_channel = excluded.default_channel, key_id = excluded.key_id,
			channel_id = excluded.channel_id, on_live = excluded.on_live, polled_at = excluded.polled_at`, args...)
}

// countPoll keeps the distinct devices of an hour: a device counts once, and
// as live from the poll on in which it first ran the channel's bundle.
func (w *eventWriter) countPoll(app string, p poll, counted, wasLive bool) {
	var more pollCount
	if !counted {
		more.devices = 1
	}
	if p.onLive && (!counted || !wasLive) {
		more.live = 1
	}
	if counted && wasLive && !p.onLive {
		more.live = -1
	}
	if more == (pollCount{}) {
		return
	}
	k := pollHour{app, p.at / hour * hour, p.channel}
	sum := w.counts.polls[k]
	w.counts.polls[k] = pollCount{sum.devices + more.devices, sum.live + more.live}
}

// countDay keeps the distinct devices of a day and the versions they ran.
func (w *eventWriter) countDay(app string, p poll, before earlier) {
	today := p.at / day * day
	sameDay := before.known && before.polled/day == p.at/day
	if !sameDay {
		sum := w.counts.days[appDay{app, today}]
		sum.devices++
		if !before.known || fromMS(before.polled).Format("2006-01") != fromMS(p.at).Format("2006-01") {
			sum.fresh++
		}
		w.counts.days[appDay{app, today}] = sum
	}
	for _, v := range []struct{ kind, old, new string }{
		{string(ByBundle), before.bundle, clip(p.request.VersionName, 128)}, {string(ByNative), before.native, clip(p.request.VersionBuild, 128)},
	} {
		if sameDay && v.old == v.new {
			continue
		}
		if sameDay {
			w.counts.versions[versionDay{app, today, v.kind, v.old}]--
		}
		w.counts.versions[versionDay{app, today, v.kind, w.s.recorder.word(app+" "+v.kind, v.new, w.now)}]++
	}
}

// wordsKept bounds the distinct words of one kind that an app's counts may
// have in an hour: the words are what strangers say.
const wordsKept = 500

// word gives a word back, or "other" when the hour has heard too many.
func (r *recorder) word(kind, word string, now int64) string {
	if now/hour != r.period || r.words == nil {
		r.period, r.words = now/hour, map[string]map[string]bool{}
	}
	known := r.words[kind]
	if known == nil {
		known = map[string]bool{}
		r.words[kind] = known
	}
	if !known[word] {
		if len(known) >= wordsKept {
			return "other"
		}
		known[word] = true
	}
	return word
}

// batch writes the events of one request and counts the new ones.
func (w *eventWriter) batch(ctx context.Context, b *batch) error {
	for _, e := range b.events {
		var err error
		metadata := ""
		if len(e.Metadata) > 0 {
			text, err := json.Marshal(e.Metadata)
			if err != nil {
				return err
			}
			metadata = string(text)
		}
		var at any // null never equals null: events without a time are all kept
		if e.Timestamp > 0 {
			at = e.Timestamp
		}
		device := clip(strings.ToLower(e.DeviceID), 64)
		version, action := clip(e.VersionName, 256), clip(e.Action, 64)
		counted := e.IsProd && !e.IsEmulator
		if counted && action == "download_fail" {
			if counted, err = w.failedOffer(ctx, b.app, device, version, &e); err != nil {
				return err
			}
		}
		n, err := w.exec(ctx, `INSERT INTO events (app_id, device_id, action, version_name, old_version_name, platform, plugin_version, metadata, device_time, at, counted)
			SELECT app_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM apps WHERE app_id = $1
			ON CONFLICT (app_id, device_id, action, version_name, device_time) DO NOTHING`,
			b.app, device, action, version, clip(e.OldVersionName, 256), clip(e.Platform, 16), clip(e.PluginVersion, 64), metadata, at, b.at, counted)
		if err != nil {
			return err
		}
		if n == 0 || !counted {
			continue // known already, not a production device, or no failure of an update
		}
		if err := w.countEvent(ctx, b, e, device, version, action); err != nil {
			return err
		}
	}
	return nil
}

// failedOffer reports whether a download_fail speaks of an update: some plugins
// send it whenever an answer holds nothing to download, and then it names the
// bundle that runs, or none that the device's channel offers.
func (w *eventWriter) failedOffer(ctx context.Context, app, device, version string, e *capgo.StatsEvent) (bool, error) {
	if !decide.ReportsDownloadFail(e.PluginVersion) {
		return false, nil
	}
	snapshot, err := w.s.Snapshot(ctx, app)
	if err != nil || snapshot == nil {
		return false, nil // what is offered is not known now; the event itself is kept
	}
	find, err := w.stmt(ctx, `SELECT channel_id, version_name FROM devices WHERE app_id = $1 AND device_id = $2`)
	if err != nil {
		return false, err
	}
	var channel int64
	var runs string
	err = find.QueryRowContext(ctx, app, device).Scan(&channel, &runs)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil // it never asked, so it was offered nothing
	}
	name, _, _ := strings.Cut(version, ":")
	return err == nil && name != runs && snapshot.Offers(channel, e.Platform, name), err
}

func (w *eventWriter) countEvent(ctx context.Context, b *batch, e capgo.StatsEvent, device, version, action string) error {
	find, err := w.stmt(ctx, `SELECT channel_id FROM devices WHERE app_id = $1 AND device_id = $2`)
	if err != nil {
		return err
	}
	var channel int64
	if err := find.QueryRowContext(ctx, b.app, device).Scan(&channel); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	// A file's name may follow the version; the counts are by bundle.
	version, _, _ = strings.Cut(version, ":")
	version, action = w.s.recorder.word(b.app+" version", version, w.now), w.s.recorder.word(b.app+" action", action, w.now)
	w.counts.events[eventHour{b.app, b.at / hour * hour, channel, version, clip(e.Platform, 16), action}]++
	return nil
}

// clip cuts text from outside to a number of bytes, at a character's edge, and
// makes it such that both engines keep it.
func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return plainText(s)
}

// plainText is valid UTF-8 without NUL: PostgreSQL refuses other text, and with
// it everything else in the transaction.
func plainText(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
}

func decodeMetadata(text string, into *map[string]string) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}
