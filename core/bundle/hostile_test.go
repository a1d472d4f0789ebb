package bundle

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"testing"

	"capstan/core/failure"
)

// forged is one entry of a hand-made archive. The local header says the same
// as the directory unless a field of it is overridden.
type forged struct {
	name     string
	content  []byte
	method   uint16
	flags    uint16
	mode     uint32 // external attributes
	madeBy   uint16
	extra    []byte
	packed   []byte // instead of the deflated content
	size     int64  // claimed, instead of the content's
	crc      uint32 // claimed, instead of the content's
	local    func(header []byte) []byte
	central  func(header []byte) []byte
	after    []byte // behind the packed bytes
	offset   int64  // claimed, instead of the real one
	descr    bool   // sizes behind the bytes
	skipBody bool   // no local header at all: the entry points at another's
}

type forgery struct {
	entries []forged
	front   []byte // before the first entry
	middle  []byte // before the directory
	back    []byte // after the end record
	end     func(record []byte) []byte
	comment string
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, 6)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func (f forgery) bytes() []byte {
	le := binary.LittleEndian
	out := slices.Clone(f.front)
	var central []byte
	for _, e := range f.entries {
		packed := e.packed
		if packed == nil {
			packed = e.content
			if e.method == methodDeflate {
				packed = deflated(e.content)
			}
		}
		size, crc := int64(len(e.content)), crc32.ChecksumIEEE(e.content)
		if e.size != 0 {
			size = e.size
		}
		if e.crc != 0 {
			crc = e.crc
		}
		flags := e.flags
		if e.descr {
			flags |= flagDescriptor
		}
		common := func(b []byte) []byte {
			b = le.AppendUint16(b, 20)
			b = le.AppendUint16(b, flags)
			b = le.AppendUint16(b, e.method)
			b = le.AppendUint32(b, fixedDate<<16)
			b = le.AppendUint32(b, crc)
			b = le.AppendUint32(b, uint32(len(packed)))
			b = le.AppendUint32(b, uint32(size))
			b = le.AppendUint16(b, uint16(len(e.name)))
			return le.AppendUint16(b, uint16(len(e.extra)))
		}
		offset := int64(len(out))
		if !e.skipBody {
			local := common(le.AppendUint32(nil, sigLocal))
			local = append(append(local, e.name...), e.extra...)
			if e.descr {
				clear(local[14:26])
			}
			if e.local != nil {
				local = e.local(local)
			}
			out = append(append(out, local...), packed...)
			if e.descr {
				out = le.AppendUint32(out, 0x08074b50)
				out = le.AppendUint32(out, crc)
				out = le.AppendUint32(out, uint32(len(packed)))
				out = le.AppendUint32(out, uint32(size))
			}
			out = append(out, e.after...)
		}
		if e.offset != 0 {
			offset = e.offset
		}
		c := le.AppendUint32(nil, sigCentral)
		c = le.AppendUint16(c, e.madeBy)
		c = common(c)
		c = append(c, 0, 0, 0, 0, 0, 0)
		c = le.AppendUint32(c, e.mode)
		c = le.AppendUint32(c, uint32(offset))
		c = append(append(c, e.name...), e.extra...)
		if e.central != nil {
			c = e.central(c)
		}
		central = append(central, c...)
	}
	out = append(out, f.middle...)
	end := le.AppendUint32(nil, sigEnd)
	end = append(end, 0, 0, 0, 0)
	end = le.AppendUint16(end, uint16(len(f.entries)))
	end = le.AppendUint16(end, uint16(len(f.entries)))
	end = le.AppendUint32(end, uint32(len(central)))
	end = le.AppendUint32(end, uint32(len(out)))
	end = le.AppendUint16(end, uint16(len(f.comment)))
	end = append(end, f.comment...)
	if f.end != nil {
		end = f.end(end)
	}
	return append(append(append(out, central...), end...), f.back...)
}

func plainFile(name, content string) forged {
	return forged{name: name, content: []byte(content), method: methodDeflate, flags: flagUTF8}
}

func index() forged { return plainFile("index.html", "<!doctype html>") }

