package text

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
)

var verbs = regexp.MustCompile(`%[a-z]`)

// Every text exists in every language, with the same verbs in the same order,
// and the maps have the same keys.
func TestLanguagesAreComplete(t *testing.T) {
	t.Parallel()
	en, es := reflect.ValueOf(english), reflect.ValueOf(spanish)
	for i := range en.NumField() {
		name := en.Type().Field(i).Name
		switch a := en.Field(i).Interface().(type) {
		case string:
			b := es.Field(i).String()
			if a == "" || b == "" {
				t.Errorf("%s is empty in a language", name)
			}
			if !slices.Equal(verbs.FindAllString(a, -1), verbs.FindAllString(b, -1)) {
				t.Errorf("%s: %q and %q take different values", name, a, b)
			}
		case map[string]string:
			b := es.Field(i).Interface().(map[string]string)
			for key, text := range a {
				other, ok := b[key]
				if !ok || (text == "") != (other == "") {
					t.Errorf("%s[%q] is missing in Spanish", name, key)
				}
				if !slices.Equal(verbs.FindAllString(text, -1), verbs.FindAllString(other, -1)) {
					t.Errorf("%s[%q]: %q and %q take different values", name, key, text, other)
				}
			}
			if len(a) != len(b) {
				t.Errorf("%s has %d entries in English and %d in Spanish", name, len(a), len(b))
			}
		case [12]string:
			for m, text := range a {
				if text == "" || es.Field(i).Index(m).String() == "" {
					t.Errorf("%s[%d] is empty in a language", name, m)
				}
			}
		default:
			t.Errorf("%s has a type that this test does not know", name)
		}
	}
}

// Texts fit the slots that they are drawn in at 80 columns.
func TestTextsFitTheirSlots(t *testing.T) {
	t.Parallel()
	for lang, s := range map[string]Strings{"en": english, "es": spanish} {
		v := reflect.ValueOf(s)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			text, ok := v.Field(i).Interface().(string)
			if !ok {
				continue
			}
			limit := 110 // wrapped sentences
			switch {
			case strings.HasPrefix(name, "Tab"):
				limit = 14
			case strings.HasPrefix(name, "Help"):
				limit = 22
			case strings.HasPrefix(name, "Long"):
				limit = 64
			case strings.HasPrefix(name, "Col"):
				limit = 14
			case strings.HasSuffix(name, "Label"):
				limit = 13
			}
			if w := ansi.StringWidth(text); w > limit && !strings.HasSuffix(name, "Intro") && !strings.HasSuffix(name, "What") && name != "CapgoOnly" && name != "SecondKey" {
				t.Errorf("%s.%s takes %d cells, its slot has %d: %q", lang, name, w, limit, text)
			}
		}
		for stage, name := range s.StageNames {
			if ansi.StringWidth(name) > 13 {
				t.Errorf("%s: the rail has no room for stage %s, %q", lang, stage, name)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		asked string
		env   []string
		want  string
	}{
		{"", nil, "en"}, {"es", nil, "es"}, {"es_ES.UTF-8", nil, "es"}, {"", []string{"", "", "es_MX.UTF-8"}, "es"}, {"", []string{"de_DE.UTF-8", "", "es_ES"}, "en"},
		{"fr", []string{"", "", "es_ES"}, "es"}, {"", []string{"C"}, "en"}, {"en", []string{"es_ES"}, "en"},
	} {
		if got := Choose(c.asked, c.env...); got != c.want {
			t.Errorf("Choose(%q, %q) = %q, want %q", c.asked, c.env, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	en, es := Of("en"), Of("es")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ got, want string }{
		{en.Bytes(0), "0 B"}, {en.Bytes(1023), "1023 B"}, {en.Bytes(1024), "1.0 KiB"}, {en.Bytes(1<<20 - 1), "1.0 MiB"}, {en.Bytes(13_002_342), "12.4 MiB"}, {es.Bytes(13_002_342), "12,4 MiB"},
		{en.Count(0), "0"}, {en.Count(999), "999"}, {en.Count(12480), "12,480"}, {es.Count(1234567), "1.234.567"}, {en.Count(-1234), "-1,234"},
		{en.Percent(0), "0 %"}, {en.Percent(0.0001), "<0.1 %"}, {en.Percent(0.003), "0.3 %"}, {en.Percent(0.25), "25 %"}, {en.Percent(0.9996), "99.9 %"}, {en.Percent(1), "100 %"}, {es.Percent(0.003), "0,3 %"},
		{en.Bps(2500), "25 %"}, {es.Bps(1250), "12,5 %"}, {en.Bps(5), "0.05 %"}, {en.Clock(2 * time.Second), "0:02"}, {en.Clock(3725 * time.Second), "1:02:05"},
		{en.Ago(now, now), "just now"}, {en.Ago(now, now.Add(-12*time.Minute)), "12 min ago"}, {es.Ago(now, now.Add(-2*time.Hour)), "hace 2 h"}, {en.Ago(now, time.Time{}), "never"}, {en.Ago(now, now.Add(time.Hour)), "just now"},
		{en.Span(49 * time.Hour), "2 days"}, {es.Span(90 * 24 * time.Hour), "3 meses"}, {en.Span(800 * 24 * time.Hour), "2 years"},
		{en.One(1, en.OneDevice, en.ManyDevices), "1 device"}, {en.One(2000, en.OneDevice, en.ManyDevices), "2,000 devices"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
