package storage

import (
	"hash/crc32"
	"io"
)

// BlockSums are what is known of an object's bytes since they were written:
// with them an upload needs no reading of its own to find out whether the bytes
// are still the same.
type BlockSums struct {
	SHA256 string   // of all bytes, hex
	Block  int64    // bytes in each block; the last may have less
	CRC    []uint32 // CRC-32C of each block, in order
}

// Summed is a source that knows its sums. A driver that sends large objects in
// parts reads such a source once: it compares each block on the way out, in
// place of hashing everything first.
//
// The sums are of the bytes that have BlockSums.SHA256; where Put is told
// another hash they count for nothing. A CRC notices a file that changed by
// accident, and none that somebody changed on purpose: what the service has in
// the end is known when it was fetched from the public URL, and hashed.
type Summed interface {
	io.ReaderAt
	BlockSums() BlockSums
}

// sumBlock is how many bytes BlockSummer takes a sum of: every part is a
// multiple of it.
const sumBlock = 1 << 20

// BlockSummer takes the sums of what is written to it. The zero value is ready.
type BlockSummer struct {
	crcs []uint32
	last uint32 // of the block that is not full yet
	held int64  // its bytes
}

// Write never fails.
func (s *BlockSummer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		piece := rest[:min(int64(len(rest)), sumBlock-s.held)]
		rest = rest[len(piece):]
		s.last = crc32.Update(s.last, castagnoli, piece)
		if s.held += int64(len(piece)); s.held == sumBlock {
			s.crcs, s.last, s.held = append(s.crcs, s.last), 0, 0
		}
	}
	return len(p), nil
}

// Sums gives the sums of everything written, whose SHA-256 in hex the caller
// has learnt on the same way.
func (s *BlockSummer) Sums(sha256Hex string) BlockSums {
	crcs := s.crcs[:len(s.crcs):len(s.crcs)]
	if s.held > 0 {
		crcs = append(crcs, s.last)
	}
	return BlockSums{SHA256: sha256Hex, Block: sumBlock, CRC: crcs}
}

// sumsOf gives the sums of a source's blocks where it knows them, for parts of
// each bytes: none, when they are of another object or do not add up to parts.
func sumsOf(src io.ReaderAt, size int64, sha256Hex string, each int64) (BlockSums, bool) {
	summed, ok := src.(Summed)
	if !ok {
		return BlockSums{}, false
	}
	s := summed.BlockSums()
	fits := s.SHA256 == sha256Hex && s.Block > 0 && each%s.Block == 0 && int64(len(s.CRC)) == (size+s.Block-1)/s.Block
	return s, fits
}

// castagnoli is the CRC that processors compute themselves.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)
