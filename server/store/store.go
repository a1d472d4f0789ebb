// Package store keeps what the update server knows: apps, bundles, channels,
// devices, events, tokens and the audit, in SQLite or PostgreSQL.
//
// Start with Open. Every change of what devices are answered is one
// transaction that also appends to the audit; when it returns, the change is
// durable and the app's snapshot is rebuilt. Snapshot, which answers devices,
// never touches the database.
//
// Times are kept as milliseconds since 1970. Errors are *failure.Error with the
// codes of Capgo's API where it has one; a fault of the database has class
// Unavailable and code store_unavailable.
package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"capstan/core/failure"
)

// Limits bound what strangers can make the server keep.
type Limits struct {
	DevicesPerApp int64 // rows of devices of one app
	SelfSetPerApp int64 // channels chosen by devices of one app
	EventsPerApp  int64 // events kept of one app; the oldest go first
	// QueueEvents is how many events may wait to be written before Record
	// refuses; QueueDevices how many polls may wait before they are dropped.
	QueueEvents, QueueDevices int
}

// DefaultLimits are the limits of a server that is not told otherwise.
var DefaultLimits = Limits{DevicesPerApp: 2_000_000, SelfSetPerApp: 50_000, EventsPerApp: 5_000_000, QueueEvents: 40_000, QueueDevices: 200_000}

// Options tune Open. The zero value is a good choice.
type Options struct {
	Limits Limits // zero fields take DefaultLimits
	Log    *slog.Logger
	Now    func() time.Time // the clock; time.Now when nil
	// Refresh is how often the store looks for changes made by other
	// processes; 2 s when zero.
	Refresh time.Duration
	// Replica is the postgres:// URL of a streaming replica from which lists and
	// statistics are read while it is at most ReplicaLag behind; 10 s when zero.
	Replica    string
	ReplicaLag time.Duration
	// Ledger signs the checkpoints of the release ledger; nil leaves them unsigned.
	Ledger note.Signer
}

// Store is the server's memory. It is safe for concurrent use.
type Store struct {
	db     *database
	limits Limits
	log    *slog.Logger
	now    func() time.Time
	signer note.Signer

	snapshots snapshots
	recorder  recorder
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// Open opens or creates the database at target: a file path, or a
// postgres:// URL. It applies the migrations that are missing, loads every app
// and starts the writers. A database of a newer capstan is refused.
func Open(ctx context.Context, target string, o Options) (*Store, error) {
	fill := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&o.Limits.DevicesPerApp, DefaultLimits.DevicesPerApp)
	fill(&o.Limits.SelfSetPerApp, DefaultLimits.SelfSetPerApp)
	fill(&o.Limits.EventsPerApp, DefaultLimits.EventsPerApp)
	if o.Limits.QueueEvents == 0 {
		o.Limits.QueueEvents = DefaultLimits.QueueEvents
	}
	if o.Limits.QueueDevices == 0 {
		o.Limits.QueueDevices = DefaultLimits.QueueDevices
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refresh == 0 {
		o.Refresh = 2 * time.Second
	}
	db, err := connect(ctx, target)
	if err != nil {
		return nil, err
	}
	if o.Replica != "" {
		if o.ReplicaLag == 0 {
			o.ReplicaLag = 10 * time.Second
		}
		if db.replica, err = openReplica(db.engine, o.Replica, o.ReplicaLag, o.Log); err != nil {
			db.close()
			return nil, err
		}
	}
	s := &Store{db: db, limits: o.Limits, log: o.Log, now: o.Now, signer: o.Ledger}
	if err := s.migrate(ctx); err != nil {
		db.close()
		return nil, err
	}
	if err := s.catchUp(ctx); err != nil {
		db.close()
		return nil, err
	}
	if err := s.loadAll(ctx); err != nil {
		db.close()
		return nil, err
	}
	if err := s.recorder.open(ctx, s); err != nil {
		db.close()
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Add(2)
	go func() { defer s.running.Done(); s.recorder.run(background) }()
	go func() { defer s.running.Done(); s.watch(background, target, o.Refresh) }()
	if db.replica != nil {
		s.running.Go(func() { db.replica.watch(background, db.read) })
	}
	return s, nil
}

// Close writes what is queued and closes the database.
func (s *Store) Close() error {
	s.stop()
	s.running.Wait()
	return s.db.close()
}

// Ping reports whether the database can be written to.
func (s *Store) Ping(ctx context.Context) error {
	return s.change(ctx, func(tx *tx) error {
		return tx.exec(ctx, `INSERT INTO pulse (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at`, s.ms())
	})
}

// ms is the current time as the database keeps it.
func (s *Store) ms() int64 { return s.now().UnixMilli() }

func fromMS(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func fromNullMS(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	t := fromMS(ms.Int64)
	return &t
}

// fault classes an error of the database. A *failure.Error passes unchanged.
func fault(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, known := failure.Find(err); known {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if strings.Contains(err.Error(), "database or disk is full") {
		return failure.Wrap(err, failure.Unavailable, "disk_full", op, "free space on the volume of the data directory")
	}
	return failure.Wrap(err, failure.Unavailable, "store_unavailable", op, "see the server's log and the volume of its data directory")
}
