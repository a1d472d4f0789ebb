package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
	"golang.org/x/text/unicode/norm"

	"capstan/core/failure"
)

// Archive is a zip that somebody else made, found to be one that every device
// reads in the same way: local headers and central directory agree, entries
// follow each other without gaps or overlaps, names are safe and distinct.
type Archive struct {
	Files   []ArchiveFile // in the order of their places in the archive; folders are not listed
	Folders int           // folder entries
	Size    int64         // of the archive
	RawSize int64         // of all files
	r       io.ReaderAt
}

// ArchiveFile is one file of an archive.
type ArchiveFile struct {
	Name   string
	Size   int64 // bytes as the device stores them
	Packed int64 // bytes in the archive
	CRC32  uint32
	Method uint16 // 0 stored, 8 deflated
	at     int64  // of the packed bytes
}

// Limits on what an archive may claim. Deflate shrinks at most 1032 times;
// a whole build never comes near bombRatio.
const (
	deflateRatio = 1032
	bombFrom     = 64 << 20
	bombRatio    = 200
	// newestVersion of the zip format, 4.5, is the last that adds nothing but sizes;
	// some readers refuse entries that ask for a later one.
	newestVersion = 45
)

// refuse makes the failure of an archive; reason is the part of the code after "zip_".
func refuse(reason, why string) error {
	return failure.New(failure.Verification, "zip_"+reason, "read archive", why, "make it with capstan bundle zip")
}

func refuseEntry(reason, name, why string) error {
	return failure.Newf(failure.Verification, "zip_"+reason, "read archive", "make it with capstan bundle zip", "%q %s", quoted(name), why)
}

// entry is a central directory entry while it is checked.
type entry struct {
	name         string
	flags        uint16
	method       uint16
	crc          uint32
	packed, size int64
	offset       int64 // of the local header
	dir          bool
}

// OpenArchive checks the structure of an archive without decompressing it.
// Everything it cannot vouch for is refused with a code zip_<reason>. Memory
// is bounded by the number of entries, at most 65,534.
func OpenArchive(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	entries, directory, err := readDirectory(ctx, r, size)
	if err != nil {
		return nil, err
	}
	if err := checkEntries(entries, size); err != nil {
		return nil, err
	}
	a := &Archive{Size: size, r: r}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
	next := int64(0)
	for i := range entries {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e := &entries[i]
		switch {
		case e.offset > next && i == 0:
			return nil, refuse("prepended", "there is something before the first entry")
		case e.offset > next:
			return nil, refuseEntry("gap", e.name, "does not follow the entry before it")
		case e.offset < next:
			return nil, refuseEntry("overlap", e.name, "overlaps the entry before it")
		}
		data, end, err := checkLocal(r, e, directory)
		if err != nil {
			return nil, err
		}
		next = end
		if e.dir {
			a.Folders++
			continue
		}
		a.RawSize += e.size
		a.Files = append(a.Files, ArchiveFile{e.name, e.size, e.packed, e.crc, e.method, data})
	}
	if next != directory {
		return nil, refuse("gap", "there is something between the last entry and the directory")
	}
	if len(a.Files) == 0 {
		return nil, refuse("empty", "there is no file in it")
	}
	return a, nil
}

// readDirectory reads the end record and the central directory, which must
// reach up to it.
func readDirectory(ctx context.Context, r io.ReaderAt, size int64) ([]entry, int64, error) {
	if size < endSize {
		return nil, 0, refuse("truncated", "it is too short for an archive")
	}
	if size > MaxBytes {
		return nil, 0, refuse("too_large", "it is larger than 4 GiB")
	}
	var end [endSize]byte
	if err := readAt(r, end[:], size-endSize); err != nil {
		return nil, 0, err
	}
	le := binary.LittleEndian
	if le.Uint32(end[:]) != sigEnd || le.Uint16(end[20:]) != 0 {
		return nil, 0, whyNoEnd(r, size)
	}
	count, here := le.Uint16(end[10:]), le.Uint16(end[8:])
	length, offset := int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	switch {
	case le.Uint32(end[4:]) != 0 || count != here:
		if count == 0xffff || here == 0xffff || le.Uint32(end[4:]) == 0xffffffff {
			return nil, 0, refuse("zip64", "it is a zip64 archive")
		}
		return nil, 0, refuse("split", "it is one part of a split archive")
	case count == 0xffff || length == 0xffffffff || offset == 0xffffffff:
		return nil, 0, refuse("zip64", "it is a zip64 archive")
	case count == 0:
		return nil, 0, refuse("empty", "there is nothing in it")
	case offset+length > size-endSize:
		return nil, 0, refuse("truncated", "its directory is cut off")
	case offset+length < size-endSize:
		var locator [4]byte
		if size >= endSize+20 && r != nil {
			if err := readAt(r, locator[:], size-endSize-20); err == nil && le.Uint32(locator[:]) == 0x07064b50 {
				return nil, 0, refuse("zip64", "it is a zip64 archive")
			}
		}
		return nil, 0, refuse("prepended", "its directory is not where it says")
	case length < int64(count)*centralSize:
		return nil, 0, refuse("directory", "its directory is too short for its entries")
	}
	entries, err := readEntries(ctx, bufio.NewReaderSize(io.NewSectionReader(r, offset, length), 64<<10), int(count), length)
	return entries, offset, err
}

