package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"sync"
	"time"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

// stall is how long a transfer may move no byte before it is given up.
const stall = 90 * time.Second

// watchdog cancels a transfer that stands still.
type watchdog struct {
	timer  *time.Timer
	limit  time.Duration
	giveUp func() // ends the transfer at once
}

// watch gives a context that ends when nobody calls alive for limit.
func watch(ctx context.Context, limit time.Duration) (context.Context, *watchdog, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{limit: limit, giveUp: func() { cancel(context.Canceled) }}
	w.timer = time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	return ctx, w, func() { w.timer.Stop(); cancel(nil) }
}

func (w *watchdog) alive() { w.timer.Reset(w.limit) }

// upload is the body of one attempt: it reads src in order, hashes it, reports
// progress, and keeps the last bytes back until the hash is known to be right,
// so that a service never gets a whole object of wrong content.
type upload struct {
	ctx      context.Context
	src      *io.SectionReader
	size     int64
	want     string
	progress func(int64)
	dog      *watchdog

	mu   sync.Mutex // net/http may close while it reads
	hash hash.Hash
	done int64
	bad  bool  // the bytes did not have the expected hash
	err  error // the source could not be read
}

func newUpload(ctx context.Context, src io.ReaderAt, size int64, want string, progress func(int64), dog *watchdog) *upload {
	return &upload{ctx: ctx, src: io.NewSectionReader(src, 0, size), size: size, want: want, progress: progress, dog: dog, hash: sha256.New()}
}

// Read hands out the next bytes. The bytes handed out by the call before count
// as written: net/http reads on only when the connection took them.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	if u.dog != nil {
		u.dog.alive()
	}
	if u.progress != nil {
		u.progress(u.done)
	}
	n, err := u.src.Read(p)
	u.hash.Write(p[:n])
	u.done += int64(n)
	if u.done == u.size && n > 0 && hex.EncodeToString(u.hash.Sum(nil)) != u.want {
		u.bad = true
		return 0, errHash("the object")
	}
	if err == io.EOF && u.done < u.size {
		u.bad = true // the file shrank
		return 0, errHash("the object")
	}
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}

// fault says what was wrong with the source itself, nil when nothing was: the
// service is not to blame then, and another attempt is useless.
func (u *upload) fault(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.bad:
		return errHash(name)
	case u.err != nil:
		return errSource(u.err)
	}
	return nil
}

func errStall(host string) error {
	return failure.Newf(failure.Unavailable, "remote_timeout", "store the object", "check the network, then repeat the command", "%s took no byte for %s", host, stall)
}

func errSource(err error) error {
	return failure.Newf(failure.Failed, "source_unreadable", "store the object", "check the disk that holds the sealed bundle",
		"the sealed bundle cannot be read: %s", transport.Clean(err.Error()))
}