type hostile struct {
	name string
	code string // without "zip_"; alternatives are separated by |
	zip  []byte
}

// hostileZips generates the archives that must be refused.
func hostileZips() []hostile {
	var all []hostile
	add := func(code, name string, f forgery) { all = append(all, hostile{name, code, f.bytes()}) }
	one := func(code, name string, e forged) { add(code, name, forgery{entries: []forged{index(), e}}) }
	patch := func(at int, to ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], to); return b }
	}

	// Names: every one as first, middle and last entry, plain and deflated.
	names := map[string][]string{
		"traversal": {"../evil.js", "a/../../evil.js", "a/..", "..", "../", "a/b/../c.js", "./../x", "a/../a/x.js"},
		"absolute":  {"/etc/passwd", "/index.html", "//host/share", "/"},
		"backslash": {`..\evil.js`, `a\b.js`, `C:\x`, `\`, `\\host\share\x`, `a/b\..\c`},
		"nul":       {"a\x00.js", "index.html\x00.png", "\x00"},
		"encoding":  {"\xff.js", "a\xc3.js", "\xed\xa0\x80.js", "\xc0\xaf"},
		"name": {"", "./a.js", "a//b.js", "a/./b.js", ".", "a\nb.js", "a\x1b[2J.js", "a\x7f.js", "\ta.js",
			strings.Repeat("n", 256), strings.Repeat("d/", 600) + "x", strings.Repeat("x", 5000)},
	}
	for code, list := range names {
		for _, n := range list {
			for _, method := range []uint16{methodStored, methodDeflate} {
				e := forged{name: n, content: []byte("x"), method: method, flags: flagUTF8}
				if strings.HasSuffix(n, "/") {
					e.content, e.method = nil, methodStored
				}
				add(code, fmt.Sprintf("%q last, method %d", short(n), method), forgery{entries: []forged{index(), e}})
				add(code, fmt.Sprintf("%q first, method %d", short(n), method), forgery{entries: []forged{e, index()}})
			}
		}
	}
	// Kinds of entry that are no plain file or folder, by every system that has them.
	for _, system := range []uint16{3, 19, 0, 10} {
		for kind, code := range map[uint32]string{0o120777: "symlink", 0o010644: "special", 0o140755: "special", 0o020644: "special", 0o060644: "special"} {
			one(code, fmt.Sprintf("kind %o by system %d", kind, system), forged{name: "link", content: []byte("/etc/passwd"), flags: flagUTF8, mode: kind << 16, madeBy: system << 8})
		}
		one("symlink", fmt.Sprintf("link named as a folder by system %d", system), forged{name: "link/", flags: flagUTF8, mode: 0o120777 << 16, madeBy: system << 8})
	}
	one("kind", "folder without slash", forged{name: "a", flags: flagUTF8, mode: 0o040755 << 16})
	one("kind", "DOS folder without slash", forged{name: "a", flags: flagUTF8, mode: 0x10})
	one("kind", "file with slash", forged{name: "a/", flags: flagUTF8, mode: 0o100644 << 16})
	one("kind", "folder with content", forged{name: "a/", content: []byte("x"), flags: flagUTF8})

	// Names that a device cannot tell apart.
	for _, pair := range []struct{ code, a, b string }{
		{"duplicate", "a.js", "a.js"}, {"duplicate", "d/a.js", "d/a.js"}, {"duplicate", "a", "a/"}, {"duplicate", "index.html", "index.html"},
		{"duplicate_case", "a.js", "A.js"}, {"duplicate_case", "D/a.js", "d/a.js"}, {"duplicate_case", "É.js", "é.js"}, {"duplicate_case", "a", "A/"},
		{"duplicate_unicode", "\u00e9.js", "e\u0301.js"}, {"duplicate_unicode", "\u212b.js", "\u00c5.js"}, {"duplicate_unicode", "\uac00.js", "\u1100\u1161.js"},
		{"duplicate_unicode", "straße.js", "STRASSE.js"}, {"duplicate_case", "Σ.js", "ς.js"},
		{"file_as_folder", "a", "a/b.js"}, {"file_as_folder", "a/b", "a/b/c/d.js"}, {"file_as_folder", "A", "a/b.js"},
	} {
		for _, order := range [][2]string{{pair.a, pair.b}, {pair.b, pair.a}} {
			var entries []forged
			for _, n := range order {
				e := plainFile(n, "x")
				if strings.HasSuffix(n, "/") {
					e = forged{name: n, flags: flagUTF8}
				}
				entries = append(entries, e)
			}
			add(pair.code, fmt.Sprintf("%q and %q", order[0], order[1]), forgery{entries: entries})
		}
	}

	// Methods, flags and encryption.
	for _, m := range []uint16{1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 14, 16, 18, 19, 20, 93, 94, 95, 96, 97, 98, 99} {
		one("method", fmt.Sprintf("method %d", m), forged{name: "a", content: []byte("x"), method: m, flags: flagUTF8})
	}
	for bit, code := range map[uint]string{0: "encrypted", 6: "encrypted", 13: "encrypted", 4: "flags", 5: "flags", 7: "flags", 8: "flags", 9: "flags", 10: "flags", 12: "flags", 14: "flags", 15: "flags"} {
		one(code, fmt.Sprintf("flag bit %d", bit), forged{name: "a", content: []byte("x"), method: methodDeflate, flags: flagUTF8 | 1<<bit})
	}
	one("descriptor", "stored with descriptor", forged{name: "a", content: []byte("x"), flags: flagUTF8, descr: true})
	one("descriptor", "stored empty with descriptor", forged{name: "a", flags: flagUTF8, descr: true})

	// Local header and directory disagree.
	for _, content := range []string{"x", strings.Repeat("abc ", 500)} {
		lie := func(code, what string, local func([]byte) []byte) {
			e := plainFile("a.js", content)
			e.local = local
			one(code, fmt.Sprintf("%s, %d bytes", what, len(content)), e)
		}
		lie("mismatch_name", "other name", func(b []byte) []byte { copy(b[localSize:], "b.js"); return b })
		lie("mismatch_name", "shorter name", patch(26, 3))
		lie("mismatch_name", "longer name", patch(26, 9))
		lie("mismatch_name|truncated", "huge name", patch(26, 0xff, 0xff))
		lie("mismatch_method", "stored inside", patch(8, 0))
		lie("mismatch_method", "bzip2 inside", patch(8, 12))
		lie("mismatch_flags", "descriptor inside", patch(6, 8, 8))
		lie("mismatch_flags", "encrypted inside", patch(6, 1, 8))
		lie("mismatch_flags", "no UTF-8 inside", patch(6, 0, 0))
		lie("mismatch_crc", "other CRC", patch(14, 1, 2, 3, 4))
		lie("mismatch_size", "other packed size", patch(18, 0xfe))
		lie("mismatch_size", "other size", patch(22, 0xfe))
		lie("mismatch_size", "zip64 size inside", patch(18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
		lie("version", "version 6.3 inside", patch(4, 63))
		lie("local", "no signature", patch(0, 'P', 'K', 1, 2))
		lie("truncated|mismatch_name|extra|gap", "extra length inside", patch(28, 0xff, 0x7f))
		one("size", fmt.Sprintf("claims less, %d bytes", len(content)), forged{name: "a.js", content: []byte(content + "xx"), method: methodDeflate, flags: flagUTF8, size: int64(len(content))})
		one("size", fmt.Sprintf("claims more, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), method: methodDeflate, flags: flagUTF8, size: int64(len(content)) + 3})
		one("crc", fmt.Sprintf("wrong CRC on both sides, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), method: methodDeflate, flags: flagUTF8, crc: 0xdeadbeef})
		one("crc", fmt.Sprintf("wrong CRC of stored, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), flags: flagUTF8, crc: 0xdeadbeef})
		one("corrupt", fmt.Sprintf("no deflate, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), packed: bytes.Repeat([]byte{0xff}, 40), method: methodDeflate, flags: flagUTF8})
		one("corrupt", fmt.Sprintf("deflate cut off, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), packed: deflated([]byte(content))[:len(deflated([]byte(content)))-3], method: methodDeflate, flags: flagUTF8})
		one("trailing", fmt.Sprintf("bytes after deflate, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), packed: append(deflated([]byte(content)), "evil"...), method: methodDeflate, flags: flagUTF8})
		one("size", fmt.Sprintf("stored with two sizes, %d bytes", len(content)), forged{name: "a.js", content: []byte(content), flags: flagUTF8, size: int64(len(content)) + 1})
		for at, what := range map[int]string{0: "CRC", 4: "packed size", 8: "size"} {
			e := plainFile("a.js", content)
			e.descr = true
			f := forgery{entries: []forged{index(), e}}.bytes()
			from := bytes.LastIndex(f, []byte("PK\x07\x08")) + 4
			f[from+at] ^= 0x40
			all = append(all, hostile{fmt.Sprintf("descriptor with other %s, %d bytes", what, len(content)), "mismatch_descriptor", f})
		}
		e := plainFile("a.js", content)
		e.descr = true
		e.local = patch(14, 9, 9, 9, 9)
		one("mismatch_crc", fmt.Sprintf("other CRC before a descriptor, %d bytes", len(content)), e)
	}

	// Extra fields that give other sizes or names.
	field := func(id uint16, data ...byte) []byte {
		b := binary.LittleEndian.AppendUint16(nil, id)
		return append(binary.LittleEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	upath := func(crcOf, name string) []byte {
		b := binary.LittleEndian.AppendUint32([]byte{1}, crc32.ChecksumIEEE([]byte(crcOf)))
		return field(0x7075, append(b, name...)...)
	}
	for what, x := range map[string]struct {
		code  string
		extra []byte
	}{
		"zip64":                    {"zip64", field(1, make([]byte, 16)...)},
		"empty zip64":              {"zip64", field(1)},
		"another Unicode name":     {"name", upath("a.js", "../evil.js")},
		"a Unicode name, bad CRC":  {"name", upath("b.js", "a.js")},
		"a cut Unicode name":       {"name", field(0x7075, 1)},
		"a field longer than told": {"extra", []byte{0x55, 0x54, 0xff, 0x00, 1}},
		"rubbish":                  {"extra", []byte{1}},
	} {
		e := plainFile("a.js", "x")
		e.extra = x.extra
		one(x.code, "extra field: "+what, e)
	}

	// The frame: what is before, between and after.
	good := []forged{index(), plainFile("a.js", "x")}
	for what, junk := range map[string][]byte{"a byte": {0}, "a script": []byte("#!/bin/sh\nexec evil\n"), "a zip": forgery{entries: good}.bytes(), "1 MB": make([]byte, 1<<20)} {
		add("prepended", what+" before, offsets right", forgery{entries: good, front: junk})
		add("gap", what+" before the directory", forgery{entries: good, middle: junk})
		add("appended|prepended|truncated", what+" after the end", forgery{entries: good, back: junk})
		shifted := append(slices.Clone(junk), forgery{entries: good}.bytes()...)
		all = append(all, hostile{what + " before, offsets wrong", "prepended|truncated|local|gap|appended", shifted})
		e := index()
		e.after = junk
		add("gap", what+" between entries", forgery{entries: []forged{e, plainFile("a.js", "x")}})
	}
	add("comment", "comment", forgery{entries: good, comment: "hello"})
	add("comment", "comment with an end record", forgery{entries: good, comment: "PK\x05\x06" + string(make([]byte, 18))[:14]})
	add("empty", "another archive's end record as comment", forgery{entries: good, comment: string(forgery{}.bytes())})
	add("empty", "no entries", forgery{})
	add("empty", "folders only", forgery{entries: []forged{{name: "a/", flags: flagUTF8}}})
	overlap := plainFile("b.js", "x")
	overlap.skipBody = true
	overlap.offset = int64(localSize + len("index.html") + len(deflated([]byte("<!doctype html>"))))
	add("overlap|mismatch_name", "two entries share their bytes", forgery{entries: []forged{index(), plainFile("a.js", "x"), overlap}})
	for _, at := range []int64{1, 7, 40, 1 << 20, 0x7fffffff, 0xfffffffe} {
		e := plainFile("a.js", "x")
		e.offset = at
		one("overlap|local|truncated|gap|mismatch_name", fmt.Sprintf("offset %d", at), e)
	}
	for at, what := range map[int]string{4: "disk", 6: "directory's disk", 8: "entries here", 10: "entries", 12: "directory's length", 16: "directory's offset"} {
		for _, to := range []byte{1, 3, 0x7f, 0xff} {
			f := forgery{entries: good, end: func(b []byte) []byte { b[at] ^= to; return b }}.bytes()
			all = append(all, hostile{fmt.Sprintf("end record: %s ^ %#x", what, to), "split|directory|truncated|prepended|zip64|gap|overlap|local", f})
		}
	}
	add("zip64", "zip64 entries", forgery{entries: good, end: func(b []byte) []byte { copy(b[8:], "\xff\xff\xff\xff"); return b }})
	add("zip64", "zip64 offset", forgery{entries: good, end: func(b []byte) []byte { copy(b[12:], "\xff\xff\xff\xff\xff\xff\xff\xff"); return b }})
	add("zip64", "zip64 locator", forgery{entries: good, end: func(b []byte) []byte {
		return append(append([]byte("PK\x06\x07"), make([]byte, 16)...), b...)
	}})
	newer := plainFile("a.js", "x")
	newer.central = patch(6, 84)
	one("version", "version 8.4", newer)
	for what, lie := range map[string]func([]byte) []byte{
		"no signature": patch(0, 0), "name too long": patch(28, 0xff, 0x0f), "extra too long": patch(30, 0xff, 0x0f),
		"comment too long": patch(32, 0xff, 0x0f), "on another disk": patch(34, 1), "zip64 offset": patch(42, 0xff, 0xff, 0xff, 0xff),
	} {
		e := plainFile("a.js", "x")
		e.central = lie
		one("directory|name|split|zip64|truncated|extra", "directory entry: "+what, e)
	}

	// Cut off at every part.
	whole := forgery{entries: []forged{index(), plainFile("a.js", strings.Repeat("x", 300))}}.bytes()
	for _, n := range []int{0, 1, 4, 21, 22, 30, 60, len(whole) - 100, len(whole) - 23, len(whole) - 22, len(whole) - 4, len(whole) - 1} {
		all = append(all, hostile{fmt.Sprintf("cut at %d of %d", n, len(whole)), "truncated|directory|appended", whole[:n]})
	}
	all = append(all, hostile{"no zip", "truncated", []byte(strings.Repeat("not a zip ", 100))})

	// Bombs.
	zeros := deflated(make([]byte, 8<<20))
	for _, claim := range []int64{0xfffffffe, 1 << 30, 10 << 20} {
		one("size|bomb", fmt.Sprintf("claims %d bytes", claim), forged{name: "a", content: []byte("x"), method: methodDeflate, flags: flagUTF8, size: claim})
	}
	var flat []forged
	for i := range 10 {
		flat = append(flat, forged{name: fmt.Sprint("f", i), packed: zeros, size: 8 << 20, crc: 1, method: methodDeflate, flags: flagUTF8})
	}
	add("bomb", "80 MiB of zeros", forgery{entries: flat})
	one("size", "holds more than it claims", forged{name: "a", packed: zeros, size: 9000, crc: 1, method: methodDeflate, flags: flagUTF8})
	var kernel []forged // many entries over one kernel of bytes
	first := forged{name: "k0", packed: zeros, size: 8 << 20, crc: 1, method: methodDeflate, flags: flagUTF8}
	kernel = append(kernel, index(), first)
	for i := range 6 {
		e := first
		e.name, e.skipBody, e.offset = fmt.Sprint("k", i+1), true, int64(localSize+10+len(deflated([]byte("<!doctype html>"))))
		kernel = append(kernel, e)
	}
	add("overlap|bomb", "overlapping bomb", forgery{entries: kernel})
	nested := forgery{entries: flat}.bytes()
	for _, method := range []uint16{methodStored, methodDeflate} {
		one("nested_bomb", fmt.Sprintf("a bomb in a zip, method %d", method), forged{name: "inner.zip", content: nested, method: method, flags: flagUTF8})
		one("nested_bomb", fmt.Sprintf("a bomb under another name, method %d", method), forged{name: "a.dat", content: nested, method: method, flags: flagUTF8})
	}
	return all
}

func short(s string) string {
	if len(s) > 20 {
		return fmt.Sprintf("%s… (%d)", s[:20], len(s))
	}
	return s
}

// TestHostileZips refuses every one with its reason, without using memory in
// proportion to what an archive claims.
func TestHostileZips(t *testing.T) {
	all := hostileZips()
	if len(all) < 250 {
		t.Errorf("%d archives, want at least 250", len(all))
	}
	counts := map[string]int{}
	for _, h := range all {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := CheckArchive(context.Background(), bytes.NewReader(h.zip), int64(len(h.zip)))
		runtime.ReadMemStats(&after)
		code := strings.TrimPrefix(failure.CodeOf(err), "zip_")
		if err == nil || !slices.Contains(strings.Split(h.code, "|"), code) {
			t.Errorf("%s: refused as %q, want %q: %v", h.name, code, h.code, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: %d bytes were allocated", h.name, used)
		}
		if err != nil && (failure.ExitStatus(err) != int(failure.Verification) || strings.ContainsAny(err.Error(), "\x00\n\x1b")) {
			t.Errorf("%s: exit %d, %q", h.name, failure.ExitStatus(err), err)
		}
		counts[code]++
		dir := t.TempDir() + "/out"
		if err := Unpack(context.Background(), bytes.NewReader(h.zip), int64(len(h.zip)), dir); err == nil && code != "nested_bomb" {
			t.Errorf("%s: unpacks", h.name)
		}
	}
	t.Logf("%d archives refused: %v", len(all), counts)
}

// TestHarmlessZips keeps the refusals from going too far.
func TestHarmlessZips(t *testing.T) {
	inner := forgery{entries: []forged{index(), plainFile("a.js", "x")}}.bytes()
	timestamp := []byte{0x55, 0x54, 5, 0, 1, 0, 0, 0, 0}
	stamped, streamed, nested := plainFile("a.js", "x"), plainFile("a.js", "x"), plainFile("help.zip", string(inner))
	stamped.extra, streamed.descr = timestamp, true
	unflagged := plainFile("ü.js", "x")
	unflagged.flags = 0
	for name, e := range map[string]forged{
		"timestamp": stamped, "descriptor": streamed, "a zip inside": nested, "UTF-8 without flag": unflagged,
		"folder": {name: "d/", flags: flagUTF8, mode: 0o040755<<16 | 0x10}, "stored": {name: "s", content: []byte("x"), flags: flagUTF8, mode: 0o100600 << 16},
		"empty": {name: "e", flags: flagUTF8}, "empty deflated": plainFile("e", ""), "dots": plainFile("..a/...b", "x"), "deflate option bits": {name: "o", content: []byte("x"), method: methodDeflate, flags: flagUTF8 | 6},
	} {
		b := forgery{entries: []forged{index(), e}}.bytes()
		if _, err := CheckArchive(context.Background(), bytes.NewReader(b), int64(len(b))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzArchive(f *testing.F) {
	for i, h := range hostileZips() {
		if i%9 == 0 && len(h.zip) < 4096 {
			f.Add(h.zip)
		}
	}
	f.Add(forgery{entries: []forged{index(), plainFile("a/b.js", "x")}}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := CheckArchive(context.Background(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !strings.HasPrefix(failure.CodeOf(err), "zip_") {
				t.Errorf("refused with %q: %v", failure.CodeOf(err), err)
			}
			return
		}
		for _, file := range a.Files {
			if badName(file.Name) != "" {
				t.Errorf("%q is accepted", file.Name)
			}
		}
	})
}
