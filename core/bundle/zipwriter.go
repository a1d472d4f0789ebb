package bundle

import (
	"encoding/binary"
	"io"
)

// The archives that this package writes: local headers with real sizes and no
// data descriptor (a streaming reader needs the size of a stored entry), the
// UTF-8 flag on every name, no extra fields, no folder entries, one fixed time,
// so that the bytes depend on names and contents only.

const (
	sigLocal   = 0x04034b50
	sigCentral = 0x02014b50
	sigEnd     = 0x06054b50

	methodStored  = 0
	methodDeflate = 8

	flagEncrypted  = 0x1
	flagDescriptor = 0x8
	flagUTF8       = 0x800

	versionNeeded = 20        // 2.0: folders and deflate
	madeByUnix    = 3<<8 | 20 // with Unix modes
	fixedDate     = 0x21      // 1 January 1980
	fixedMode     = 0o100644 << 16

	localSize   = 30
	centralSize = 46
	endSize     = 22
)

// zipWriter writes entries whose sizes are known beforehand.
type zipWriter struct {
	w       io.Writer
	offset  int64
	central []byte
	files   int
	buf     []byte
}

// header writes the local header of an entry; its packed bytes must follow.
func (z *zipWriter) header(name string, method uint16, crc uint32, packed, size int64) error {
	b := z.buf[:0]
	b = binary.LittleEndian.AppendUint32(b, sigLocal)
	b = appendCommon(b, method, crc, packed, size, len(name))
	b = append(b, name...)
	z.buf = b

	c := z.central
	c = binary.LittleEndian.AppendUint32(c, sigCentral)
	c = binary.LittleEndian.AppendUint16(c, madeByUnix)
	c = appendCommon(c, method, crc, packed, size, len(name))
	c = append(c, 0, 0, 0, 0, 0, 0) // comment length, disk, internal attributes
	c = binary.LittleEndian.AppendUint32(c, fixedMode)
	c = binary.LittleEndian.AppendUint32(c, uint32(z.offset))
	z.central = append(c, name...)

	z.files++
	_, err := z.w.Write(b)
	z.offset += int64(len(b)) + packed
	return err
}

// appendCommon adds the fields that local and central headers share, from the
// version needed to the length of the extra field.
func appendCommon(b []byte, method uint16, crc uint32, packed, size int64, name int) []byte {
	b = binary.LittleEndian.AppendUint16(b, versionNeeded)
	b = binary.LittleEndian.AppendUint16(b, flagUTF8)
	b = binary.LittleEndian.AppendUint16(b, method)
	b = binary.LittleEndian.AppendUint16(b, 0) // time
	b = binary.LittleEndian.AppendUint16(b, fixedDate)
	b = binary.LittleEndian.AppendUint32(b, crc)
	b = binary.LittleEndian.AppendUint32(b, uint32(packed))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint16(b, uint16(name))
	return binary.LittleEndian.AppendUint16(b, 0)
}

// close writes the central directory.
func (z *zipWriter) close() error {
	end := z.buf[:0]
	end = binary.LittleEndian.AppendUint32(end, sigEnd)
	end = append(end, 0, 0, 0, 0) // disk numbers
	end = binary.LittleEndian.AppendUint16(end, uint16(z.files))
	end = binary.LittleEndian.AppendUint16(end, uint16(z.files))
	end = binary.LittleEndian.AppendUint32(end, uint32(len(z.central)))
	end = binary.LittleEndian.AppendUint32(end, uint32(z.offset))
	end = append(end, 0, 0) // comment length
	if _, err := z.w.Write(z.central); err != nil {
		return err
	}
	z.offset += int64(len(z.central) + len(end))
	_, err := z.w.Write(end)
	return err
}
