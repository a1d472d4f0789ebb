package store

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"capstan/core/failure"
)

// replica is a streaming replica of the PostgreSQL that is written to. Lists
// and statistics are read from it while it keeps up; changes, snapshots and
// whatever a change depends on are not.
type replica struct {
	db     *sql.DB
	log    *slog.Logger
	maxLag time.Duration

	usable    atomic.Bool
	lag       atomic.Int64 // nanoseconds, as last seen
	changed   atomic.Int64 // when this node last heard of a change, in nanoseconds since 1970
	reached   atomic.Int64 // when the primary was where the replica is now, likewise
	fallbacks atomic.Int64 // reads that the primary answered in the replica's stead

	mu     sync.Mutex
	passed []milestone // where the primary was, oldest first
	down   string      // why it is not used; "" while it is
}

// milestone is a place in the primary's log and when it was seen there.
type milestone struct {
	at    time.Time
	place int64 // bytes since the log's beginning
}

const (
	// replicaEvery is how often the replica is compared with its primary.
	replicaEvery = 500 * time.Millisecond
	// replicaPatience bounds the wait for a replica that does not answer.
	replicaPatience = 3 * time.Second
)

// openReplica makes the pool; it asks nobody yet, since a server starts without
// its replica. Codes database_url, replica_of_sqlite.
func openReplica(primary engine, target string, maxLag time.Duration, log *slog.Logger) (*replica, error) {
	const op = "open replica"
	if primary != enginePostgres || !IsPostgres(target) {
		return nil, failure.New(failure.Usage, "replica_of_sqlite", op, "a read replica is a PostgreSQL beside a PostgreSQL", "leave it out, or write both as postgres://user@host:5432/name")
	}
	db, err := openPostgres(target)
	if err != nil {
		return nil, failure.New(failure.Usage, "database_url", op, "the replica's URL cannot be read", "write it as postgres://user@host:5432/name")
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &replica{db: db, log: log, maxLag: maxLag, down: "not looked at yet"}, nil
}

// watch compares the replica with its primary until ctx ends.
func (r *replica) watch(ctx context.Context, primary *sql.DB) {
	tick := time.NewTicker(replicaEvery)
	defer tick.Stop()
	for {
		r.look(ctx, primary)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look decides whether the replica is used. How late it is comes from where the
// primary's log was at known times: a clock of the replica's own would call an
// idle one late.
func (r *replica) look(ctx context.Context, primary *sql.DB) {
	ctx, cancel := context.WithTimeout(ctx, replicaPatience)
	defer cancel()
	asked := time.Now()
	var place int64
	if err := primary.QueryRowContext(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint`).Scan(&place); err == nil {
		r.mu.Lock()
		r.passed = append(r.passed, milestone{asked, place})
		r.mu.Unlock()
	} // without its primary it is as late as it was
	var recovers bool
	var replayed sql.NullInt64
	err := r.db.QueryRowContext(ctx, `SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint`).Scan(&recovers, &replayed)
	switch {
	case err != nil:
		r.leave(ctx, "it does not answer: "+withoutURL(err).Error())
	case !recovers || !replayed.Valid:
		r.leave(ctx, "it is no streaming replica")
	default:
		if lag := r.lateBy(replayed.Int64, time.Now()); lag > r.maxLag {
			r.leave(ctx, "it is behind")
		} else {
			r.join()
		}
	}
}

// lateBy is the age of the newest place of the primary that the replica has
// reached. It forgets the older ones.
func (r *replica) lateBy(replayed int64, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	reached := -1
	for i, m := range r.passed {
		if m.place <= replayed {
			reached = i
		}
	}
	var lag time.Duration
	switch {
	case len(r.passed) == 0 || reached == len(r.passed)-1:
	case reached >= 0:
		lag = now.Sub(r.passed[reached].at)
	default:
		lag = now.Sub(r.passed[0].at) + replicaEvery
	}
	if reached >= 0 {
		r.reached.Store(r.passed[reached].at.UnixNano())
		r.passed = r.passed[reached:]
	}
	const kept = 240
	if len(r.passed) > kept { // far behind: its oldest place says enough
		r.passed = append(r.passed[:1], r.passed[len(r.passed)-kept/2:]...)
	}
	r.lag.Store(int64(lag))
	return lag
}

func (r *replica) leave(ctx context.Context, why string) {
	if ctx.Err() == context.Canceled {
		return // the server stops
	}
	r.usable.Store(false)
	r.mu.Lock()
	news := r.down != why
	r.down = why
	r.mu.Unlock()
	if news {
		r.log.Warn("lists are read from the primary", "replica", why, "lag", time.Duration(r.lag.Load()).Round(time.Millisecond))
	}
}

func (r *replica) join() {
	if r.usable.Swap(true) {
		return
	}
	r.mu.Lock()
	r.down = ""
	r.mu.Unlock()
	r.log.Info("lists are read from the replica")
}

// chosen reports whether a list is read from the replica now: it keeps up, and
// has every change that this node knows of, so that who made one sees it.
func (r *replica) chosen() bool {
	return r.usable.Load() && r.reached.Load() > r.changed.Load()
}

// noteChange keeps lists on the primary until the replica has the change.
func (s *Store) noteChange() {
	if r := s.db.replica; r != nil {
		r.changed.Store(time.Now().UnixNano())
	}
}

// listed reads a list or a statistic: from the replica where there is one that
// keeps up, and from the primary otherwise, or when the replica fails.
func listed[T any](ctx context.Context, s *Store, read func(querier) (T, error)) (T, error) {
	r := s.db.replica
	if r == nil {
		return read(s.db.read)
	}
	if r.chosen() {
		v, err := read(r.db)
		if err == nil || ctx.Err() != nil {
			return v, err
		}
		if f, known := failure.Find(err); !known || f.Class == failure.Unavailable {
			r.leave(ctx, "it fails")
		}
		// What is not there may only not have arrived yet.
	}
	r.fallbacks.Add(1)
	return read(s.db.read)
}

// ReplicaState says how the read replica does.
type ReplicaState struct {
	Used      bool          // lists are read from it
	Lag       time.Duration // behind its primary, when last looked
	Fallbacks int64         // lists that the primary gave in its stead
}

// Replica gives the state of the read replica; false without one.
func (s *Store) Replica() (ReplicaState, bool) {
	r := s.db.replica
	if r == nil {
		return ReplicaState{}, false
	}
	return ReplicaState{r.usable.Load(), time.Duration(r.lag.Load()), r.fallbacks.Load()}, true
}
