package project

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"capstan/core/failure"
	"capstan/core/project/config"
)

// Candidate is a project that Find came across.
type Candidate struct {
	Root       string // folder of the config
	ConfigPath string
	Workspace  string // root of the monorepo, or Root
}

// Name is how a person would call the candidate: its folder in the workspace.
func (c Candidate) Name() string {
	rel, err := filepath.Rel(c.Workspace, c.Root)
	if err != nil || rel == "." {
		return filepath.Base(c.Root)
	}
	return filepath.ToSlash(rel)
}

// Find lists the Capacitor projects that dir may mean: the one that dir is in,
// else those in the usual places and workspaces below the nearest folder that
// has any. It fails with project_not_found when there is none.
func Find(dir string) ([]Candidate, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "project_unreadable", "find project", "")
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, failure.Newf(failure.NotFound, "project_not_found", "find project", "give the folder of a Capacitor app", "%s is not a folder", dir)
	}
	for _, folder := range upwards(dir, "") {
		if path := configIn(folder); path != "" {
			return []Candidate{{Root: folder, ConfigPath: path, Workspace: workspaceOf(folder)}}, nil
		}
		if below := configsBelow(folder); len(below) > 0 {
			return below, nil
		}
		if exists(filepath.Join(folder, ".git")) {
			break // another repository is another project
		}
	}
	return nil, failure.New(failure.NotFound, "project_not_found", "find project", "no capacitor.config.ts, .js or .json here or in a folder above",
		"change to the folder of a Capacitor app, or make one with: npx cap init")
}

// configIn gives the config that Capacitor would read in a folder. The copies
// in native projects are not projects.
func configIn(folder string) string {
	slashed := filepath.ToSlash(folder)
	if strings.HasSuffix(slashed, "/android/app/src/main/assets") || strings.HasSuffix(slashed, "/ios/App/App") {
		return ""
	}
	for _, name := range config.Names {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// usualPlaces are where a repository keeps its apps when no workspace says so.
var usualPlaces = []string{"src-capacitor", "apps/*", "packages/*", "projects/*"}

// candidatesLimit bounds the folders that the patterns of one workspace give.
const candidatesLimit = 2000

// configsBelow finds configs in the usual places and the workspaces of a folder.
func configsBelow(folder string) []Candidate {
	patterns := append([]string{}, usualPlaces...)
	if m, err := readManifest(folder); err == nil {
		patterns = append(patterns, m.workspaceGlobs()...)
	}
	patterns = append(patterns, pnpmPackages(readText(filepath.Join(folder, "pnpm-workspace.yaml")))...)
	seen := map[string]bool{}
	var found []Candidate
	for _, pattern := range patterns {
		if strings.HasPrefix(pattern, "!") || filepath.IsAbs(pattern) || strings.Contains(pattern, "..") {
			continue
		}
		pattern = strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(pattern), "./"), "/")
		pattern = strings.ReplaceAll(pattern, "**", "*")
		folders, err := filepath.Glob(filepath.Join(folder, filepath.FromSlash(pattern)))
		if err != nil {
			continue
		}
		for _, sub := range folders[:min(len(folders), candidatesLimit)] {
			// Nx keeps a Quasar app's config one folder further down as well.
			for _, place := range []string{sub, filepath.Join(sub, "src-capacitor")} {
				if path := configIn(place); path != "" && !seen[place] {
					seen[place] = true
					found = append(found, Candidate{Root: place, ConfigPath: path, Workspace: folder})
				}
			}
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Root < found[j].Root })
	return found
}

// pnpmPackages reads the packages list of a pnpm-workspace.yaml.
func pnpmPackages(text string) []string {
	var list []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case strings.HasPrefix(line, "packages:"):
			inside = true
			if rest := strings.Trim(strings.TrimPrefix(line, "packages:"), " []"); rest != "" {
				for _, item := range strings.Split(rest, ",") {
					list = append(list, strings.Trim(item, ` "'`))
				}
			}
		case inside && strings.HasPrefix(trimmed, "-"):
			item, _, _ := strings.Cut(strings.TrimPrefix(trimmed, "-"), " #")
			list = append(list, strings.Trim(item, ` "'`))
		case line[0] != ' ' && line[0] != '\t':
			inside = false
		}
	}
	return list
}

// workspaceOf gives the monorepo that a folder belongs to: the nearest folder
// at or above it with a sign of one, no further than the repository; itself
// when there is none.
func workspaceOf(folder string) string {
	for _, dir := range upwards(folder, "") {
		for _, sign := range []string{"pnpm-workspace.yaml", "nx.json", "lerna.json", "turbo.json", "rush.json"} {
			if exists(filepath.Join(dir, sign)) {
				return dir
			}
		}
		if m, err := readManifest(dir); err == nil && len(m.workspaceGlobs()) > 0 {
			return dir
		}
		// Quasar's app is the folder above src-capacitor.
		if dir != folder && filepath.Base(folder) == "src-capacitor" && dir == filepath.Dir(folder) && exists(filepath.Join(dir, "package.json")) {
			return dir
		}
		if exists(filepath.Join(dir, ".git")) {
			break
		}
	}
	return folder
}

// choose settles which candidate is meant: the only one, or the remembered one.
func choose(candidates []Candidate) (Candidate, error) {
	if len(candidates) == 1 {
		return candidates[0], nil
	}
	remembered := readChoices()[candidates[0].Workspace]
	names := make([]string, len(candidates))
	for i, c := range candidates {
		if names[i] = c.Name(); c.Root == remembered {
			return c, nil
		}
	}
	return Candidate{}, failure.Newf(failure.Usage, "project_ambiguous", "find project", "change to the folder of one of them: "+strings.Join(names, ", "),
		"there are %d Capacitor apps below %s", len(candidates), candidates[0].Workspace)
}

// Remember makes the candidate the one that its workspace stands for from now
// on. It writes projects.json in capstan's configuration folder.
func Remember(c Candidate) error {
	const op = "remember project"
	path, err := choicesPath()
	if err != nil {
		return failure.Wrap(err, failure.Failed, "state_unwritable", op, "set CAPSTAN_HOME to a folder for capstan's files")
	}
	choices := readChoices()
	choices[c.Workspace] = c.Root
	text, err := json.MarshalIndent(choices, "", "  ")
	if err != nil {
		return failure.Wrap(err, failure.Failed, "state_unwritable", op, "")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return failure.Wrap(err, failure.Failed, "state_unwritable", op, "")
	}
	// A rename, so that two at the same time lose one choice at most, never the file.
	temp, err := os.CreateTemp(filepath.Dir(path), "projects-*.json")
	if err != nil {
		return failure.Wrap(err, failure.Failed, "state_unwritable", op, "")
	}
	_, err = temp.Write(append(text, '\n'))
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return failure.Wrap(err, failure.Failed, "state_unwritable", op, "")
}

// choicesPath is the file that maps a workspace to the chosen project in it.
func choicesPath() (string, error) {
	if home := os.Getenv("CAPSTAN_HOME"); home != "" {
		return filepath.Join(home, "projects.json"), nil
	}
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "capstan", "projects.json"), err
}

// readChoices gives what was remembered. A damaged file counts as none: it
// costs one question.
func readChoices() map[string]string {
	choices := map[string]string{}
	if path, err := choicesPath(); err == nil {
		_ = json.Unmarshal([]byte(readText(path)), &choices)
	}
	return choices
}
