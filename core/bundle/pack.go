package bundle

import (
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"runtime"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"capstan/core/failure"
)

// Packed is what is known about a plain zip when its last byte is written.
type Packed struct {
	Checksum [32]byte // SHA-256
	CRC32    string   // hex
	Size     int64
	Files    int
	RawSize  int64 // bytes of the files
}

// ChecksumHex is the SHA-256 in lower-case hex.
func (p Packed) ChecksumHex() string { return hex.EncodeToString(p.Checksum[:]) }

// Pack writes the folder dir as a zip to w. Files are compressed on all cores
// and written in the order of their names; memory is bounded whatever their
// size. An error of w comes back as it is.
func Pack(ctx context.Context, dir string, w io.Writer, o Options) (Packed, error) {
	t, err := readTree(ctx, dir, o)
	if err != nil {
		return Packed{}, err
	}
	var sum digest
	sum.init()
	r := newRelay(ctx, sum.pass, writeTo(w))
	if err := t.pack(ctx, r, o); err != nil {
		r.abort(err)
		return Packed{}, err
	}
	if err := r.Close(); err != nil {
		return Packed{}, err
	}
	return Packed{Checksum: sum.sum(), CRC32: sum.crcHex(), Size: sum.size, Files: len(t.files), RawSize: t.bytes}, nil
}

// PackSealed goes from the folder dir to the sealed object on w in one pass:
// nothing is written down in between.
func PackSealed(ctx context.Context, dir string, w io.Writer, signer crypto.Signer, o Options) (Sealed, error) {
	var s *sealing
	var group errgroup.Group
	group.Go(func() (err error) { // signs the session key while the folder is read
		s, err = newSealing(ctx, w, signer)
		return err
	})
	t, err := readTree(ctx, dir, o)
	if failed := group.Wait(); err == nil {
		err = failed
	}
	if err != nil {
		if s != nil {
			s.relay.abort(err)
		}
		return Sealed{}, err
	}
	if err := t.pack(ctx, s.relay, o); err != nil {
		s.relay.abort(err)
		return Sealed{}, err
	}
	sealed, err := s.finish()
	if err != nil {
		return Sealed{}, err
	}
	sealed.Files, sealed.RawSize = len(t.files), t.bytes
	return sealed, nil
}

const (
	// blockBytes is what one worker compresses at a time. A larger file is cut
	// into blocks that are compressed side by side, each with the 32 KiB before
	// it as dictionary, and joined into one deflate stream. It is part of the
	// format's determinism: it must not depend on the machine.
	blockBytes  = 512 << 10
	windowBytes = 32 << 10
	// aheadBytes and aheadJobs bound what is read and compressed before its turn to be written.
	aheadBytes = 16 << 20
	aheadJobs  = 256
	maxWorkers = 16
	// spoolBytes of a large file's compressed blocks are held in memory until
	// their total is known; the rest goes to a temporary file.
	spoolBytes = 4 << 20
	// sampleFrom is the size from which a file is sampled before it is compressed.
	sampleFrom  = 32 << 10
	sampleBytes = 16 << 10
	maxSamples  = 8
)

// plan says what a worker does with a block.
type plan int

const (
	planWhole   plan = iota // a small file: compress, or store when that is no larger
	planDeflate             // a block of a large file
	planSum                 // a block of a large file that does not compress: its CRC only
)

// job is one block on its way through a worker.
type job struct {
	file   *file
	number int // of the file
	plan   plan
	at     int64 // offset of the block
	n      int   // its length
	last   bool  // of its file
	weight int64

	done   chan struct{}
	crc    uint32
	method uint16
	packed []byte // from the buffer pool
	found  contentFound
}

// pack writes the archive of t to w.
func (t *tree) pack(ctx context.Context, w io.Writer, o Options) error {
	level, err := o.level()
	if err != nil {
		return err
	}
	if len(t.files) == 0 {
		return failure.Newf(failure.Failed, "folder_empty", "pack bundle", "build the app first", "there is nothing to pack in %s", t.dir)
	}
	var look *preflight
	if o.Found != nil {
		look = newPreflight(t, o)
		look.layout()
		look.names()
		look.size()
		look.omitted()
		if err := look.tell(o.Found); err != nil {
			return err
		}
	}
	// A failure anywhere cancels the others; the cause is the first one.
	group, ctx := errgroup.WithContext(ctx)
	p := &packer{
		tree:    t,
		level:   level,
		ahead:   semaphore.NewWeighted(aheadBytes),
		todo:    make(chan *job, aheadJobs),
		ordered: make(chan *job, aheadJobs),
		buffers: newBuffers(),
	}
	if look != nil {
		p.found = make([]contentFound, len(t.files))
	}
	group.Go(func() error { return p.dispatch(ctx) })
	for range min(runtime.GOMAXPROCS(0), maxWorkers) {
		group.Go(func() error { return p.work(ctx) })
	}
	group.Go(func() error { return p.collect(ctx, w, o.Progress) })
	if err := group.Wait(); err != nil || look == nil {
		return err
	}
	look.contents(p.found)
	return look.tell(o.Found)
}

