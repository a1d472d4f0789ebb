package text

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// maker is a function that makes a finding: where its arguments are. A hint of
// -1 is none.
type maker struct{ code, hint int }

// findingSources are the files whose findings the console can draw, with the
// functions in them that make some. Composite literals with a Code are found
// everywhere.
var findingSources = map[string]map[string]maker{
	"../../core/bundle/preflight.go":     {"add": {1, 3}},
	"../../core/bundle/tree.go":          {"failure.New": {1, 4}, "failure.Newf": {1, 3}, "failure.Wrap": {2, 4}},
	"../../core/project/check_build.go":  {"add": {1, 3}, "orOK": {1, -1}},
	"../../core/project/check_config.go": {"add": {0, 2}, "orOK": {1, -1}},
	"../../core/project/check_keys.go":   {"orOK": {1, -1}},
	"../../core/release/live.go":         {"finding": {1, 2}},
	"../../core/release/receipt.go":      {},
	"../../core/release/second.go":       {},
	"../../core/release/stages.go":       {},
	"../../core/release/delta.go":        {},
	"../../core/release/v1.go":           {},
	"../../core/keys/import.go":          {"Warning": {0, 2}},
	"../../core/remote/storage/check.go": {"add": {1, 2}, "block": {0, 1}},
	"../connect/profiles.go":             {},
}

// neverDrawn are failures of core/bundle/tree.go that end packing, not a look at a folder.
var neverDrawn = map[string]bool{"level_unknown": true, "file_changed": true}

// computed are the codes that are put together from a part and a value.
var computed = map[string][]string{
	"never_synced_":          {"never_synced_android", "never_synced_ios"},
	"not_synced_":            {"not_synced_android", "not_synced_ios"},
	"public_key_not_synced_": {"public_key_not_synced_android", "public_key_not_synced_ios"},
	"setting_":               {"setting_allow_modify_url", "setting_allow_modify_app_id", "setting_allow_manual_bundle_error"},
	"_vendor":                {"update_url_vendor", "stats_url_vendor", "channel_url_vendor"},
	"_malformed":             {"update_url_malformed", "stats_url_malformed", "channel_url_malformed"},
	"_development":           {"update_url_development", "stats_url_development", "channel_url_development"},
	"_not_https":             {"update_url_not_https", "stats_url_not_https", "channel_url_not_https"},
}

// drawn gives the codes of the findings that the console can draw, and whether
// any of a code comes with a hint.
func drawn(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for path, makers := range findingSources {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		take := func(code, hint ast.Expr) {
			hinted := hint != nil
			if l, ok := hint.(*ast.BasicLit); ok && l.Value == `""` {
				hinted = false
			}
			for _, c := range codesOf(t, files, code) {
				if !neverDrawn[c] {
					found[c] = found[c] || hinted
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if m, ok := makers[nameOf(n.Fun)]; ok && len(n.Args) > max(m.code, m.hint) {
					var hint ast.Expr
					if m.hint >= 0 {
						hint = n.Args[m.hint]
					}
					take(n.Args[m.code], hint)
				}
			case *ast.CompositeLit:
				if m, ok := makers[nameOf(n.Type)]; ok && len(n.Elts) > m.hint {
					take(n.Elts[m.code], n.Elts[m.hint])
					return true
				}
				var code, hint ast.Expr
				for _, e := range n.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok {
						switch nameOf(kv.Key) {
						case "Code":
							code = kv.Value
						case "Hint":
							hint = kv.Value
						}
					}
				}
				if code != nil {
					take(code, hint)
				}
			case *ast.AssignStmt: // f.Code = "…", with the hint that f has
				for i, l := range n.Lhs {
					if s, ok := l.(*ast.SelectorExpr); ok && s.Sel.Name == "Code" && i < len(n.Rhs) {
						take(n.Rhs[i], n.Rhs[i])
					}
				}
			}
			return true
		})
	}
	return found
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && x.Name == "failure" {
			return "failure." + e.Sel.Name
		}
		return e.Sel.Name
	}
	return ""
}

