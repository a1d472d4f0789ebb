// Command bench-delta makes the files of a delta update of a folder, as
// capstan release --delta does before it uploads them, and prints
// "seconds bytes files" on one line.
//
//	bench-delta FOLDER KEY.pem CACHE
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"capstan/core/bundle"
	"capstan/core/keys"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench-delta:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: bench-delta FOLDER KEY.pem CACHE")
	}
	pem, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	key, err := keys.ParsePrivate(pem)
	if err != nil {
		return err
	}
	ctx := context.Background()
	// The session key of any bundle will do: sealing it is not what is measured.
	sealed, err := bundle.PackSealed(ctx, args[0], io.Discard, key, bundle.Options{Level: 1})
	if err != nil {
		return err
	}
	cache, err := bundle.OpenCache(args[2])
	if err != nil {
		return err
	}
	started := time.Now()
	files, err := bundle.BuildManifest(ctx, args[0], sealed, keys.NewSigner(key), bundle.ManifestOptions{Cache: cache, Put: read})
	if err != nil {
		return err
	}
	took := time.Since(started)
	var stored int64
	for _, f := range files {
		stored += f.StoredSize
	}
	fmt.Printf("%.3f %d %d\n", took.Seconds(), stored, len(files))
	return nil
}

// read takes the bytes as an upload would.
func read(_ context.Context, f bundle.ManifestFile, stored io.ReaderAt) error {
	_, err := io.Copy(io.Discard, io.NewSectionReader(stored, 0, f.StoredSize))
	return err
}
