package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule says who may import what. A package matches a pattern when it equals it
// or, with a trailing /..., lies below it.
type rule struct {
	what    string   // import paths that the rule is about
	allowed []string // packages of capstan that may import it; everybody else may not
}

// onlyBy are imports reserved to a room.
var onlyBy = []rule{
	{"github.com/zalando/go-keyring", []string{"core/keys/...", "internal/keyringtest/..."}},
	{"capstan/core/keys/multibuffer", []string{"core/keys"}}, // whoever else signs asks a signer
	{"modernc.org/sqlite/...", []string{"server/store/..."}},
	{"github.com/jackc/pgx/...", []string{"server/store/...", "internal/servertest/..."}},
	{"database/sql/...", []string{"server/store/...", "internal/servertest/..."}},
	{"gocloud.dev/...", nil}, // see docs/dependencies.md
	{"github.com/Azure/...", []string{"core/remote/storage/..."}},
	{"golang.org/x/oauth2/...", []string{"core/remote/storage/..."}},
	{"github.com/minio/minio-go/...", []string{"core/remote/storage/...", "scripts/bench-upload"}},
	{"github.com/aws/...", []string{"core/remote/storage/..."}},
	{"github.com/pkg/sftp", []string{"core/remote/storage/..."}},
	{"charm.land/...", []string{"ui/...", "internal/tuitest/...", "."}},
}

// never are imports that a room must not have.
var never = []struct {
	room   string
	banned []string
}{
	{"core/...", []string{"charm.land/...", "github.com/charmbracelet/...", "capstan/server/...", "capstan/ui/...", "capstan/cli/..."}},
	{"server/...", []string{"capstan/ui/...", "capstan/cli/...", "charm.land/..."}},
	{"ui/...", []string{"capstan/cli/...", "capstan/server/store/...", "database/sql/..."}},
	{"cli/...", []string{"capstan/ui/...", "database/sql/..."}},
	{"ui/views/...", []string{"net/http", "database/sql", "os", "io/ioutil", "capstan/server/..."}},
}

// pure are rooms that may import nothing but the standard library, semver and
// the packages named.
var pure = map[string][]string{
	"core/capgo":    {"github.com/Masterminds/semver/v3"},
	"server/decide": {"github.com/Masterminds/semver/v3", "capstan/core/capgo"},
}

var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "manager"}

func matches(pattern, path string) bool {
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// TestHouseRules reads the imports of every package and holds them against the plan of the house.
func TestHouseRules(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "dist") {
				return filepath.SkipDir
			}
			if slices.Contains(bannedNames, d.Name()) {
				t.Errorf("%s: a package needs a name that says what it is for", path)
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		checkImports(t, path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Fatalf("read %d files only: the walk does not see the house", files)
	}
}

func checkImports(t *testing.T, path string, file *ast.File) {
	room := filepath.ToSlash(filepath.Dir(path))
	isTest := strings.HasSuffix(path, "_test.go")
	if slices.Contains(bannedNames, strings.TrimSuffix(file.Name.Name, "_test")) {
		t.Errorf("%s: package name %s says nothing", path, file.Name.Name)
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range onlyBy {
			if matches(r.what, imported) && !matchesAny(r.allowed, room) && !isTest {
				t.Errorf("%s imports %s: only %s may", path, imported, strings.Join(r.allowed, ", "))
			}
		}
		for _, r := range never {
			// Tests may start real parts of other rooms.
			if matches(r.room, room) && matchesAny(r.banned, imported) && !isTest {
				t.Errorf("%s imports %s: %s must not", path, imported, r.room)
			}
		}
		if allowed, ok := pure[room]; ok && !isTest && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && !slices.Contains(allowed, imported) {
			t.Errorf("%s imports %s: the room is pure", path, imported)
		}
		if allowed, ok := pure[room]; ok && !isTest && strings.HasPrefix(imported, "capstan/") && !slices.Contains(allowed, imported) {
			t.Errorf("%s imports %s: the room is pure", path, imported)
		}
	}
}

// TestDependenciesHaveReasons holds go.mod's direct requirements against docs/dependencies.md.
func TestDependenciesHaveReasons(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.Contains(fields[0], ".") || !strings.HasPrefix(fields[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		direct++
		if !strings.Contains(string(doc), "`"+fields[0]+"`") {
			t.Errorf("docs/dependencies.md gives no reason for %s", fields[0])
		}
	}
	if direct == 0 {
		t.Fatal("go.mod has no direct requirement: the test reads it wrongly")
	}
}
