package capgo

import "github.com/Masterminds/semver/v3"

// EnforcesFrom is the first plugin version that by itself refuses a bundle
// without a session key and a signed checksum, when the app has a public key.
const EnforcesFrom = "8.51.23"

var enforcesFrom = semver.MustParse(EnforcesFrom)

// EnforcesSignatures tells whether a plugin of this version does. 9.0.0 and
// 10.0.0 are misnumbered releases of the fifth generation, which does not.
func EnforcesSignatures(pluginVersion string) bool {
	if pluginVersion == "9.0.0" || pluginVersion == "10.0.0" {
		return false
	}
	v, err := semver.StrictNewVersion(pluginVersion)
	return err == nil && !v.LessThan(enforcesFrom)
}
