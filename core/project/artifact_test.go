package project

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capstan/core/keys"
)

// buildApp writes a zip with a config at the place where such a build has it.
func buildApp(t *testing.T, name, place string, config any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	z := zip.NewWriter(out)
	text, isText := config.(string)
	if !isText {
		encoded, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		text = string(encoded)
	}
	for path, content := range map[string]string{"classes.dex": "dex", place: text, "assets/public/capacitor.config.json": `{"appId":"a.decoy"}`} {
		w, err := z.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestArtifactCheck(t *testing.T) {
	pem := func() string {
		key, err := keys.Generate()
		if err != nil {
			t.Fatal(err)
		}
		return string(keys.EncodePublic(&key.PublicKey))
	}
	own, other := pem(), pem()
	config := func(change func(app, updater map[string]any)) map[string]any {
		updater := map[string]any{"publicKey": own, "updateUrl": "https://updates.example.com/updates"}
		app := map[string]any{"appId": "com.example.tides", "plugins": map[string]any{"CapacitorUpdater": updater}}
		if change != nil {
			change(app, updater)
		}
		return app
	}
	plain := config(nil)
	p := &Project{AppID: "com.example.tides", PublicKey: own, Config: plain}
	const apk, aab, ipa = "assets/capacitor.config.json", "base/assets/capacitor.config.json", "Payload/App.app/capacitor.config.json"
	for _, c := range []struct {
		name, place string
		config      any
		code        string
		level       Level
		text        string
	}{
		{"as the project.apk", apk, plain, "artifact", OK, "as the project"},
		{"as the project.aab", aab, plain, "artifact", OK, idOfPEM(own)},
		{"as the project.ipa", ipa, plain, "artifact", OK, "https://updates.example.com/updates"},
		{"other key.aab", aab, config(func(_, u map[string]any) { u["publicKey"] = other }), "artifact_public_key", Block, idOfPEM(other)},
		{"no key.apk", apk, config(func(_, u map[string]any) { delete(u, "publicKey") }), "artifact_public_key", Block, "verifies nothing"},
		{"broken key.apk", apk, config(func(_, u map[string]any) { u["publicKey"] = "what" }), "artifact_public_key", Block, "unreadable"},
		{"other app.ipa", ipa, config(func(a, _ map[string]any) { a["appId"] = "com.example.other" }), "artifact_app_id", Block, "com.example.other"},
		{"live reload.apk", apk, config(func(a, _ map[string]any) { a["server"] = map[string]any{"url": "http://10.0.2.2:5173"} }), "artifact_server_url", Block, "10.0.2.2"},
		{"vendor.apk", apk, config(func(_, u map[string]any) { delete(u, "updateUrl"); u["defaultChannel"] = "beta" }), "artifact_differs", Warn, `defaultChannel is "beta" and not ""`},
		{"first scheme.apk", apk, config(func(_, u map[string]any) { u["privateKey"] = "x" }), "artifact_private_key", Warn, "private key"},
		{"no config.apk", "assets/other.json", plain, "artifact_no_config", Block, "holds no Capacitor config"},
		{"deep.ipa", "Payload/App.app/x/capacitor.config.json", plain, "artifact_no_config", Block, "deep.ipa"},
		{"not JSON.apk", apk, "{", "artifact_unreadable", Block, "assets/capacitor.config.json"},
		{"huge.apk", apk, strings.Repeat(" ", maxConfigInApp+1), "artifact_unreadable", Block, "larger"},
	} {
		found := ArtifactCheck(buildApp(t, c.name, c.place, c.config))(t.Context(), p)
		if len(found) != 1 || found[0].Code != c.code || found[0].Level != c.level || !strings.Contains(found[0].Text, c.text) {
			t.Errorf("%s: %+v", c.name, found)
		}
		if c.level != OK && len(found) > 0 && found[0].Hint == "" {
			t.Errorf("%s: no hint", c.name)
		}
	}
	keyless := &Project{AppID: "com.example.tides", Config: config(func(_, u map[string]any) { delete(u, "publicKey") })}
	if found := ArtifactCheck(buildApp(t, "a.apk", apk, plain))(t.Context(), keyless); found[0].Code != "artifact_public_key" || !strings.Contains(found[0].Text, "refuses plain bundles") {
		t.Errorf("a project without a key: %+v", found)
	}
	if found := ArtifactCheck(buildApp(t, "a.apk", apk, plain))(t.Context(), nil); len(found) != 1 || found[0].Level != OK || !strings.Contains(found[0].Text, idOfPEM(own)) {
		t.Errorf("without a project: %+v", found)
	}
	broken := filepath.Join(t.TempDir(), "a.aab")
	if err := os.WriteFile(broken, []byte("no zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{broken, filepath.Join(t.TempDir(), "none.apk")} {
		if found := ArtifactCheck(file)(t.Context(), p); len(found) != 1 || found[0].Code != "artifact_unreadable" {
			t.Errorf("%s: %+v", file, found)
		}
	}
}
