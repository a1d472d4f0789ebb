//go:build !lean

package storage_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// The account that Azurite documents for everybody.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// TestAzure runs the suite on Azurite, which CAPSTAN_AZURITE names the folder of.
func TestAzure(t *testing.T) {
	const how = "scripts/install-peers.sh, and set CAPSTAN_AZURITE to the folder azurite in its folder"
	folder := os.Getenv("CAPSTAN_AZURITE")
	if folder == "" {
		peers.Missing(t, "Azurite", how)
	}
	node := peers.Program(t, "node", "install Node.js 20 or later")
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	start(t, exec.Command(node, filepath.Join(folder, "node_modules/.bin/azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", port,
		"--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"), address)
	for name, value := range map[string]string{"AZURE_STORAGE_ACCOUNT": azureAccount, "AZURE_STORAGE_KEY": azureKey, "AZURE_STORAGE_DOMAIN": address,
		"AZURE_STORAGE_PROTOCOL": "http", "AZURE_STORAGE_IS_LOCAL_EMULATOR": "true"} {
		t.Setenv(name, value)
	}
	credential, err := container.NewSharedKeyCredential(azureAccount, azureKey)
	if err != nil {
		t.Fatal(err)
	}
	containers := 0
	storagetest.Run(t, storagetest.Target{Secret: azureKey, Fetches: true, Open: func(t *testing.T) storage.Storage {
		containers++
		name := fmt.Sprintf("container-%d", containers)
		c, err := container.NewClientWithSharedKeyCredential("http://"+address+"/"+azureAccount+"/"+name, credential, nil)
		if err != nil {
			t.Fatal(err)
		}
		public := container.PublicAccessTypeBlob
		if _, err := c.Create(t.Context(), &container.CreateOptions{Access: &public}); err != nil {
			t.Fatal(err)
		}
		return open(t, "azblob://"+name+"/live", "", storage.Credentials{})
	}, Refused: func(t *testing.T) storage.Storage {
		t.Setenv("AZURE_STORAGE_KEY", "bm90IHRoZSBrZXk=")
		return open(t, "azblob://container-1", "", storage.Credentials{})
	}})
}