// whyNoEnd finds out what stands where the end record should be.
func whyNoEnd(r io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, endSize+0xffff))
	if err := readAt(r, tail, size-int64(len(tail))); err != nil {
		return err
	}
	records := 0
	for rest := tail; ; records++ {
		at := bytes.LastIndex(rest, []byte("PK\x05\x06"))
		if at < 0 {
			break
		}
		if at+endSize <= len(tail) && at+endSize+int(binary.LittleEndian.Uint16(tail[at+20:])) == len(tail) {
			return refuse("comment", "it carries a comment, in which readers may find another directory")
		}
		rest = rest[:at]
	}
	if records == 0 {
		return refuse("truncated", "it has no end record: it is cut off, or no zip at all")
	}
	return refuse("appended", "there is something after its end record")
}

func readEntries(ctx context.Context, b *bufio.Reader, count int, length int64) ([]entry, error) {
	entries := make([]entry, 0, min(count, int(length/centralSize)))
	var fixed [centralSize]byte
	le := binary.LittleEndian
	used := int64(0)
	for i := range count {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := io.ReadFull(b, fixed[:]); err != nil {
			return nil, refuse("directory", "its directory has fewer entries than it says")
		}
		if le.Uint32(fixed[:]) != sigCentral {
			return nil, refuse("directory", "its directory has something else where an entry should be")
		}
		nameLen, extraLen, commentLen := int(le.Uint16(fixed[28:])), int(le.Uint16(fixed[30:])), int(le.Uint16(fixed[32:]))
		if nameLen > maxName+1 {
			return nil, refuse("name", "a name in it is too long")
		}
		rest := make([]byte, nameLen+extraLen)
		if _, err := io.ReadFull(b, rest); err != nil {
			return nil, refuse("directory", "its directory is cut off")
		}
		if n, err := b.Discard(commentLen); err != nil || n != commentLen {
			return nil, refuse("directory", "its directory is cut off")
		}
		used += int64(centralSize + len(rest) + commentLen)
		e := entry{
			name:   string(rest[:nameLen]),
			flags:  le.Uint16(fixed[8:]),
			method: le.Uint16(fixed[10:]),
			crc:    le.Uint32(fixed[16:]),
			packed: int64(le.Uint32(fixed[20:])),
			size:   int64(le.Uint32(fixed[24:])),
			offset: int64(le.Uint32(fixed[42:])),
		}
		if err := checkExtra(e.name, rest[nameLen:]); err != nil {
			return nil, err
		}
		if fixed[6] > newestVersion {
			return nil, refuseEntry("version", e.name, "asks for a newer reader than devices have")
		}
		if le.Uint16(fixed[34:]) != 0 {
			return nil, refuse("split", "it is one part of a split archive")
		}
		if e.packed == 0xffffffff || e.size == 0xffffffff || e.offset == 0xffffffff {
			return nil, refuseEntry("zip64", e.name, "has zip64 sizes")
		}
		if err := e.checkKind(le.Uint32(fixed[38:])); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if used != length {
		return nil, refuse("directory", "its directory has more in it than its entries")
	}
	return entries, nil
}

// checkExtra refuses the extra fields that give an entry other sizes or
// another name than its header, in the eyes of some readers.
func checkExtra(name string, extra []byte) error {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if len(extra) < 4+n {
			return refuseEntry("extra", name, "has a malformed extra field")
		}
		field := extra[4 : 4+n]
		switch id {
		case 0x0001:
			return refuseEntry("zip64", name, "has zip64 sizes")
		case 0x7075: // Unicode path: version, CRC of the name in the header, UTF-8 name
			if n < 5 || string(field[5:]) != name || binary.LittleEndian.Uint32(field[1:]) != crc32.ChecksumIEEE([]byte(name)) {
				return refuseEntry("name", name, "has a second, different name")
			}
		}
		extra = extra[4+n:]
	}
	// Some tools pad with up to three zero bytes.
	if len(bytes.Trim(extra, "\x00")) > 0 {
		return refuseEntry("extra", name, "has a malformed extra field")
	}
	return nil
}

