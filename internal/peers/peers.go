// Package peers lets tests ask for a real program to test against.
//
// On a developer's machine a test whose peer is absent says which and skips;
// where the peers are promised to be installed (CI=true, or
// CAPSTAN_REQUIRE_PEERS=1) absence is a failure.
package peers

import (
	"os"
	"os/exec"
	"testing"
)

// Required reports whether an absent peer is a failure.
func Required() bool {
	return os.Getenv("CAPSTAN_REQUIRE_PEERS") == "1" || os.Getenv("CI") == "true"
}

// Missing ends the test: part names what is absent, how says how to install it.
func Missing(t testing.TB, part, how string) {
	t.Helper()
	if Required() {
		t.Fatalf("%s is absent, and this machine promised it: %s", part, how)
	}
	t.Skipf("%s is absent; to run this test: %s", part, how)
}

// Program gives the path of an executable, or ends the test with Missing.
func Program(t testing.TB, name, how string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name, how)
	}
	return path
}

// CapgoCLI gives the entry script of the real Capgo CLI (8.68.1), installed
// with npm into a folder that CAPSTAN_CAPGO_CLI names.
func CapgoCLI(t testing.TB) string {
	t.Helper()
	const how = "npm install --ignore-scripts @capgo/cli@8.68.1 in a folder and set CAPSTAN_CAPGO_CLI to it"
	dir := os.Getenv("CAPSTAN_CAPGO_CLI")
	if dir == "" {
		Missing(t, "the Capgo CLI", how)
	}
	script := dir + "/node_modules/.bin/capgo"
	if _, err := os.Stat(script); err != nil {
		Missing(t, "the Capgo CLI", how)
	}
	return script
}

// CapgoCLIV1 is CapgoCLI for 3.14.65, the last release whose bundles are of the
// first encryption scheme; CAPSTAN_CAPGO_CLI_V1 names its folder.
func CapgoCLIV1(t testing.TB) string {
	t.Helper()
	const how = "npm install --ignore-scripts @capgo/cli@3.14.65 in a folder and set CAPSTAN_CAPGO_CLI_V1 to it"
	dir := os.Getenv("CAPSTAN_CAPGO_CLI_V1")
	if dir == "" {
		Missing(t, "the Capgo CLI of the first scheme", how)
	}
	script := dir + "/node_modules/.bin/capgo"
	if _, err := os.Stat(script); err != nil {
		Missing(t, "the Capgo CLI of the first scheme", how)
	}
	return script
}
