package bundle

import (
	"bytes"
	"hash/crc32"
	"io"
	"time"
)

func fixedTime(i int) time.Time { return time.Unix(1_700_000_000+int64(i)*1001, 0) }

func crcOf(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// iotest reads b in pieces of an odd size.
func iotest(b []byte, seed int) io.Reader {
	return &pieces{bytes.NewReader(b), 1 + seed%7001}
}

type pieces struct {
	r io.Reader
	n int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(p.n, len(b))]) }
