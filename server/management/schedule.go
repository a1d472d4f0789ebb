package management

import (
	"bytes"
	"encoding/json"

	"capstan/core/capgo"
)

func listPlans(c *call) error {
	channel := c.in.text("channel")
	if err := c.mustExist(); err != nil {
		return err
	}
	list, err := c.api.Store.Plans(c.ctx, c.app)
	if err != nil {
		return err
	}
	seen := []capgo.ReleasePlan{}
	for _, p := range list {
		if c.mayChannel(p.Channel) && (channel == "" || channel == p.Channel) {
			seen = append(seen, p)
		}
	}
	return c.ok(seen)
}

func setPlan(c *call) error {
	p := capgo.ReleasePlan{AppID: c.app, Channel: c.in.text("channel"), Version: c.in.text("version"), At: c.in.optTime("at"), Promote: true}
	if promote := c.in.optBool("promote"); promote != nil {
		p.Promote = *promote
	}
	if steps, given := c.in.fields["steps"]; given && steps != nil {
		text, err := json.Marshal(steps)
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if d.Decode(&p.Steps) != nil {
			return bad("plan_invalid", "steps is not a list of {bps, soak_seconds}")
		}
	}
	if err := c.mustExist(); err != nil {
		return err
	}
	switch {
	case p.Channel == "":
		return bad("missing_channel", "channel is missing")
	case p.Version == "":
		return bad("missing_version", "version is missing")
	}
	if err := c.api.Store.SetPlan(c.ctx, c.actor(), p); err != nil {
		return err
	}
	return c.ok(statusOK)
}

func clearPlan(c *call) error {
	channel := c.in.text("channel")
	if err := c.mustExist(); err != nil {
		return err
	}
	if channel == "" {
		return bad("missing_channel", "channel is missing")
	}
	if err := c.api.Store.ClearPlan(c.ctx, c.actor(), c.app, channel); err != nil {
		return err
	}
	return c.ok(statusOK)
}

func listFreezes(c *call) error {
	if err := c.mustExist(); err != nil {
		return err
	}
	list, err := c.api.Store.Freezes(c.ctx, c.app)
	if err != nil {
		return err
	}
	return c.ok(list)
}

func setFreeze(c *call) error {
	in := c.in
	f := capgo.Freeze{AppID: c.app, Name: in.text("name"), From: in.optTime("from"), To: in.optTime("to"), Days: in.list("days"), Start: in.text("start"), Zone: in.text("zone")}
	if n := in.optInt(0, 7*24*60, "minutes"); n != nil {
		f.Minutes = *n
	}
	if err := c.mustExist(); err != nil {
		return err
	}
	if f.Name != clean(f.Name) {
		return bad("freeze_invalid", "the freeze's name is too long or holds odd characters")
	}
	if err := c.api.Store.SetFreeze(c.ctx, c.actor(), f); err != nil {
		return err
	}
	return c.ok(statusOK)
}

func clearFreeze(c *call) error {
	name := c.in.text("name")
	if err := c.mustExist(); err != nil {
		return err
	}
	if err := c.api.Store.ClearFreeze(c.ctx, c.actor(), c.app, name); err != nil {
		return err
	}
	return c.ok(statusOK)
}
