package failure

import (
	"regexp"
	"strings"
)

// Redacted stands where a secret stood.
const Redacted = "(a private key)"

// secretText matches what is a private key whoever wrote it: a PEM block, whole
// or cut off, with its line breaks as they are or written out; the base64 text
// of an RSA key without its BEGIN line, whose version and first INTEGER look the
// same for every size; and an age identity.
var secretText = regexp.MustCompile(`-*BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----(?s:.*?)(-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|\z)` +
	`|MII[A-Za-z0-9+/]{3}IBA(AK|DA)([A-Za-z0-9+/=\s]|\\[nr])*` +
	`|(?i:AGE-SECRET-KEY-)[A-Za-z0-9-]+`)

// secretMarks are parts of every match of secretText: looking for them first
// keeps cleaning a table cheap.
var secretMarks = []string{"PRIVATE KEY", "IBA", "AGE-SECRET-KEY-", "age-secret-key-"}

// Redact replaces private keys in a text that is about to be shown or kept.
// Arguments, file contents and answers of programs find their way into error
// messages, and a key may be any of them.
func Redact(text string) string {
	for _, mark := range secretMarks {
		if strings.Contains(text, mark) {
			return secretText.ReplaceAllString(text, Redacted)
		}
	}
	return text
}

// HoldsSecret reports whether Redact would replace anything.
func HoldsSecret(text string) bool { return Redact(text) != text }
