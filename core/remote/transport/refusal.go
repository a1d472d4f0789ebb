package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// Refusal turns an answer that is not a success into a failure. Servers and
// the gateways before them refuse in three forms, and all are read:
//
//	{"error":CODE,"message":TEXT,"moreInfo":{}}      Capgo's handlers
//	{"code":…,"message":TEXT} or {"msg":TEXT}        gateways before them
//	anything else (text, HTML, nothing)              proxies
//
// The class follows the code where it is telling, else the status.
func (c *Caller) Refusal(op string, status int, header http.Header, body []byte) error {
	if status >= 300 && status < 400 {
		return c.redirected(op, status, header)
	}
	code, text := readRefusal(body)
	if text == "" {
		text = http.StatusText(status)
		if looksLikeHTML(header, body) {
			text += " (a web page, not the update server)"
		}
	}
	if code == "" {
		code = codeOfStatus(status)
	}
	class := classOf(status, code)
	hint := hintOf(status, code)
	if c.Explain != nil {
		if k, h := c.Explain(status, code); k != 0 {
			class, hint = k, h
		}
	}
	return failure.Newf(class, code, op, hint, "%s: %s (HTTP %d)", c.Base.Host, c.clean(text), status)
}

func (c *Caller) redirected(op string, status int, header http.Header) error {
	to := "elsewhere"
	if u, err := url.Parse(header.Get("Location")); err == nil && u.Host != "" {
		to = u.Scheme + "://" + u.Host
	}
	return failure.Newf(failure.Failed, "redirected", op, "set the server's final address in the profile; the token is never sent along a redirect",
		"%s redirects to %s (HTTP %d)", c.Base.Host, c.clean(to), status)
}

// readRefusal gives code and text of a refusal's body, empty where it has none.
func readRefusal(body []byte) (code, text string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimSpace(body), &fields) != nil {
		return "", plainLine(body)
	}
	str := func(key string) string {
		var s string
		_ = json.Unmarshal(fields[key], &s) // numbers and objects are not texts
		return s
	}
	// {"error":{"code":…,"message":…}}, as capstan's own command line prints it.
	var inner struct{ Code, Message string }
	if json.Unmarshal(fields["error"], &inner) == nil && inner.Code+inner.Message != "" {
		return asCode(inner.Code), inner.Message
	}
	code, text = str("error"), str("message")
	if text == "" {
		text = str("msg")
	}
	if text == "" {
		text = str("error_description")
	}
	if asCode(code) == "" { // a sentence in "error": a text, not a code
		if text == "" {
			text = code
		}
		code = str("code")
	}
	if own := ownCode(fields["moreInfo"]); own != "" {
		code = own
	}
	if reason := moreReason(fields["moreInfo"]); reason != "" && text != "" {
		text += " (" + reason + ")"
	}
	return asCode(code), text
}

// moreReason gives moreInfo.reason, in which the service says which limit was hit.
func moreReason(raw json.RawMessage) string {
	var more struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(raw, &more)
	return more.Reason
}

// ownCode gives the code that capstan's server has for a refusal in Capgo's words.
func ownCode(raw json.RawMessage) string {
	var more map[string]json.RawMessage
	var code string
	_ = json.Unmarshal(raw, &more) // there may be none
	_ = json.Unmarshal(more[capgo.OwnCode], &code)
	return asCode(code)
}

// asCode gives s when it is a stable code, 2 to 64 of a-z, 0-9 and _, else "".
func asCode(s string) string {
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return ""
		}
	}
	if len(s) < 2 || len(s) > 64 {
		return ""
	}
	return s
}

// plainLine gives the first line of a text body, "" for markup.
func plainLine(body []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
	if len(line) == 0 || line[0] == '<' || line[0] == '{' || line[0] == '[' {
		return ""
	}
	return string(line)
}

