package management

import (
	"encoding/hex"
	"encoding/json"
	"net"
	"net/url"
	"strings"

	"github.com/Masterminds/semver/v3"

	"capstan/core/capgo"
	"capstan/server/store"
)

// pageRows is the size of a page of bundles and channels.
const pageRows = 50

func listBundles(c *call) error {
	f := store.BundleFilter{AppID: c.app, Name: c.in.text("version"), ID: c.in.id("id", "version_id"), Offset: c.in.page(pageRows), Limit: pageRows}
	if err := c.mustExist(); err != nil {
		return err
	}
	list, err := c.api.Store.Bundles(c.ctx, f)
	if err != nil {
		return err
	}
	owner, err := c.owner()
	if err != nil {
		return err
	}
	rows := make([]bundleRow, len(list))
	for i, b := range list {
		rows[i] = rowOfBundle(b, owner)
	}
	return c.ok(rows)
}

// owner is the organisation of the call's app. Code cannot_find_app.
func (c *call) owner() (string, error) {
	a, err := c.api.Store.App(c.ctx, c.app)
	return organisationOf(a), err
}

func createBundle(c *call) error {
	b := store.Bundle{Bundle: capgo.Bundle{
		AppID: c.app, Name: c.in.text("version"), ExternalURL: c.in.text("external_url"), R2Path: c.in.text("r2_path"), Checksum: c.in.text("checksum"),
		SessionKey: c.in.text("session_key"), KeyID: c.in.text("key_id"), MinUpdateVersion: c.in.text("min_update_version"),
		Link: c.in.text("link"), Comment: c.in.text("comment"), StorageProvider: "external",
		PlainChecksum: strings.ToLower(c.in.text("plain_checksum")), ChecksumV2: c.in.text("checksum_v2"), ChecksumV3: c.in.text("checksum_v3"),
		ObjectSHA256: strings.ToLower(c.in.text("object_sha256")),
	}}
	for into, name := range map[*int64]string{&b.ObjectSize: "object_size", &b.PlainSize: "plain_size"} {
		if n := c.in.optInt(0, 1<<50, name); n != nil {
			*into = *n
		}
	}
	if value, ok := c.in.fields["native_packages"]; ok && value != nil {
		text, err := json.Marshal(value)
		if err != nil || len(text) > 64<<10 {
			return bad("invalid_json_body", "native_packages is too large")
		}
		b.NativePackages = text
	}
	if err := c.checked(); err != nil {
		return err
	}
	if err := c.checkBundle(&b); err != nil {
		return err
	}
	if err := c.readManifest(&b); err != nil {
		return err
	}
	if err := c.readSeals(&b); err != nil {
		return err
	}
	owner, err := c.owner()
	if err != nil {
		return err
	}
	registered := func(made store.Bundle) any {
		return map[string]any{"status": "success", "bundle": rowOfBundle(made, owner)}
	}
	answers(c, registered)
	made, err := c.api.Store.AddBundle(c.ctx, c.actor(), b)
	if err != nil {
		return err
	}
	return c.ok(registered(made))
}

// checkBundle refuses what devices could not use. Codes missing_version,
// missing_external_url, missing_checksum, invalid_version_format,
// invalid_protocol, invalid_min_update_version, invalid_checksum.
func (c *call) checkBundle(b *store.Bundle) error {
	switch {
	case b.Name == "":
		return bad("missing_version", "version is missing")
	case b.ExternalURL == "" && b.R2Path == "":
		return bad("missing_external_url", "external_url is missing")
	case b.Checksum == "":
		return bad("missing_checksum", "checksum is missing")
	case b.ExternalURL != "" && b.R2Path != "":
		return bad("invalid_json_body", "a bundle is either external or stored here")
	}
	if _, err := semver.StrictNewVersion(b.Name); err != nil || len(b.Name) > 128 {
		return bad("invalid_version_format", "the version is not of the form 1.2.3")
	}
	if b.MinUpdateVersion != "" {
		if _, err := semver.StrictNewVersion(b.MinUpdateVersion); err != nil || len(b.MinUpdateVersion) > 128 {
			return bad("invalid_min_update_version", "min_update_version is not of the form 1.2.3")
		}
	}
	if len(b.KeyID) > 20 {
		return bad("invalid_json_body", "key_id is longer than 20 characters")
	}
	if len(b.Link) > 2048 || len(b.Comment) > 4096 {
		return bad("invalid_json_body", "link or comment is too long")
	}
	for name, sum := range map[string]string{"plain_checksum": b.PlainChecksum, "object_sha256": b.ObjectSHA256} {
		if raw, err := hex.DecodeString(sum); sum != "" && (err != nil || len(raw) != 32) {
			return bad("invalid_checksum", "%s is not a SHA-256 in hex", name)
		}
	}
	if b.R2Path != "" {
		return c.checkStored(b)
	}
	return c.checkURL(b.ExternalURL)
}

// maxSeals is how many further seals a bundle may have: a second key is on
// record while an app changes keys, and never a third.
const maxSeals = 1

