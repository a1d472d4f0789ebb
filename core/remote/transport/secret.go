package transport

import (
	"fmt"
	"log/slog"
	"strings"
)

// Secret is a token or a password. It prints as "[secret]" under every verb,
// in JSON and in logs, also when it sits inside another struct: the text is
// only reachable through Reveal.
type Secret struct {
	// A function value, because fmt prints the address of one and never what
	// it returns, even where it cannot call methods (unexported fields).
	reveal func() string
}

// NewSecret wraps a secret; surrounding white space, which files and shells
// leave behind, is dropped.
func NewSecret(text string) Secret {
	text = strings.TrimSpace(text)
	if text == "" {
		return Secret{}
	}
	return Secret{reveal: func() string { return text }}
}

// Reveal gives the secret itself, "" when there is none. Call it where the
// secret goes on the wire and nowhere else.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.reveal == nil }

const hidden = "[secret]"

// String is the same for every secret.
func (s Secret) String() string { return hidden }

// Format prints the same under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText keeps secrets out of JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue keeps secrets out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Scrub replaces the secret in text that came from outside or from an error.
func (s Secret) Scrub(text string) string {
	secret := s.Reveal()
	if len(secret) < 4 { // too short to tell from ordinary text
		return text
	}
	return strings.ReplaceAll(text, secret, hidden)
}
