//go:build gs

package storage

import (
	"context"
	"errors"
	"net/url"
	"os"
	"time"

	gcs "cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"capstan/core/failure"
	"capstan/core/remote/transport"
)

func init() { drivers["gs"] = openGS }

// openGS opens a bucket of Google Cloud Storage, gs://bucket/prefix, with the
// credentials that Google's own tools use (application default credentials).
func openGS(ctx context.Context, u *url.URL, public string, _ Credentials) (Storage, error) {
	prefix, err := cloudPrefix(u)
	if err != nil {
		return nil, err
	}
	var client *gcp.HTTPClient
	if os.Getenv("STORAGE_EMULATOR_HOST") != "" { // Google's own variable; such a server asks for no credentials
		client, err = gcp.NewHTTPClient(gcp.DefaultTransport(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "none"}))
	} else {
		credentials, found := gcp.DefaultCredentials(ctx)
		if found != nil {
			return nil, failure.New(failure.NotAuthorised, "storage_credentials", "open the bucket", "there are no Google credentials",
				"gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS")
		}
		client, err = gcp.NewHTTPClient(gcp.DefaultTransport(), gcp.CredentialsTokenSource(credentials))
	}
	if err != nil {
		return nil, failure.Newf(failure.Failed, "storage_failed", "open the bucket", "", "%s", transport.Clean(err.Error()))
	}
	bucket, err := gcsblob.OpenBucket(ctx, client, u.Host, nil)
	if err != nil {
		return nil, failure.Newf(failure.Usage, "storage_url_malformed", "open the bucket", "", "%s", transport.Clean(err.Error()))
	}
	var inner *gcs.Client
	if bucket.As(&inner) {
		// On its own the client never gives up. Writes may be repeated: they have
		// the condition that there is nothing.
		inner.SetRetry(gcs.WithPolicy(gcs.RetryAlways), gcs.WithMaxAttempts(transport.DefaultAttempts),
			gcs.WithBackoff(gax.Backoff{Initial: 200 * time.Millisecond, Max: 3 * time.Second}))
	}
	if public == "" {
		public = "https://storage.googleapis.com/" + u.Host
		if prefix != "" {
			public = publicURL(public, prefix[:len(prefix)-1])
		}
	}
	return &cloud{bucket: bucket, place: "gs://" + u.Host + "/" + prefix, host: "Google Cloud Storage", prefix: prefix, public: public,
		status: func(err error) int {
			var answer *googleapi.Error
			if errors.As(err, &answer) {
				return answer.Code
			}
			return 0
		},
	}, nil
}
