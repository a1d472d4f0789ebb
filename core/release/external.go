package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dustin/go-humanize"

	"capstan/core/bundle"
	"capstan/core/failure"
	"capstan/core/keys"
)

// describeExternal downloads an object that somebody else uploaded and learns
// from its bytes what sealing would have told: hashes, sizes, and the signed
// checksum in both forms. A checksum that was given must be the object's own.
func (r *run) describeExternal(ctx context.Context) (any, string, error) {
	const op = "read the object"
	plan := r.plan()
	response, err := getObject(ctx, plan.External.URL)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	m := newMeter(time.Now, r.emit, StageSeal, response.ContentLength)
	object := &countedHash{hash: sha256.New(), report: func(n int64) { m.update(n, 0) }}
	body := io.TeeReader(response.Body, object)

	sealed := &bundle.Sealed{SessionKey: plan.External.SessionKey, KeyID: plan.KeyID}
	var sum [32]byte
	if plan.KeyID == "" {
		plain := sha256.New()
		sealed.PlainSize, err = io.Copy(plain, body)
		copy(sum[:], plain.Sum(nil))
	} else {
		public, bad := keys.ParsePublic([]byte(plan.PublicKey))
		if bad != nil {
			return nil, "", bad
		}
		sum, sealed.PlainSize, err = bundle.Decrypt(ctx, body, io.Discard, plan.External.SessionKey, public)
	}
	if err != nil {
		if _, known := failure.Find(err); !known && ctx.Err() == nil {
			err = failure.Wrap(err, failure.Unavailable, "object_unreachable", op, "try again")
		}
		return nil, "", err
	}
	sealed.PlainChecksum = hex.EncodeToString(sum[:])
	sealed.ObjectSHA256, sealed.ObjectSize = hex.EncodeToString(object.hash.Sum(nil)), object.n
	if err := r.signExternal(ctx, sealed, sum); err != nil {
		return nil, "", err
	}
	return sealed, fmt.Sprintf("%s at %s, checksum %s", humanize.IBytes(uint64(sealed.ObjectSize)), plan.External.URL, sealed.PlainChecksum[:12]), nil
}

// signExternal compares a given checksum and makes the forms that are missing.
func (r *run) signExternal(ctx context.Context, sealed *bundle.Sealed, sum [32]byte) error {
	const op = "check the checksum"
	plan := r.plan()
	given := plan.External.Checksum
	var form bundle.Form
	if given != "" {
		public, err := keys.ParsePublic([]byte(plan.PublicKey))
		if plan.KeyID != "" && err != nil {
			return err
		}
		var claimed [32]byte
		if claimed, form, err = bundle.RecoverChecksum(public, given); err != nil {
			return err
		}
		if claimed != sum {
			return failure.Newf(failure.Verification, "checksum_mismatch", op, "give the checksum that bundle encrypt printed for this very object",
				"the checksum is of another bundle: the object's zip has %s", sealed.PlainChecksum)
		}
	}
	if plan.KeyID == "" {
		return nil
	}
	signer, err := r.Signer(ctx, plan.KeyID)
	switch {
	case err == nil:
		if err := sameKey(signer, plan.PublicKey); err != nil {
			return err
		}
		sealed.ChecksumV2, sealed.ChecksumV3, err = bundle.SignChecksum(signer, sum)
		return err
	case form == bundle.FormV3:
		sealed.ChecksumV3 = given
	case form == bundle.FormV2:
		sealed.ChecksumV2 = given
	default:
		// Without the key the object's signature cannot be made, and without a
		// signature no device may be offered it.
		return err
	}
	return nil
}

// externalClient bounds a silent server, not a long download.
var externalClient = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second, DisableCompression: true,
}}

func getObject(ctx context.Context, address string) (*http.Response, error) {
	const op = "download the object"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || request.URL.Host == "" {
		return nil, failure.Newf(failure.Usage, "url_malformed", op, "give the address that devices will download from", "%q is not a URL", address)
	}
	response, err := externalClient.Do(request)
	if errors.Is(err, context.Canceled) {
		return nil, context.Canceled
	}
	if err != nil {
		return nil, failure.Wrap(err, failure.Unavailable, "object_unreachable", op, "check that the address can be reached from here without a login")
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, failure.Newf(failure.NotFound, "object_unreachable", op, "upload the object first, and make it readable without a login", "%s answers %s", address, response.Status)
	}
	return response, nil
}

// countedHash hashes what passes and reports how much.
type countedHash struct {
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	n      int64
	report func(int64)
}

func (c *countedHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.report(c.n)
	return c.hash.Write(p)
}
