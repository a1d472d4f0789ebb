//go:build !lean

package storage

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// block is one piece on its way.
type block struct {
	id           string // base64, of the same length for all blocks
	offset, size int64
	md5          []byte // the service compares it: a block under a wrong id would be kept for the next attempt
	crc          uint32 // CRC-32C, to know whether a refused block was read differently
}

// maxBlocks is how many an object may have.
const maxBlocks = 50_000

// pieces uploads an object block by block. A block's id carries its number and
// its content's hash, and blocks that were sent stay with the service for a week
// until the object is put together of them: those that are there after a kill
// are not sent again. The object appears with the last request, which is only
// made when the hash of everything is right.
func (a azure) pieces(ctx context.Context, key string, src io.ReaderAt, size int64, sum string, progress func(int64)) error {
	client := a.client.NewBlockBlobClient(key)
	have, err := a.have(ctx, client)
	if err != nil {
		return err
	}
	each := int64(cloudChunk)
	for size > each*maxBlocks {
		each += 1 << 20
	}
	group, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	blocks := make(chan block)
	var ids []string
	var acknowledged int64
	var mu sync.Mutex // guards acknowledged, and keeps progress in order
	var workers sync.WaitGroup
	for range partWorkers {
		workers.Go(func() {
			for b := range blocks {
				if have[b.id] != b.size {
					if err := a.stage(group, client, src, b); err != nil {
						stop(err)
						continue // drain, so that the reader never blocks
					}
				}
				mu.Lock()
				acknowledged += b.size
				progress(acknowledged)
				mu.Unlock()
			}
		})
	}
	total := sha256.New()
	buffer := make([]byte, 256<<10)
	readErr := func() error {
		for offset := int64(0); offset < size; offset += each {
			b, err := readBlock(src, len(ids), offset, min(each, size-offset), buffer, total, key)
			if err != nil {
				return err
			}
			ids = append(ids, b.id)
			select {
			case blocks <- b:
			case <-group.Done():
				return nil
			}
		}
		if hex.EncodeToString(total.Sum(nil)) != sum {
			return errHash(key)
		}
		return nil
	}()
	close(blocks)
	workers.Wait()
	if readErr != nil {
		return readErr
	}
	if group.Err() != nil {
		return context.Cause(group)
	}
	_, err = client.CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{
		Metadata:         map[string]*string{cloudSum: &sum},
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: to.Ptr("application/zip"), BlobCacheControl: to.Ptr(cacheForever)},
		AccessConditions: mustNotExist(),
	})
	return err
}

// have gives the sizes of the blocks that wait for the object, by id.
func (a azure) have(ctx context.Context, client *blockblob.Client) (map[string]int64, error) {
	list, err := client.GetBlockList(ctx, blockblob.BlockListTypeUncommitted, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	have := map[string]int64{}
	for _, b := range list.UncommittedBlocks {
		if b.Name != nil && b.Size != nil {
			have[*b.Name] = *b.Size
		}
	}
	return have, nil
}

// readBlock reads a block, takes its hashes, and adds it to the total.
func readBlock(src io.ReaderAt, number int, offset, size int64, buffer []byte, total io.Writer, name string) (block, error) {
	sha, md, crc := sha256.New(), md5.New(), crc32.New(castagnoli)
	for done := int64(0); done < size; {
		b := buffer[:min(int64(len(buffer)), size-done)]
		if err := readPart(src, b, offset+done, name); err != nil {
			return block{}, err
		}
		for _, h := range []io.Writer{total, sha, md, crc} {
			_, _ = h.Write(b) // hashes do not fail
		}
		done += int64(len(b))
	}
	id := fmt.Sprintf("%08d%s", number, hex.EncodeToString(sha.Sum(nil)[:20])) // 48 bytes; 64 are allowed
	return block{id: base64.StdEncoding.EncodeToString([]byte(id)), offset: offset, size: size, md5: md.Sum(nil), crc: crc.Sum32()}, nil
}

// stage sends one block. It is read again for that, from the system's cache, so
// that memory does not grow with their number; the service refuses it when the
// source changed in between.
func (a azure) stage(ctx context.Context, client *blockblob.Client, src io.ReaderAt, b block) error {
	watched, dog, stop := watch(ctx, stall)
	defer stop()
	body := &pulse{section: io.NewSectionReader(src, b.offset, b.size), dog: dog}
	var refused *azcore.ResponseError
	_, err := client.StageBlock(watched, b.id, nopClose{body}, &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeMD5(b.md5)})
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case body.broken() != nil:
		return errSource(body.broken())
	case errors.As(err, &refused) && refused.StatusCode == http.StatusBadRequest && body.sum() != b.crc:
		return errHash("the object")
	case watched.Err() != nil:
		return errStall("Azure Blob Storage")
	}
	return err
}

// nopClose keeps the library from closing what others still read.
type nopClose struct{ io.ReadSeeker }

func (nopClose) Close() error { return nil }
