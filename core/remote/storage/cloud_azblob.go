//go:build !lean

package storage

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"capstan/core/failure"
)

func init() { drivers["azblob"] = openAzure }

// azure is a container of Azure Blob Storage.
type azure struct{ client *container.Client }

var _ service = azure{}

// reservedInAzure are the characters that Azure does not keep in a blob's name.
const reservedInAzure = `"#%?`

// openAzure opens a container of Azure Blob Storage, azblob://container/prefix.
// Account and credentials come from Azure's own variables
// (AZURE_STORAGE_ACCOUNT with _KEY, _SAS_TOKEN or _CONNECTION_STRING), else
// from az login or the machine's identity.
func openAzure(_ context.Context, u *url.URL, public string, _ Credentials) (Storage, error) {
	prefix, err := cloudPrefix(u)
	if err != nil {
		return nil, err
	}
	client, err := azureClient(u.Host)
	if err != nil {
		return nil, err
	}
	plain, _, _ := strings.Cut(client.URL(), "?") // what follows may be a signature
	if public == "" {
		public = strings.TrimRight(plain, "/")
		if prefix != "" {
			public = publicURL(public, prefix[:len(prefix)-1])
		}
	}
	return &cloud{service: azure{client}, place: "azblob://" + u.Host + "/" + prefix, host: "Azure Blob Storage", prefix: prefix, public: public,
		reserved: reservedInAzure}, nil
}

// azureClient reads Azure's variables. A key comes before a signature, a
// signature before a connection string, and the identity of the user or machine
// is the last.
func azureClient(name string) (*container.Client, error) {
	const op = "open the container"
	account, key, signature := os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY"), os.Getenv("AZURE_STORAGE_SAS_TOKEN")
	connection := cmp.Or(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"), os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING"))
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{Telemetry: policy.TelemetryOptions{ApplicationID: "capstan"}}}
	keyed := account != "" && key != ""
	if connection != "" && !keyed && signature == "" {
		client, err := container.NewClientFromConnectionString(connection, name, options)
		return client, azureRefused(op, err)
	}
	fields := connectionFields(connection)
	account = cmp.Or(account, fields["AccountName"])
	if account == "" {
		return nil, failure.New(failure.Usage, "storage_credentials", op, "no storage account is named", "set AZURE_STORAGE_ACCOUNT")
	}
	address, err := azureAddress(account, fields["DefaultEndpointsProtocol"])
	if err != nil {
		return nil, err
	}
	address += "/" + name
	switch {
	case keyed:
		credential, err := container.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, azureRefused(op, err)
		}
		client, err := container.NewClientWithSharedKeyCredential(address, credential, options)
		return client, azureRefused(op, err)
	case signature != "":
		client, err := container.NewClientWithNoCredential(address+"?"+strings.TrimPrefix(signature, "?"), options)
		return client, azureRefused(op, err)
	}
	identity, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, azureRefused(op, err)
	}
	client, err := container.NewClient(address, identity, options)
	return client, azureRefused(op, err)
}

// azureRefused keeps the library's text, which may quote the secret, out of the failure.
func azureRefused(op string, err error) error {
	if err == nil {
		return nil
	}
	return failure.New(failure.NotAuthorised, "storage_credentials", op, "the Azure credentials cannot be used",
		"set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, or log in with az login")
}

// connectionFields splits a connection string, "name=value" joined by semicolons.
func connectionFields(connection string) map[string]string {
	fields := map[string]string{}
	for part := range strings.SplitSeq(connection, ";") {
		if name, value, ok := strings.Cut(part, "="); ok {
			fields[name] = value
		}
	}
	return fields
}

// azureAddress is the account's address without a slash at its end. Emulators
// have the account in the path, and a content delivery network has none.
func azureAddress(account, connectionScheme string) (string, error) {
	scheme := cmp.Or(os.Getenv("AZURE_STORAGE_PROTOCOL"), connectionScheme, "https")
	if scheme != "http" && scheme != "https" {
		return "", failure.New(failure.Usage, "storage_credentials", "open the container", "the protocol of the storage account is neither http nor https", "correct AZURE_STORAGE_PROTOCOL")
	}
	domain := cmp.Or(os.Getenv("AZURE_STORAGE_DOMAIN"), "blob.core.windows.net")
	isCDN, _ := strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_CDN"))
	isEmulator, _ := strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_LOCAL_EMULATOR"))
	switch {
	case isEmulator, strings.HasPrefix(domain, "127.0.0.1"), strings.HasPrefix(domain, "localhost"):
		return scheme + "://" + domain + "/" + account, nil
	case isCDN:
		return scheme + "://" + domain, nil
	}
	return scheme + "://" + account + "." + domain, nil
}

// mustNotExist is the condition of every write.
func mustNotExist() *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
}

func (a azure) whole(ctx context.Context, key string, body *pulse, _ []byte, sum string) error {
	_, err := a.client.NewBlockBlobClient(key).Upload(ctx, nopClose{body}, &blockblob.UploadOptions{
		Metadata:         map[string]*string{cloudSum: &sum},
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: to.Ptr("application/zip"), BlobCacheControl: to.Ptr(cacheForever)},
		AccessConditions: mustNotExist(),
	})
	return err
}

func (a azure) stat(ctx context.Context, key string) (Object, error) {
	found, err := a.client.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil {
		return Object{}, err
	}
	object := Object{Size: value(found.ContentLength), Changed: value(found.LastModified)}
	for name, sum := range found.Metadata {
		if strings.EqualFold(name, cloudSum) { // headers have no case
			object.SHA256 = value(sum)
		}
	}
	return object, nil
}

func (a azure) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	part := blob.HTTPRange{Offset: offset, Count: max(length, blob.CountToEnd)}
	answer, err := a.client.NewBlobClient(key).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: part})
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

func (a azure) delete(ctx context.Context, key string) error {
	_, err := a.client.NewBlobClient(key).Delete(ctx, nil)
	return err
}

func (a azure) list(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for pages := a.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix}); pages.More(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, item := range page.Segment.BlobItems {
				object := Object{Name: value(item.Name)}
				if p := item.Properties; p != nil {
					object.Size, object.Changed = value(p.ContentLength), value[time.Time](p.LastModified)
				}
				if !yield(object, nil) {
					return
				}
			}
		}
	}
}

func (azure) status(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// value is what p points at, the zero value when there is nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
