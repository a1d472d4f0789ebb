package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/remote/storage"
)

// abandoned is how old an unfinished upload has to be before it may be dropped:
// a release somewhere else may be under way.
const abandoned = 24 * time.Hour

// checkStorage tries the profile's storage out with a small object, and looks
// for uploads that nobody finished.
func (c *Command) checkStorage(ctx context.Context, f *doctorFlags) []project.Finding {
	broken := func(err error) []project.Finding {
		return []project.Finding{{Code: failure.CodeOf(err), Level: project.Block, Text: "storage: " + err.Error(), Hint: failure.HintOf(err)}}
	}
	resolved, err := profile.Resolve(ctx, f.path, c.Profile, profile.Flags{})
	if err != nil {
		return broken(err)
	}
	s, err := resolved.OpenStorage(ctx)
	if err != nil {
		return broken(err)
	}
	var apps []capgo.App
	if client, err := resolved.Connect(); err == nil {
		apps, _ = client.Apps(ctx) // without a server the storage is tried all the same
	}
	prefix, _ := checkPrefix(f.path, apps)
	var findings []project.Finding
	for _, found := range storage.Check(ctx, s, prefix, nil) {
		findings = append(findings, project.Finding{Code: "storage_" + found.Code, Level: project.Level(found.Level), Text: "storage: " + found.Text, Hint: found.Hint})
	}
	if cleaner, ok := s.(storage.Cleaner); ok {
		findings = append(findings, unfinished(ctx, cleaner, time.Now())...)
	}
	return findings
}

// unfinished sums up the uploads that nobody finished: those of the last day may
// be under way, older ones can be dropped.
func unfinished(ctx context.Context, cleaner storage.Cleaner, now time.Time) []project.Finding {
	left, err := cleaner.Leftovers(ctx)
	if err != nil {
		return []project.Finding{{Code: "storage_leftovers_unknown", Level: project.Warn, Text: "storage: unfinished uploads cannot be listed: " + err.Error(), Hint: failure.HintOf(err)}}
	}
	var old []storage.Leftover
	var size int64
	for _, l := range left {
		if now.Sub(l.Started) > abandoned {
			old = append(old, l)
			size += l.Size
		}
	}
	var findings []project.Finding
	if young := len(left) - len(old); young > 0 {
		findings = append(findings, project.Finding{Code: "storage_uploads", Level: project.OK, Text: fmt.Sprintf("storage: %d uploads of the last day are not finished", young)})
	}
	if len(old) == 0 {
		return append(findings, project.Finding{Code: "storage_leftovers", Level: project.OK, Text: "storage: no upload was given up"})
	}
	text := fmt.Sprintf("storage: %d uploads were begun and never finished, the first %s", len(old), oldest(old).UTC().Format("2006-01-02"))
	if size > 0 {
		text += ", and take " + humanize.IBytes(uint64(size))
	}
	return append(findings, project.Finding{
		Code: "storage_leftovers", Level: project.Warn, Text: text, Hint: "a release that is continued with capstan release --resume needs its own",
		Fix: &project.Fix{Text: fmt.Sprintf("drop %d unfinished uploads that are older than a day", len(old)), Apply: func(ctx context.Context) error {
			for _, l := range old {
				if err := cleaner.Discard(ctx, l); err != nil {
					return err
				}
			}
			return nil
		}},
	})
}

func oldest(left []storage.Leftover) time.Time {
	first := left[0].Started
	for _, l := range left {
		if l.Started.Before(first) {
			first = l.Started
		}
	}
	return first
}
