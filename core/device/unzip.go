package device

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"capstan/core/failure"
)

// defaultMaxUnpacked limits an unpacked bundle, so that a small archive cannot fill the disk.
const defaultMaxUnpacked = 4 << 30

// unpacked counts what an archive gave.
type unpacked struct {
	files int
	bytes int64
	odd   []string // names that a stricter plugin refuses
}

// target is the folder that an archive is unpacked into. os.Root keeps every
// write inside, whatever the names say.
type target struct {
	root *os.Root
	left int64
	got  unpacked
}

func (d *Device) newTarget(dir string) (*target, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, diskFailure(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, diskFailure(err)
	}
	limit := d.MaxUnpacked
	if limit <= 0 {
		limit = defaultMaxUnpacked
	}
	return &target{root: root, left: limit}, nil
}

// write puts one entry's bytes under a cleaned name; a second entry of the same name replaces the first.
func (t *target) write(ctx context.Context, name string, r io.Reader) error {
	if dir := path.Dir(name); dir != "." {
		if err := t.root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
			return refuse("directory_path_fail", "unpack", "the folder %q cannot be made", dir)
		}
	}
	f, err := t.root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return refuse("unzip_fail", "unpack", "the file %q cannot be written", name)
	}
	n, err := io.Copy(f, &stopReader{ctx: ctx, r: io.LimitReader(r, t.left+1)})
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	t.left -= n
	t.got.bytes += n
	t.got.files++
	if t.left < 0 {
		return refuse("insufficient_disk_space", "unpack", "the archive unpacks to more than the device has room for")
	}
	return err
}

// stopReader makes a long copy end with its context.
type stopReader struct {
	ctx context.Context
	r   io.Reader
}

func (s *stopReader) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// unzip unpacks an archive file into dir by the rules of the platform.
func (d *Device) unzip(ctx context.Context, file, dir string) (unpacked, error) {
	f, err := os.Open(file)
	if err != nil {
		return unpacked{}, diskFailure(err)
	}
	defer f.Close()
	t, err := d.newTarget(dir)
	if err != nil {
		return unpacked{}, err
	}
	defer t.root.Close()
	if d.generation.Central {
		err = d.unzipCentral(ctx, f, t)
	} else {
		err = d.unzipStream(ctx, f, t)
	}
	if err != nil {
		if ctx.Err() != nil {
			return t.got, ctx.Err()
		}
		if _, known := failure.Find(err); !known {
			err = failure.Wrap(err, failure.Verification, "unzip_fail", "unpack", "")
		}
	}
	return t.got, err
}

// entryName checks a name as this generation does and gives the path to write.
func (d *Device) entryName(name string) (string, error) {
	strict := d.generation.StrictPaths
	if strings.ContainsAny(name, "\\\x00") {
		if strict || os.PathSeparator == '\\' {
			return "", refuse("windows_path_fail", "unpack", "the name %q has a backslash", name)
		}
	}
	if strict && (name == "" || strings.HasPrefix(name, "/")) {
		return "", refuse("canonical_path_fail", "unpack", "the name %q is absolute", name)
	}
	if strict && hasDotDot(name) {
		return "", refuse("canonical_path_fail", "unpack", "the name %q leads out of the bundle", name)
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", refuse("canonical_path_fail", "unpack", "the name %q leads out of the bundle", name)
	}
	if clean == "." && strict {
		return "", refuse("canonical_path_fail", "unpack", "the name %q is the bundle itself", name)
	}
	return clean, nil
}

func hasDotDot(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if segment == ".." {
			return true
		}
	}
	return false
}

// unzipStream reads local headers one after the other, as java.util.zip.ZipInputStream does:
// the central directory is never looked at, and reading ends at the first
// thing that is not a local header.
func (d *Device) unzipStream(ctx context.Context, f io.Reader, t *target) error {
	z := &zipStream{r: bufio.NewReaderSize(f, 64<<10)}
	for {
		e, err := z.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := d.entryName(e.name)
		if err != nil {
			return err
		}
		if strings.Contains(e.name, "\\") || strings.HasPrefix(e.name, "/") {
			t.got.odd = append(t.got.odd, e.name)
		}
		if strings.HasSuffix(e.name, "/") {
			if err := t.root.MkdirAll(filepath.FromSlash(name), 0o755); err != nil {
				return refuse("directory_path_fail", "unpack", "the folder %q cannot be made", name)
			}
			// The bytes of a folder entry are read over.
			if _, err := io.Copy(io.Discard, e); err != nil {
				return err
			}
			continue
		}
		if err := t.write(ctx, name, e); err != nil {
			return err
		}
	}
}

