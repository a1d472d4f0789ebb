//go:build !lean

package storage

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/blob/azureblob"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["azblob"] = openAzure }

// openAzure opens a container of Azure Blob Storage, azblob://container/prefix.
// Account and credentials come from Azure's own variables
// (AZURE_STORAGE_ACCOUNT with _KEY, _SAS_TOKEN or _CONNECTION_STRING), else
// from az login or the machine's identity.
func openAzure(ctx context.Context, u *url.URL, public string, _ Credentials) (Storage, error) {
	const op = "open the container"
	prefix, err := cloudPrefix(u)
	if err != nil {
		return nil, err
	}
	service, err := azureblob.NewServiceURL(azureblob.NewDefaultServiceURLOptions())
	if err != nil {
		return nil, failure.New(failure.Usage, "storage_credentials", op, "no storage account is named", "set AZURE_STORAGE_ACCOUNT")
	}
	client, err := azureblob.NewDefaultClient(service, azureblob.ContainerName(u.Host))
	if err != nil {
		return nil, failure.New(failure.NotAuthorised, "storage_credentials", op, "the Azure credentials cannot be used",
			"set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, or log in with az login")
	}
	bucket, err := azureblob.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, failure.Newf(failure.Usage, "storage_url_malformed", op, "", "%s", transport.Clean(err.Error()))
	}
	plain, _, _ := strings.Cut(client.URL(), "?") // what follows may be a signature
	if public == "" {
		public = strings.TrimRight(plain, "/")
		if prefix != "" {
			public = publicURL(public, prefix[:len(prefix)-1])
		}
	}
	return &cloud{bucket: bucket, place: "azblob://" + u.Host + "/" + prefix, host: "Azure Blob Storage", prefix: prefix, public: public,
		pieces: azureBlocks{client},
		status: func(err error) int {
			var answer *azcore.ResponseError
			if errors.As(err, &answer) {
				return answer.StatusCode
			}
			return 0
		},
	}, nil
}
