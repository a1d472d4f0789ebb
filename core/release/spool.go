package release

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"capstan/core/bundle"
	"capstan/core/remote/storage"
)

// remember keeps the sums of a spool file for its upload, which then reads the
// file once.
func (r *run) remember(sums storage.BlockSums) {
	if r.sums == nil {
		r.sums = map[string]storage.BlockSums{}
	}
	r.sums[sums.SHA256] = sums
}

// spoolWhole reports whether a spool file is what was sealed, and remembers its
// sums when it is.
func (r *run) spoolWhole(path string, sealed *bundle.Sealed) bool {
	sum, size, sums, err := hashFile(path)
	if err != nil || sum != sealed.ObjectSHA256 || size != sealed.ObjectSize {
		return false
	}
	r.remember(sums)
	return true
}

// source is a spool file as storage takes it: with its sums, where this process
// knows them.
func (r *run) source(file *os.File, sealed *bundle.Sealed) io.ReaderAt {
	sums, known := r.sums[sealed.ObjectSHA256]
	if !known {
		return file
	}
	return summedFile{file, sums}
}

type summedFile struct {
	io.ReaderAt
	sums storage.BlockSums
}

var _ storage.Summed = summedFile{}

func (f summedFile) BlockSums() storage.BlockSums { return f.sums }

// hashFile reads a file for its SHA-256, its size and the sums of its blocks.
func hashFile(path string) (sum string, size int64, sums storage.BlockSums, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, sums, err
	}
	defer file.Close()
	h := sha256.New()
	var summer storage.BlockSummer
	size, err = io.Copy(io.MultiWriter(h, &summer), file)
	sum = hex.EncodeToString(h.Sum(nil))
	return sum, size, summer.Sums(sum), err
}
