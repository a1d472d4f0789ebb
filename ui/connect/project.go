package connect

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2/maybe"

	"capstan/core/failure"
	"capstan/core/profile"
	"capstan/core/project"
	"capstan/core/workspace"
	"capstan/ui/views"
)

// capacitor is the project around the console.
type capacitor struct{ workspace *workspace.Workspace }

// open reads the project as it is now: an editor may have changed it meanwhile.
func (c *capacitor) open(ctx context.Context) (*project.Project, error) {
	return project.OpenConfig(ctx, c.workspace.Project.ConfigPath, project.Options{})
}

func (c *capacitor) PlanKey(ctx context.Context, publicPEM string) (views.Edit, error) {
	p, err := c.open(ctx)
	if err != nil {
		return views.Edit{}, err
	}
	edit, err := p.PlanEditContext(ctx, map[string]string{"publicKey": publicPEM})
	if err != nil {
		if edit.Snippet == "" {
			return views.Edit{}, err
		}
		return views.Edit{Path: edit.Path, Snippet: edit.Snippet}, nil
	}
	if !edit.Changed() {
		return views.Edit{Path: edit.Path}, nil
	}
	return views.Edit{Path: edit.Path, Diff: edit.Diff, Snippet: edit.Snippet, Apply: func(context.Context) error { return edit.Apply() }}, nil
}

func (c *capacitor) Doctor(ctx context.Context) ([]views.Finding, error) {
	p, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	var findings []views.Finding
	for _, f := range project.Doctor(ctx, p) {
		findings = append(findings, views.Finding{Level: string(f.Level), Code: f.Code, Text: f.Text, Hint: f.Hint})
	}
	return findings, nil
}

// preferences keeps the console's settings in console.json beside the profiles.
type preferences struct {
	workspace *workspace.Workspace
	dir       string
}

// remembered is the file's content.
type remembered struct {
	Theme string `json:"theme,omitempty"`
	Lang  string `json:"lang,omitempty"`
}

func (p preferences) path() string { return filepath.Join(p.dir, "console.json") }

func (p preferences) Load(context.Context) (views.Settings, error) {
	var r remembered
	content, err := os.ReadFile(p.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return views.Settings{}, failure.Wrap(err, failure.Failed, "settings", "read the console's settings", "")
	default:
		// Settings that cannot be read are the defaults: they are not worth an error.
		_ = json.Unmarshal(content, &r)
	}
	target := p.workspace.Config.Target
	s := views.Settings{Theme: r.Theme, Lang: r.Lang, Profile: target.Name}
	names, _, err := profile.List(p.workspace.Config.Dir)
	if err != nil {
		return s, err
	}
	for _, name := range names {
		shown := views.Profile{Name: name}
		if name == target.Name {
			shown.Server, shown.Storage, shown.Channel = target.Server, target.Storage, target.Channel
		} else if p, err := profile.Described(p.workspace.Config.Dir, name); err == nil {
			shown.Server, shown.Storage, shown.Channel = p.Server, p.Storage, p.Channel
		}
		s.Profiles = append(s.Profiles, shown)
	}
	return s, nil
}

func (p preferences) Save(_ context.Context, s views.Settings) error {
	content, err := json.MarshalIndent(remembered{Theme: s.Theme, Lang: s.Lang}, "", "  ")
	if err == nil {
		err = os.MkdirAll(p.dir, 0o700)
	}
	if err == nil {
		err = maybe.WriteFile(p.path(), append(content, '\n'), 0o600)
	}
	return failure.Wrap(err, failure.Failed, "settings", "save the console's settings", "check the permissions of "+p.dir)
}
