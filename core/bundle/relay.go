package bundle

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// relayChunk is the unit in which bytes pass through a relay: large enough
// that handing it on costs nothing, small enough to stay in the second-level cache.
const relayChunk = 256 << 10

// relaySlack leaves room in each chunk for a last stage to append padding.
const relaySlack = 16

// stage works on one chunk in place and gives the slice to pass on. Every
// chunk but the last is exactly relayChunk bytes; the last may be empty.
type stage func(chunk []byte, last bool) ([]byte, error)

// relay is a writer whose bytes pass through stages in order, each on a
// goroutine of its own, so that hashing and encrypting overlap. Memory is a
// fixed number of chunks.
type relay struct {
	ctx    context.Context
	free   chan []byte
	head   chan parcel
	cur    []byte
	wait   sync.WaitGroup
	failed atomic.Pointer[error]
	closed bool
}

// chunkPool lends chunks from one relay to the next.
var chunkPool = sync.Pool{New: func() any { b := make([]byte, 0, relayChunk+relaySlack); return &b }}

type parcel struct {
	chunk []byte
	last  bool
}

func newRelay(ctx context.Context, stages ...stage) *relay {
	chunks := len(stages)*2 + 1
	r := &relay{ctx: ctx, free: make(chan []byte, chunks), head: make(chan parcel, 1)}
	for range chunks {
		r.free <- *chunkPool.Get().(*[]byte)
	}
	in := r.head
	for i, work := range stages {
		var out chan parcel
		if i < len(stages)-1 {
			out = make(chan parcel, 1)
		}
		r.wait.Add(1)
		go r.run(work, in, out)
		in = out
	}
	return r
}

// run keeps taking chunks after a failure, so that nobody before it blocks.
func (r *relay) run(work stage, in <-chan parcel, out chan<- parcel) {
	defer r.wait.Done()
	if out != nil {
		defer close(out)
	}
	for p := range in {
		if r.failed.Load() == nil {
			chunk, err := work(p.chunk, p.last)
			if err != nil {
				r.failed.CompareAndSwap(nil, &err)
			} else {
				p.chunk = chunk
			}
		}
		if out != nil {
			out <- p
			continue
		}
		r.free <- p.chunk[:0]
	}
}

func (r *relay) err() error {
	if e := r.failed.Load(); e != nil {
		return *e
	}
	return r.ctx.Err()
}

func (r *relay) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if r.cur == nil {
			if err := r.err(); err != nil {
				return 0, err
			}
			r.cur = <-r.free
		}
		n := min(len(p), relayChunk-len(r.cur))
		r.cur = append(r.cur, p[:n]...)
		p = p[n:]
		if len(r.cur) == relayChunk {
			r.head <- parcel{chunk: r.cur}
			r.cur = nil
		}
	}
	return written, nil
}

// ReadFrom fills chunks straight from src.
func (r *relay) ReadFrom(src io.Reader) (total int64, err error) {
	for {
		if r.cur == nil {
			if err := r.err(); err != nil {
				return total, err
			}
			r.cur = <-r.free
		}
		n, err := src.Read(r.cur[len(r.cur):relayChunk])
		total += int64(n)
		r.cur = r.cur[:len(r.cur)+n]
		if len(r.cur) == relayChunk {
			r.head <- parcel{chunk: r.cur}
			r.cur = nil
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Close sends the last chunk, waits for every stage and gives the first failure.
func (r *relay) Close() error {
	if r.closed {
		return r.err()
	}
	r.closed = true
	if r.cur == nil {
		r.cur = <-r.free
	}
	r.head <- parcel{chunk: r.cur, last: true}
	close(r.head)
	r.wait.Wait()
	r.giveBack()
	return r.err()
}

func (r *relay) giveBack() {
	for {
		select {
		case chunk := <-r.free:
			if cap(chunk) == relayChunk+relaySlack { // a stage may have cut the front off
				chunk = chunk[:0]
				chunkPool.Put(&chunk)
			}
		default:
			return
		}
	}
}

// abort stops the stages without the last chunk, after a failure of the writer's side.
func (r *relay) abort(cause error) {
	if r.closed {
		return
	}
	r.closed = true
	r.failed.CompareAndSwap(nil, &cause)
	close(r.head)
	r.wait.Wait()
	r.giveBack()
}

// writeTo is the stage that hands chunks to w.
func writeTo(w io.Writer) stage {
	return func(chunk []byte, _ bool) ([]byte, error) {
		if len(chunk) == 0 {
			return chunk, nil
		}
		n, err := w.Write(chunk)
		if err == nil && n < len(chunk) {
			err = io.ErrShortWrite
		}
		return chunk, err
	}
}
