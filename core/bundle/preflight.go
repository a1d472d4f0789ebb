package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"capstan/core/failure"
)

// The levels of a finding.
const (
	LevelOK    = "ok"
	LevelWarn  = "warn"
	LevelBlock = "block"
)

// Finding is one thing that a look at a build folder brought up.
type Finding struct {
	Level string `json:"level"` // LevelOK, LevelWarn or LevelBlock
	Code  string `json:"code"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	File  string `json:"file,omitempty"` // the first file it is about
}

// Report is what Preflight found.
type Report struct {
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Left     []Omitted `json:"left"` // what is left out, in the order of names
	Findings []Finding `json:"findings"`
}

// Blocked gives the findings that stand in the way of a release.
func (r Report) Blocked() []Finding {
	var blocked []Finding
	for _, f := range r.Findings {
		if f.Level == LevelBlock {
			blocked = append(blocked, f)
		}
	}
	return blocked
}

// Err is the first blocking finding as a failure, or nil.
func (r Report) Err() error {
	blocked := r.Blocked()
	if len(blocked) == 0 {
		return nil
	}
	class := failure.Failed
	if blocked[0].Code == "no_index_html" {
		class = failure.NotFound
	}
	return failure.New(class, blocked[0].Code, "check build folder", blocked[0].Text, blocked[0].Hint)
}

const (
	// warnBytes is from where on a download is noticed; the Capgo CLI warns there too.
	warnBytes = 20 << 20
	// iOS plugins from 8.45.11 (7.50.1) give a download responseTimeout + 5 s,
	// 25 s by default; this is what a phone gets in that time at 10 Mbit/s.
	iosBytes = 25 * 10_000_000 / 8
	// scanBytes of a text file are searched for secrets.
	scanBytes = 8 << 20
	// maxManifest is how many files a delta update may have.
	maxManifest = 10000
)

// Preflight looks at a build folder as Pack would see it, without packing it.
// A folder that cannot be packed at all comes back as an error; everything else
// as findings, in a fixed order.
func Preflight(ctx context.Context, dir string, o Options) (Report, error) {
	t, err := readTree(ctx, dir, o)
	if err != nil {
		return Report{}, err
	}
	p := newPreflight(t, o)
	p.layout()
	p.names()
	found, err := p.scanAll(ctx)
	if err != nil {
		return Report{}, err
	}
	p.contents(found)
	p.size()
	p.omitted()
	return p.report, nil
}

type preflight struct {
	tree   *tree
	budget int64
	report Report
}

func newPreflight(t *tree, o Options) *preflight {
	p := &preflight{tree: t, budget: o.SizeBudget, report: Report{Files: len(t.files), Bytes: t.bytes, Left: t.left}}
	slices.SortFunc(p.report.Left, func(a, b Omitted) int { return strings.Compare(a.Name, b.Name) })
	return p
}

// tell gives the findings to found, which may end the packing with an error.
func (p *preflight) tell(found func(Finding) error) error {
	for _, f := range p.report.Findings {
		if err := found(f); err != nil {
			return err
		}
	}
	p.report.Findings = nil
	return nil
}

func (p *preflight) add(level, code, file, hint, format string, args ...any) {
	p.report.Findings = append(p.report.Findings, Finding{level, code, fmt.Sprintf(format, args...), hint, file})
}

// layout checks that devices will find index.html where they look for it.
func (p *preflight) layout() {
	roots := map[string]bool{}
	index := false
	for _, f := range p.tree.files {
		root, _, _ := strings.Cut(f.name, "/")
		roots[root] = true
		index = index || f.name == "index.html"
	}
	switch {
	case index:
		p.add(LevelOK, "index_html", "index.html", "", "index.html is at the root")
	case len(roots) == 1:
		var root string
		for root = range roots {
		}
		p.add(LevelBlock, "no_index_html", "", "pack the folder that holds index.html", "there is no index.html at the root, only %q", quoted(root))
	default:
		p.add(LevelBlock, "no_index_html", "", "pack the folder that holds index.html, or build the app first", "there is no index.html at the root of %s", p.tree.dir)
	}
}

// refusedTypes are files that belong to native code or to signing, by suffix.
var refusedTypes = map[string]string{
	".pem": "key", ".p12": "key", ".pfx": "key", ".jks": "key", ".keystore": "key", ".key": "key", ".p8": "key", ".asc": "key",
	".mobileprovision": "key",
	".apk":             "native", ".aab": "native", ".ipa": "native", ".dex": "native", ".so": "native", ".dylib": "native", ".dll": "native", ".exe": "native",
}

// names checks what the names alone tell.
func (p *preflight) names() {
	spaces, reserved := "", ""
	targets := map[string]string{}
	for _, f := range p.tree.files {
		base := strings.ToLower(path.Base(f.name))
		switch {
		case base == ".env", strings.HasPrefix(base, ".env."), strings.HasSuffix(base, ".env"):
			p.add(LevelBlock, "env_file", f.name, "exclude it: everyone who has the app can read it", "%q holds settings of the build", quoted(f.name))
		case strings.HasPrefix(base, ".capgo_key"), base == "id_rsa", base == "id_ed25519", base == "id_ecdsa", refusedTypes[path.Ext(base)] == "key":
			p.add(LevelBlock, "key_material", f.name, "exclude it: everyone who has the app can read it", "%q looks like key material", quoted(f.name))
		case refusedTypes[path.Ext(base)] == "native":
			p.add(LevelBlock, "native_code", f.name, "native code cannot be updated over the air; exclude it", "%q is native code", quoted(f.name))
		case path.Ext(base) == ".map":
			p.add(LevelWarn, "source_map", f.name, "source maps show the source to everyone who has the app", "%q is a source map", quoted(f.name))
		case base == ".git" || strings.HasPrefix(f.name, ".git/") || strings.Contains(f.name, "/.git/"):
			p.add(LevelBlock, "git_folder", f.name, "exclude .git", "%q is part of a git repository", quoted(f.name))
		}
		if spaces == "" && strings.Contains(f.name, " ") {
			spaces = f.name
		}
		if reserved == "" && windowsRefuses(f.name) {
			reserved = f.name
		}
		target := foldName(strings.TrimSuffix(f.name, ".br"))
		if other, taken := targets[target]; taken {
			p.add(LevelWarn, "br_collision", f.name, "a delta update cannot hold both; rename one", "%q and %q are one file in a delta update", quoted(other), quoted(f.name))
		}
		targets[target] = f.name
	}
	if spaces != "" {
		p.add(LevelWarn, "name_with_space", spaces, "the Capgo CLI refuses names with spaces in delta updates", "%q has a space in its name", quoted(spaces))
	}
	if reserved != "" {
		p.add(LevelWarn, "name_reserved", reserved, "rename it if the app also runs on Windows", "%q cannot be stored on Windows", quoted(reserved))
	}
}

// windowsRefuses reports names that Windows keeps for devices or cannot hold.
func windowsRefuses(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.ContainsAny(part, `<>:"|?*`) || strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") {
			return true
		}
		stem, _, _ := strings.Cut(strings.ToLower(part), ".")
		switch stem {
		case "con", "prn", "aux", "nul":
			return true
		}
		if len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")) && stem[3] >= '1' && stem[3] <= '9' {
			return true
		}
	}
	return false
}

