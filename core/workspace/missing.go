package workspace

import (
	"context"
	"io"
	"iter"

	"capstan/core/failure"
	"capstan/core/remote/storage"
)

// missingStorage stands where no storage is configured, so that registering an
// object that is in its place already works without one.
type missingStorage struct{}

var _ storage.Storage = missingStorage{}

func errMissing() error {
	return failure.New(failure.Usage, "storage_missing", "open the storage", "no storage is set",
		"capstan profile init asks for it; or pass --storage, or set CAPSTAN_STORAGE")
}

func (missingStorage) Put(context.Context, string, io.ReaderAt, int64, string, func(int64)) (storage.Object, error) {
	return storage.Object{}, errMissing()
}

func (missingStorage) Stat(context.Context, string) (storage.Object, error) {
	return storage.Object{}, errMissing()
}

func (missingStorage) Get(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, errMissing()
}

func (missingStorage) Delete(context.Context, string) error { return errMissing() }

func (missingStorage) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, errMissing()) }
}

func (missingStorage) PublicURL(string) string { return "" }

func (missingStorage) String() string { return "no storage" }
