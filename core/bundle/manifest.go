package bundle

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/andybalholm/brotli"
	"golang.org/x/sync/errgroup"

	"capstan/core/failure"
)

// A delta update is a list of files that devices fetch one by one, skipping
// those that they have. Each is compressed with brotli if that helps, then
// encrypted with the session key and IV of the bundle; its hash is that of the
// plain file, signed like a checksum.

const (
	// brotliFrom is the size from which a file is compressed, brotliGain what
	// compressing must save at least: the Capgo CLI's rule.
	brotliFrom = 8192
	brotliGain = 10
	// DefaultQuality of brotli is some 30 times faster than the densest, 11. It
	// costs a tenth more bytes in small scripts, and a fortieth over a whole build.
	DefaultQuality = 6
	// smallFile fits into brotli's window of 2^16 bytes less 16. For such files
	// that window asks for a thirtieth of the memory of the default one of 2^22,
	// which takes longer to touch than the file to compress: a third of the time
	// over a whole build, for the same size.
	smallFile, smallWindow = 1<<16 - 16, 16
	// heldBytes of one file are kept in memory while it is prepared; larger ones go through a temporary file.
	heldBytes = 4 << 20
	// signedTogether files have eight signed hashes, which some signers make in
	// the time of one or two. They are prepared by one worker, so that together
	// they must be small enough not to leave the others without work.
	signedTogether, bytesTogether = 4, 512 << 10
)

// ManifestOptions say how the files of a delta update are made.
type ManifestOptions struct {
	Options
	// Quality of brotli from 1 to 11; 0 is DefaultQuality. Devices read them all.
	Quality int
	// Cache, if not nil, spares what was compressed and signed before.
	Cache *Cache
	// Put, if not nil, is given the stored bytes of each file, to upload them.
	// It is called from several goroutines; stored is valid until it returns.
	Put func(ctx context.Context, f ManifestFile, stored io.ReaderAt) error
}