func looksLikeHTML(header http.Header, body []byte) bool {
	return strings.Contains(header.Get("Content-Type"), "html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// clean makes a text from outside fit for one line: no control or bidi
// characters, no token, at most 300 characters.
func (c *Caller) clean(s string) string {
	return Clean(c.Token.Scrub(s))
}

// Clean drops control, format and line-breaking characters from a text that
// came from outside and cuts it at 300 characters.
func Clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return strings.TrimSpace(s)
}

func codeOfStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "not_authorised"
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusConflict, http.StatusPreconditionFailed:
		return "conflict"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusTooManyRequests:
		return "too_many_requests"
	case http.StatusInsufficientStorage:
		return "storage_full"
	}
	return fmt.Sprintf("http_%d", status)
}

// classOf reads the class from the code first: Capgo answers 400 to nearly
// everything, so that the status alone says little.
func classOf(status int, code string) failure.Class {
	switch code {
	case "version_already_exists", "app_id_already_exists", "cannot_delete_linked_version", "channel_moved",
		"object_exists", "public_channel_override":
		return failure.Conflict
	case "cannot_find_app", "app_not_found", "cannot_find_version", "cannot_find_channel", "channel_not_found",
		"device_not_found", "version_not_found", "not_found":
		return failure.NotFound
	case "cannot_access_app", "no_access_to_app", "invalid_apikey", "invalid_subkey", "no_key_provided",
		"no_jwt_apikey_or_subkey", "subscription_required", "cannot_promote_bundle",
		"insufficient_scope", "cannot_access_channel", "no_access_to_organization":
		return failure.NotAuthorised
	case "encryption_required", "encryption_key_required", "encryption_key_mismatch", "checksum_mismatch":
		return failure.Verification
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusPaymentRequired:
		return failure.NotAuthorised
	case status == http.StatusNotFound, status == http.StatusGone:
		return failure.NotFound
	case status == http.StatusConflict, status == http.StatusPreconditionFailed:
		return failure.Conflict
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return failure.Unavailable
	case status == http.StatusNotImplemented, status == http.StatusInsufficientStorage:
		return failure.Failed
	case status >= 500:
		return failure.Unavailable
	}
	if strings.HasPrefix(code, "invalid_") || strings.HasPrefix(code, "missing_") {
		return failure.Usage
	}
	return failure.Failed
}

func hintOf(status int, code string) string {
	switch code {
	case "invalid_apikey", "invalid_subkey", "no_key_provided", "no_jwt_apikey_or_subkey", "not_authorised":
		return "set a valid token in CAPSTAN_TOKEN, or log in again"
	case "cannot_access_app", "no_access_to_app", "cannot_promote_bundle", "forbidden", "insufficient_scope", "cannot_access_channel":
		return "the token is valid but may not do this: ask for a token with a wider scope"
	case "version_already_exists":
		return "choose the next version number; a version's content never changes"
	case "app_id_already_exists":
		return "capstan app list shows the apps on this server"
	case "cannot_delete_linked_version":
		return "point the channel at another bundle first"
	case "channel_moved":
		return "somebody changed the channel meanwhile: look at it again, then decide"
	case "cannot_find_app", "app_not_found":
		return "capstan app list shows the apps that the token may see"
	case "cannot_find_version", "version_not_found":
		return "capstan bundle list shows the bundles"
	case "cannot_find_channel", "channel_not_found":
		return "capstan channel list shows the channels"
	case "device_not_found":
		return "a device appears after its first update check"
	case "encryption_required", "encryption_key_required":
		return "this app takes encrypted bundles only: seal it with the app's key"
	case "encryption_key_mismatch":
		return "the bundle was sealed with another key than the app has on record"
	case "subscription_required":
		return "the account's plan does not include this"
	case "public_channel_override":
		return "a device cannot be pinned to a public channel"
	}
	switch {
	case status == http.StatusUnauthorized:
		return "set a valid token in CAPSTAN_TOKEN, or log in again"
	case status == http.StatusForbidden:
		return "the token is valid but may not do this: ask for a token with a wider scope"
	case status == http.StatusTooManyRequests:
		return "wait a minute, then repeat the command"
	case status == http.StatusInsufficientStorage:
		return "the server's disk is full"
	case status >= 500 && status != http.StatusNotImplemented:
		return "the server has a problem: repeat the command in a moment"
	}
	return ""
}
