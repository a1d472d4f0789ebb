package device

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"capstan/core/bundle"
	"capstan/core/capgo"
	"capstan/core/failure"
)

// Object is a bundle where devices will fetch it, with everything that a server
// will tell them about it.
type Object struct {
	URL string
	// Version is the bundle's name; "" stands for any.
	Version string
	// SessionKey is "" for a plain bundle.
	SessionKey    string
	ChecksumV2    string // signed, base64
	ChecksumV3    string // signed, hex
	PlainChecksum string // SHA-256 of the zip, hex
	CRC32         string // of the zip, 8 hex characters; "" when it is not offered
	ObjectSHA256  string // of the bytes behind URL, hex; "" is not compared
	ObjectSize    int64  // bytes; 0 is not compared
	// Files are those of the delta update; none when there is none.
	Files []DeltaFile
}

// checksum gives the value in one form.
func (o Object) checksum(f bundle.Form) string {
	switch f {
	case bundle.FormV2:
		return o.ChecksumV2
	case bundle.FormV3:
		return o.ChecksumV3
	case bundle.FormSHA256:
		return o.PlainChecksum
	case bundle.FormCRC32:
		return o.CRC32
	}
	return ""
}

// Verdict is what one plugin version did with an object.
type Verdict struct {
	PluginVersion string      `json:"pluginVersion"`
	Platform      string      `json:"platform"`
	Delta         bool        `json:"delta,omitempty"` // it took the single files instead of the zip
	Form          bundle.Form `json:"form,omitempty"`  // of the checksum that such a device is given
	// Offered is false where the plugin cannot read any form of the object, so
	// that a server must not offer it.
	Offered   bool   `json:"offered"`
	Installed bool   `json:"installed"`
	Code      string `json:"code,omitempty"`   // of the refusal: the plugin's stats action, or not_offered
	Reason    string `json:"reason,omitempty"` // one line for people
	Files     int    `json:"files"`
	Bytes     int64  `json:"bytes"` // unpacked
}

// Prove downloads an object and its delta files once, from where devices will, checks what every
// generation has in common, and installs it as each plugin version on each
// platform would. publicPEM is the key in the app, nil for an app without.
//
// It gives one verdict for each version and platform, and a second one where
// the version takes delta files and there are some. The error is the first
// refusal: class Verification for an object that is not what it should be,
// Unavailable or NotFound when it cannot be fetched. A version that the object
// cannot be offered to is a verdict, not an error; so is a version that is not
// one: what devices say about themselves must not stop a release.
func Prove(ctx context.Context, o Object, publicPEM []byte, pluginVersions, platforms []string, step func(Step)) ([]Verdict, error) {
	return prove(ctx, &proof{object: o, pem: publicPEM}, pluginVersions, platforms, step)
}

// ProveV1 is Prove for a bundle of the first scheme and apps that carry this
// private key. Plugins that read only what is newer are not offered it.
func ProveV1(ctx context.Context, o Object, app AppKey, pluginVersions, platforms []string, step func(Step)) ([]Verdict, error) {
	return prove(ctx, &proof{object: o, app: app}, pluginVersions, platforms, step)
}

func prove(ctx context.Context, p *proof, pluginVersions, platforms []string, step func(Step)) ([]Verdict, error) {
	o, say := p.object, tell(step)
	dir, err := os.MkdirTemp("", "capstan-prove-")
	if err != nil {
		return nil, diskFailure(err)
	}
	defer os.RemoveAll(dir)
	p.dir, p.file, p.say, p.ios = dir, filepath.Join(dir, "object"), say, slices.Contains(platforms, IOS)
	p.known, p.knownDelta = map[Generation]Verdict{}, map[Generation]Verdict{}
	if err := p.common(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		say(Step{Name: stepOf(err), Detail: err.Error(), Code: failure.CodeOf(err)})
		return nil, err
	}
	var verdicts []Verdict
	var first error
	for _, platform := range platforms {
		for _, version := range pluginVersions {
			v, err := p.install(ctx, version, platform)
			if ctx.Err() != nil {
				return verdicts, ctx.Err()
			}
			if err != nil && first == nil {
				first = err
			}
			verdicts = append(verdicts, v)
			if len(o.Files) == 0 || !bundle.TakesManifest(version) || !v.Offered {
				continue
			}
			v, err = p.installDelta(ctx, version, platform)
			if ctx.Err() != nil {
				return verdicts, ctx.Err()
			}
			if err != nil && first == nil {
				first = err
			}
			verdicts = append(verdicts, v)
		}
	}
	return verdicts, first
}

