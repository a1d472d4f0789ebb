package views

import (
	"strings"

	"github.com/Masterminds/semver/v3"
)

// compareVersions orders versions as devices do; what is not a version comes
// first, in the order of letters.
func compareVersions(a, b string) int {
	if a == b {
		return 0
	}
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	switch {
	case errA == nil && errB == nil:
		return va.Compare(vb)
	case errA == nil:
		return 1
	case errB == nil:
		return -1
	}
	return strings.Compare(a, b)
}
