// Command bench-upload uploads one file to an S3 service, once, with capstan's
// driver or with minio-go's own PutObject, so that time and memory of the whole
// process can be measured from outside. See scripts/bench-upload.sh.
//
// usage: bench-upload capstan|minio ENDPOINT BUCKET NAME FILE
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"capstan/core/remote/storage"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: bench-upload capstan|minio ENDPOINT BUCKET NAME FILE")
		os.Exit(2)
	}
	if err := upload(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
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
		// A release knows the hash from sealing; here it is given, as NAME.
		s, err := storage.Open(ctx, "s3://"+bucket+"?endpoint=http://"+endpoint, "", storage.Credentials{})
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, name+".zip", f, info.Size(), name, nil)
		return err
	case "hash":
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(sum.Sum(nil)))
		return nil
	}
	return fmt.Errorf("unknown client %q", with)
}
