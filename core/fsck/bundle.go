package fsck

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/release"
	"capstan/core/remote/transport"
)

func (c *check) checkBundles(ctx context.Context) error {
	for i, b := range c.bundles {
		if c.Progress != nil {
			c.Progress(i, len(c.bundles), b.Name)
		}
		for _, seal := range c.seals(b) {
			c.checkSignature(seal)
			if err := c.checkObject(ctx, seal); err != nil {
				return err
			}
			if len(c.serving[b.Name]) > 0 || c.All {
				if err := c.checkPublic(ctx, seal); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// seals are the bundle as devices hear of it, one for each key that it is sealed
// for. Those for a key that is no longer on record are not served: the app has
// changed keys, and they are left out beside another one.
func (c *check) seals(b capgo.Bundle) []capgo.Bundle {
	all := []capgo.Bundle{b}
	for _, s := range b.Seals {
		all = append(all, b.With(s))
	}
	if len(all) == 1 || c.public == nil {
		return all
	}
	var served []capgo.Bundle
	for _, seal := range all {
		if seal.KeyID == "" || seal.KeyID == keys.KeyID(c.publicOf(seal)) {
			served = append(served, seal)
		}
	}
	if len(served) == 0 {
		return all[:1]
	}
	return served
}

// publicOf is the key that a bundle is to be verified with: the second one on
// record for what names it, else the first. nil when none is known.
func (c *check) publicOf(b capgo.Bundle) *rsa.PublicKey {
	if c.second != nil && b.KeyID == keys.KeyID(c.second) {
		return c.second
	}
	return c.public
}

// about makes a finding on a bundle; what is wrong with one that is served
// blocks, with another one it warns.
func (c *check) about(b capgo.Bundle, code, hint, format string, args ...any) *Finding {
	level, served := Warn, c.serving[b.Name]
	text := fmt.Sprintf(format, args...)
	if len(served) > 0 {
		level = Block
		if hint == "" {
			hint = "move channel " + served[0] + " to another bundle: capstan channel set " + served[0] + " --bundle VERSION"
		}
		text += " (served by " + strings.Join(served, ", ") + ")"
	}
	f := c.add(level, code, b.Name, hint, "%s", text)
	f.Served = len(served) > 0
	return f
}

// unverified is about, for what keeps a device from taking the bundle.
func (c *check) unverified(b capgo.Bundle, code, format string, args ...any) {
	c.about(b, code, "", format, args...).Unverified = true
}

// checkSignature reads the row alone: every value that a device may be given is
// signed by the key on record, and all speak of the same content.
func (c *check) checkSignature(b capgo.Bundle) {
	if b.SessionKey == "" {
		if c.app.PublicKey != "" {
			c.unverified(b, "bundle_unsigned", "the app has a key on record, and bundle %s is not signed", b.Name)
		}
		return
	}
	public := c.publicOf(b)
	if public == nil {
		return
	}
	if id := keys.KeyID(public); b.KeyID != "" && b.KeyID != id {
		c.unverified(b, "bundle_key_differs", "bundle %s is sealed for key %s, on record is %s", b.Name, transport.Clean(b.KeyID), id)
		return
	}
	if _, _, err := bundle.RecoverSessionKey(public, b.SessionKey); err != nil {
		c.unverified(b, "session_key_refused", "the session key of bundle %s does not verify with the key on record: %v", b.Name, err)
	}
	plain := strings.ToLower(b.PlainChecksum)
	for _, value := range []string{b.Checksum, b.ChecksumV2, b.ChecksumV3} {
		if value == "" {
			continue
		}
		sum, form, err := bundle.RecoverChecksum(public, value)
		switch {
		case err != nil:
			c.unverified(b, "signature_refused", "a checksum of bundle %s does not verify with the key on record: %v", b.Name, err)
			return
		case form == bundle.FormCRC32:
		case plain == "":
			plain = hex.EncodeToString(sum[:])
		case plain != hex.EncodeToString(sum[:]):
			c.unverified(b, "checksums_disagree", "the checksums of bundle %s are of different contents", b.Name)
			return
		}
	}
}

// checkObject looks the bundle's object up in storage, if it is kept there.
func (c *check) checkObject(ctx context.Context, b capgo.Bundle) error {
	if c.Storage == nil || b.ObjectSHA256 == "" {
		return nil
	}
	name := release.ObjectName(c.AppID, b.Name, b.ObjectSHA256)
	if c.Storage.PublicURL(name) != b.ExternalURL {
		return nil // somebody else's storage
	}
	c.report.Objects++
	object, err := c.Storage.Stat(ctx, name)
	switch {
	case failure.CodeOf(err) == "object_not_found":
		c.unverified(b, "object_missing", "the object of bundle %s is not in storage", b.Name)
	case failure.CodeOf(err) == "unsupported":
	case err != nil:
		return err
	case b.ObjectSize > 0 && object.Size >= 0 && object.Size != b.ObjectSize:
		c.unverified(b, "object_size", "the object of bundle %s has %d bytes in storage, on record are %d", b.Name, object.Size, b.ObjectSize)
	case object.SHA256 != "" && object.SHA256 != b.ObjectSHA256:
		c.unverified(b, "object_changed", "the object of bundle %s has another hash in storage than on record", b.Name)
	}
	return nil
}

// checkPublic downloads the bundle as a device does, without credentials and in
// one pass: hash of the object, decryption, hash of the content.
func (c *check) checkPublic(ctx context.Context, b capgo.Bundle) error {
	u, err := url.Parse(b.ExternalURL)
	if err != nil || u.Host == "" {
		c.unverified(b, "public_address", "bundle %s has no address that devices can download from", b.Name)
		return nil
	}
	if u.Scheme != "https" && !transport.IsLoopback(u.Hostname()) {
		c.about(b, "public_cleartext", "publish the storage over https", "bundle %s is served over plain http, which phones refuse", b.Name)
	}
	response, err := c.fetch(ctx, b.ExternalURL)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.about(b, "public_unreachable", "check the public address, its DNS name and its certificate", "the public address of bundle %s did not answer: %s", b.Name, transport.Clean(err.Error()))
		return nil
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		c.unverified(b, "public_status", "the public address of bundle %s answers HTTP %d", b.Name, response.StatusCode)
		return nil
	}
	c.report.Downloaded++
	return c.readPublic(ctx, b, response)
}

func (c *check) fetch(ctx context.Context, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", transport.UserAgent())
	request.Header.Set("Accept-Encoding", "identity")
	client := *c.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client.Do(request)
}

func (c *check) readPublic(ctx context.Context, b capgo.Bundle, response *http.Response) error {
	object := &counted{hash: sha256.New()}
	body := io.TeeReader(response.Body, object)
	sum, refused := c.open(ctx, b, body)
	// Decryption stops at the first fault; the hash is of the whole object.
	_, broken := io.Copy(io.Discard, body)
	c.report.Bytes += object.n
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if broken != nil {
		c.about(b, "public_unreachable", "look for a proxy that cuts downloads", "the download of bundle %s broke after %d bytes: %s", b.Name, object.n, transport.Clean(broken.Error()))
		return nil
	}
	got := hex.EncodeToString(object.hash.Sum(nil))
	switch {
	case strings.Contains(response.Header.Get("Content-Type"), "text/html"):
		c.unverified(b, "public_html", "the public address of bundle %s answers with a web page", b.Name)
	case b.ObjectSize > 0 && object.n != b.ObjectSize:
		c.unverified(b, "public_length", "the public address serves %d bytes for bundle %s, on record are %d", object.n, b.Name, b.ObjectSize)
	case b.ObjectSHA256 != "" && got != b.ObjectSHA256:
		c.unverified(b, "public_hash", "the public address serves other bytes for bundle %s than were sealed", b.Name)
	case refused != nil:
		c.unverified(b, "bundle_refused", "what the public address serves for bundle %s does not open: %v", b.Name, refused)
	case sum != "" && !c.speaksOf(b, sum):
		c.unverified(b, "content_differs", "what the public address serves for bundle %s is not what its checksum says", b.Name)
	}
	return nil
}

// open decrypts where that is possible and gives the hash of the content, ""
// where it cannot be told.
func (c *check) open(ctx context.Context, b capgo.Bundle, body io.Reader) (sum string, refused error) {
	if b.SessionKey == "" {
		plain := sha256.New()
		_, err := io.Copy(plain, body)
		if err != nil {
			return "", nil // the caller reads on and meets the same error
		}
		return hex.EncodeToString(plain.Sum(nil)), nil
	}
	public := c.publicOf(b)
	if public == nil {
		return "", nil
	}
	digest, _, err := bundle.Decrypt(ctx, body, io.Discard, b.SessionKey, public)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(digest[:]), nil
}

// speaksOf reports whether the row's checksums are of this content. A CRC-32
// alone says too little, and passes.
func (c *check) speaksOf(b capgo.Bundle, sum string) bool {
	if b.PlainChecksum != "" {
		return strings.EqualFold(b.PlainChecksum, sum)
	}
	recovered, form, err := bundle.RecoverChecksum(c.publicOf(b), b.Checksum)
	return err == nil && (form == bundle.FormCRC32 || hex.EncodeToString(recovered[:]) == sum)
}

// counted hashes what passes and counts it.
type counted struct {
	hash hash.Hash
	n    int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}
