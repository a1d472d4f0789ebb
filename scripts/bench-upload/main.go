// Command bench-upload uploads one file to an S3 service, once, with capstan's
// driver or with minio-go's own PutObject, so that time and memory of the whole
// process can be measured from outside. See scripts/bench-upload.sh.
//
// usage: bench-upload bucket|minio ENDPOINT BUCKET NAME FILE
// or: bench-upload sums FILE SUMS, and then bench-upload capstan ENDPOINT BUCKET SUMS FILE
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"capstan/core/remote/storage"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "sums":
		err = sum(os.Args[2], os.Args[3])
	case len(os.Args) == 6:
		err = upload(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	default:
		fmt.Fprintln(os.Stderr, "usage: bench-upload capstan|minio|bucket ENDPOINT BUCKET NAME FILE, or bench-upload sums FILE SUMS")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func upload(ctx context.Context, with, endpoint, bucket, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewEnvAWS(), BucketLookup: minio.BucketLookupPath, Region: "us-east-1"})
	if err != nil {
		return err
	}
	switch with {
	case "bucket":
		return client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
	case "minio":
		_, err := client.PutObject(ctx, bucket, name, f, info.Size(), minio.PutObjectOptions{PartSize: 8 << 20, ContentType: "application/zip"})
		return err
	case "capstan":
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		sealed := summed{ReaderAt: f}
		if err := json.Unmarshal(raw, &sealed.sums); err != nil {
			return err
		}
		s, err := storage.Open(ctx, "s3://"+bucket+"?endpoint=http://"+endpoint, "", storage.Credentials{AllowHTTP: true})
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, sealed.sums.SHA256+".zip", sealed, info.Size(), sealed.sums.SHA256, nil)
		return err
	}
	return fmt.Errorf("unknown client %q", with)
}

// sum writes down what sealing leaves: the hash of the file and the sums of its blocks.
func sum(path, into string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash, sums := sha256.New(), storage.BlockSummer{}
	if _, err := io.Copy(io.MultiWriter(hash, &sums), f); err != nil {
		return err
	}
	raw, err := json.Marshal(sums.Sums(hex.EncodeToString(hash.Sum(nil))))
	if err != nil {
		return err
	}
	return os.WriteFile(into, raw, 0o600)
}

// summed is the file with its sums, as a release hands it to its storage.
type summed struct {
	io.ReaderAt
	sums storage.BlockSums
}

func (s summed) BlockSums() storage.BlockSums { return s.sums }
