package project

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/project/config"
	"capstan/internal/peers"
)

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	program := peers.Program(t, "git", "install git")
	cmd := exec.Command(program, append([]string{"-C", dir, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestGit(t *testing.T) {
	root := tree(t, map[string]string{"apps/shop/capacitor.config.json": shop, "nx.json": "{}"})
	git(t, root, "init", "-q")
	app := filepath.Join(root, "apps", "shop")
	p, err := Open(app)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Git.Present || p.Git.Commit != "" || p.Comment() != "" || p.Git.Branch != "main" {
		t.Errorf("before the first commit: %+v", p.Git)
	}
	git(t, root, "add", ".")
	git(t, root, "commit", "-q", "-m", "shop: first\n\nwith a body")
	git(t, root, "remote", "add", "origin", "https://ada:secret-token@github.com/acme/shop.git")
	commit := git(t, root, "rev-parse", "HEAD")
	p, err = Open(app)
	if err != nil {
		t.Fatal(err)
	}
	if p.Git.Commit != commit || p.Git.Branch != "main" || p.Git.Subject != "shop: first" || p.Git.Author != "Ada" || p.Git.Dirty {
		t.Errorf("after the first commit: %+v", p.Git)
	}
	if p.Git.Remote != "https://github.com/acme/shop.git" {
		t.Errorf("remote %q", p.Git.Remote)
	}
	if want := p.Git.Short + " shop: first"; p.Comment() != want {
		t.Errorf("comment %q, want %q", p.Comment(), want)
	}
	if want := "https://github.com/acme/shop/commit/" + commit; p.Link() != want && os.Getenv("CI") == "" {
		t.Errorf("link %q, want %q", p.Link(), want)
	}
	git(t, root, "tag", "v1.2.3")
	git(t, root, "checkout", "-q", "--detach")
	if err := os.WriteFile(filepath.Join(app, "capacitor.config.json"), []byte(shop+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err = Open(app)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Git.Dirty || p.Git.Tag != "v1.2.3" || p.Git.Branch != "" {
		t.Errorf("dirty, tagged, detached: %+v", p.Git)
	}
	if !strings.HasPrefix(p.Comment(), p.Git.Short+"+changes ") {
		t.Errorf("comment %q", p.Comment())
	}
}

// A repository's own settings must not start programs.
func TestGitRunsNothing(t *testing.T) {
	root := tree(t, map[string]string{"capacitor.config.json": shop})
	git(t, root, "init", "-q")
	git(t, root, "add", ".")
	git(t, root, "commit", "-q", "-m", "x")
	mark := filepath.Join(t.TempDir(), "ran")
	git(t, root, "config", "core.fsmonitor", "touch "+mark+"; true")
	if _, err := Open(root); err != nil {
		t.Fatal(err)
	}
	if exists(mark) {
		t.Error("the repository's fsmonitor program was run")
	}
}

func TestWebAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/acme/shop.git":            "https://github.com/acme/shop",
		"git@github.com:acme/shop.git":                "https://github.com/acme/shop",
		"ssh://git@gitlab.acme.dev:2222/app/shop.git": "https://gitlab.acme.dev/app/shop",
		"/srv/git/shop.git":                           "",
		"file:///srv/git/shop":                        "",
		"":                                            "",
	} {
		if got := webAddress(remote); got != want {
			t.Errorf("%q gave %q, want %q", remote, got, want)
		}
	}
}

func TestCI(t *testing.T) {
	for name, c := range map[string]struct {
		env  config.Environment
		want CI
	}{
		"github":    {config.Environment{"GITHUB_ACTIONS": "true", "GITHUB_SHA": "abc", "GITHUB_REF_NAME": "main", "GITHUB_RUN_NUMBER": "7", "GITHUB_RUN_ID": "99", "GITHUB_REPOSITORY": "acme/shop"}, CI{"GitHub Actions", "abc", "main", "7", "https://github.com/acme/shop/actions/runs/99"}},
		"gitlab":    {config.Environment{"GITLAB_CI": "true", "CI_COMMIT_SHA": "abc", "CI_COMMIT_REF_NAME": "main", "CI_PIPELINE_IID": "7", "CI_PIPELINE_URL": "https://gitlab.acme.dev/p/7"}, CI{"GitLab CI", "abc", "main", "7", "https://gitlab.acme.dev/p/7"}},
		"codemagic": {config.Environment{"CM_BUILD_ID": "b", "CM_PROJECT_ID": "p", "CM_COMMIT": "abc", "CM_BRANCH": "main", "BUILD_NUMBER": "7"}, CI{"Codemagic", "abc", "main", "7", "https://codemagic.io/app/p/build/b"}},
		"azure":     {config.Environment{"TF_BUILD": "True", "BUILD_SOURCEVERSION": "abc", "BUILD_SOURCEBRANCHNAME": "main", "BUILD_BUILDNUMBER": "7", "BUILD_BUILDID": "70", "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": "https://dev.azure.com/acme/", "SYSTEM_TEAMPROJECT": "shop"}, CI{"Azure Pipelines", "abc", "main", "7", "https://dev.azure.com/acme/shop/_build/results?buildId=70"}},
		"bitbucket": {config.Environment{"BITBUCKET_BUILD_NUMBER": "7", "BITBUCKET_COMMIT": "abc", "BITBUCKET_BRANCH": "main", "BITBUCKET_GIT_HTTP_ORIGIN": "https://bitbucket.org/acme/shop"}, CI{"Bitbucket Pipelines", "abc", "main", "7", "https://bitbucket.org/acme/shop"}},
		"unknown":   {config.Environment{"CI": "true"}, CI{Name: "CI"}},
		"none":      {config.Environment{}, CI{}},
	} {
		if got := readCI(c.env); got != c.want {
			t.Errorf("%s gave %+v", name, got)
		}
	}
}
