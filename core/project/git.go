package project

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"capstan/core/project/config"
)

// Git is the state of the repository that the project is in.
type Git struct {
	Present bool   // the project is in a repository and git could read it
	Commit  string // full id of HEAD
	Short   string // its usual abbreviation
	Branch  string // empty on a detached HEAD
	Tag     string // a tag on HEAD
	Subject string // first line of the commit message
	Author  string // name only
	Remote  string // URL of origin, without credentials
	Dirty   bool   // tracked files differ from HEAD
}

// gitTimeout bounds one git command: a status of a very large tree on a slow disk.
const gitTimeout = 5 * time.Second

// readGit asks what git knows of the folder, all questions at once: a process
// takes milliseconds, and none waits for another's answer.
func readGit(ctx context.Context, dir string) Git {
	var g Git
	var asked sync.WaitGroup
	ask := func(use func(out string), args ...string) {
		asked.Go(func() {
			if out, err := gitOutput(ctx, dir, args...); err == nil {
				use(out)
			}
		})
	}
	ask(g.readStatus, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
	ask(func(out string) {
		if parts := strings.SplitN(strings.TrimRight(out, "\n"), "\x00", 3); len(parts) == 3 {
			g.Short, g.Subject, g.Author = parts[0], parts[1], parts[2]
		}
	}, "log", "-1", "--no-show-signature", "--format=%h%x00%s%x00%an")
	ask(func(out string) { g.Tag, _, _ = strings.Cut(out, "\n") }, "tag", "--points-at", "HEAD")
	ask(func(out string) { g.Remote = withoutCredentials(strings.TrimSpace(out)) }, "config", "--get", "remote.origin.url")
	asked.Wait()
	if !g.Present { // a bare repository, for one
		return Git{}
	}
	return g
}

func (g *Git) readStatus(status string) {
	g.Present = true
	for line := range strings.Lines(status) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "# branch.oid "):
			if id := strings.TrimPrefix(line, "# branch.oid "); id != "(initial)" {
				g.Commit = id
			}
		case strings.HasPrefix(line, "# branch.head "):
			if name := strings.TrimPrefix(line, "# branch.head "); name != "(detached)" {
				g.Branch = name
			}
		case !strings.HasPrefix(line, "#"):
			g.Dirty = true
		}
	}
}

// gitOutput runs one reading command. Settings of the repository that would run
// programs are switched off.
func gitOutput(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	args = append([]string{"-C", dir, "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false"}, args...)
	cmd := exec.CommandContext(ctx, "git", args...)
	// git has no use for capstan's own settings, some of which are secrets.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CAPSTAN_") })
	out, err := cmd.Output()
	return string(out), err
}

// withoutCredentials drops user and password from an http(s) URL.
func withoutCredentials(remote string) string {
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		return remote // git@host:path has no password in it
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		u.User = nil
	}
	return u.String()
}

// Tracked reports whether git knows the file.
func (p *Project) tracked(ctx context.Context, path string) bool {
	_, err := gitOutput(ctx, p.Root, "ls-files", "--error-unmatch", "--", path)
	return err == nil
}

// ignored reports whether git would leave the file out.
func (p *Project) ignored(ctx context.Context, path string) bool {
	_, err := gitOutput(ctx, p.Root, "check-ignore", "--quiet", "--no-index", "--", path)
	return err == nil
}

// CI is what a continuous integration service says of the running build.
type CI struct {
	Name   string // empty outside CI
	Commit string
	Branch string // branch or tag
	Run    string // number or id of the run
	URL    string // page of the run
}

