// Package device is a simulated device: what the capacitor-updater plugin of a
// given version and platform does with an update server's answer, from the
// request to the unpacked bundle.
//
// Start with New, then Check and Install; Prove does the second half for every
// plugin generation that an app has in the field. Generations are data
// (GenerationOf), as measured on the real plugin: where an old plugin is laxer
// or stricter than a new one, so is the device. The package reads bundles with
// its own code, so that a proof does not lean on the code that sealed them.
package device

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// Device is one simulated device. It is not safe for concurrent use.
type Device struct {
	// Request is who the device is. PluginVersion and Platform decide how it
	// behaves. VersionName is the bundle it runs; "" and "builtin" mean the store build.
	Request capgo.UpdateRequest
	// PublicKey is the PEM in the app's config; empty for an app without encryption.
	PublicKey []byte
	// PrivateKey is the PEM that apps of the first scheme (plugins before 6.1.18) carry.
	PrivateKey []byte
	// AppKey is the same key where its PEM is not at hand; PrivateKey comes first.
	AppKey AppKey
	// HTTP is used for every request; nil is a client with the plugin's time limits.
	HTTP *http.Client
	// Dir holds downloads, the file cache and the unpacked bundles. Needed by Install.
	Dir string
	// ResponseTimeout is the app's responseTimeout; 0 is the plugin's default of 20 s.
	// iOS gives a whole download 5 s more than that.
	ResponseTimeout time.Duration
	// MaxUnpacked limits the bytes of one unpacked bundle; 0 is 4 GiB.
	MaxUnpacked int64

	generation Generation
	bundles    map[string]bundleState // by version
	latched    bool                   // a 429 stopped stats and channel calls
	blockedTil time.Time              // a 429 with a hint
}

// AppKey is a private key that an app of the first scheme carries: RSA-2048.
type AppKey = crypto.Decrypter

// bundleState is what the device remembers of a version.
type bundleState string

const (
	statePending bundleState = "pending" // unpacked, not started yet
	stateSuccess bundleState = "success"
	stateError   bundleState = "error" // never tried again
)

// Step is one thing a device did, in the order in which it happened.
type Step struct {
	Name   string `json:"name"`   // stable: request, answer, download, decrypt, checksum, unpack, set, …
	Detail string `json:"detail"` // one line for people
	OK     bool   `json:"ok"`
	Code   string `json:"code,omitempty"` // of a refusal: the stats action that the plugin sends
}

// New makes a device. It fails with class Usage when the plugin version or the
// platform is not known, and with key_malformed when an app with that public
// key would end at start.
func New(d Device) (*Device, error) {
	g, err := GenerationOf(d.Request.PluginVersion, d.Request.Platform)
	if err != nil {
		return nil, err
	}
	d.generation = g
	d.bundles = map[string]bundleState{}
	if d.Request.DeviceID == "" {
		d.Request.DeviceID = newDeviceID()
	}
	if g.KeyMustLoad && len(d.PublicKey) > 0 {
		if _, err := g.loadPublic(d.PublicKey); err != nil {
			return nil, failure.Newf(failure.Verification, "key_malformed", "start the app",
				"the app's public key must be a PKCS#1 PEM: BEGIN RSA PUBLIC KEY", "plugin %s cannot read the public key: %w", d.Request.PluginVersion, err)
		}
	}
	return &d, nil
}

// Generation tells what this device does.
func (d *Device) Generation() Generation { return d.generation }

// onBuiltin reports whether the device runs the store build.
func (d *Device) onBuiltin() bool {
	return d.Request.VersionName == "" || d.Request.VersionName == capgo.Builtin
}

// current is the version name as this generation reports it.
func (d *Device) current() string {
	if !d.onBuiltin() {
		return d.Request.VersionName
	}
	if d.generation.NativeName && d.Request.VersionBuild != "" {
		return d.Request.VersionBuild
	}
	return capgo.Builtin
}

// reportedPlugin is the version that the plugin states about itself; two
// published packages carry another one's number.
func (d *Device) reportedPlugin() string {
	switch d.Request.PluginVersion {
	case "5.50.2":
		return "5.50.1"
	case "6.43.5":
		return "8.43.5"
	}
	return d.Request.PluginVersion
}

// keyID is the key_id field as this generation sends it, "" when it sends none.
func (d *Device) keyID() string {
	n := d.generation.KeyIDLength
	if n == 0 || len(d.PublicKey) == 0 {
		return ""
	}
	body := strings.Join(strings.Fields(keyBody(d.PublicKey)), "")
	return body[:min(n, len(body))]
}

// keyBody is the base64 text between a PEM's header and footer.
func keyBody(text []byte) string {
	if block, _ := pem.Decode(bytes.TrimSpace(text)); block != nil {
		return base64.StdEncoding.EncodeToString(block.Bytes)
	}
	s := strings.ReplaceAll(string(text), pemHeader, "")
	return strings.ReplaceAll(s, pemFooter, "")
}

// info is the body that opens every request of this generation.
func (d *Device) info() map[string]any {
	r := d.Request
	body := map[string]any{
		"platform":       r.Platform,
		"device_id":      r.DeviceID,
		"app_id":         r.AppID,
		"custom_id":      r.CustomID,
		"version_build":  r.VersionBuild,
		"version_code":   r.VersionCode,
		"version_os":     r.VersionOS,
		"version_name":   d.current(),
		"plugin_version": d.reportedPlugin(),
		"is_emulator":    r.IsEmulator,
		"is_prod":        r.IsProd,
	}
	if d.generation.SendsChannel {
		body["defaultChannel"] = r.DefaultChannel
	}
	if id := d.keyID(); id != "" {
		body["key_id"] = id
	}
	// Android always sends the source, iOS only a known one.
	if d.generation.SendsSource && (r.Platform == Android || r.InstallSource != "") {
		body["install_source"] = r.InstallSource
	}
	return body
}

// userAgent is the header of the plugin's own requests.
func (d *Device) userAgent() string {
	return fmt.Sprintf("CapacitorUpdater/%s (%s) %s/%s", d.reportedPlugin(), d.Request.AppID, d.Request.Platform, d.Request.VersionOS)
}

func (d *Device) client() *http.Client {
	if d.HTTP != nil {
		return d.HTTP
	}
	return defaultClient
}

func (d *Device) responseTimeout() time.Duration {
	if d.ResponseTimeout > 0 {
		return d.ResponseTimeout
	}
	return 20 * time.Second
}

// newDeviceID is a random UUID (version 4).
func newDeviceID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
