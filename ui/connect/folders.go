package connect

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/core/release"
	"capstan/ui/views"
)

// folders is the file system as the directory picker sees it.
type folders struct{ journals *release.Journals }

// maxRecent is how many folders Recent remembers.
const maxRecent = 8

func (f folders) Complete(ctx context.Context, prefix string, limit int) ([]string, error) {
	if home, err := os.UserHomeDir(); err == nil && (prefix == "~" || strings.HasPrefix(prefix, "~/")) {
		prefix = home + prefix[1:]
	}
	dir, start := filepath.Split(prefix)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, failure.Wrap(err, failure.NotFound, "folder_missing", "read the folder", "choose another folder")
	}
	var found []string
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := entry.Name()
		if !strings.HasPrefix(name, start) || strings.HasPrefix(name, ".") && !strings.HasPrefix(start, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue // links to folders count, broken ones do not
		}
		if found = append(found, path); len(found) == limit {
			break
		}
	}
	return found, nil
}

// Recent lists the folders of earlier releases that are still there.
func (f folders) Recent(ctx context.Context) ([]string, error) {
	states, err := f.journals.List(ctx)
	if err != nil {
		return nil, err
	}
	var recent []string
	seen := map[string]bool{"": true}
	for _, s := range states {
		dir := s.Plan.Dir
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			if recent = append(recent, dir); len(recent) == maxRecent {
				break
			}
		}
	}
	return recent, nil
}

func (f folders) Inspect(ctx context.Context, dir string) (views.FolderReport, error) {
	report, err := bundle.Preflight(ctx, dir, bundle.Options{})
	if err != nil {
		if ctx.Err() != nil {
			return views.FolderReport{}, ctx.Err()
		}
		return views.FolderReport{Dir: dir, Findings: []views.Finding{{
			Level: bundle.LevelBlock, Code: failure.CodeOf(err), Text: err.Error(), Hint: failure.HintOf(err),
		}}}, nil
	}
	out := views.FolderReport{Dir: dir, Build: len(report.Blocked()) == 0, Files: report.Files, Bytes: report.Bytes}
	for _, f := range report.Findings {
		out.Findings = append(out.Findings, views.Finding{Level: f.Level, Code: f.Code, Text: f.Text, Hint: f.Hint})
	}
	return out, nil
}