// readCI knows the variables of the usual services.
func readCI(env config.Environment) CI {
	switch {
	case env["GITHUB_ACTIONS"] == "true":
		c := CI{Name: "GitHub Actions", Commit: env["GITHUB_SHA"], Branch: env["GITHUB_REF_NAME"], Run: env["GITHUB_RUN_NUMBER"]}
		if env["GITHUB_REPOSITORY"] != "" && env["GITHUB_RUN_ID"] != "" {
			c.URL = first(env["GITHUB_SERVER_URL"], "https://github.com") + "/" + env["GITHUB_REPOSITORY"] + "/actions/runs/" + env["GITHUB_RUN_ID"]
		}
		return c
	case env["GITLAB_CI"] == "true":
		return CI{"GitLab CI", env["CI_COMMIT_SHA"], env["CI_COMMIT_REF_NAME"], env["CI_PIPELINE_IID"], env["CI_PIPELINE_URL"]}
	case env["CM_BUILD_ID"] != "":
		c := CI{Name: "Codemagic", Commit: env["CM_COMMIT"], Branch: first(env["CM_TAG"], env["CM_BRANCH"]), Run: env["BUILD_NUMBER"]}
		if env["CM_PROJECT_ID"] != "" {
			c.URL = "https://codemagic.io/app/" + env["CM_PROJECT_ID"] + "/build/" + env["CM_BUILD_ID"]
		}
		return c
	case env["TF_BUILD"] != "":
		c := CI{Name: "Azure Pipelines", Commit: env["BUILD_SOURCEVERSION"], Branch: env["BUILD_SOURCEBRANCHNAME"], Run: env["BUILD_BUILDNUMBER"]}
		if env["SYSTEM_TEAMFOUNDATIONCOLLECTIONURI"] != "" {
			c.URL = env["SYSTEM_TEAMFOUNDATIONCOLLECTIONURI"] + env["SYSTEM_TEAMPROJECT"] + "/_build/results?buildId=" + env["BUILD_BUILDID"]
		}
		return c
	case env["BITBUCKET_BUILD_NUMBER"] != "":
		return CI{"Bitbucket Pipelines", env["BITBUCKET_COMMIT"], first(env["BITBUCKET_TAG"], env["BITBUCKET_BRANCH"]), env["BITBUCKET_BUILD_NUMBER"], strings.TrimSuffix(env["BITBUCKET_GIT_HTTP_ORIGIN"], ".git")}
	case env["CIRCLECI"] == "true":
		return CI{"CircleCI", env["CIRCLE_SHA1"], first(env["CIRCLE_TAG"], env["CIRCLE_BRANCH"]), env["CIRCLE_BUILD_NUM"], env["CIRCLE_BUILD_URL"]}
	case env["JENKINS_URL"] != "":
		return CI{"Jenkins", env["GIT_COMMIT"], env["GIT_BRANCH"], env["BUILD_NUMBER"], env["BUILD_URL"]}
	case env["CI"] == "true":
		return CI{Name: "CI"}
	}
	return CI{}
}

// commentLimit is how long the comment of a bundle may be: one line in a list.
const commentLimit = 200

// Comment describes the commit in one line, for a bundle's comment: abbreviated
// id, mark of uncommitted changes, subject. Empty outside a repository.
func (p *Project) Comment() string {
	id := p.Git.Short
	if id == "" && len(p.CI.Commit) >= 7 {
		id = p.CI.Commit[:7]
	}
	if id == "" {
		return ""
	}
	if p.Git.Dirty {
		id += "+changes"
	}
	comment := []rune(strings.TrimSpace(id + " " + p.Git.Subject))
	if len(comment) > commentLimit {
		comment = append(comment[:commentLimit-1], '…')
	}
	return string(comment)
}

// Link gives a page about the build, for a bundle's link: the CI run, else the
// commit at a forge whose addresses are known, else empty.
func (p *Project) Link() string {
	if strings.HasPrefix(p.CI.URL, "https://") {
		return p.CI.URL
	}
	base := webAddress(p.Git.Remote)
	switch {
	case base == "" || p.Git.Commit == "" || p.Git.Dirty:
		return ""
	case strings.Contains(base, "gitlab"):
		return base + "/-/commit/" + p.Git.Commit
	case strings.Contains(base, "bitbucket.org"):
		return base + "/commits/" + p.Git.Commit
	case strings.Contains(base, "github") || strings.Contains(base, "codeberg.org") || strings.Contains(base, "gitea"):
		return base + "/commit/" + p.Git.Commit
	}
	return ""
}

// webAddress turns a git remote into the https page of the repository.
func webAddress(remote string) string {
	remote = strings.TrimSuffix(remote, ".git")
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		switch u.Scheme {
		case "https", "http", "ssh", "git":
			return "https://" + u.Hostname() + u.Path
		}
		return ""
	}
	if user, rest, ok := strings.Cut(remote, "@"); ok && !strings.ContainsAny(user, "/:") {
		if host, path, ok := strings.Cut(rest, ":"); ok && host != "" {
			return "https://" + host + "/" + strings.TrimPrefix(path, "/")
		}
	}
	return ""
}
