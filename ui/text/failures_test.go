package text

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// onlyByCommand are errors that a flag or an argument of the command line
// brings about, or a file that only a command reads.
var onlyByCommand = map[string]bool{
	"artifact_no_config": true, "artifact_unreadable": true, "bump_unknown": true, "channel_url_malformed": true,
	"config_setting_unknown": true, "config_unknown_name": true, "delta_external": true, "delta_first_scheme": true,
	"drift_found": true, "encode_failed": true, "fleet_incomplete": true, "format_unknown": true,
	"native_packages_malformed": true, "object_hash_malformed": true, "parse_error": true, "plan_malformed": true,
	"plan_missing": true, "plan_not_saved": true, "plan_other_server": true, "plugin_version_malformed": true,
	"range_invalid": true, "release_id_malformed": true, "request_malformed": true, "response_error": true,
	"second_key": true, "secret_malformed": true, "secret_name_malformed": true, "served_unverified": true,
	"session_key_missing": true, "signature_unsupported": true, "signer_missing": true, "stats_malformed": true,
	"token_not_named": true, "token_signature_wrong": true, "usage": true, "zip_not_found": true,
}

// The codes and sentences are those of core and the server: none is stale.
func TestFailures(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	for _, root := range []string{"../../core", "../connect"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			source.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all, stale := source.String(), maps.Clone(onlyByCommand)
	for code, s := range spanishFailures {
		if !strings.Contains(all, `"`+code+`"`) {
			t.Errorf("%s: nothing fails with it any more", code)
		}
		if s.text == "" || s.hint == "" {
			t.Errorf("%s lacks words", code)
		}
	}
	// What core and the console can fail with has words, but for what only the
	// command line can bring about.
	coded := regexp.MustCompile(`failure\.(?:New|Newf|Wrap|Wrapf)\((?:[a-zA-Z.]+, )?failure\.[A-Za-z]+, "([a-z0-9_]+)"[,)]`)
	met := 0
	for _, m := range coded.FindAllStringSubmatch(all, -1) {
		met++
		if spanishFailures[m[1]].text == "" && !onlyByCommand[m[1]] {
			t.Errorf("%s has no words in Spanish", m[1])
		}
		delete(stale, m[1])
	}
	if met < 400 {
		t.Errorf("only %d errors were found: the source is read wrongly", met)
	}
	for code := range stale {
		t.Errorf("%s: nothing fails with it any more", code)
	}
	for _, c := range []struct{ code, english, text string }{
		{"remote_unreachable", "updates.example.com did not answer: connection refused", "updates.example.com no respondió: conexión rechazada"},
		{"remote_timeout", "the server took no byte for 30s", "el servidor tardó demasiado"},
		{"zip_slip", "\"../x\" leads out of the folder", "el zip se rechaza (zip_slip)"},
		{"nobody_knows", "the \x1b[31mmoon is full", "the moon is full"},
	} {
		if got := Failure("es", c.code, c.english); got != c.text {
			t.Errorf("%q became %q, want %q", c.english, got, c.text)
		}
		if got := Failure("en", c.code, c.english); got != Clean(c.english) {
			t.Errorf("English changed to %q", got)
		}
	}
	if got := FailureHint("es", "remote_timeout", ""); got != "" {
		t.Errorf("a hint out of nothing: %q", got)
	}
}