// ManifestFile is one file of a delta update.
type ManifestFile struct {
	// Name is the file's path in the bundle; FileName the same as devices are
	// told it, with .br when the stored bytes are brotli.
	Name     string `json:"name"`
	FileName string `json:"file_name"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	// HashV2 and HashV3 are the signed hashes, "" in a plain bundle.
	HashV2 string `json:"hash_v2,omitempty"`
	HashV3 string `json:"hash_v3,omitempty"`
	// StoredSize and StoredSHA256 are of the bytes that devices download.
	StoredSize   int64  `json:"stored_size"`
	StoredSHA256 string `json:"stored_sha256"`
}

// Hash gives the value of file_hash for one form of checksum.
func (f ManifestFile) Hash(form Form) string {
	switch form {
	case FormV2:
		return f.HashV2
	case FormV3:
		return f.HashV3
	case FormSHA256:
		return f.SHA256
	}
	return ""
}

// BuildManifest makes the files of a delta update of the folder dir, for the
// bundle that was sealed from the same folder: it must have been packed with
// the same Include, Exclude and SourceMaps. signer is the one that sealed it;
// with a nil signer and an empty session key the files are plain.
//
// Empty files are left out, as devices refuse them; a build that needs one, or
// whose names or number a delta update cannot carry, is refused with the codes
// manifest_name, manifest_collision, manifest_too_many and manifest_empty.
func BuildManifest(ctx context.Context, dir string, sealed Sealed, signer crypto.Signer, o ManifestOptions) ([]ManifestFile, error) {
	t, err := readTree(ctx, dir, o.Options)
	if err != nil {
		return nil, err
	}
	b := &manifestBuilder{tree: t, signer: signer, quality: o.Quality, put: o.Put, cache: o.Cache}
	if b.quality == 0 {
		b.quality = DefaultQuality
	}
	if b.quality < 1 || b.quality > 11 {
		return nil, failure.Newf(failure.Usage, "level_unknown", "make delta update", "choose a quality from 1 to 11", "there is no brotli quality %d", o.Quality)
	}
	if (signer == nil) != (sealed.SessionKey == "") {
		return nil, failure.New(failure.Usage, "signer_missing", "make delta update", "a sealed bundle needs its signer, and a plain one none", "")
	}
	if signer != nil {
		pub, _ := signer.Public().(*rsa.PublicKey)
		if b.iv, b.key, err = RecoverSessionKey(pub, sealed.SessionKey); err != nil {
			return nil, err
		}
		b.known = o.Cache.signatures(pub)
		defer b.known.keep(o.Cache, signer)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return b.build(ctx, o.Progress)
}

// CheckDelta says whether a delta update can carry the folder dir: nil, or the
// refusal that BuildManifest would give.
func CheckDelta(ctx context.Context, dir string, o Options) error {
	t, err := readTree(ctx, dir, o)
	if err != nil {
		return err
	}
	return (&manifestBuilder{tree: t}).check()
}

// CheckFileNames refuses a list of file_name values that devices would read
// differently or not at all: too many, unsafe, with a space, or two that are
// one file once .br is cut off. Codes manifest_name, manifest_collision,
// manifest_too_many and manifest_empty.
func CheckFileNames(fileNames []string) error {
	const op, hint = "read the delta update", "make it with capstan"
	switch {
	case len(fileNames) == 0:
		return failure.New(failure.Verification, "manifest_empty", op, "the list of files is empty", hint)
	case len(fileNames) > maxManifest:
		return failure.Newf(failure.Verification, "manifest_too_many", op, hint, "a delta update holds at most %d files, this one has %d", maxManifest, len(fileNames))
	}
	targets := make(map[string]bool, len(fileNames))
	for _, fileName := range fileNames {
		name := strings.TrimSuffix(fileName, ".br")
		why := badName(name)
		if why == "" && strings.Contains(name, " ") {
			why = "the name contains a space"
		}
		if why != "" {
			return failure.Newf(failure.Verification, "manifest_name", op, hint, "%q cannot stand in a delta update: %s", quoted(fileName), why)
		}
		key := foldName(name)
		if targets[key] {
			return failure.Newf(failure.Verification, "manifest_collision", op, hint, "%q stands twice in the list of files", quoted(fileName))
		}
		targets[key] = true
	}
	return nil
}

type manifestBuilder struct {
	tree    *tree
	files   []*file // those that are not empty
	signer  crypto.Signer
	known   *signatures // of signer
	iv, key []byte      // nil in a plain bundle
	quality int
	cache   *Cache
	put     func(context.Context, ManifestFile, io.ReaderAt) error
}

// check refuses what a delta update cannot carry.
func (b *manifestBuilder) check() error {
	targets := map[string]string{}
	for i := range b.tree.files {
		f := &b.tree.files[i]
		hint := "rename it, or ship the bundle as a zip"
		switch {
		case strings.Contains(f.name, " "):
			return failure.Newf(failure.Failed, "manifest_name", "make delta update", hint, "%q has a space in its name", quoted(f.name))
		case strings.HasSuffix(f.name, ".br"):
			return failure.Newf(failure.Failed, "manifest_name", "make delta update", hint, "%q ends in .br, which devices would decode and cut off", quoted(f.name))
		}
		key := foldName(f.name)
		if other, taken := targets[key]; taken {
			return failure.Newf(failure.Failed, "manifest_collision", "make delta update", hint, "%q and %q are one file", quoted(other), quoted(f.name))
		}
		targets[key] = f.name
		if f.size() > 0 {
			b.files = append(b.files, f)
		}
	}
	switch {
	case len(b.files) > maxManifest:
		return failure.Newf(failure.Failed, "manifest_too_many", "make delta update", "ship the bundle as a zip", "a delta update holds at most %d files, this build has %d", maxManifest, len(b.files))
	case len(b.files) == 0:
		return failure.New(failure.Failed, "manifest_empty", "make delta update", "there is no file with content", "build the app first")
	}
	return nil
}

func (b *manifestBuilder) build(ctx context.Context, progress func(done, total int64)) ([]ManifestFile, error) {
	out := make([]ManifestFile, len(b.files))
	finished := make(chan int64, len(b.files))
	group, ctx := errgroup.WithContext(ctx)
	if progress != nil {
		group.Go(func() error {
			var done int64
			for range b.files {
				select {
				case n := <-finished:
					done += n
					progress(done, b.tree.bytes)
				case <-ctx.Done():
					return nil
				}
			}
			return nil
		})
	}
	// Each worker takes the next files until there are none: large ones do not
	// hold the others up, and a brotli writer is made once a worker.
	type span struct{ from, to int }
	next := make(chan span)
	group.Go(func() error {
		defer close(next)
		for from := 0; from < len(b.files); {
			to := from + together(b.files[from:])
			select {
			case next <- span{from, to}:
			case <-ctx.Done():
				return ctx.Err()
			}
			from = to
		}
		return nil
	})
	workers, _ := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), maxWorkers) {
		workers.Go(func() error {
			w := newManifestWorker(b.quality)
			for s := range next {
				if err := b.some(ctx, b.files[s.from:s.to], out[s.from:s.to], w, finished); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(workers.Wait)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// together says how many files, from the first on, a worker prepares in one go.
func together(files []*file) (n int) {
	var size int64
	for n < min(len(files), signedTogether) && (n == 0 || size+files[n].size() <= bytesTogether) {
		size += files[n].size()
		n++
	}
	return n
}

// manifestWorker is what a goroutine needs for one file after the other.
type manifestWorker struct {
	small, large *brotli.Writer
	copying      []byte
	held         []byte // the plain files, one behind the other
}

func newManifestWorker(quality int) *manifestWorker {
	return &manifestWorker{
		small:   brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: quality, LGWin: smallWindow}),
		large:   brotli.NewWriterLevel(io.Discard, quality),
		copying: make([]byte, 64<<10),
	}
}

// openedFile is a file of the build whose hash is known. It is read from the disk
// once, or once more if it is too large to be held.
type openedFile struct {
	*file
	sum    [32]byte
	held   []byte   // nil: too large
	handle *os.File // open while it may be read again, else nil
}

func (p *openedFile) close() {
	if p.handle != nil {
		p.handle.Close()
	}
}

// again gives the content a second time, and a function that says afterwards
// whether it was the same.
func (p *openedFile) again(ctx context.Context) (content io.Reader, same func() error) {
	if p.held != nil {
		return bytes.NewReader(p.held), func() error { return nil }
	}
	hash := sha256.New()
	from := io.NewSectionReader(p.handle, 0, p.size())
	return io.TeeReader(contextReader{ctx, from}, hash), func() error {
		if [32]byte(hash.Sum(nil)) != p.sum {
			return changed(p.file)
		}
		return nil
	}
}

// some prepares files that belong together: it hashes them all, has the hashes
// signed, and goes on with one after the other.
func (b *manifestBuilder) some(ctx context.Context, files []*file, out []ManifestFile, w *manifestWorker, finished chan<- int64) error {
	opened, err := b.read(ctx, files, w)
	defer func() {
		for _, p := range opened {
			p.close()
		}
	}()
	if err != nil {
		return err
	}
	if err := b.sign(opened, out); err != nil {
		return err
	}
	for i, p := range opened {
		if err := b.one(ctx, p, &out[i], w); err != nil {
			return err
		}
		finished <- p.size()
	}
	return nil
}

// read reads files for the first time. What it holds of them is valid until the
// worker reads others; those that it gives beside an error must be closed, too.
func (b *manifestBuilder) read(ctx context.Context, files []*file, w *manifestWorker) (opened []*openedFile, err error) {
	var size int64
	for _, f := range files {
		size += f.size()
	}
	if size <= heldBytes && int64(cap(w.held)) < size {
		w.held = make([]byte, 0, size)
	}
	room := w.held
	for _, f := range files {
		p, err := b.readOne(ctx, f, room[:0], w.copying)
		if err != nil {
			return opened, err
		}
		opened = append(opened, p)
		if p.held != nil {
			room = room[f.size():f.size():cap(room)]
		}
	}
	return opened, nil
}

// readOne reads a file and hashes it. If it is not too large its content goes
// into room, and nothing more is read of it.
func (b *manifestBuilder) readOne(ctx context.Context, f *file, room, copying []byte) (*openedFile, error) {
	h, err := b.tree.open(f)
	if err != nil {
		return nil, err
	}
	p := &openedFile{file: f, handle: h}
	hash := sha256.New()
	into, held := io.Writer(hash), bytes.NewBuffer(room)
	if f.size() <= heldBytes {
		into = io.MultiWriter(hash, held)
	}
	// One byte more than there should be tells of a file that grows.
	n, err := io.CopyBuffer(struct{ io.Writer }{into}, io.LimitReader(contextReader{ctx, h}, f.size()+1), copying)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		err = unreadable(f.name, err)
	case n != f.size():
		err = changed(f)
	default:
		err = f.same(h)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	hash.Sum(p.sum[:0])
	if f.size() <= heldBytes {
		p.held, p.handle = held.Bytes(), nil
		h.Close()
	}
	return p, nil
}

// sign writes down what the files are, with their hashes and signatures.
func (b *manifestBuilder) sign(opened []*openedFile, out []ManifestFile) error {
	sums := make([][32]byte, len(opened))
	for i, p := range opened {
		sums[i] = p.sum
		out[i] = ManifestFile{Name: p.name, FileName: p.name, Size: p.size(), SHA256: hex.EncodeToString(p.sum[:])}
	}
	if b.signer == nil {
		return nil
	}
	signed, err := b.known.sign(b.signer, sums)
	for i, s := range signed {
		out[i].HashV2, out[i].HashV3 = s.texts()
	}
	return err
}

// one compresses a file if that helps, encrypts it and puts it where it belongs.
func (b *manifestBuilder) one(ctx context.Context, p *openedFile, m *ManifestFile, w *manifestWorker) error {
	packed, err := b.compress(ctx, p, w)
	if err != nil {
		return err
	}
	defer packed.close()

	stored := newSpill()
	defer stored.close()
	if packed.size > 0 {
		m.FileName += ".br"
		err = b.store(m, packed.reader(), packed.size, stored)
	} else {
		content, same := p.again(ctx)
		if err = b.store(m, content, m.Size, stored); err == nil {
			err = same()
		}
	}
	if err != nil || b.put == nil {
		return err
	}
	return b.put(ctx, *m, stored.readerAt())
}

// compress gives the compressed bytes of a file; none when it is stored as it
// is. What was compressed before is taken from the cache.
func (b *manifestBuilder) compress(ctx context.Context, p *openedFile, w *manifestWorker) (*spill, error) {
	if p.size() < brotliFrom {
		return newSpill(), nil
	}
	if packed := b.cache.compressed(p.sum, b.quality); packed != nil {
		return packed, nil
	}
	brotli := w.large
	if p.size() <= smallFile {
		brotli = w.small
	}
	packed := newSpill()
	brotli.Reset(packed)
	content, same := p.again(ctx)
	_, err := io.CopyBuffer(struct{ io.Writer }{brotli}, struct{ io.Reader }{content}, w.copying)
	if err == nil {
		err = brotli.Close()
	}
	if err == nil {
		err = same()
	}
	if err != nil {
		packed.close()
		if _, known := failure.Find(err); known || ctx.Err() != nil {
			return nil, err // of the temporary file, or given up
		}
		return nil, unreadable(p.name, err)
	}
	if packed.size >= p.size()-brotliGain || packed.wrapped() {
		packed.close()
		packed = newSpill()
	}
	b.cache.keepCompressed(p.sum, b.quality, packed.reader())
	return packed, nil
}

// store writes the bytes that devices download, encrypted if the bundle is.
func (b *manifestBuilder) store(m *ManifestFile, from io.Reader, size int64, stored *spill) error {
	sum := sha256.New()
	to := io.MultiWriter(stored, sum)
	if b.key == nil {
		if _, err := io.Copy(struct{ io.Writer }{to}, from); err != nil {
			return err
		}
	} else {
		block, err := aes.NewCipher(b.key)
		if err != nil {
			return err
		}
		if err := encryptTo(to, from, size, cipher.NewCBCEncrypter(block, b.iv)); err != nil {
			return err
		}
	}
	m.StoredSize, m.StoredSHA256 = stored.size, hex.EncodeToString(sum.Sum(nil))
	return nil
}

// encryptTo encrypts and pads a small stream, of at most size bytes, on the
// caller's goroutine.
func encryptTo(w io.Writer, r io.Reader, size int64, cbc cipher.BlockMode) error {
	room := min(64<<10, (size/aes.BlockSize+1)*aes.BlockSize) // whole blocks
	buf := make([]byte, room, room+aes.BlockSize)
	for {
		n, err := io.ReadFull(r, buf)
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		chunk := buf[:n]
		if last {
			chunk = pad(chunk)
		}
		cbc.CryptBlocks(chunk, chunk)
		if _, err := w.Write(chunk); err != nil || last {
			return err
		}
	}
}

// spill holds bytes in memory up to heldBytes, and the rest in a temporary file.
type spill struct {
	size int64
	held []byte
	file *os.File
	keep bool // the file is somebody else's
}

func newSpill() *spill { return &spill{} }

func (s *spill) Write(p []byte) (int, error) {
	if s.file == nil && len(s.held)+len(p) > heldBytes {
		f, err := os.CreateTemp("", "capstan-*")
		if err != nil {
			return 0, spoolFailed(err)
		}
		s.file = f
		if _, err := f.Write(s.held); err != nil {
			return 0, spoolFailed(err)
		}
	}
	if s.file != nil {
		if _, err := s.file.Write(p); err != nil {
			return 0, spoolFailed(err)
		}
		s.held = nil
	} else {
		s.held = append(s.held, p...)
	}
	s.size += int64(len(p))
	return len(p), nil
}

func (s *spill) readerAt() io.ReaderAt {
	if s.file != nil {
		return s.file
	}
	return bytes.NewReader(s.held)
}

func (s *spill) reader() io.Reader { return io.NewSectionReader(s.readerAt(), 0, s.size) }

// wrapped reports brotli that plugins take for one of two hand-made wrappers
// around raw bytes, and would not decode.
func (s *spill) wrapped() bool {
	var start [3]byte
	var end [1]byte
	if s.size < 4 {
		return true
	}
	r := s.readerAt()
	if _, err := r.ReadAt(start[:], 0); err != nil {
		return true
	}
	if _, err := r.ReadAt(end[:], s.size-1); err != nil && err != io.EOF {
		return true
	}
	return end[0] == 3 && (string(start[:]) == "\x1b\x00\x06" || string(start[:]) == "\x0b\x02\x80")
}

func (s *spill) close() {
	if s.file != nil {
		s.file.Close()
		if !s.keep {
			os.Remove(s.file.Name())
		}
	}
}
