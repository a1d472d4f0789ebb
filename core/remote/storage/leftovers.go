package storage

import (
	"context"
	"time"
)

// Leftover is an upload that was begun and not finished: it takes space, and
// nobody sees it.
type Leftover struct {
	Name    string
	ID      string // the service's own
	Size    int64  // bytes that are there; 0 where the service does not tell
	Started time.Time
}

// Cleaner is a Storage that keeps unfinished uploads. A release that is run
// again continues them; what nobody continues can be dropped.
type Cleaner interface {
	Leftovers(ctx context.Context) ([]Leftover, error)
	Discard(ctx context.Context, l Leftover) error
}

var _ Cleaner = (*s3)(nil)