// checkKind refuses everything but plain files and folders, and decides which it is.
func (e *entry) checkKind(attributes uint32) error {
	const (
		kindMask = 0o170000
		fifo     = 0o010000
		folder   = 0o040000
		regular  = 0o100000
		link     = 0o120000
		dosDir   = 0x10
	)
	e.dir = strings.HasSuffix(e.name, "/")
	switch kind := attributes >> 16 & kindMask; {
	case kind == link:
		return refuseEntry("symlink", e.name, "is a symbolic link")
	case kind != 0 && kind != regular && kind != folder:
		return refuseEntry("special", e.name, "is neither a file nor a folder")
	case kind == folder && !e.dir, attributes&dosDir != 0 && !e.dir, kind == regular && e.dir:
		return refuseEntry("kind", e.name, "is a folder to some readers and a file to others")
	}
	switch {
	case e.flags&(flagEncrypted|1<<6|1<<13) != 0:
		return refuseEntry("encrypted", e.name, "is encrypted with a zip password")
	case e.flags&^(flagDescriptor|flagUTF8|0x6) != 0:
		return refuseEntry("flags", e.name, "uses features that devices do not know")
	case e.method != methodStored && e.method != methodDeflate:
		return refuseEntry("method", e.name, "is compressed with a method that devices do not know")
	case e.method == methodStored && e.flags&flagDescriptor != 0:
		return refuseEntry("descriptor", e.name, "is stored with its size behind it: Android cannot read it")
	case e.method == methodStored && e.packed != e.size:
		return refuseEntry("size", e.name, "is stored with two different sizes")
	case e.size > e.packed*deflateRatio+deflateRatio:
		return refuseEntry("size", e.name, "claims a size that its bytes cannot hold")
	case e.dir && e.size != 0:
		return refuseEntry("kind", e.name, "is a folder with content")
	}
	return nil
}

// checkEntries looks at all names and sizes together.
func checkEntries(entries []entry, size int64) error {
	total := int64(0)
	seen := make(map[string]int, len(entries)) // folded name → index
	for i := range entries {
		e := &entries[i]
		total += e.size
		name := strings.TrimSuffix(e.name, "/")
		if why := badName(name); why != "" {
			return refuseEntry(nameReason(e.name), e.name, "cannot be unpacked: "+why)
		}
		key := foldName(name)
		if other, taken := seen[key]; taken {
			first := strings.TrimSuffix(entries[other].name, "/")
			switch {
			case first == name:
				return refuseEntry("duplicate", e.name, "is in it twice")
			case norm.NFC.String(first) == norm.NFC.String(name):
				return refuseEntry("duplicate_unicode", e.name, "differs from "+quoted(first)+" in Unicode form only")
			case strings.EqualFold(first, name):
				return refuseEntry("duplicate_case", e.name, "differs from "+quoted(first)+" in letter case only")
			}
			return refuseEntry("duplicate_unicode", e.name, "differs from "+quoted(first)+" in Unicode form only")
		}
		seen[key] = i
	}
	if total > MaxBytes {
		return refuse("bomb", "its files are larger than 4 GiB together")
	}
	if total > bombFrom && total > size*bombRatio {
		return refuse("bomb", "its files are more than 200 times larger than the archive")
	}
	for key := range seen {
		for parent := path.Dir(key); parent != "."; parent = path.Dir(parent) {
			if i, ok := seen[parent]; ok && !entries[i].dir {
				return refuseEntry("file_as_folder", entries[i].name, "is a file and a folder")
			}
		}
	}
	return nil
}

// nameReason is the code of a bad name.
func nameReason(name string) string {
	switch {
	case strings.ContainsRune(name, '\\'):
		return "backslash"
	case strings.ContainsRune(name, 0):
		return "nul"
	case strings.HasPrefix(name, "/"):
		return "absolute"
	case !utf8.ValidString(name):
		return "encoding"
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "traversal"
	}
	return "name"
}

