package project

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ChannelCheck compares the channel that is going to be published with the one
// that the app asks for. An empty channel gives no finding.
func ChannelCheck(channel string) Check {
	return func(_ context.Context, p *Project) []Finding {
		switch {
		case channel == "":
			return nil
		case p.DefaultChannel == "":
			return []Finding{{Code: "default_channel_unset", Level: Warn, Text: "the app names no defaultChannel: whether it listens to " + channel + " is up to the server", Hint: "set defaultChannel, or make " + channel + " the server's public channel"}}
		case p.DefaultChannel != channel:
			return []Finding{{Code: "default_channel_differs", Level: Warn, Text: "the app listens to " + p.DefaultChannel + ", not to " + channel, Hint: "publish to " + p.DefaultChannel + ", or promote the bundle there later"}}
		}
		return []Finding{{Code: "default_channel", Level: OK, Text: "the app listens to " + channel}}
	}
}

// KeyID is the short name of the app's public key, as devices send it: the
// first 20 characters of the base64 text of its PKCS#1 form. Empty without a
// usable key.
func (p *Project) KeyID() string {
	body := strings.NewReplacer("-----BEGIN RSA PUBLIC KEY-----", "", "-----END RSA PUBLIC KEY-----", "").Replace(p.PublicKey)
	body = strings.Join(strings.Fields(body), "")
	der, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return ""
	}
	if _, err := x509.ParsePKCS1PublicKey(der); err != nil {
		return ""
	}
	return body[:20]
}

// FleetKeyCheck compares the app's key with those that live devices carry.
// fleet counts devices by key id; "" counts devices that sent none.
func FleetKeyCheck(fleet map[string]int64) Check {
	return func(_ context.Context, p *Project) []Finding {
		mine := p.KeyID()
		if mine == "" {
			return nil
		}
		var same, other, none int64
		for id, devices := range fleet {
			switch id {
			case "":
				none += devices
			case mine:
				same += devices
			default:
				other += devices
			}
		}
		switch total := same + other + none; {
		case total == 0:
			return nil
		case other > 0:
			level := Warn
			if same == 0 {
				level = Block
			}
			return []Finding{{Code: "fleet_key_differs", Level: level, Text: fmt.Sprintf("%d of %d active devices carry another key than the config", other, total),
				Hint: "they refuse what this key signs: sign with the old key for them until they have the new native app"}}
		case same == 0:
			return []Finding{{Code: "fleet_without_key", Level: Warn, Text: fmt.Sprintf("none of %d active devices tells its key", none), Hint: "release a native app that carries the publicKey"}}
		}
		return []Finding{{Code: "fleet_key", Level: OK, Text: fmt.Sprintf("%d active devices carry this key", same)}}
	}
}

// bundleURLTimeout bounds the look at one bundle address.
const bundleURLTimeout = 20 * time.Second

// BundleURLCheck asks for the first bytes of a bundle as a device would, and
// looks for the usual faults of public storage: an error page in place of the
// file, a login, no ranges.
func BundleURLCheck(client *http.Client, address string) Check {
	return func(ctx context.Context, _ *Project) []Finding {
		ctx, cancel := context.WithTimeout(ctx, bundleURLTimeout)
		defer cancel()
		finding := func(code string, level Level, text, hint string) []Finding {
			return []Finding{{Code: code, Level: level, Text: text, Hint: hint}}
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" {
			return finding("bundle_url_malformed", Block, "the bundle's address is not a URL", "write it as https://host/path")
		}
		if u.Scheme != "https" && !developmentHost(u.Hostname()) {
			return finding("bundle_url_not_https", Block, "the bundle's address is not https", "devices refuse plain http")
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return finding("bundle_url_malformed", Block, "the bundle's address is not a URL", "write it as https://host/path")
		}
		request.Header.Set("Range", "bytes=0-511")
		answer, err := client.Do(request)
		if err != nil {
			return finding("bundle_url_unreachable", Block, "the bundle cannot be downloaded from "+u.Host, "check the address from another network: devices need it without a login")
		}
		defer answer.Body.Close()
		head, _ := io.ReadAll(io.LimitReader(answer.Body, 512))
		page := strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") || bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(head)), []byte("<!doctype")) || bytes.HasPrefix(bytes.TrimSpace(head), []byte("<"))
		switch {
		case answer.StatusCode >= 400:
			return finding("bundle_url_status", Block, fmt.Sprintf("%s answers %d for the bundle", u.Host, answer.StatusCode), "make the object publicly readable")
		case page:
			return finding("bundle_url_html", Block, u.Host+" sends a web page in place of the bundle", "use the address of the file itself, without a login or preview page")
		case answer.StatusCode != http.StatusPartialContent:
			return finding("bundle_url_no_ranges", Warn, u.Host+" does not serve ranges: an interrupted download starts over", "switch byte ranges on at the storage or CDN")
		}
		return finding("bundle_url", OK, u.Host+" serves the bundle", "")
	}
}
