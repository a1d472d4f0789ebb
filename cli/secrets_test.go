package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"capstan/core/keys"
)

// TestPrivateKeyAmongArguments gives a private key to every command, as an
// argument, as an unknown flag and as the value of every flag that takes text:
// whatever the command says, it never repeats the key, and it writes nothing.
func TestPrivateKeyAmongArguments(t *testing.T) {
	dir := keyHome(t)
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	pem := string(keys.EncodePrivate(key))
	pieces := strings.Split(strings.TrimSpace(pem), "\n")
	pieces = pieces[1 : len(pieces)-1]
	lines := 0
	try := func(args ...string) {
		t.Helper()
		lines++
		status, out, errOut := runText(t, args...)
		if status != 2 {
			t.Errorf("%.60q: status %d, %.200s", args, status, errOut)
		}
		for _, piece := range pieces {
			if strings.Contains(out+errOut, piece) {
				t.Fatalf("%.60q repeats a piece of the key", args)
			}
		}
	}
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		for _, sub := range cmd.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
		try(append(path, pem)...)
		try(append(path, pem, "--json")...)
		try(append(path, "--"+pem)...)
		try(append(path, "-"+pem)...)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "key-data" { // the one that may: what it holds is another test's matter
				return
			}
			try(append(path, "--"+f.Name+"="+pem)...)
			try(append(path, "--"+f.Name, pem)...)
		})
	}
	walk(newRoot(&Command{}), nil)
	if lines < 400 {
		t.Errorf("only %d command lines were tried: the walk does not see the tree", lines)
	}
	if _, err := os.Stat(os.Getenv("CAPSTAN_HOME")); !os.IsNotExist(err) {
		t.Errorf("something was kept: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("the project's folder has %v", left)
	}
}

// TestKeyDataIsNotRepeated covers the flag that may carry a key, with the
// mistakes that people make around it.
func TestKeyDataIsNotRepeated(t *testing.T) {
	keyHome(t)
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	pem := string(keys.EncodePrivate(key))
	for _, args := range [][]string{
		{"bundle", "encrypt", "absent.zip", "--key-data", pem},
		{"bundle", "encrypt", "absent.zip", "--key-data=" + pem},
		{"bundle", "encrypt", "capacitor.config.json", "--key-data", pem[:700]},
		{"bundle", "decrypt", "capacitor.config.json", "x:y", "--key-data", pem},
		{"bundle", "verify", "capacitor.config.json", "--checksum", "00000000", "--key-data", pem},
		{"key", "save", "--key-data", pem},
		{"release", "--key-data", pem},
	} {
		status, out, errOut := runText(t, args...)
		if status == 0 || strings.Contains(out+errOut, pem[100:140]) {
			t.Errorf("%.30q: status %d, %.300s", args, status, errOut)
		}
	}
}