type packer struct {
	tree    *tree
	level   int
	ahead   *semaphore.Weighted
	todo    chan *job
	ordered chan *job
	buffers *buffers
	// found is for each file what was seen in it, nil when nobody asks.
	found []contentFound
}

// dispatch cuts the files into jobs. Room is taken in the order in which it is
// given back, so the job that everyone waits for always has its own.
func (p *packer) dispatch(ctx context.Context) error {
	defer close(p.todo)
	defer close(p.ordered)
	sampler := &sampler{}
	for i := range p.tree.files {
		f := &p.tree.files[i]
		if f.size() <= blockBytes {
			if err := p.send(ctx, &job{file: f, number: i, plan: planWhole, n: int(f.size()), last: true}); err != nil {
				return err
			}
			continue
		}
		what := planDeflate
		h, err := p.tree.open(f)
		if err != nil {
			return err
		}
		dense, err := sampler.dense(h, f.size())
		h.Close()
		if err != nil {
			return unreadable(f.name, err)
		}
		if dense {
			what = planSum
		}
		for at := int64(0); at < f.size(); at += blockBytes {
			n := int(min(blockBytes, f.size()-at))
			if err := p.send(ctx, &job{file: f, number: i, plan: what, at: at, n: n, last: at+int64(n) == f.size()}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *packer) send(ctx context.Context, j *job) error {
	j.done = make(chan struct{})
	j.weight = int64(j.n) + 4096 // an empty file costs something too
	if err := p.ahead.Acquire(ctx, j.weight); err != nil {
		return err
	}
	for _, to := range []chan *job{p.ordered, p.todo} {
		select {
		case to <- j:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// work compresses blocks until there are no more.
func (p *packer) work(ctx context.Context) error {
	w := worker{packer: p, in: make([]byte, windowBytes+blockBytes), sampler: &sampler{}}
	defer w.close()
	var err error
	if w.deflate, err = flate.NewWriter(io.Discard, p.level); err != nil {
		return err
	}
	w.tiny = w.deflate
	if p.level == DefaultLevel {
		if w.tiny, err = flate.NewWriter(io.Discard, tinyLevel); err != nil {
			return err
		}
	}
	for j := range p.todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.do(j); err != nil {
			return err
		}
		close(j.done)
	}
	return nil
}

// worker is what one goroutine needs to compress blocks.
type worker struct {
	*packer
	in      []byte
	deflate *flate.Writer
	tiny    *flate.Writer // for files below tinyFile
	sampler *sampler
	// entropy codes bytes by how frequent they are, and looks for no repetition;
	// nil until it is needed.
	entropy *flate.Writer
	// open is the large file that the last block came from.
	open     *os.File
	openName string
}

func (w *worker) close() {
	if w.open != nil {
		w.open.Close()
	}
}

func (w *worker) do(j *job) error {
	look := w.found != nil && j.at < scanBytes && isText(j.file.name)
	window := int(min(windowBytes, j.at))
	switch {
	case j.plan == planSum && look:
		window = int(min(overlap, j.at))
	case j.plan == planSum:
		window = 0
	}
	in := w.in[:window+j.n]
	if err := w.read(j, in, j.at-int64(window)); err != nil {
		return err
	}
	if look {
		j.found.look(in[max(0, window-overlap):])
	}
	block := in[window:]
	j.crc = crc32.ChecksumIEEE(block)
	if j.plan == planSum {
		return nil
	}
	out := sliceWriter{w.buffers.take(j.n)}
	if j.plan == planWhole && w.sampler.denseBytes(block) {
		j.method, j.packed = methodStored, append(out.b, block...)
		return nil
	}
	deflate := w.deflate
	if j.plan == planWhole && j.n < tinyFile {
		deflate = w.tiny
	}
	deflate.ResetDict(&out, in[:window])
	if _, err := deflate.Write(block); err != nil {
		return err
	}
	end := deflate.Close
	if !j.last {
		end = deflate.Flush
	}
	if err := end(); err != nil {
		return err
	}
	// The fast levels take data of few different bytes without repetition, such
	// as long runs of base64, for compressed already and store it. How frequent
	// its bytes are is enough to compress it.
	if len(out.b) > len(block)*7/8 && unevenMiddle(block) {
		again := sliceWriter{w.buffers.take(j.n)}
		if w.entropy == nil {
			w.entropy, _ = flate.NewWriter(nil, flate.HuffmanOnly) // the level is known to exist
		}
		w.entropy.Reset(&again)
		if _, err := w.entropy.Write(block); err != nil {
			return err
		}
		end = w.entropy.Close
		if !j.last {
			end = w.entropy.Flush
		}
		if err := end(); err != nil {
			return err
		}
		if len(again.b) < len(out.b) {
			again, out = out, again
		}
		w.buffers.give(again.b)
	}
	j.method, j.packed = methodDeflate, out.b
	if j.plan == planWhole && len(out.b) >= len(block) {
		j.method, j.packed = methodStored, append(out.b[:0], block...)
	}
	return nil
}

// read fills in from the job's file. The file is looked at again afterwards:
// what was read of a file that changed meanwhile is worth nothing.
func (w *worker) read(j *job, in []byte, at int64) error {
	if j.plan == planWhole {
		h, err := w.tree.open(j.file)
		if err != nil {
			return err
		}
		defer h.Close()
		if err := readFull(j.file, h, in, at); err != nil {
			return err
		}
		return j.file.same(h)
	}
	if w.openName != j.file.name {
		w.close()
		w.open, w.openName = nil, ""
		h, err := w.tree.open(j.file)
		if err != nil {
			return err
		}
		w.open, w.openName = h, j.file.name
	}
	if err := readFull(j.file, w.open, in, at); err != nil {
		return err
	}
	return j.file.same(w.open)
}

func readFull(f *file, h *os.File, in []byte, at int64) error {
	_, err := io.ReadFull(io.NewSectionReader(h, at, int64(len(in))), in)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return changed(f)
	case err != nil:
		return unreadable(f.name, err)
	}
	return nil
}

type sliceWriter struct{ b []byte }

func (s *sliceWriter) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// collect writes the blocks in order.
func (p *packer) collect(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	zip := &zipWriter{w: w}
	report := func(int64) {}
	if progress != nil {
		var done int64
		report = func(n int64) {
			done += n
			progress(done, p.tree.bytes)
		}
		report(0)
	}
	var large *largeFile
	defer func() { large.close() }()
	for j := range p.ordered {
		select {
		case <-j.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if j.plan == planWhole {
			if err := zip.header(j.file.name, j.method, j.crc, int64(len(j.packed)), int64(j.n)); err != nil {
				return err
			}
			if _, err := w.Write(j.packed); err != nil {
				return err
			}
			report(int64(j.n))
		} else {
			if large == nil {
				large = &largeFile{}
			}
			if err := large.add(j); err != nil {
				return err
			}
			if j.plan == planDeflate {
				report(int64(j.n))
			}
			if j.last {
				if err := large.write(p.tree, zip, j, report); err != nil {
					return err
				}
				large.close()
				large = nil
			}
		}
		if p.found != nil {
			f := &p.found[j.number]
			f.ready, f.key = f.ready || j.found.ready, f.key || j.found.key
		}
		p.recycle(j)
	}
	if err := ctx.Err(); err != nil { // the dispatcher stopped early
		return err
	}
	if err := zip.close(); err != nil {
		return err
	}
	if zip.offset > MaxBytes {
		return failure.New(failure.Failed, "too_large", "pack bundle", "the bundle is larger than 4 GiB", "exclude what devices do not need")
	}
	return nil
}

func (p *packer) recycle(j *job) {
	if j.packed != nil {
		p.buffers.give(j.packed)
		j.packed = nil
	}
	p.ahead.Release(j.weight)
}

// largeFile gathers the blocks of one file until its sizes are known.
type largeFile struct {
	crc    uint32
	size   int64
	packed int64
	held   []byte
	spool  *os.File
}

func (l *largeFile) add(j *job) error {
	l.crc = joinCRC(l.crc, j.crc, int64(j.n))
	l.size += int64(j.n)
	l.packed += int64(len(j.packed))
	if l.spool == nil && len(l.held)+len(j.packed) <= spoolBytes {
		l.held = append(l.held, j.packed...)
		return nil
	}
	if l.spool == nil {
		f, err := os.CreateTemp("", "capstan-*")
		if err != nil {
			return spoolFailed(err)
		}
		l.spool = f
	}
	if _, err := l.spool.Write(j.packed); err != nil {
		return spoolFailed(err)
	}
	return nil
}

func spoolFailed(err error) error {
	return failure.Wrap(err, failure.Failed, "spool_failed", "pack bundle", "free some space where temporary files go (TMPDIR)")
}

// write puts the gathered file into the archive. A file that is stored is read
// again: its bytes must be those that were summed.
func (l *largeFile) write(t *tree, zip *zipWriter, j *job, report func(int64)) error {
	if j.plan == planDeflate {
		if err := zip.header(j.file.name, methodDeflate, l.crc, l.packed, l.size); err != nil {
			return err
		}
		if _, err := zip.w.Write(l.held); err != nil || l.spool == nil {
			return err
		}
		if _, err := l.spool.Seek(0, io.SeekStart); err != nil {
			return spoolFailed(err)
		}
		n, err := copyChunks(zip.w, l.spool, nil)
		if err == nil && n != l.packed-int64(len(l.held)) {
			err = spoolFailed(io.ErrUnexpectedEOF)
		}
		return err
	}
	if err := zip.header(j.file.name, methodStored, l.crc, l.size, l.size); err != nil {
		return err
	}
	h, err := t.open(j.file)
	if err != nil {
		return err
	}
	defer h.Close()
	var crc uint32
	n, err := copyChunks(zip.w, io.LimitReader(h, l.size), func(chunk []byte) {
		crc = crc32.Update(crc, crc32.IEEETable, chunk)
		report(int64(len(chunk)))
	})
	if err != nil {
		return err
	}
	if n != l.size || crc != l.crc {
		return changed(j.file)
	}
	return j.file.same(h)
}

// copyChunks copies src to dst, showing each piece to seen.
func copyChunks(dst io.Writer, src io.Reader, seen func([]byte)) (total int64, err error) {
	buf := make([]byte, 128<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			total += int64(n)
			if seen != nil {
				seen(buf[:n])
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return total, err
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (l *largeFile) close() {
	if l == nil || l.spool == nil {
		return
	}
	l.spool.Close()
	os.Remove(l.spool.Name())
	l.spool = nil
}

// sampler guesses whether data is compressed already, by compressing a few
// pieces of it fast. The guess depends on the data alone.
type sampler struct {
	deflate *flate.Writer // nil until a piece is compressed
	buf     []byte
	count   countWriter
}

type countWriter int

func (c *countWriter) Write(p []byte) (int, error) {
	*c += countWriter(len(p))
	return len(p), nil
}

// gain gives by how many bytes a piece shrinks.
func (s *sampler) gain(piece []byte) int {
	s.count = 0
	if s.deflate == nil {
		s.deflate, _ = flate.NewWriter(nil, flate.BestSpeed) // the level is known to exist
	}
	s.deflate.Reset(&s.count)
	s.deflate.Write(piece)
	s.deflate.Close()
	return max(0, len(piece)-int(s.count))
}

// offsets spreads samples over size bytes, the first at 0, the last at the end.
func offsets(size int64) []int64 {
	n := min(maxSamples, max(2, size/(128<<10)))
	at := make([]int64, n)
	for i := range at {
		at[i] = (size - sampleBytes) * int64(i) / (n - 1)
	}
	return at
}

// A file counts as dense when its samples shrink by less than 1/256.

func (s *sampler) denseBytes(b []byte) bool {
	if len(b) < sampleFrom || unevenMiddle(b) {
		return false
	}
	gain, seen := 0, 0
	for _, at := range offsets(int64(len(b))) {
		gain += s.gain(b[at : at+sampleBytes])
		seen += sampleBytes
		if gain > maxSamples*sampleBytes/256 { // cannot become dense any more
			return false
		}
	}
	return gain < seen/256
}

// uneven reports whether some bytes are so much more frequent than others that
// compressing is sure to help: text and code show it in a few microseconds.
func uneven(b []byte) bool {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	squares := 0
	for _, n := range count {
		squares += n * n
	}
	// Evenly spread bytes give len²/256 + len on average.
	return squares > 2*(len(b)*len(b)/256+len(b))
}

// unevenMiddle looks at 4 KiB from the middle of a piece.
func unevenMiddle(b []byte) bool {
	b = b[len(b)/2:]
	return uneven(b[:min(len(b), 4096)])
}

func (s *sampler) dense(r io.ReaderAt, size int64) (bool, error) {
	gain, seen := 0, 0
	if s.buf == nil {
		s.buf = make([]byte, sampleBytes)
	}
	for _, at := range offsets(size) {
		n, err := r.ReadAt(s.buf, at)
		if err != nil && err != io.EOF {
			return false, err
		}
		if unevenMiddle(s.buf[:n]) {
			return false, nil
		}
		gain += s.gain(s.buf[:n])
		seen += n
		if gain > maxSamples*sampleBytes/256 {
			return false, nil
		}
	}
	return gain < seen/256, nil
}
