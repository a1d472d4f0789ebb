package decide

import (
	"cmp"
	"strconv"
	"strings"
)

// version is a semantic version as Capgo's server reads one: surrounding white
// space and one leading "v" are allowed, build metadata does not order.
// It holds slices of its source, so parsing costs no allocation.
type version struct {
	major, minor, patch uint64
	pre, build          string
}

const (
	// maxSafeInteger is 2^53-1: the peer's numbers are doubles, and it refuses
	// what they cannot hold exactly.
	maxSafeInteger = 1<<53 - 1
	maxVersionLen  = 256
)

// parseVersion reads a version; ok is false for anything that is not x.y.z with
// optional pre-release and build metadata.
func parseVersion(s string) (v version, ok bool) {
	if len(s) > maxVersionLen {
		return version{}, false
	}
	s = strings.TrimPrefix(trimSpace(s), "v")
	if v.major, s, ok = cutNumber(s); !ok || !strings.HasPrefix(s, ".") {
		return version{}, false
	}
	if v.minor, s, ok = cutNumber(s[1:]); !ok || !strings.HasPrefix(s, ".") {
		return version{}, false
	}
	if v.patch, s, ok = cutNumber(s[1:]); !ok {
		return version{}, false
	}
	s, v.build, ok = strings.Cut(s, "+")
	if ok && !identifiers(v.build, false) {
		return version{}, false
	}
	if s == "" {
		return v, true
	}
	v.pre = s[1:]
	return v, s[0] == '-' && identifiers(v.pre, true)
}

// cutNumber takes a number without leading zeros off the front of s.
func cutNumber(s string) (n uint64, rest string, ok bool) {
	rest, ok = cutDigits(s)
	if !ok {
		return 0, s, false
	}
	for _, c := range []byte(s[:len(s)-len(rest)]) {
		if n = n*10 + uint64(c-'0'); n > maxSafeInteger {
			return 0, s, false
		}
	}
	return n, rest, true
}

// identifiers checks a dot-separated list of [0-9A-Za-z-]+; in a pre-release a
// numeric identifier has no leading zero.
func identifiers(s string, preRelease bool) bool {
	for {
		id, rest, more := strings.Cut(s, ".")
		if id == "" {
			return false
		}
		for i := range len(id) {
			if !alphanumeric(id[i]) && id[i] != '-' {
				return false
			}
		}
		if preRelease && len(id) > 1 && id[0] == '0' && digits(id) {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compare orders two versions by the rules of semver: -1, 0 or +1.
func (v version) compare(o version) int {
	if c := cmp.Or(cmp.Compare(v.major, o.major), cmp.Compare(v.minor, o.minor), cmp.Compare(v.patch, o.patch)); c != 0 {
		return c
	}
	switch {
	case v.pre == o.pre:
		return 0
	case v.pre == "": // a release comes after its pre-releases
		return 1
	case o.pre == "":
		return -1
	}
	a, b := v.pre, o.pre
	for {
		idA, restA, moreA := strings.Cut(a, ".")
		idB, restB, moreB := strings.Cut(b, ".")
		if c := compareIdentifiers(idA, idB); c != 0 {
			return c
		}
		if !moreA || !moreB {
			return cmp.Compare(strings.Count(a, "."), strings.Count(b, "."))
		}
		a, b = restA, restB
	}
}

func compareIdentifiers(a, b string) int {
	numA, numB := digits(a), digits(b)
	switch {
	case numA && numB: // no leading zeros: the longer number is the larger
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	case numA:
		return -1
	case numB:
		return 1
	}
	return strings.Compare(a, b)
}

// since tells whether v is min or later.
func (v version) since(major, minor, patch uint64) bool {
	return v.compare(version{major: major, minor: minor, patch: patch}) >= 0
}

func (v version) String() string {
	s := strconv.FormatUint(v.major, 10) + "." + strconv.FormatUint(v.minor, 10) + "." + strconv.FormatUint(v.patch, 10)
	if v.pre != "" {
		s += "-" + v.pre
	}
	if v.build != "" {
		s += "+" + v.build
	}
	return s
}

// PluginVersion tells whether s is a plugin_version that /updates accepts.
func PluginVersion(s string) bool {
	_, ok := parseVersion(s)
	return ok
}

// NativeVersion gives the canonical form of a version_build: "1" is 1.0.0,
// "1.2" is 1.2.0, "builtin" and "unknown" are 0.0.0, white space and a leading
// "v" go. ok is false for what is no version. A plain x.y.z is returned as it
// came, even when a number is too large: Update refuses that one.
func NativeVersion(s string) (canonical string, ok bool) {
	if plainTriple(s) {
		return s, true
	}
	if s == "builtin" || s == "unknown" {
		return "0.0.0", true
	}
	switch strings.Count(s, ".") {
	case 0:
		s += ".0.0"
	case 1:
		s += ".0"
	}
	v, ok := parseVersion(s)
	if !ok {
		return "", false
	}
	return v.String(), true
}

// plainTriple matches three numbers without leading zeros, of any size.
func plainTriple(s string) bool {
	for range 2 {
		var ok bool
		if s, ok = cutDigits(s); !ok || s == "" || s[0] != '.' {
			return false
		}
		s = s[1:]
	}
	rest, ok := cutDigits(s)
	return ok && rest == ""
}

// cutDigits takes digits without a leading zero off the front of s.
func cutDigits(s string) (rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[i:], i == 1 || i > 1 && s[0] != '0'
}

// trimSpace removes what JavaScript's trim removes; versions come from there.
func trimSpace(s string) string {
	if s != "" && s[0] > ' ' && s[0] < 0x7f && s[len(s)-1] > ' ' && s[len(s)-1] < 0x7f {
		return s
	}
	return strings.TrimFunc(s, func(r rune) bool {
		switch r {
		case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
			return true
		}
		return r >= 0x2000 && r <= 0x200a
	})
}

// ReportsDownloadFail tells whether a plugin of this version means it when it
// sends download_fail: older ones sent it when there was nothing to download.
func ReportsDownloadFail(pluginVersion string) bool {
	v, ok := parseVersion(pluginVersion)
	return ok && (v.since(7, 17, 0) || strings.HasPrefix(pluginVersion, "6.") && v.since(6, 14, 25))
}