// checkLocal compares an entry's local header, and its descriptor if it has
// one, with the directory. It gives the place of the packed bytes and the end.
func checkLocal(r io.ReaderAt, e *entry, directory int64) (data, end int64, err error) {
	if e.offset+localSize > directory {
		return 0, 0, refuseEntry("truncated", e.name, "is cut off")
	}
	head := make([]byte, min(localSize+int64(len(e.name)), directory-e.offset))
	if err := readAt(r, head, e.offset); err != nil {
		return 0, 0, err
	}
	le := binary.LittleEndian
	if le.Uint32(head) != sigLocal {
		return 0, 0, refuseEntry("local", e.name, "has no header where the directory says")
	}
	nameLen, extraLen := int(le.Uint16(head[26:])), int(le.Uint16(head[28:]))
	switch {
	case nameLen != len(e.name) || string(head[localSize:]) != e.name:
		return 0, 0, refuseEntry("mismatch_name", e.name, "has another name in its own header")
	case head[4] > newestVersion:
		return 0, 0, refuseEntry("version", e.name, "asks for a newer reader than devices have")
	case le.Uint16(head[8:]) != e.method:
		return 0, 0, refuseEntry("mismatch_method", e.name, "has another compression method in its own header")
	case le.Uint16(head[6:]) != e.flags:
		return 0, 0, refuseEntry("mismatch_flags", e.name, "has other flags in its own header")
	}
	data = e.offset + localSize + int64(nameLen) + int64(extraLen)
	end = data + e.packed
	if end > directory {
		return 0, 0, refuseEntry("truncated", e.name, "is cut off")
	}
	if extraLen > 0 {
		extra := make([]byte, extraLen)
		if err := readAt(r, extra, data-int64(extraLen)); err != nil {
			return 0, 0, err
		}
		if err := checkExtra(e.name, extra); err != nil {
			return 0, 0, err
		}
	}
	crc, packed, size := le.Uint32(head[14:]), int64(le.Uint32(head[18:])), int64(le.Uint32(head[22:]))
	if e.flags&flagDescriptor == 0 {
		return data, end, e.compare(crc, packed, size)
	}
	// With a descriptor the header's own fields may be zero, but not different.
	if (crc != 0 && crc != e.crc) || (packed != 0 && packed != e.packed) || (size != 0 && size != e.size) {
		return 0, 0, e.compare(crc, packed, size)
	}
	length, err := e.checkDescriptor(r, end, directory)
	return data, end + length, err
}

func (e *entry) compare(crc uint32, packed, size int64) error {
	switch {
	case crc != e.crc:
		return refuseEntry("mismatch_crc", e.name, "has another CRC in its own header")
	case packed != e.packed, size != e.size:
		return refuseEntry("mismatch_size", e.name, "has another size in its own header")
	}
	return nil
}

// checkDescriptor reads CRC and sizes behind the packed bytes, with or without a signature.
func (e *entry) checkDescriptor(r io.ReaderAt, at, directory int64) (int64, error) {
	d := make([]byte, min(16, max(0, directory-at)))
	if err := readAt(r, d, at); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	matches := func(b []byte) bool {
		return len(b) >= 12 && le.Uint32(b) == e.crc && int64(le.Uint32(b[4:])) == e.packed && int64(le.Uint32(b[8:])) == e.size
	}
	switch {
	case len(d) == 16 && le.Uint32(d) == 0x08074b50 && matches(d[4:]):
		return 16, nil
	case matches(d) && le.Uint32(d) != 0x08074b50:
		return 12, nil
	}
	return 0, refuseEntry("mismatch_descriptor", e.name, "has other sizes behind it than the directory says")
}

func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return refuse("truncated", "it is cut off")
	}
	return failure.Wrap(err, failure.Failed, "read_failed", "read archive", "")
}

// CheckArchive is OpenArchive and reads every file: sizes and CRCs are those
// that the archive claims, and every compressed stream ends where its entry ends.
func CheckArchive(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	a, err := OpenArchive(ctx, r, size)
	if err != nil {
		return nil, err
	}
	for i := range a.Files {
		f := &a.Files[i]
		nested := nestedScan{}
		if err := a.Copy(ctx, f, &nested); err != nil {
			return nil, err
		}
		if nested.bomb() {
			return nil, refuseEntry("nested_bomb", f.Name, "is an archive whose files are more than 200 times larger than it")
		}
	}
	return a, nil
}