// readSeals takes the further seals of a registration, if it has any. They are
// verified with the keys on record when the row is made. Codes invalid_seals,
// invalid_protocol, invalid_checksum.
func (c *call) readSeals(b *store.Bundle) error {
	value, ok := c.in.fields["seals"]
	if !ok || value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var seals []capgo.Seal
	if err := json.Unmarshal(text, &seals); err != nil || len(seals) > maxSeals {
		return bad("invalid_seals", "seals is not a list of at most %d further seal", maxSeals)
	}
	for i, s := range seals {
		switch {
		case s.KeyID == "" || len(s.KeyID) > 20 || s.SessionKey == "" || len(s.ChecksumV2) != 344 || len(s.ChecksumV3) != 512:
			return bad("invalid_seals", "a seal needs key_id, session_key and both forms of the signed checksum")
		case (s.ExternalURL == "") == (s.R2Path == ""):
			return bad("invalid_seals", "a seal needs either external_url or r2_path")
		case s.ObjectSize < 0 || s.ObjectSize > 1<<50:
			return bad("invalid_seals", "object_size is not a number of bytes")
		}
		s.ObjectSHA256 = strings.ToLower(s.ObjectSHA256)
		if raw, err := hex.DecodeString(s.ObjectSHA256); s.ObjectSHA256 != "" && (err != nil || len(raw) != 32) {
			return bad("invalid_checksum", "object_sha256 is not a SHA-256 in hex")
		}
		object := store.Bundle{Bundle: b.With(s)}
		if s.R2Path == "" {
			err = c.checkURL(s.ExternalURL)
		} else {
			err = c.checkStored(&object)
		}
		if err != nil {
			return err
		}
		s.ObjectSHA256, s.ObjectSize = object.ObjectSHA256, object.ObjectSize
		seals[i] = s
	}
	b.Seals = seals
	return nil
}

// checkStored takes a bundle whose object was uploaded to this server.
func (c *call) checkStored(b *store.Bundle) error {
	if app, _, _ := strings.Cut(b.R2Path, "/"); app != c.app {
		return noAccess()
	}
	object, err := c.api.Store.Object(c.ctx, b.R2Path)
	if err != nil {
		return err
	}
	if b.ObjectSHA256 != "" && b.ObjectSHA256 != object.SHA256 {
		return bad("invalid_checksum", "object_sha256 is not that of the stored object")
	}
	b.ObjectSHA256, b.ObjectSize, b.StorageProvider = object.SHA256, object.Size, "capstan"
	return nil
}

// checkURL takes https, and http where it stays on this machine or on the
// address that the operator gave the server.
func (c *call) checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || len(raw) > 2048 {
		return bad("invalid_protocol", "external_url is not an address that devices can use")
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http" && c.api.PublicURL != "" && strings.HasPrefix(raw, strings.TrimSuffix(c.api.PublicURL, "/")+"/"):
		return nil
	}
	return bad("invalid_protocol", "external_url must start with https://")
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// linkBundle is Capgo's PUT /bundle: a promotion by ids.
func linkBundle(c *call) error {
	versionID, id := c.in.id("version_id"), c.in.id("channel_id")
	if err := c.checked(); err != nil {
		return err
	}
	if versionID == 0 || id == 0 {
		return bad("missing_required_fields", "version_id and channel_id are needed")
	}
	// Both are looked up within the app that the token was checked for.
	channel, err := c.api.Store.ChannelByID(c.ctx, c.app, id)
	if err != nil {
		return err
	}
	change := store.ChannelChange{VersionID: &versionID, MustExist: true}
	change.AppID, change.Channel, change.Note = c.app, channel.Name, c.in.text("note", "reason")
	switch target := c.in.text("target"); target {
	case "", "auto", "stable":
	case "rollout":
		change.VersionID, change.RolloutVersionID = nil, &versionID
	default:
		return bad("invalid_json_body", "target is auto, stable or rollout")
	}
	linked := func(done store.Changed) any {
		name := ""
		if done.Channel.Version != nil {
			name = done.Channel.Version.Name
		}
		if change.RolloutVersionID != nil && done.Channel.RolloutVersionInfo != nil {
			name = done.Channel.RolloutVersionInfo.Name
		}
		return map[string]string{"status": "success", "message": "Bundle " + name + " set to channel " + channel.Name}
	}
	answers(c, linked)
	after, created, err := c.api.Store.ChangeChannel(c.ctx, c.actor(), change)
	if err != nil {
		return err
	}
	return c.ok(linked(store.Changed{Channel: after, Created: created}))
}

func setMetadata(c *call) error {
	id, link, comment := c.in.id("version_id"), c.in.cleared("link"), c.in.cleared("comment")
	if err := c.checked(); err != nil {
		return err
	}
	switch {
	case id == 0:
		return bad("missing_required_fields", "version_id is missing")
	case link == nil && comment == nil:
		return bad("no_fields_to_update", "neither link nor comment was given")
	case link != nil && len(*link) > 2048, comment != nil && len(*comment) > 4096:
		return bad("invalid_json_body", "link or comment is too long")
	}
	if err := c.api.Store.SetBundleMetadata(c.ctx, c.actor(), c.app, id, link, comment); err != nil {
		return err
	}
	return c.ok(statusOK)
}

func getMetadata(c *call) error {
	f := store.BundleFilter{AppID: c.app, ID: c.in.id("version_id"), Limit: 1}
	if err := c.checked(); err != nil {
		return err
	}
	if f.ID == 0 {
		return bad("missing_required_fields", "version_id is missing")
	}
	list, err := c.api.Store.Bundles(c.ctx, f)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return bad("cannot_find_version", "there is no such bundle")
	}
	return c.ok(map[string]string{"link": list[0].Link, "comment": list[0].Comment})
}

// deleteBundle deletes one bundle; without a version, as in Capgo's API, every
// bundle that no channel points at.
func deleteBundle(c *call) error {
	version := c.in.optText("version")
	if err := c.mustExist(); err != nil {
		return err
	}
	if version == nil {
		if _, err := c.api.Store.DeleteUnlinkedBundles(c.ctx, c.actor(), c.app); err != nil {
			return err
		}
		return c.ok(statusOK)
	}
	if *version == "" {
		// An empty variable of a script must not mean "all of them".
		return bad("missing_version", "version is empty")
	}
	if err := c.api.Store.DeleteBundle(c.ctx, c.actor(), c.app, *version); err != nil {
		return err
	}
	return c.ok(statusOK)
}
