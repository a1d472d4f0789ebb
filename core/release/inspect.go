package release

import (
	"context"
	"os"
	"path/filepath"
)

// Damaged lists the ids of the releases whose journal cannot be read; List
// leaves them out.
func (j *Journals) Damaged(ctx context.Context) ([]string, error) {
	matches, err := filepath.Glob(filepath.Join(j.dir, "*", "journal.jsonl"))
	if err != nil {
		return nil, stateFailure(err)
	}
	var ids []string
	for _, path := range matches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := readState(path); err != nil {
			ids = append(ids, filepath.Base(filepath.Dir(path)))
		}
	}
	return ids, nil
}

// Spool is how many bytes a release still keeps in its folder beside the
// journal, 0 for none.
func (j *Journals) Spool(id string) int64 {
	var size int64
	for _, name := range []string{"bundle.zip", "bundle.zip.part", "second.zip", "second.zip.part"} {
		if info, err := os.Stat(filepath.Join(j.dir, id, name)); err == nil {
			size += info.Size()
		}
	}
	return size
}