// scanAll reads the text files, once and on all cores.
func (p *preflight) scanAll(ctx context.Context) ([]contentFound, error) {
	found := make([]contentFound, len(p.tree.files))
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), maxWorkers) {
		group.Go(func() error {
			buf := make([]byte, 128<<10)
			for i := next.Add(1) - 1; i < int64(len(found)); i = next.Add(1) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				f := &p.tree.files[i]
				if !isText(f.name) || f.size() == 0 {
					continue
				}
				var err error
				if found[i], err = p.scan(f, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return found, group.Wait()
}

// contents judges what was found in each file: the call that keeps a bundle
// installed, and private keys.
func (p *preflight) contents(found []contentFound) {
	ready, inline := "", ""
	for i, f := range p.tree.files {
		if found[i].ready {
			if path.Ext(f.name) == ".js" {
				ready = cmpFirst(ready, f.name)
			} else {
				inline = cmpFirst(inline, f.name)
			}
		}
		if found[i].key {
			p.add(LevelBlock, "key_material", f.name, "remove it: everyone who has the app can read it", "%q contains a private key", quoted(f.name))
		}
	}
	switch {
	case ready != "":
		p.add(LevelOK, "notify_app_ready", ready, "", "notifyAppReady is called in %q", quoted(ready))
	case inline != "":
		p.add(LevelBlock, "no_notify_app_ready", inline, "call it from a .js file, where the Capgo CLI looks for it too, or skip the check with --no-code-check",
			"notifyAppReady is found in %q only, which is not a .js file", quoted(inline))
	default:
		p.add(LevelBlock, "no_notify_app_ready", "", "call CapacitorUpdater.notifyAppReady() when the app has started, or devices roll back; --no-code-check skips this",
			"no .js file calls notifyAppReady")
	}
}

func cmpFirst(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// textTypes are the suffixes whose contents are searched.
var textTypes = map[string]bool{
	"": true, ".js": true, ".mjs": true, ".cjs": true, ".html": true, ".htm": true, ".css": true, ".json": true, ".txt": true,
	".xml": true, ".svg": true, ".map": true, ".env": true, ".yml": true, ".yaml": true, ".md": true, ".toml": true, ".ts": true, ".webmanifest": true,
	".pem": true, ".key": true, ".crt": true, ".cer": true,
}

func isText(name string) bool { return textTypes[strings.ToLower(path.Ext(name))] }

// contentFound is what was found in a file, or in a piece of one.
type contentFound struct{ ready, key bool }

func (c *contentFound) look(piece []byte) {
	c.ready = c.ready || bytes.Contains(piece, readyCall)
	c.key = c.key || holdsKey(piece)
}

var (
	readyCall = []byte("notifyAppReady")
	keyHeader = []byte("PRIVATE KEY-----")
)

// overlap is kept from one piece to the next, so that nothing is missed at the seam.
const overlap = 128

func (p *preflight) scan(f *file, buf []byte) (contentFound, error) {
	h, err := p.tree.open(f)
	if err != nil {
		return contentFound{}, err
	}
	defer h.Close()
	var found contentFound
	kept, total := 0, 0
	for total < scanBytes {
		n, err := io.ReadFull(h, buf[kept:])
		total += n
		piece := buf[:kept+n]
		found.look(piece)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return found, unreadable(f.name, err)
		}
		kept = copy(buf, piece[len(piece)-overlap:])
	}
	return found, nil
}

// holdsKey reports a PEM header with a key behind it. Libraries that handle
// keys hold the header alone.
func holdsKey(b []byte) bool {
	for {
		at := bytes.Index(b, keyHeader)
		if at < 0 {
			return false
		}
		b = b[at+len(keyHeader):]
		body := bytes.TrimLeft(b[:min(len(b), 12)], "\\nr\r\n\t ")
		body = b[min(len(b), 12)-len(body):]
		run := 0
		for run < len(body) && run < 40 && isBase64(body[run]) {
			run++
		}
		if run == 40 {
			return true
		}
	}
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// size compares with what devices can fetch.
func (p *preflight) size() {
	n := p.report.Bytes
	switch {
	case p.budget > 0 && n > p.budget:
		p.add(LevelBlock, "size_budget", "", "leave out what devices do not need, or raise size_budget; iOS gives a download 25 s unless responseTimeout is raised",
			"the files are %s before compression, the budget is %s", humanize.IBytes(uint64(n)), humanize.IBytes(uint64(p.budget)))
	case n > iosBytes:
		p.add(LevelWarn, "size", "", "iOS gives a download 25 s unless responseTimeout is raised; ship a delta update or fewer files",
			"the files are %s before compression", humanize.IBytes(uint64(n)))
	case n > warnBytes:
		p.add(LevelWarn, "size", "", "devices on mobile networks will notice; ship a delta update or fewer files", "the files are %s before compression", humanize.IBytes(uint64(n)))
	default:
		p.add(LevelOK, "size", "", "", "%d files, %s before compression", p.report.Files, humanize.IBytes(uint64(n)))
	}
	if p.report.Files > maxManifest {
		p.add(LevelWarn, "too_many_for_delta", "", "the bundle is delivered as a whole", "a delta update holds at most %d files, this build has %d", maxManifest, p.report.Files)
	}
}

// omitted names what stays behind, so that nobody misses it on devices.
func (p *preflight) omitted() {
	count := map[string]int{}
	first := map[string]string{}
	for _, l := range p.report.Left {
		if count[l.Reason]++; count[l.Reason] == 1 {
			first[l.Reason] = l.Name
		}
	}
	for _, reason := range []string{"dotfile", "source map", "dependencies", "metadata", "excluded"} {
		if n := count[reason]; n > 0 {
			p.add(LevelOK, "left_out", first[reason], "", "left out as %s: %q%s", reason, quoted(first[reason]), more(n-1))
		}
	}
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
