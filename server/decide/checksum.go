package decide

// form is the way in which a signed checksum is written. Which one a plugin
// reads depends on its version alone; none of them reads the other.
type form int

const (
	formNone form = iota // the plugin cannot read signed bundles
	formV2               // 344 characters of base64
	formV3               // 512 characters of lower-case hex
)

// signedForm tells which form a plugin reads. The thresholds were measured on
// the released plugins; 9.0.0 and 10.0.0 on npm are strays of the fifth
// generation that read neither.
func signedForm(v version) form {
	switch v.major {
	case 5:
		return formSince(v.since(5, 10, 0), v.since(5, 30, 0))
	case 6:
		return formSince(v.since(6, 1, 18), v.since(6, 30, 0))
	case 7:
		return formSince(v.since(7, 0, 2), v.since(7, 30, 0))
	case 9, 10:
		return formSince(v.compare(version{major: v.major}) != 0, true)
	}
	return formSince(v.major >= 8, true)
}

func formSince(v2, v3 bool) form {
	switch {
	case !v2:
		return formNone
	case v3:
		return formV3
	}
	return formV2
}

// shapeOf recognises a signed value by its looks; formNone for anything else,
// such as a plain SHA-256.
func shapeOf(value string) form {
	switch len(value) {
	case 344:
		return formV2
	case 512:
		return formV3
	}
	return formNone
}

// pick returns the value written in the form wanted, "" when it is not on
// record.
func (f form) pick(registered, v2, v3 string) string {
	switch {
	case f == formV2 && v2 != "":
		return v2
	case f == formV3 && v3 != "":
		return v3
	case f != formNone && shapeOf(registered) == f:
		return registered
	}
	return ""
}

// signed tells whether the bundle can be offered at all to an app with a key:
// a session key and a signed checksum in at least one form.
func (b *Bundle) signed() bool {
	return b.SessionKey != "" && (b.ChecksumV2 != "" || b.ChecksumV3 != "" || shapeOf(b.Checksum) != formNone)
}
