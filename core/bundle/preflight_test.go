package bundle

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"capstan/core/failure"
)

func good() map[string][]byte {
	return map[string][]byte{
		"index.html": []byte("<!doctype html>"),
		"app.js":     []byte("CapacitorUpdater.notifyAppReady()"),
	}
}

func with(name, content string) map[string][]byte {
	files := good()
	files[name] = []byte(content)
	return files
}

func lacking(name string) map[string][]byte {
	files := good()
	delete(files, name)
	return files
}

func TestPreflight(t *testing.T) {
	key := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(testKey())}))
	library := "if(pem.startsWith('-----BEGIN RSA PRIVATE KEY-----')) throw 1;" + strings.Repeat(" ", 300_000)
	all := Options{Include: []string{".*/**", "*.env", ".env*", "*.pem", ".git/**"}, SourceMaps: true}
	tests := []struct {
		name  string
		files map[string][]byte
		o     Options
		level string
		code  string
	}{
		{"good", good(), Options{}, LevelOK, "index_html"},
		{"good call", good(), Options{}, LevelOK, "notify_app_ready"},
		{"no index", lacking("index.html"), Options{}, LevelBlock, "no_index_html"},
		{"wrapped", map[string][]byte{"dist/index.html": nil, "dist/a.js": []byte("notifyAppReady")}, Options{}, LevelBlock, "no_index_html"},
		{"no call", lacking("app.js"), Options{}, LevelBlock, "no_notify_app_ready"},
		{"call in html only", map[string][]byte{"index.html": []byte("notifyAppReady()")}, Options{}, LevelBlock, "no_notify_app_ready"},
		{"call across blocks", with("app.js", strings.Repeat(" ", blockBytes-7)+"notifyAppReady()"), Options{}, LevelOK, "notify_app_ready"},
		{"key across blocks of what does not compress", with("x.txt", string(noise(9, blockBytes-20))+key+string(noise(10, 2*blockBytes))), Options{}, LevelBlock, "key_material"},
		{"call across pieces", with("app.js", strings.Repeat(" ", 128<<10-7)+"notifyAppReady()"), Options{}, LevelOK, "notify_app_ready"},
		{"env left out", with(".env", "A=1"), Options{}, LevelOK, "left_out"},
		{"env included", with(".env", "A=1"), all, LevelBlock, "env_file"},
		{"env by suffix", with("prod.env", "A=1"), Options{}, LevelBlock, "env_file"},
		{"key by name", with("server.pem", "x"), Options{}, LevelBlock, "key_material"},
		{"key by content", with("config.json", `{"k":"`+strings.ReplaceAll(key, "\n", `\n`)+`"}`), Options{}, LevelBlock, "key_material"},
		{"key in js", with("x.js", "const k=`"+key+"`"), Options{}, LevelBlock, "key_material"},
		{"native", with("plugin.apk", "x"), Options{}, LevelBlock, "native_code"},
		{"map left out", with("app.js.map", "{}"), Options{}, LevelOK, "left_out"},
		{"map kept", with("app.js.map", "{}"), all, LevelWarn, "source_map"},
		{"space", with("a b.js", ""), Options{}, LevelWarn, "name_with_space"},
		{"windows", with("aux.js", ""), Options{}, LevelWarn, "name_reserved"},
		{"br", map[string][]byte{"index.html": nil, "a.js": []byte("notifyAppReady"), "a.js.br": nil}, Options{}, LevelWarn, "br_collision"},
		{"git", with(".git/config", "x"), all, LevelBlock, "git_folder"},
		{"large", with("big.bin", strings.Repeat("x", warnBytes)), Options{}, LevelWarn, "size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeTree(t, test.files)
			r, err := Preflight(context.Background(), dir, test.o)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range r.Findings {
				found = found || f.Level == test.level && f.Code == test.code
			}
			if !found {
				t.Errorf("no %s %s among %+v", test.level, test.code, r.Findings)
			}
			if blocked := r.Err(); (blocked != nil) != (len(r.Blocked()) > 0) || test.level == LevelBlock && failure.CodeOf(blocked) == "" {
				t.Errorf("Err is %v", blocked)
			}
			packedFindings(t, dir, test.o, r.Findings)
		})
	}
	r, err := Preflight(context.Background(), writeTree(t, with("x.js", library)), Options{})
	if err != nil || r.Err() != nil {
		t.Errorf("a library that knows the header of a key is blocked: %v, %v", err, r.Err())
	}
}

// packedFindings packs the folder and expects the findings of Preflight, and that
// an error at any of them ends the packing.
func packedFindings(t *testing.T, dir string, o Options, want []Finding) {
	t.Helper()
	sorted := func(list []Finding) []Finding {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b Finding) int { return strings.Compare(a.Code+a.File+a.Text, b.Code+b.File+b.Text) })
		return list
	}
	var told []Finding
	o.Found = func(f Finding) error { told = append(told, f); return nil }
	if _, err := Pack(context.Background(), dir, io.Discard, o); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sorted(told), sorted(want)) {
		t.Errorf("packing tells\n%+v, preflight\n%+v", sorted(told), sorted(want))
	}
	stop := errors.New("enough")
	for n := range told {
		left := n
		o.Found = func(Finding) error {
			if left == 0 {
				return stop
			}
			left--
			return nil
		}
		if _, err := Pack(context.Background(), dir, io.Discard, o); err != stop {
			t.Errorf("packing went on after finding %d: %v", n, err)
		}
	}
}

func TestPreflightOfAMissingFolder(t *testing.T) {
	_, err := Preflight(context.Background(), t.TempDir()+"/none", Options{})
	if failure.CodeOf(err) != "folder_missing" || failure.ExitStatus(err) != 3 {
		t.Errorf("got %v", err)
	}
}
