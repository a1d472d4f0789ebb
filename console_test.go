package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"capstan/core/keys"
	"capstan/ui"
)

// TestConsoleKeys: the console opens keys with what the commands open them with.
func TestConsoleKeys(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "passphrase")
	if err := os.WriteFile(file, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", file)
	t.Setenv("CAPSTAN_KEY_COMMAND", "op read 'op://vault/key of app/pem'")
	t.Setenv(keys.EnvironmentVariable, "")
	o, err := consoleKeys(ui.NewPassphrases())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"op", "read", "op://vault/key of app/pem"}; !slices.Equal(o.KeyCommand, want) {
		t.Errorf("the key command is %q", o.KeyCommand)
	}
	o.WorkFactor, o.KeyCommand = 8, nil
	ring, err := keys.NewRing(filepath.Join(dir, "ring"), o)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ring.Create(t.Context(), "com.example.console", keys.File)
	if err != nil {
		t.Fatalf("a key behind the passphrase of the file: %v", err)
	}
	if _, err := ring.Signer(t.Context(), rec.KeyID); err != nil {
		t.Error(err)
	}

	t.Setenv("CAPSTAN_KEY_COMMAND", "'")
	if _, err := consoleKeys(ui.NewPassphrases()); err == nil {
		t.Error("a key command without its closing quote")
	}
	t.Setenv("CAPSTAN_KEY_COMMAND", "")
	t.Setenv("CAPSTAN_PASSPHRASE_FILE", "")
	o, err = consoleKeys(ui.NewPassphrases())
	if err != nil || o.Passphrase == nil || o.NewPassphrase == nil || len(o.KeyCommand) != 0 {
		t.Errorf("without an environment the console asks by itself: %+v, %v", o, err)
	}
}
