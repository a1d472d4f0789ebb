package cli

import (
	"strings"
	"testing"
)

func TestChannelSetPlatform(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	c.ok("channel", "create", "production", "--default")
	for _, v := range []string{"1.0.1", "1.0.2", "1.0.3"} {
		c.bundle(v)
	}
	c.ok("channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production")
	c.fails(2, "confirmation_missing", "channel", "set", "production", "--bundle", "1.0.2", "--platform", "ios")
	c.fails(2, "invalid_platform", "channel", "set", "production", "--bundle", "1.0.2", "--platform", "iphone", "--confirm", "production")
	c.fails(2, "missing_bundle", "channel", "set", "production", "--platform", "ios", "--confirm", "production")
	c.fails(2, "missing_platform", "channel", "set", "production", "--follow", "--confirm", "production")
	c.ok("channel", "set", "production", "--bundle", "1.0.2", "--platform", "ios", "--confirm", "production")
	if got := c.live("production"); got != "1.0.1" {
		t.Errorf("the channel serves %s", got)
	}
	if out := c.ok("channel", "show", "production"); !strings.Contains(out, "live on ios") || !strings.Contains(out, "1.0.2") {
		t.Errorf("channel show prints %s", out)
	}
	// Who changes the channel is told what that leaves alone.
	if text := c.fails(2, "confirmation_missing", "channel", "set", "production", "--bundle", "1.0.3"); !strings.Contains(text, "ios stays with 1.0.2") {
		t.Errorf("the question is %s", text)
	}
	if out := c.ok("channel", "set", "production", "--bundle", "1.0.3", "--confirm", "production"); out != "production: 1.0.3 (was 1.0.1); ios stays with 1.0.2\n" {
		t.Errorf("channel set prints %q", out)
	}
	if out := c.ok("channel", "set", "production", "--platform", "ios", "--follow", "--confirm", "production"); out != "production: 1.0.3\n" {
		t.Errorf("--follow prints %q", out)
	}
}