// proof is one run of Prove.
type proof struct {
	object Object
	pem    []byte
	app    AppKey // of the first scheme; nil for the second and for none
	dir    string
	file   string // the downloaded object
	say    func(Step)
	ios    bool                   // iPhones are among the devices
	known  map[Generation]Verdict // versions that behave alike are tried once

	fetched    map[string]string      // delta files by address
	knownDelta map[Generation]Verdict // as known
}

// common checks what does not depend on the plugin version, with the strictest
// reading of every value.
func (p *proof) common(ctx context.Context) error {
	o := p.object
	var iv, key []byte
	if p.app != nil {
		var err error
		if iv, key, err = bundle.RecoverSessionKeyV1(p.app, o.SessionKey); err != nil {
			return err
		}
		p.say(Step{Name: "key", Detail: "the app's private key opens the session key; nothing is signed", OK: true})
	} else if len(p.pem) > 0 {
		pub, err := Generation{}.loadPublic(p.pem)
		if err == nil && !strings.HasPrefix(string(p.pem), pemHeader) {
			err = errKeyFormat
		}
		if err == nil {
			err = bundle.CheckPublic(pub)
		}
		if err != nil {
			return failure.Newf(failure.Verification, "key_malformed", "key", "the app needs a PKCS#1 RSA-2048 public key", "the public key cannot be used: %w", err)
		}
		if o.SessionKey == "" || o.ChecksumV2 == "" && o.ChecksumV3 == "" {
			return refuse("session_key_required", "key", "the app has a public key, and the bundle is not signed")
		}
		if iv, key, err = bundle.RecoverSessionKey(pub, o.SessionKey); err != nil {
			return err
		}
		for _, signed := range []string{o.ChecksumV2, o.ChecksumV3} {
			if signed == "" {
				continue
			}
			sum, _, err := bundle.RecoverChecksum(pub, signed)
			if err != nil {
				return err
			}
			if o.PlainChecksum != "" && hex.EncodeToString(sum[:]) != o.PlainChecksum {
				return refuse("checksum_fail", "key", "a signed checksum belongs to another bundle")
			}
			o.PlainChecksum = hex.EncodeToString(sum[:])
		}
		p.say(Step{Name: "key", Detail: "session key and checksum are signed by the app's key", OK: true})
	} else if o.SessionKey != "" {
		return refuse("decrypt_fail", "key", "the bundle is encrypted, and the app has no public key")
	}
	if err := p.fetch(ctx); err != nil {
		return err
	}
	return p.open(ctx, o.PlainChecksum, iv, key)
}

// fetch downloads the object and compares it with what is on record.
func (p *proof) fetch(ctx context.Context) error {
	d := &Device{generation: Generation{Platform: Android, Resumes: true}}
	if err := d.network(ctx, p.object.URL, p.file); err != nil {
		return err
	}
	f, err := os.Open(p.file)
	if err != nil {
		return diskFailure(err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, &stopReader{ctx: ctx, r: f})
	if err != nil {
		return diskFailure(err)
	}
	if p.object.ObjectSize > 0 && n != p.object.ObjectSize {
		return refuse("object_mismatch", "download", "the download has %d bytes, the object on record %d", n, p.object.ObjectSize)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); p.object.ObjectSHA256 != "" && sum != p.object.ObjectSHA256 {
		return refuse("object_mismatch", "download", "the download is not the object on record")
	}
	detail, code := fmt.Sprintf("%d bytes, as on record; broken downloads can go on", n), ""
	if !answersRanges(ctx, p.object.URL) {
		detail, code = fmt.Sprintf("%d bytes, as on record; the host answers no ranges, a broken download starts again", n), "ranges_missing"
	}
	p.say(Step{Name: "download", Detail: detail, OK: true, Code: code})
	p.noteIOS(n)
	return nil
}

// slowOnIOS is what a phone on a slow network fetches in the 25 s that iOS
// gives a download: about 6 Mbit/s.
const slowOnIOS = 20 << 20 // bytes

// noteIOS says what keeps iPhones from an object that is good in itself. It
// refuses nothing: the app's own settings decide.
func (p *proof) noteIOS(size int64) {
	if !p.ios {
		return
	}
	if u, err := url.Parse(p.object.URL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		p.say(Step{Name: "ios", OK: true, Code: "http_url", Detail: "iOS refuses http unless the app's settings allow it; use https"})
	}
	if size > slowOnIOS {
		p.say(Step{Name: "ios", OK: true, Code: "slow_on_ios",
			Detail: fmt.Sprintf("iOS gives a download 25 s, which is short for %d MB; raise responseTimeout in the app's config", size>>20)})
	}
}

func isLoopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || address != nil && address.IsLoopback()
}

