package release_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"capstan/core/release"
	"capstan/core/remote/storage"
)

// sumsSeen notes what a source of an upload knows, and lets the first fail.
type sumsSeen struct {
	storage.Storage
	broken error
	sums   []storage.BlockSums
}

func (s *sumsSeen) Put(ctx context.Context, name string, src io.ReaderAt, size int64, sha256Hex string, progress func(int64)) (storage.Object, error) {
	if summed, ok := src.(storage.Summed); ok {
		sums := summed.BlockSums()
		var again storage.BlockSummer
		if _, err := io.Copy(&again, io.NewSectionReader(src, 0, size)); err != nil {
			return storage.Object{}, err
		}
		if want := again.Sums(sha256Hex); sums.SHA256 != sha256Hex || len(sums.CRC) != len(want.CRC) || sums.CRC[0] != want.CRC[0] {
			return storage.Object{}, errors.New("the sums are of something else")
		}
		s.sums = append(s.sums, sums)
	}
	if err := s.broken; err != nil {
		s.broken = nil
		return storage.Object{}, err
	}
	return s.Storage.Put(ctx, name, src, size, sha256Hex, progress)
}

// TestUploadKnowsItsSums: what is uploaded comes with the sums that sealing
// took, and after a stop with those of the file that was found whole.
func TestUploadKnowsItsSums(t *testing.T) {
	y := newYard(t)
	v := y.victim(t, "com.example.sums", "1.0.0")
	pipeline := v.pipeline(t)
	seen := &sumsSeen{Storage: pipeline.Storage, broken: errors.New("the storage has a bad moment")}
	pipeline.Storage = seen
	if _, err := pipeline.Run(t.Context(), v.Plan, func(release.Event) {}); err == nil || len(seen.sums) != 1 {
		t.Fatalf("%d uploads came with sums, %v", len(seen.sums), err)
	}
	pipeline = v.pipeline(t) // another process
	seen.Storage, pipeline.Storage = pipeline.Storage, seen
	if _, err := pipeline.Resume(t.Context(), "", func(release.Event) {}); err != nil {
		t.Fatal(err)
	}
	if len(seen.sums) != 2 || seen.sums[0].SHA256 != seen.sums[1].SHA256 {
		t.Errorf("the uploads came with %+v", seen.sums)
	}
	v.check(t)
}