// Copy writes the content of one of the archive's files to w and verifies it
// on the way: only when Copy returns nil is what was written to be believed.
func (a *Archive) Copy(ctx context.Context, f *ArchiveFile, w io.Writer) error {
	packed := bufio.NewReaderSize(io.NewSectionReader(a.r, f.at, f.Packed), int(min(max(f.Packed, 16), 64<<10)))
	var content io.Reader = packed
	if f.Method == methodDeflate {
		d := flate.NewReader(packed)
		defer d.Close()
		content = d
	}
	crc, total := uint32(0), int64(0)
	buf := make([]byte, min(max(f.Size, 1)+1, 64<<10))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := content.Read(buf)
		total += int64(n)
		if total > f.Size {
			return refuseEntry("size", f.Name, "is larger than it claims")
		}
		crc = crc32.Update(crc, crc32.IEEETable, buf[:n])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return refuseEntry("corrupt", f.Name, "cannot be decompressed")
		}
	}
	if _, err := packed.ReadByte(); err != io.EOF {
		return refuseEntry("trailing", f.Name, "has something behind its compressed bytes")
	}
	if total != f.Size {
		return refuseEntry("size", f.Name, "is smaller than it claims")
	}
	if crc != f.CRC32 {
		return refuseEntry("crc", f.Name, "does not match its CRC")
	}
	return nil
}

// Unpack writes an archive's files into the folder dir, which must not exist
// or be empty. When it fails, nothing of it is left behind.
func Unpack(ctx context.Context, r io.ReaderAt, size int64, dir string) (err error) {
	a, err := OpenArchive(ctx, r, size)
	if err != nil {
		return err
	}
	made, err := emptyFolder(dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "unpack_failed", "unpack bundle", "")
	}
	defer func() {
		if err != nil {
			clearFolder(root)
		}
		root.Close()
		if err != nil && made {
			os.Remove(dir)
		}
	}()
	for i := range a.Files {
		if err := a.unpackFile(ctx, root, &a.Files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) unpackFile(ctx context.Context, root *os.Root, f *ArchiveFile) error {
	if parent := path.Dir(f.Name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return failure.Wrap(err, failure.Failed, "unpack_failed", "unpack bundle", "")
		}
	}
	h, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "unpack_failed", "unpack bundle", "")
	}
	err = a.Copy(ctx, f, h)
	if closed := h.Close(); err == nil {
		err = closed
	}
	if _, known := failure.Find(err); err != nil && !known && ctx.Err() == nil {
		err = failure.Wrap(err, failure.Failed, "unpack_failed", "unpack bundle", "is the disk full?")
	}
	return err
}

// emptyFolder makes dir, or makes sure that it is an empty folder.
func emptyFolder(dir string) (made bool, err error) {
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return false, failure.Newf(failure.Conflict, "folder_not_empty", "unpack bundle", "name a folder that does not exist yet", "%s is not empty", dir)
	case err == nil:
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, failure.Wrap(err, failure.Failed, "unpack_failed", "unpack bundle", "")
	}
	return true, nil
}

func clearFolder(root *os.Root) {
	h, err := root.Open(".")
	if err != nil {
		return
	}
	defer h.Close()
	names, _ := h.Readdirnames(-1)
	for _, name := range names {
		root.RemoveAll(name)
	}
}

// nestedScan looks for an archive inside a file and adds up what its entries
// claim. Devices do not open it, but what shows or scans a bundle may.
type nestedScan struct {
	head    []byte // of the header that is being read
	skip    int64  // bytes to the next header
	claimed int64
	packed  int64
	done    bool // no archive, or not one that can be followed
}

// Write takes the file's content piece by piece.
func (n *nestedScan) Write(p []byte) (int, error) {
	length := len(p)
	for len(p) > 0 && !n.done {
		if n.skip > 0 {
			k := min(n.skip, int64(len(p)))
			n.skip -= k
			p = p[k:]
			continue
		}
		k := min(localSize-len(n.head), len(p))
		n.head = append(n.head, p[:k]...)
		p = p[k:]
		if len(n.head) < localSize {
			break
		}
		le := binary.LittleEndian
		if le.Uint32(n.head) != sigLocal {
			n.done = true
			break
		}
		packed := int64(le.Uint32(n.head[18:]))
		n.claimed += int64(le.Uint32(n.head[22:]))
		n.packed += packed
		n.skip = int64(le.Uint16(n.head[26:])) + int64(le.Uint16(n.head[28:])) + packed
		n.head = n.head[:0]
		if le.Uint16(n.head[:localSize][6:])&flagDescriptor != 0 {
			n.done = true // its sizes stand behind it
		}
	}
	return length, nil
}

func (n *nestedScan) bomb() bool {
	return n.claimed > bombFrom && n.claimed > n.packed*bombRatio
}
