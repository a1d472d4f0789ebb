package project

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"capstan/internal/peers"
)

// capgo runs the real Capgo CLI in a project folder.
func capgo(t *testing.T, dir string, args ...string) string {
	t.Helper()
	script := peers.CapgoCLI(t)
	node := peers.Program(t, "node", "install Node 20 or newer")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{script}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CI=true", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("capgo %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// The same project folder under the real Capgo CLI and capstan in turns: each
// reads the key and the settings that the other one wrote.
func TestRoundTripWithCapgoCLI(t *testing.T) {
	for name, text := range map[string]string{
		"capacitor.config.json": "{\n  \"appId\": \"com.acme.shop\",\n  \"webDir\": \"dist\"\n}\n",
		"capacitor.config.ts":   "import type { CapacitorConfig } from '@capacitor/cli';\n\nconst config: CapacitorConfig = {\n  appId: 'com.acme.shop',\n  webDir: 'dist',\n};\n\nexport default config;\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, map[string]string{
				name: text, "dist/index.html": "notifyAppReady()", ".git/": "",
				"package.json": `{"name":"shop","version":"1.0.0","dependencies":{"@capgo/capacitor-updater":"8.51.23"}}`,
				"node_modules/@capgo/capacitor-updater/package.json": `{"name":"@capgo/capacitor-updater","version":"8.51.23"}`,
			})
			open := func() *Project {
				t.Helper()
				p, err := Open(root)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}

			// capstan's edit first, with the CLI's key create on top.
			edit, err := open().PlanEdit(map[string]string{"updateUrl": "https://u.acme.dev/updates", "statsUrl": "https://u.acme.dev/stats"})
			if err != nil {
				t.Fatal(err)
			}
			if err := edit.Apply(); err != nil {
				t.Fatal(err)
			}
			capgo(t, root, "key", "create")
			public := readText(filepath.Join(root, ".capgo_key_v2.pub"))
			p := open()
			if public == "" || !samePublicKey(p.PublicKey, public) {
				t.Fatalf("capstan reads %q, the CLI wrote %q", p.PublicKey, public)
			}
			if p.AppID != "com.acme.shop" || p.UpdateURL != "https://u.acme.dev/updates" || p.StatsURL != "https://u.acme.dev/stats" {
				t.Errorf("the CLI did not keep what capstan wrote: %+v", p.Config)
			}
			findings := Doctor(t.Context(), p)
			if f := find(findings, "public_key"); f == nil || f.Level != OK {
				t.Errorf("doctor does not accept the CLI's key: %+v", findings)
			}
			// The CLI leaves the private key readable for everybody; it belongs to the config.
			if f := find(findings, "private_key_readable"); f == nil {
				t.Error("doctor does not see the mode of the CLI's private key")
			}
			if f := find(findings, "key_pair_differs"); f != nil {
				t.Errorf("doctor says %s", f.Text)
			}

			// The other way: capstan writes another key, the CLI keeps it and saves it again.
			if edit, err = p.PlanEdit(map[string]string{"publicKey": publicPEM(), "defaultChannel": "production"}); err != nil {
				t.Fatal(err)
			}
			if err := edit.Apply(); err != nil {
				t.Fatal(err)
			}
			before := open()
			if f := find(Doctor(t.Context(), before), "key_pair_differs"); f == nil {
				t.Error("doctor does not see that the CLI's private key belongs to another public key")
			}
			other := filepath.Join(root, "other.pub")
			if err := os.WriteFile(other, []byte(publicPEM()), 0o600); err != nil {
				t.Fatal(err)
			}
			capgo(t, root, "key", "save", "--key", other)
			after := open()
			if after.PublicKey != publicPEM() || !reflect.DeepEqual(before.Config, after.Config) {
				t.Errorf("the CLI changed the config from\n%v to\n%v", before.Config, after.Config)
			}
		})
	}
}

// The order of files in a native checksum is the one of JavaScript's
// localeCompare.
func TestLocaleOrder(t *testing.T) {
	node := peers.Program(t, "node", "install Node 20 or newer")
	const letters = "abAB01zZ/._- ()+@$~"
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"/p/ios/Plugin/A.swift", "/p/ios/Plugin/a.swift", "/p/ios/Plugin.swift", "/p/ios/Plugin-1.swift", "/p/Package.swift", "/p/CapgoUpdater.podspec", "/p/ios/Sources/AES_v2.swift", "/p/ios/Sources/AESv2.swift"}
	for range 1000 {
		b := make([]byte, 1+random.IntN(8))
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		names = append(names, string(b))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	input, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "-e", "let t='';process.stdin.on('data',d=>t+=d).on('end',()=>console.log(JSON.stringify(JSON.parse(t).sort((a,b)=>a.localeCompare(b)))))")
	cmd.Stdin = strings.NewReader(string(input))
	cmd.Env = append(os.Environ(), "LC_ALL=en_US.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(names, compareAsLocale)
	for i := range names {
		if names[i] != want[i] {
			t.Fatalf("at %d: %q, JavaScript has %q", i, names[i], want[i])
		}
	}
}
