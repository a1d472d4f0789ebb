package project

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"capstan/core/failure"
	"capstan/core/keys"
)

// configsInApps are the places of the Capacitor config in a built app, as
// path.Match has them: in an APK, in the modules of an app bundle, in an IPA.
var configsInApps = []string{"assets/capacitor.config.json", "*/assets/capacitor.config.json", "Payload/*.app/capacitor.config.json"}

// maxConfigInApp bounds the config in a built app, in bytes.
const maxConfigInApp = 1 << 20

// ArtifactCheck reads the Capacitor config inside a built app (.apk, .aab, .ipa)
// and compares it with the project's: what is in there decides what the installed
// app accepts, whatever the project says since. Without a project it only says
// what the app carries.
func ArtifactCheck(file string) Check {
	return func(_ context.Context, p *Project) []Finding {
		name := filepath.Base(file)
		configs, err := configsOf(file)
		if err != nil {
			return []Finding{{Code: failure.CodeOf(err), Level: Block, Text: err.Error(), Hint: failure.HintOf(err)}}
		}
		var found []Finding
		for _, c := range configs {
			where := name
			if len(configs) > 1 {
				where += " (" + c.place + ")"
			}
			found = append(found, compareBuilt(p, &Project{Config: c.config}, where)...)
		}
		return found
	}
}

// builtConfig is a config inside a built app.
type builtConfig struct {
	place  string
	config map[string]any
}

// configsOf finds the configs in a built app. Codes artifact_unreadable,
// artifact_no_config.
func configsOf(file string) ([]builtConfig, error) {
	const op = "read the built app"
	archive, err := zip.OpenReader(file)
	if err != nil {
		return nil, failure.Wrap(err, failure.Usage, "artifact_unreadable", op, "name an .apk, .aab or .ipa")
	}
	defer archive.Close()
	var configs []builtConfig
	for _, entry := range archive.File {
		if !isConfigInApp(entry.Name) {
			continue
		}
		c := builtConfig{place: entry.Name}
		text, err := readEntry(entry)
		if err == nil {
			err = json.Unmarshal(text, &c.config)
		}
		if err != nil {
			return nil, failure.Wrap(fmt.Errorf("%s: %w", entry.Name, err), failure.Failed, "artifact_unreadable", op, "build the app again")
		}
		configs = append(configs, c)
	}
	if len(configs) == 0 {
		return nil, failure.Newf(failure.NotFound, "artifact_no_config", op, "run npx cap sync and build it again; name an .apk, .aab or .ipa",
			"%s holds no Capacitor config", filepath.Base(file))
	}
	return configs, nil
}

func isConfigInApp(name string) bool {
	for _, pattern := range configsInApps {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}

func readEntry(entry *zip.File) ([]byte, error) {
	r, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxConfigInApp+1))
	if err == nil && len(text) > maxConfigInApp {
		err = fmt.Errorf("it is larger than %d bytes", maxConfigInApp)
	}
	return text, err
}

// compareBuilt holds what a built app carries against the project.
func compareBuilt(p, built *Project, where string) []Finding {
	carries := idOfPEM(built.updater("publicKey"))
	var found []Finding
	if url := built.text("server", "url"); url != "" {
		found = append(found, Finding{Code: "artifact_server_url", Level: Block, Text: where + " loads its pages from " + url + ": updates have no effect", Hint: "take server.url out of the config, sync and build again"})
	}
	if built.updater("privateKey") != "" {
		found = append(found, Finding{Code: "artifact_private_key", Level: Warn, Text: where + " carries a private key: whoever has the app can make bundles for the first scheme", Hint: "capstan key delete_old takes it out of the config"})
	}
	if p == nil {
		return orOK(found, "artifact", built.carriedText(where, carries))
	}
	if id := built.text("appId"); id != p.AppID {
		found = append(found, Finding{Code: "artifact_app_id", Level: Block, Text: fmt.Sprintf("%s is the app %q, the project is %s", where, id, p.AppID), Hint: "name the build of this project"})
	}
	switch want := idOfPEM(p.PublicKey); {
	case carries == want:
	case carries == "":
		found = append(found, Finding{Code: "artifact_public_key", Level: Block, Text: where + " carries no public key, the project has " + want + ": the installed app verifies nothing", Hint: "run npx cap sync and build it again"})
	case want == "":
		found = append(found, Finding{Code: "artifact_public_key", Level: Block, Text: where + " carries key " + carries + ", the project has none: the installed app refuses plain bundles", Hint: "put the key back into the config: capstan key save"})
	default:
		found = append(found, Finding{Code: "artifact_public_key", Level: Block, Text: where + " carries key " + carries + ", the project has " + want + ": the installed app takes no bundle that is sealed for the project's key", Hint: "run npx cap sync and build it again; to change keys, see capstan key rotate --help"})
	}
	var other []string
	for _, key := range []string{"updateUrl", "statsUrl", "channelUrl", "defaultChannel"} {
		if have, want := built.updater(key), p.updater(key); have != want {
			other = append(other, fmt.Sprintf("%s is %q and not %q", key, have, want))
		}
	}
	if len(other) > 0 {
		found = append(found, Finding{Code: "artifact_differs", Level: Warn, Text: where + ": " + strings.Join(other, ", "), Hint: "run npx cap sync and build it again"})
	}
	return orOK(found, "artifact", built.carriedText(where, carries)+", as the project")
}

// carriedText says what a built app carries.
func (p *Project) carriedText(where, keyID string) string {
	text := where + " carries no public key"
	if keyID != "" {
		text = where + " carries key " + keyID
	}
	if url := p.updater("updateUrl"); url != "" {
		text += " and asks " + url
	}
	return text
}

// idOfPEM is the id of a public key in a config; "" for none, "unreadable" for
// what is none.
func idOfPEM(pem string) string {
	if pem == "" {
		return ""
	}
	public, err := keys.ParsePublic([]byte(pem))
	if err != nil {
		return "unreadable"
	}
	return keys.KeyID(public)
}
