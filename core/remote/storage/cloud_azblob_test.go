//go:build !lean

package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"capstan/core/failure"
	"capstan/core/remote/storage"
	"capstan/core/remote/storage/storagetest"
	"capstan/internal/peers"
)

// The account that Azurite documents for everybody.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azurite is a running Azurite, which CAPSTAN_AZURITE names the folder of.
type azurite struct {
	address    string
	containers int
}

// newAzurite starts Azurite and points Azure's own variables at it.
func newAzurite(t *testing.T) *azurite {
	t.Helper()
	const how = "scripts/install-peers.sh, and set CAPSTAN_AZURITE to the folder azurite in its folder"
	folder := os.Getenv("CAPSTAN_AZURITE")
	if folder == "" {
		peers.Missing(t, "Azurite", how)
	}
	node := peers.Program(t, "node", "install Node.js 20 or later")
	a := &azurite{address: freeAddress(t)}
	_, port, _ := strings.Cut(a.address, ":")
	start(t, exec.Command(node, filepath.Join(folder, "node_modules/.bin/azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", port,
		"--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"), a.address)
	for name, value := range map[string]string{"AZURE_STORAGE_ACCOUNT": azureAccount, "AZURE_STORAGE_KEY": azureKey, "AZURE_STORAGE_DOMAIN": a.address,
		"AZURE_STORAGE_PROTOCOL": "http", "AZURE_STORAGE_IS_LOCAL_EMULATOR": "true"} {
		t.Setenv(name, value)
	}
	return a
}

// container makes an empty container that anybody may read, and gives its name.
func (a *azurite) container(t *testing.T) string {
	t.Helper()
	credential, err := container.NewSharedKeyCredential(azureAccount, azureKey)
	if err != nil {
		t.Fatal(err)
	}
	a.containers++
	name := fmt.Sprintf("container-%d", a.containers)
	c, err := container.NewClientWithSharedKeyCredential("http://"+a.address+"/"+azureAccount+"/"+name, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	public := container.PublicAccessTypeBlob
	if _, err := c.Create(t.Context(), &container.CreateOptions{Access: &public}); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestAzure runs the suite on Azurite.
func TestAzure(t *testing.T) {
	a := newAzurite(t)
	storagetest.Run(t, storagetest.Target{Secret: azureKey, Fetches: true, Open: func(t *testing.T) storage.Storage {
		return open(t, "azblob://"+a.container(t)+"/live", "", storage.Credentials{})
	}, Refused: func(t *testing.T) storage.Storage {
		t.Setenv("AZURE_STORAGE_KEY", "bm90IHRoZSBrZXk=")
		return open(t, "azblob://container-1", "", storage.Credentials{})
	}})
}

// TestAzureKilled: an upload that is killed is continued with the blocks that
// the service has.
func TestAzureKilled(t *testing.T) {
	a := newAzurite(t)
	front, sent := counting(t, a.address, func(r *http.Request) string {
		if r.Method != http.MethodPut || r.URL.Query().Get("comp") != "block" {
			return ""
		}
		return r.URL.Query().Get("blockid")
	})
	t.Setenv("AZURE_STORAGE_DOMAIN", front)
	at := []int{60}
	if os.Getenv("CAPSTAN_LONG") == "1" {
		at = []int{30, 60, 90}
	}
	killUploads(t, func(t *testing.T) string { return "azblob://" + a.container(t) + "/live" }, sent, at...)
}

// sharedSignature makes a real shared access signature of the account.
func sharedSignature(t *testing.T, until time.Time) string {
	t.Helper()
	credential, err := container.NewSharedKeyCredential(azureAccount, azureKey)
	if err != nil {
		t.Fatal(err)
	}
	query, err := sas.AccountSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, StartTime: time.Now().Add(-48 * time.Hour).UTC(), ExpiryTime: until.UTC(),
		Permissions:   (&sas.AccountPermissions{Read: true, Write: true, Create: true, List: true, Delete: true}).String(),
		ResourceTypes: (&sas.AccountResourceTypes{Service: true, Container: true, Object: true}).String(),
	}.SignWithSharedKey(credential)
	if err != nil {
		t.Fatal(err)
	}
	return query.Encode()
}

// TestAzureSignatureExpires: an upload with a signature that has expired is
// refused without showing it, and goes on with a new one where it stopped.
func TestAzureSignatureExpires(t *testing.T) {
	a := newAzurite(t)
	place := "azblob://" + a.container(t) + "/live"
	front, sent := counting(t, a.address, func(r *http.Request) string {
		if r.Method != http.MethodPut || r.URL.Query().Get("comp") != "block" {
			return ""
		}
		return r.URL.Query().Get("blockid")
	})
	t.Setenv("AZURE_STORAGE_DOMAIN", front)
	t.Setenv("AZURE_STORAGE_KEY", "")
	content := storagetest.Bytes(50<<20, 43)
	sum := storagetest.Sum(content)
	put := func(ctx context.Context, signature string, progress func(int64)) error {
		t.Setenv("AZURE_STORAGE_SAS_TOKEN", signature)
		_, err := open(t, place, "", storage.Credentials{}).Put(ctx, sum+".zip", bytes.NewReader(content), int64(len(content)), sum, progress)
		return err
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := put(ctx, sharedSignature(t, time.Now().Add(time.Hour)), func(done int64) {
		if done >= 20<<20 {
			stop()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	first := sent()
	expired := sharedSignature(t, time.Now().Add(-time.Hour))
	err := put(t.Context(), expired, nil)
	if f, ok := failure.Find(err); !ok || f.Class != failure.NotAuthorised || f.Hint == "" {
		t.Errorf("a signature that has expired gives %v", err)
	}
	if values, _ := url.ParseQuery(expired); strings.Contains(fmt.Sprint(err), values.Get("sig")) || strings.Contains(fmt.Sprint(err), "sig=") {
		t.Errorf("the signature is in %v", err)
	}
	for block, n := range sent() { // what arrived after the stop
		first[block] += n
	}
	if err := put(t.Context(), sharedSignature(t, time.Now().Add(time.Hour)), nil); err != nil {
		t.Fatal(err)
	}
	again, twice := sent(), 0
	for block := range again {
		if first[block] > 0 {
			twice++
		}
	}
	if len(first) == 0 || twice > 4 { // those that four workers had under way
		t.Errorf("%d blocks were sent before and %d after, %d of them again", len(first), len(again), twice)
	}
}

// TestAzureChangedSource: bytes that change between their hash and their
// sending make no object.
func TestAzureChangedSource(t *testing.T) {
	a := newAzurite(t)
	s := open(t, "azblob://"+a.container(t), "", storage.Credentials{})
	content := storagetest.Bytes(20<<20, 41)
	source := &changing{content: content, seen: map[int64]bool{}}
	_, err := s.Put(t.Context(), "a.zip", source, int64(len(content)), storagetest.Sum(content), nil)
	if failure.CodeOf(err) != "hash_mismatch" {
		t.Errorf("%v", err)
	}
	if _, err := s.Stat(t.Context(), "a.zip"); failure.CodeOf(err) != "object_not_found" {
		t.Errorf("there is an object: %v", err)
	}
}

// TestAzureKeepsConditions: the service itself refuses to overwrite.
func TestAzureKeepsConditions(t *testing.T) {
	a := newAzurite(t)
	s := open(t, "azblob://"+a.container(t), "", storage.Credentials{})
	if got := codes(storage.Check(t.Context(), s, storagetest.AppID, nil)); got != "ok write, warn cleartext, ok public_read, ok ranges, ok conditional_writes, ok delete" {
		t.Error(got)
	}
}