// answersRanges asks for the first byte alone.
func answersRanges(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	req.Header.Set("Range", "bytes=0-0")
	resp, err := defaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	start, ok := rangeStart(resp.Header.Get("Content-Range"))
	return resp.StatusCode == http.StatusPartialContent && ok && start == 0
}

// open decrypts and compares once, so that a wrong object is named as such
// before any generation is tried.
func (p *proof) open(ctx context.Context, sum string, iv, key []byte) error {
	plain := p.file
	d := &Device{generation: Generation{RefusesEmpty: true}}
	if key != nil {
		plain = filepath.Join(p.dir, "plain")
		defer os.Remove(plain)
		if _, err := d.decryptFile(ctx, p.file, plain, iv, key); err != nil {
			return err
		}
	}
	f, err := os.Open(plain)
	if err != nil {
		return diskFailure(err)
	}
	defer f.Close()
	got, err := plainChecksum(bundle.FormSHA256, &stopReader{ctx: ctx, r: f})
	switch {
	case err != nil:
		return diskFailure(err)
	case sum == "":
		return refuse("checksum_required", "checksum", "the bundle has no checksum")
	case got != sum:
		return refuse("checksum_fail", "checksum", "the bundle's SHA-256 is not the one announced")
	}
	p.say(Step{Name: "checksum", Detail: "SHA-256 " + got, OK: true})
	if len(p.object.Files) == 0 {
		return nil
	}
	return p.openFiles(ctx, f, iv, key)
}

// install lets one device of a version and platform take the object.
func (p *proof) install(ctx context.Context, version, platform string) (Verdict, error) {
	v := Verdict{PluginVersion: version, Platform: platform}
	label := platform + " " + version
	dir, err := os.MkdirTemp(p.dir, "device-")
	if err != nil {
		return v, diskFailure(err)
	}
	defer os.RemoveAll(dir)
	d, err := New(Device{
		Request:   capgo.UpdateRequest{Platform: platform, PluginVersion: version, AppID: "proof", VersionBuild: "0.0.0"},
		PublicKey: p.pem, AppKey: p.app, Dir: dir,
	})
	if err != nil {
		v.Code, v.Reason = failure.CodeOf(err), err.Error()
		p.say(Step{Name: label, Detail: v.Reason, OK: true, Code: v.Code})
		return v, nil
	}
	if g := d.generation; p.app != nil && (!g.PrivateKeyInApp || g.PrivateKeyRefused) {
		v.Code, v.Reason = "not_offered", "this plugin does not read the first scheme"
		p.say(Step{Name: label, Detail: v.Reason, OK: true, Code: v.Code})
		return v, nil
	}
	d.generation = d.generation.forZip()
	signed := p.object.SessionKey != ""
	v.Form = d.generation.Plain
	if signed && p.app == nil {
		v.Form = d.generation.Signed
	}
	a := Answer{Outcome: Offered}
	a.Version, a.URL, a.SessionKey, a.Checksum = orElse(p.object.Version, "0.0.0-proof"), p.object.URL, p.object.SessionKey, p.object.checksum(v.Form)
	if a.Checksum == "" {
		v.Code, v.Reason = "not_offered", "this plugin reads none of the bundle's checksum forms"
		p.say(Step{Name: label, Detail: v.Reason, OK: true, Code: v.Code})
		return v, nil
	}
	v.Offered = true
	if before, ok := p.known[d.generation]; ok {
		before.PluginVersion = version
		p.say(Step{Name: label, Detail: orElse(before.Reason, "behaves like a version that was tried already"), OK: before.Installed, Code: before.Code})
		return before, nil
	}
	local := func(_ context.Context, _, file string) error {
		// The object was fetched already; a link spares its bytes a second journey.
		return diskFailureOrNil(os.Link(p.file, file))
	}
	got, err := d.download(ctx, a, sources{zip: local}, func(Step) {})
	if err == nil {
		err = d.set(&got, func(Step) {})
	}
	v.Files, v.Bytes, v.Installed = got.Files, got.Bytes, err == nil
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return v, err
		}
		v.Code, v.Reason = failure.CodeOf(err), err.Error()
		p.say(Step{Name: label, Detail: v.Reason, Code: v.Code})
		p.known[d.generation] = v
		return v, failure.Wrap(fmt.Errorf("%s refuses it: %w", label, err), failure.Verification, v.Code, "prove", "")
	}
	p.known[d.generation] = v
	p.say(Step{Name: label, Detail: fmt.Sprintf("%d files installed, checksum form %s", v.Files, v.Form), OK: true})
	return v, nil
}

func diskFailureOrNil(err error) error {
	if err == nil {
		return nil
	}
	return diskFailure(err)
}
