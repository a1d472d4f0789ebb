package config

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"sort"
	"strings"
	"unicode"

	"capstan/core/failure"
)

// Editable are the settings below plugins.CapacitorUpdater that Change may set.
var Editable = []string{"channelUrl", "defaultChannel", "publicKey", "statsUrl", "updateUrl"}

// Edit is a planned change of a config file. It is only a plan until Apply.
type Edit struct {
	Path string
	// Diff is the change as a unified diff; empty when nothing has to change. A
	// private key near the change, as the first scheme has it, is left out.
	Diff string
	// Snippet is the setting as a person would write it into this file. It is
	// there for refused edits too.
	Snippet string
	// After is the new text of the file.
	After []byte
	// Warnings are worth showing next to the diff.
	Warnings []string
	// Apply writes the file: atomically, with the mode it had, and only when it
	// still holds what was read (else failure code config_changed).
	Apply func() error
}

// Changed reports whether Apply would write anything.
func (e Edit) Changed() bool { return e.Diff != "" }

// Change plans to set some of the Editable settings of the updater plugin. The
// edit is proved before it is given: the config is evaluated before and after,
// also with other values of the environment variables it depends on, and
// nothing but the settings may differ. When that cannot be had the failure
// code is config_edit_refused and the Edit still carries Snippet and, for
// scripts, a Diff that adds a small module to import.
func (f *File) Change(ctx context.Context, changes map[string]string, env Environment) (Edit, error) {
	edit := Edit{Path: f.Path, After: f.Text, Apply: func() error { return nil }}
	keys, err := checkChanges(changes)
	if err != nil {
		return edit, err
	}
	edit.Snippet = f.snippet(keys, changes)
	before, err := f.Evaluate(ctx, env)
	if err != nil {
		return edit, err
	}
	edit.Warnings = before.Warnings
	missing := map[string]string{}
	for _, key := range keys {
		if now, ok := Lookup(before.Object, "plugins", "CapacitorUpdater", key); !ok || now != changes[key] {
			missing[key] = changes[key]
		}
	}
	if len(missing) == 0 {
		return edit, nil
	}

	var attempts []attempt
	if f.Language == JSON {
		attempts, err = spliceJSON(f.Text, missing)
	} else {
		attempts, err = f.spliceScript(missing)
	}
	for _, a := range attempts {
		after := f.with(a.text)
		if err = f.prove(ctx, after, missing, env, a.literals); err == nil {
			edit.After = a.text
			edit.Diff = failure.Redact(unified(f.name(), f.name(), f.Text, a.text))
			edit.Apply = func() error { return f.replace(a.text) }
			return edit, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no place for the setting was found")
	}
	if ctx.Err() != nil {
		return edit, ctx.Err()
	}
	if f.Language != JSON {
		edit.Diff = unified("/dev/null", settingsModule(f.Language), nil, f.moduleText(missing))
	}
	hint := "add the shown lines by hand"
	return edit, failure.Wrap(err, failure.Failed, "config_edit_refused", "edit "+f.name(), hint)
}

// attempt is an edited text that has still to be proved.
type attempt struct {
	text []byte
	// literals are the strings that the script compares something with.
	literals []string
}

// checkChanges refuses settings and values that must not be written.
func checkChanges(changes map[string]string) ([]string, error) {
	keys := make([]string, 0, len(changes))
	for key, value := range changes {
		at := sort.SearchStrings(Editable, key)
		if at == len(Editable) || Editable[at] != key {
			return nil, failure.Newf(failure.Usage, "config_setting_unknown", "edit config", "settings that can be edited: "+strings.Join(Editable, ", "), "%q is not a setting that capstan edits", key)
		}
		if problem := checkValue(key, value); problem != "" {
			return nil, failure.Newf(failure.Usage, "config_value_invalid", "edit config", "", "%s %s", key, problem)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, failure.New(failure.Usage, "config_no_change", "edit config", "no setting was given", "")
	}
	sort.Strings(keys)
	return keys, nil
}

func checkValue(key, value string) string {
	switch {
	case key == "publicKey":
		return PublicKeyProblem(value)
	case strings.ContainsFunc(value, unicode.IsControl):
		return "contains control characters"
	case key == "defaultChannel":
		if strings.TrimSpace(value) == "" {
			return "is empty"
		}
	default:
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return "is not an http(s) URL"
		}
		if u.User != nil {
			return "contains a password: everybody who has the app could read it"
		}
	}
	return ""
}

// PublicKeyProblem says why the plugin could not use the text as publicKey;
// empty means that it can: PKCS#1 PEM from the first character on, RSA of
// exactly 2048 bits with the exponent 65537.
func PublicKeyProblem(text string) string {
	switch {
	case text == "":
		return "is empty"
	case strings.Contains(text, "PRIVATE KEY"):
		return "is a private key, which must never be in an app"
	case !strings.HasPrefix(text, "-----BEGIN RSA PUBLIC KEY-----"):
		return "does not start with -----BEGIN RSA PUBLIC KEY-----, which the plugin demands"
	}
	// The plugin strips the armour and all white space itself, so a PEM on one line is good.
	body := strings.TrimPrefix(text, "-----BEGIN RSA PUBLIC KEY-----")
	body, rest, ended := strings.Cut(body, "-----END RSA PUBLIC KEY-----")
	if !ended || strings.TrimSpace(rest) != "" {
		return "is not one complete PEM block"
	}
	body = strings.Join(strings.Fields(body), "")
	block, _ := pem.Decode([]byte("-----BEGIN RSA PUBLIC KEY-----\n" + body + "\n-----END RSA PUBLIC KEY-----\n"))
	if block == nil {
		return "is not base64"
	}
	key, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		return "is not an RSA public key"
	}
	if key.N.BitLen() != 2048 || key.E != 65537 {
		return fmt.Sprintf("has %d bits and the exponent %d, devices accept 2048 bits and 65537 only", key.N.BitLen(), key.E)
	}
	return ""
}

