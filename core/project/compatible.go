package project

import (
	"encoding/json"

	"github.com/Masterminds/semver/v3"

	"capstan/core/failure"
)

// NativeDifference compares one native package of the project with the same of
// a bundle, that is of the native apps that the bundle was made for.
type NativeDifference struct {
	Name   string `json:"name"`
	Local  string `json:"local,omitempty"`  // version in the project, "" when it is not there
	Remote string `json:"remote,omitempty"` // version of the bundle, "" when it is not there
	// Compatible: a web build of the project runs in apps that have the remote.
	Compatible bool   `json:"compatible"`
	Reason     string `json:"reason"`
}

// ParseNativePackages reads the native_packages of a registered bundle.
func ParseNativePackages(text json.RawMessage) ([]NativePackage, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	var list []NativePackage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, failure.New(failure.Failed, "native_packages_malformed", "read native packages", "the bundle's list of native packages cannot be read", "register a new bundle with capstan release")
	}
	return list, nil
}

// CompareNative says for each native package whether a web build of the local
// project runs in native apps that hold the remote ones. Equal native files
// decide; where there are no checksums, the versions must agree. A package that
// the project no longer uses does no harm; a new one is not in the apps.
func CompareNative(local, remote []NativePackage) []NativeDifference {
	there := map[string]NativePackage{}
	for _, r := range remote {
		there[r.Name] = r
	}
	differences := make([]NativeDifference, 0, len(local))
	for _, l := range local {
		r, found := there[l.Name]
		delete(there, l.Name)
		d := NativeDifference{Name: l.Name, Local: l.Version, Remote: r.Version}
		switch {
		case !found:
			d.Reason = "the native apps do not have it"
		case l.comparable(r):
			d.Compatible = l.IOSChecksum == r.IOSChecksum && l.AndroidChecksum == r.AndroidChecksum
			if d.Reason = "the native files are the same"; !d.Compatible {
				d.Reason = "the native files differ"
			}
		default:
			d.Compatible = satisfies(l.Version, r.Version)
			if d.Reason = "the versions agree"; !d.Compatible {
				d.Reason = "the versions differ"
			}
		}
		differences = append(differences, d)
	}
	for _, r := range remote {
		if _, unused := there[r.Name]; unused {
			differences = append(differences, NativeDifference{Name: r.Name, Remote: r.Version, Compatible: true, Reason: "the project does not use it any more"})
		}
	}
	return differences
}

// comparable reports whether both sides know the checksums of their files.
func (n NativePackage) comparable(other NativePackage) bool {
	return n.IOSChecksum+n.AndroidChecksum != "" && other.IOSChecksum+other.AndroidChecksum != ""
}

// satisfies compares a version with another, or with the range that the Capgo
// CLI may have registered in its place.
func satisfies(version, wanted string) bool {
	if version == wanted {
		return true
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return false
	}
	c, err := semver.NewConstraint(wanted)
	return err == nil && c.Check(v)
}