// Numbers of the zip format (APPNOTE.TXT 4.3.7, 4.3.9, 4.5.3).
const (
	localSignature      = 0x04034b50
	descriptorSignature = 0x08074b50
	localHeaderSize     = 30
	flagEncrypted       = 1 << 0
	flagDescriptor      = 1 << 3
	methodStored        = 0
	methodDeflated      = 8
	extraZip64          = 1
	magic32             = 0xffffffff
)

// zipStream is Java's streaming reader.
type zipStream struct {
	r       *bufio.Reader
	current *zipEntry
}

// zipEntry is the entry that is being read; reading to io.EOF checks its size and CRC.
type zipEntry struct {
	name       string
	flags      uint16
	method     uint16
	crc        uint32
	compressed uint64
	size       uint64

	src     *bufio.Reader
	counted *countingReader
	inflate io.ReadCloser
	left    uint64 // of a stored entry
	sum     uint32
	wrote   uint64
	done    bool
}

// next goes to the next entry, io.EOF where there is none.
func (z *zipStream) next() (*zipEntry, error) {
	if z.current != nil && !z.current.done {
		if _, err := io.Copy(io.Discard, z.current); err != nil {
			return nil, err
		}
	}
	var h [localHeaderSize]byte
	if _, err := io.ReadFull(z.r, h[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint32(h[0:]) != localSignature {
		return nil, io.EOF
	}
	e := &zipEntry{
		flags: le.Uint16(h[6:]), method: le.Uint16(h[8:]),
		crc: le.Uint32(h[14:]), compressed: uint64(le.Uint32(h[18:])), size: uint64(le.Uint32(h[22:])),
		src: z.r,
	}
	rest := make([]byte, int(le.Uint16(h[26:]))+int(le.Uint16(h[28:])))
	if _, err := io.ReadFull(z.r, rest); err != nil {
		return nil, errors.New("the archive ends inside a header")
	}
	nameLength := int(le.Uint16(h[26:]))
	e.name = string(rest[:nameLength])
	if !utf8.ValidString(e.name) {
		return nil, errors.New("an entry's name is not UTF-8")
	}
	if e.flags&flagEncrypted != 0 {
		return nil, errors.New("encrypted entries are not supported")
	}
	if e.flags&flagDescriptor != 0 && e.method != methodDeflated {
		return nil, errors.New("only deflated entries can have a data descriptor")
	}
	e.readExtra(rest[nameLength:])
	switch e.method {
	case methodStored:
		e.left = e.size
	case methodDeflated:
		e.counted = &countingReader{r: z.r}
		e.inflate = flate.NewReader(e.counted)
	default:
		return nil, fmt.Errorf("compression method %d is not supported", e.method)
	}
	z.current = e
	return e, nil
}

// readExtra takes the sizes of a zip64 extra field.
func (e *zipEntry) readExtra(extra []byte) {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if len(extra) < 4+n {
			return
		}
		if id == extraZip64 && n >= 16 && (e.size == magic32 || e.compressed == magic32) {
			e.size, e.compressed = le.Uint64(extra[4:]), le.Uint64(extra[12:])
		}
		extra = extra[4+n:]
	}
}

func (e *zipEntry) Read(p []byte) (int, error) {
	if e.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if e.method == methodStored {
		return e.readStored(p)
	}
	n, err := e.inflate.Read(p)
	e.sum = crc32.Update(e.sum, crc32.IEEETable, p[:n])
	e.wrote += uint64(n)
	if errors.Is(err, io.EOF) {
		e.done = true
		if endErr := e.end(); endErr != nil {
			return n, endErr
		}
		return n, io.EOF
	}
	if err != nil {
		return n, fmt.Errorf("entry %q is damaged: %w", e.name, err)
	}
	return n, nil
}

func (e *zipEntry) readStored(p []byte) (int, error) {
	if e.left == 0 {
		e.done = true
		return 0, io.EOF
	}
	n, err := e.src.Read(p[:min(uint64(len(p)), e.left)])
	e.sum = crc32.Update(e.sum, crc32.IEEETable, p[:n])
	e.left -= uint64(n)
	if e.left == 0 {
		e.done = true
		if e.sum != e.crc {
			return n, fmt.Errorf("entry %q has another CRC than its header says", e.name)
		}
		return n, io.EOF
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// end checks a deflated entry against its header or data descriptor.
func (e *zipEntry) end() error {
	if e.flags&flagDescriptor != 0 {
		if err := e.readDescriptor(); err != nil {
			return err
		}
	}
	switch {
	case e.size != e.wrote || e.compressed != e.counted.n:
		return fmt.Errorf("entry %q has another size than its header says", e.name)
	case e.crc != e.sum:
		return fmt.Errorf("entry %q has another CRC than its header says", e.name)
	}
	return nil
}

// readDescriptor reads the sizes behind the data, with or without signature.
func (e *zipEntry) readDescriptor() error {
	le := binary.LittleEndian
	var word [4]byte
	if _, err := io.ReadFull(e.src, word[:]); err != nil {
		return errors.New("the archive ends inside a data descriptor")
	}
	if le.Uint32(word[:]) == descriptorSignature {
		if _, err := io.ReadFull(e.src, word[:]); err != nil {
			return errors.New("the archive ends inside a data descriptor")
		}
	}
	e.crc = le.Uint32(word[:])
	width := 4
	if e.wrote > magic32 || e.counted.n > magic32 {
		width = 8
	}
	sizes := make([]byte, 2*width)
	if _, err := io.ReadFull(e.src, sizes); err != nil {
		return errors.New("the archive ends inside a data descriptor")
	}
	if width == 8 {
		e.compressed, e.size = le.Uint64(sizes), le.Uint64(sizes[8:])
	} else {
		e.compressed, e.size = uint64(le.Uint32(sizes)), uint64(le.Uint32(sizes[4:]))
	}
	return nil
}

// countingReader counts what the decompressor takes. It is an io.ByteReader, so
// that the decompressor never reads past the end of the entry.
type countingReader struct {
	r *bufio.Reader
	n uint64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += uint64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// unzipCentral reads the central directory, as iOS does: stored entries with a
// data descriptor pass, CRCs are not compared, links inside the bundle are made.
func (d *Device) unzipCentral(ctx context.Context, f *os.File, t *target) error {
	var first [4]byte
	if _, err := f.ReadAt(first[:], 0); err != nil || string(first[:2]) != "PK" {
		return errors.New("the file does not begin with an archive entry")
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return err
	}
	for _, e := range z.File {
		name, err := d.entryName(e.Name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(e.Name, "/") {
			if err := t.root.MkdirAll(filepath.FromSlash(name), 0o755); err != nil {
				return refuse("directory_path_fail", "unpack", "the folder %q cannot be made", name)
			}
			continue
		}
		r, err := e.Open()
		if err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
		if e.Mode()&os.ModeSymlink != 0 {
			err = t.link(name, r)
		} else {
			err = t.write(ctx, name, r)
		}
		_ = r.Close()
		if err != nil && !errors.Is(err, zip.ErrChecksum) {
			return err
		}
	}
	return nil
}

// link makes a symbolic link whose goal stays inside the entry's own folder.
func (t *target) link(name string, r io.Reader) error {
	goal, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return err
	}
	inside := filepath.IsLocal(filepath.FromSlash(string(goal)))
	if !inside {
		return refuse("canonical_path_fail", "unpack", "the link %q leads out of the bundle", name)
	}
	if dir := path.Dir(name); dir != "." {
		if err := t.root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
			return refuse("directory_path_fail", "unpack", "the folder %q cannot be made", dir)
		}
	}
	t.got.files++
	return t.root.Symlink(string(goal), filepath.FromSlash(name))
}

// flatten gives the folder or file that becomes the bundle: a lone wrapping
// folder is left out. The two platforms disagree on what "lone" means.
func (d *Device) flatten(dir string, fromZip bool) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", diskFailure(err)
	}
	if d.generation.Platform == IOS {
		if len(entries) == 0 {
			return "", refuse("unzip_fail", "unpack", "the bundle is empty")
		}
		if fromZip && len(entries) == 1 && entries[0].IsDir() {
			return filepath.Join(dir, entries[0].Name()), nil
		}
		return dir, nil
	}
	var visible []string
	for _, e := range entries {
		if n := e.Name(); !strings.HasPrefix(n, ".") && !strings.HasPrefix(n, "__MACOSX") {
			visible = append(visible, n)
		}
	}
	switch {
	case len(visible) == 0:
		return "", refuse("download_fail", "unpack", "the bundle has no visible file")
	case len(visible) == 1 && visible[0] != indexName:
		// A lone file becomes the bundle itself: it counts as downloaded and can never start.
		return filepath.Join(dir, visible[0]), nil
	}
	return dir, nil
}
