package decide

// HoldsOtherKey tells whether a device says that it holds another public key
// than those on record. Some plugins send only the first characters of the
// id, which are the same for all keys: those tell nothing.
func (a *App) HoldsOtherKey(keyID string) bool {
	return a.KeyID != "" && len(keyID) == len(a.KeyID) && keyID != a.KeyID && keyID != a.SecondKeyID
}

// HoldsSecondKey tells whether a device says that it holds the second public
// key on record.
func (a *App) HoldsSecondKey(keyID string) bool { return keyID != "" && keyID == a.SecondKeyID }

// RefusesForm tells whether a plugin of this version can read the signed
// checksum of the bundle that a channel points its platform at, in none of the
// forms on record. Plain bundles have no such form.
func (a *App) RefusesForm(channelID int64, platform, pluginVersion string) bool {
	c := a.channelByID(channelID)
	if c == nil || a.KeyID == "" {
		return false
	}
	b, ok := a.live(c, platform)
	if !ok || b == nil {
		return false
	}
	v, ok := parseVersion(pluginVersion)
	return !ok || signedForm(v).pick(b.Checksum, b.ChecksumV2, b.ChecksumV3) == ""
}