// variationLimit bounds how many other environments a script is tried with.
const variationLimit = 40

// prove evaluates both texts and requires that only the changed settings
// differ, in the given environment and in variations of it.
func (f *File) prove(ctx context.Context, after *File, changes map[string]string, env Environment, literals []string) error {
	if f.Language == JSON {
		was, err := f.evaluateJSON()
		if err != nil {
			return err
		}
		is, err := after.evaluateJSON()
		if err != nil {
			return err
		}
		if f.Strict() == "" && after.Strict() != "" {
			return fmt.Errorf("the edited file would not be strict JSON any more")
		}
		return sameButFor(was.Object, is.Object, changes)
	}
	codeBefore, err := f.bundle()
	if err != nil {
		return err
	}
	codeAfter, err := after.bundle()
	if err != nil {
		return err
	}
	base, err := f.run(ctx, codeBefore, env)
	if err != nil {
		return err
	}
	compare := func(env Environment, was Value) (Value, error) {
		is, err := after.run(ctx, codeAfter, env)
		if err != nil {
			return is, err
		}
		return is, sameButFor(was.Object, is.Object, changes)
	}
	if _, err := compare(env, base); err != nil {
		return err
	}
	tried := 0
	for _, name := range base.Env {
		for _, value := range append([]string{"", "1"}, literals...) {
			if tried++; tried > variationLimit {
				return nil
			}
			other := Environment{}
			for k, v := range env {
				other[k] = v
			}
			other[name] = value
			if value == "" {
				delete(other, name)
			}
			was, err := f.run(ctx, codeBefore, other)
			if err != nil {
				continue // it does not work in that environment today either
			}
			for key := range changes {
				now, _ := Lookup(base.Object, "plugins", "CapacitorUpdater", key)
				then, _ := Lookup(was.Object, "plugins", "CapacitorUpdater", key)
				if !reflect.DeepEqual(now, then) {
					return fmt.Errorf("%s depends on the environment variable %s", key, name)
				}
			}
			if _, err := compare(other, was); err != nil {
				return fmt.Errorf("with another value of the environment variable %s: %w", name, err)
			}
		}
	}
	return nil
}

// sameButFor requires that is equals was except for the changed settings, which
// must have their new values.
func sameButFor(was, is map[string]any, changes map[string]string) error {
	for key, value := range changes {
		now, _ := Lookup(is, "plugins", "CapacitorUpdater", key)
		if now != value {
			return fmt.Errorf("another part of the config would override %s", key)
		}
	}
	if !reflect.DeepEqual(without(was, changes), without(is, changes)) {
		return fmt.Errorf("the edit would change other settings too")
	}
	return nil
}

// without copies the config without the given settings of the updater, and
// without the parents if they are empty then.
func without(config map[string]any, changes map[string]string) map[string]any {
	strip := func(o map[string]any, key string, inner map[string]any) map[string]any {
		copied := map[string]any{}
		for k, v := range o {
			copied[k] = v
		}
		if delete(copied, key); len(inner) > 0 {
			copied[key] = inner
		}
		return copied
	}
	plugins, _ := config["plugins"].(map[string]any)
	updater, _ := plugins["CapacitorUpdater"].(map[string]any)
	rest := map[string]any{}
	for k, v := range updater {
		if _, changed := changes[k]; !changed {
			rest[k] = v
		}
	}
	return strip(config, "plugins", strip(plugins, "CapacitorUpdater", rest))
}

// snippet shows the settings in place, in the language of the file.
func (f *File) snippet(keys []string, changes map[string]string) string {
	var b strings.Builder
	q := func(s string) string {
		if f.Language == JSON {
			return `"` + s + `"`
		}
		return s
	}
	b.WriteString(q("plugins") + ": {\n  " + q("CapacitorUpdater") + ": {\n")
	for i, key := range keys {
		comma := ","
		if f.Language == JSON && i == len(keys)-1 {
			comma = ""
		}
		value := quoteScript(changes[key], '\'')
		if f.Language == JSON {
			value = quoteJSON(changes[key])
		}
		b.WriteString("    " + q(key) + ": " + value + comma + "\n")
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

func settingsModule(l Language) string { return "capstan.settings." + string(l) }

// moduleText is a small file that a config which cannot be edited can import
// from: ...updaterSettings goes into its CapacitorUpdater object.
func (f *File) moduleText(changes map[string]string) []byte {
	var b bytes.Buffer
	open, shut := "export const updaterSettings = {\n", "};\n"
	if f.Language == JavaScript {
		open, shut = "module.exports.updaterSettings = {\n", "};\n"
	}
	b.WriteString("// For capacitor.config: put ...updaterSettings into plugins.CapacitorUpdater.\n" + open)
	keys := make([]string, 0, len(changes))
	for key := range changes {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		b.WriteString("  " + key + ": " + quoteScript(changes[key], '\'') + ",\n")
	}
	b.WriteString(shut)
	return b.Bytes()
}
