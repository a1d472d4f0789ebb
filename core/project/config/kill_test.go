package config

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const editLoop = "CAPSTAN_TEST_EDIT_LOOP"

// TestMain lets the test binary edit a config without end, to be killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(editLoop); path != "" {
		if err := editForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func editForever(path string) error {
	for i := 0; ; i++ {
		f, err := Read(path, "")
		if err != nil {
			return err
		}
		edit, err := f.Change(context.Background(), map[string]string{"defaultChannel": []string{"beta", "production"}[i%2]}, nil)
		if err != nil {
			return err
		}
		if err := edit.Apply(); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("started")
		}
	}
}

// A process that is killed while it edits leaves one of the two texts, whole.
func TestKilledWhileEditing(t *testing.T) {
	const before = "{\n  \"appId\": \"com.acme.shop\",\n  \"plugins\": {\n    \"CapacitorUpdater\": {\n      \"defaultChannel\": \"production\"\n    }\n  }\n}\n"
	path := filepath.Join(t.TempDir(), "capacitor.config.json")
	write(t, path, before)
	f, err := Read(path, "")
	if err != nil {
		t.Fatal(err)
	}
	edit, err := f.Change(t.Context(), map[string]string{"defaultChannel": "beta"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	after := string(edit.After)
	for range 25 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), editLoop+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
			t.Fatalf("the editing process said %q, %v", line, err)
		}
		time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if text := string(read(t, path)); text != before && text != after {
			t.Fatalf("the config holds %q", text)
		}
	}
}
