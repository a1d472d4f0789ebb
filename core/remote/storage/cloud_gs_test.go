//go:build gs

package storage_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// TestGS runs the suite on fake-gcs-server behind a proxy that can misbehave.
func TestGS(t *testing.T) {
	program := peers.Program(t, "fake-gcs-server", "scripts/install-peers.sh, and put its folder into PATH")
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	start(t, exec.Command(program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-public-host", address, "-log-level", "error"), address)
	front, fails := failing(t, address)
	buckets := 0
	bucket := func(t *testing.T) string {
		t.Helper()
		buckets++
		name := fmt.Sprintf("bucket-%d", buckets)
		answer, err := http.Post("http://"+address+"/storage/v1/b?project=p", "application/json", strings.NewReader(`{"name":"`+name+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("making a bucket: %s", answer.Status)
		}
		return name
	}
	t.Setenv("STORAGE_EMULATOR_HOST", front)
	opened := func(t *testing.T) storage.Storage {
		name := bucket(t)
		return open(t, "gs://"+name+"/live", "http://"+address+"/"+name+"/live", storage.Credentials{})
	}
	storagetest.Run(t, storagetest.Target{Open: opened, Fetches: true, Flaky: func(t *testing.T, n int) storage.Storage {
		s := opened(t)
		fails.Store(int64(n))
		t.Cleanup(func() { fails.Store(0) })
		return s
	}})
}