// codesOf are the codes that an expression can be: a literal, one of computed,
// or none when another finding's code is only passed on.
func codesOf(t *testing.T, files *token.FileSet, e ast.Expr) []string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		code, err := strconv.Unquote(e.Value)
		if err != nil || !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(code) {
			t.Errorf("%s: %s is no code", files.Position(e.Pos()), e.Value)
		}
		return []string{code}
	case *ast.BinaryExpr:
		for _, side := range []ast.Expr{e.X, e.Y} {
			if l, ok := side.(*ast.BasicLit); ok {
				part, _ := strconv.Unquote(l.Value)
				if computed[part] == nil {
					t.Errorf("%s: this test does not know which codes are made with %q", files.Position(e.Pos()), part)
				}
				return computed[part]
			}
		}
	}
	return nil
}

// Every finding that the console can draw has words in Spanish, and what to do
// about it too; and no words are left of findings that are gone.
func TestEveryFindingHasSpanish(t *testing.T) {
	t.Parallel()
	codes := drawn(t)
	if len(codes) < 90 {
		t.Errorf("only %d codes found", len(codes))
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if spanishFindings[code] == "" {
			t.Errorf("%s: no Spanish", code)
		}
		if codes[code] && spanishHints[code] == "" {
			t.Errorf("%s: no Spanish for what to do", code)
		}
	}
	for _, table := range []map[string]string{spanishFindings, spanishHints} {
		for code := range table {
			if _, ok := codes[code]; !ok {
				t.Errorf("%s: nothing draws it any more", code)
			}
		}
	}
}

// The sentences with names in them are those that core writes.
func TestFoundSentences(t *testing.T) {
	t.Parallel()
	for english, spanish := range map[string]string{
		`".env.local" holds settings of the build`:                         "\".env.local\" lleva ajustes del build",
		`left out as source map: "a.js.map"`:                               "se queda fuera, mapa de código: \"a.js.map\"",
		`left out as source map: "a.js.map" and 17 more`:                   "se queda fuera, mapa de código: \"a.js.map\" y 17 más",
		"308 files, 174 KiB before compression":                            "308 archivos, 174 KiB sin comprimir",
		"the public address answers 403: the storage is private":           "la dirección pública responde 403: el almacén es privado",
		"plugin 8.40.7 is installed; signatures are enforced from 8.51.23": "está instalado el plugin 8.40.7; la firma se exige desde 8.51.23",
	} {
		if got := Finding("es", "", english); got != spanish {
			t.Errorf("%q became %q, want %q", english, got, spanish)
		}
		if got := Finding("en", "", english); got != english {
			t.Errorf("English changed %q to %q", english, got)
		}
	}
	var source strings.Builder
	for path := range findingSources {
		source.WriteString(readSource(t, path))
	}
	verb := regexp.MustCompile(`%[0-9]*[a-z]`)
	all := verb.ReplaceAllString(source.String(), "")
	all = regexp.MustCompile(`" ?\+ ?[A-Za-z.()]+ ?\+ ?"`).ReplaceAllString(all, "")
	for _, s := range spanishFound() {
		english := strings.NewReplacer("(.+)", "", `(\d+)`, "", "^", "", "$", "", `\`, "").Replace(s.english.String())
		if strings.HasPrefix(english, "left out as") {
			continue // put together from a reason
		}
		if !strings.Contains(all, strings.TrimSpace(english)) {
			t.Errorf("core does not say %q", english)
		}
	}
}

// Spanish addresses its reader as usted, everywhere.
func TestSpanishIsFormal(t *testing.T) {
	t.Parallel()
	familiar := regexp.MustCompile(`(?i)(^|[ :;,(¿])(haz|elige|ejecuta:|ejecuta npx|añade|añádel[ao]|quita server|construye|corrige|pulsa|escribe (la|una|primero)|ponla|tu|tus|puedes|tienes|quieres|espera a que|ábrela|pruébala)([ .;:,)]|$)`)
	look := func(name, s string) {
		if m := familiar.FindString(s); m != "" {
			t.Errorf("%s says %q: %s", name, m, s)
		}
	}
	for code, s := range spanishFindings {
		look(code, s)
	}
	for code, s := range spanishHints {
		look(code, s)
	}
	all := reflect.ValueOf(spanish)
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		switch v := all.Field(i).Interface().(type) {
		case string:
			look(name, v)
		case map[string]string:
			for key, s := range v {
				look(name+" "+key, s)
			}
		}
	}
}

func readSource(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
