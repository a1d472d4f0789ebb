package cli

import (
	"strings"
	"testing"
	"time"

	"capstan/core/capgo"
)

func TestChannelSchedule(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	c.ok("channel", "create", "production", "--default")
	for _, v := range []string{"1.0.1", "1.0.2", "1.0.3"} {
		c.bundle(v)
	}
	c.ok("channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production")
	if out := c.ok("channel", "schedule", "production"); out != "production: nothing is planned\n" {
		t.Errorf("prints %q", out)
	}
	for _, bad := range []struct {
		code string
		args []string
	}{
		{"plan_invalid", []string{"--bundle", "1.0.2"}}, {"missing_bundle", []string{"--at", "2030-01-01T09:00"}}, {"invalid_time", []string{"--bundle", "1.0.2", "--at", "tomorrow"}},
		{"invalid_rollout_percentage", []string{"--bundle", "1.0.2", "--ramp", "5,101"}},
		{"confirmation_missing", []string{"--bundle", "1.0.2", "--ramp", "5,100"}},
	} {
		c.fails(2, bad.code, append([]string{"channel", "schedule", "production"}, bad.args...)...)
	}
	c.fails(1, "plan_invalid", "channel", "schedule", "production", "--bundle", "1.0.2", "--ramp", "50,5", "--confirm", "production")
	c.ok("channel", "schedule", "production", "--bundle", "1.0.2", "--ramp", "5,25,100", "--every", "2h", "--at", "2030-01-01T09:00:00Z", "--confirm", "production")
	var plans []capgo.ReleasePlan
	c.json(&plans, "channel", "schedule", "production")
	if len(plans) != 1 || plans[0].Next != "wait" || len(plans[0].Steps) != 3 || plans[0].Steps[1] != (capgo.PlanStep{Bps: 2500, SoakSeconds: 7200}) || !plans[0].Promote {
		t.Errorf("%+v", plans)
	}
	if out := c.ok("channel", "schedule", "production"); !strings.HasPrefix(out, "production: 1.0.2 at 2030-01-01 09:00 UTC: 5 % for 2h0m0s, then 25 % for 2h0m0s, then 100 % for 2h0m0s, then everyone; now: ") {
		t.Errorf("prints %q", out)
	}
	c.ok("channel", "schedule", "production", "--cancel")
	c.fails(3, "plan_not_found", "channel", "schedule", "production", "--cancel")

	// The server carries it out by itself.
	c.ok("channel", "schedule", "production", "--bundle", "1.0.2", "--at", "2026-01-01T00:00:00Z", "--confirm", "production")
	for deadline := time.Now().Add(30 * time.Second); c.live("production") != "1.0.2"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the planned release was not made")
		}
	}
	if out := c.ok("channel", "history", "production"); !strings.Contains(out, "planned by server") && !strings.Contains(out, "planned by first admin") {
		t.Errorf("the history does not say why: %s", out)
	}
}

func TestChannelFreeze(t *testing.T) {
	c := newCommands(t)
	c.ok("app", "add")
	c.ok("channel", "create", "production", "--default")
	c.bundle("1.0.1")
	c.fails(2, "missing_name", "channel", "freeze", "--days", "fri")
	c.fails(1, "freeze_invalid", "channel", "freeze", "--name", "x", "--days", "friday", "--for", "1h")
	c.ok("channel", "freeze", "--name", "weekend", "--days", "sat,sun", "--start", "00:00", "--for", "24h", "--zone", "Europe/Berlin")
	if out := c.ok("channel", "freeze", "--name", "now", "--from", "2020-01-01T00:00", "--to", "2099-01-01T00:00"); !strings.Contains(out, "frozen now, until 2") || !strings.Contains(out, "sat, sun at 00:00 Europe/Berlin for 24 h") {
		t.Errorf("prints %s", out)
	}
	c.fails(7, "channel_frozen", "channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production")
	c.ok("channel", "set", "production", "--bundle", "1.0.1", "--confirm", "production", "--reason", "the store build crashes")
	if out := c.ok("channel", "history", "production"); !strings.Contains(out, "the store build crashes") {
		t.Errorf("the history lacks the reason: %s", out)
	}
	c.ok("channel", "freeze", "--remove", "now")
	c.fails(3, "freeze_not_found", "channel", "freeze", "--remove", "now")
}
