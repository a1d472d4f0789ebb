package text

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestStep(t *testing.T) {
	t.Parallel()
	if got, want := Sentence("en", `channel "beta", by default channel`), `channel "beta", named in the app's config`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for english, spanish := range map[string]string{
		"download: 312 bytes":                                      "descarga: 312 bytes",
		"unpack: 12 files, 90 bytes":                               "extracción: 12 archivos, 90 bytes",
		"decrypt: decrypt: wrong key or damaged download: padding": "descifrado: otra clave, o una descarga dañada: padding",
		"ios 8.51.23: 12 files installed, checksum form v3":        "ios 8.51.23: 12 archivos instalados, checksum v3",
		"set: the app starts with 1.4.0":                           "activación: la app arranca con 1.4.0",
		"download: 31457280 bytes":                                 "descarga: 30,0 MiB",
		"something nobody has words for":                           "something nobody has words for",
		"escapes: \x1b[31mred":                                     "escapes: red",
	} {
		if got := Step("es", english); got != spanish {
			t.Errorf("%q became %q, want %q", english, got, spanish)
		}
		if got := Step("en", english); got != strings.Replace(Clean(english), "31457280 bytes", "30.0 MiB", 1) {
			t.Errorf("English changed %q to %q", english, got)
		}
	}
}

// What the server remarks in the audit has words in Spanish, and is what the
// server writes.
func TestNotes(t *testing.T) {
	t.Parallel()
	for english, spanish := range map[string]string{
		"auto-pause: 12 of 400 devices failed":         "pausa automática: fallaron 12 de 400 dispositivos",
		"beta became public":                           "beta pasó a ser el predeterminado",
		"planned by maria: the next share is 12.5 %":   "programado por maria: la parte siguiente es el 12.5 %",
		"planned by maria: every share was passed":     "programado por maria: se pasaron todas las partes",
		"the plan is done":                             "el plan está hecho",
		"sync fails offline":                           "sync fails offline",
		"auto-pause: \x1b[31m12 of 400 devices failed": "pausa automática: fallaron 12 de 400 dispositivos",
	} {
		if got := Note("es", english); got != spanish {
			t.Errorf("%q became %q, want %q", english, got, spanish)
		}
		if got := Note("en", english); got != Clean(english) {
			t.Errorf("English changed %q to %q", english, got)
		}
	}
	var source string
	for _, name := range []string{"../../server/store/maintain.go", "../../server/store/channels.go", "../../server/store/plans.go", "../../server/schedule/schedule.go"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source += string(content)
	}
	for _, part := range []string{`"auto-pause: "`, `"%d of %d devices failed"`, `" became public"`, `"planned by "`, `"the next share is %g %%"`, `"every share was passed"`, `"the last share is reached"`, `"the plan is done"`, `"the rollout is paused"`} {
		if !strings.Contains(source, part) {
			t.Errorf("the server does not write %s any more", part)
		}
	}
}

// Every sentence that a simulated device says has words in Spanish.
func TestEveryStepHasSpanish(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../core/device/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	patterns := []*regexp.Regexp{
		regexp.MustCompile(`refuse\("[a-z_]+", "[a-z_]+", ("(?:[^"\\]|\\.)*")`),
		regexp.MustCompile(`(?:Detail: |detail, code := |detail, code = |Detail: fmt\.Sprintf\(|detail, code := fmt\.Sprintf\(|detail, code = fmt\.Sprintf\()("(?:[^"\\]|\\.)*")`),
		regexp.MustCompile(`v\.Code, v\.Reason = "[a-z_]+", ("(?:[^"\\]|\\.)*")`),
	}
	verb := regexp.MustCompile(`%[a-z]`)
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range patterns {
			for _, m := range p.FindAllStringSubmatch(string(source), -1) {
				sentence := verb.ReplaceAllString(strings.Trim(m[1], `"`), "7")
				if !strings.Contains(sentence, " ") || strings.HasSuffix(sentence, " ") {
					continue // a beginning, which the device completes
				}
				seen++
				if got := Step("es", "set: "+sentence); strings.HasSuffix(got, sentence) && !sameInBoth[sentence] {
					t.Errorf("%s: no Spanish for %q", filepath.Base(name), sentence)
				}
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d sentences found", seen)
	}
}

// Every sentence with which the server explains a decision has words in Spanish.
func TestEveryCheckHasSpanish(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../server/decide/update.go")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`(?s)func\(\) string \{(.*?)\}\)`)
	told := regexp.MustCompile(`return (fmt\.Sprintf\()?([^\n]*".*)`)
	literal := regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	verb := regexp.MustCompile(`%[.0-9]*[a-z]( %%)?`)
	seen := 0
	for _, body := range said.FindAllStringSubmatch(string(source), -1) {
		for _, m := range told.FindAllStringSubmatch(body[1], -1) {
			sentence := ""
			if m[1] != "" {
				sentence = verb.ReplaceAllString(literal.FindStringSubmatch(m[2])[1], "7")
			} else {
				for _, part := range strings.Split(strings.TrimSpace(m[2]), " + ") {
					if l := literal.FindStringSubmatch(part); l != nil {
						sentence += l[1]
					} else {
						sentence += "7"
					}
				}
			}
			if seen++; Sentence("es", strings.Replace(sentence, "by 7", "by public", 1)) == strings.Replace(sentence, "by 7", "by public", 1) {
				t.Errorf("no Spanish for %q", sentence)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d sentences found", seen)
	}
}

var sameInBoth = map[string]bool{"AES-7, 7 bytes": true}
