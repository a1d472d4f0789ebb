package remote

import (
	"context"
	"net/http"
	"net/url"

	"capstan/core/capgo"
)

// Fleet says what the devices of an app would do with a bundle.
func (c *Client) Fleet(ctx context.Context, appID string) (capgo.Fleet, error) {
	const op = "look at the fleet"
	var fleet capgo.Fleet
	if err := c.needApp(ctx, capgo.CapFleet, op, appID); err != nil {
		return fleet, err
	}
	err := c.get(ctx, op, "/capstan/v1/fleet", url.Values{"app_id": {appID}}, &fleet)
	return fleet, err
}

// Plans lists the planned releases of an app, with what each does next.
func (c *Client) Plans(ctx context.Context, appID string) ([]capgo.ReleasePlan, error) {
	const op = "list the planned releases"
	var rows rowsOf[capgo.ReleasePlan]
	if err := c.needApp(ctx, capgo.CapSchedule, op, appID); err != nil {
		return nil, err
	}
	err := c.get(ctx, op, "/capstan/v1/schedule", url.Values{"app_id": {appID}}, &rows)
	return rows, err
}

// planBody is what a caller decides of a plan.
type planBody struct {
	AppID   string           `json:"app_id"`
	Channel string           `json:"channel"`
	Version string           `json:"version"`
	At      any              `json:"at,omitempty"`
	Steps   []capgo.PlanStep `json:"steps,omitempty"`
	Promote bool             `json:"promote"`
}

// SetPlan plans a release in place of the channel's present plan.
func (c *Client) SetPlan(ctx context.Context, p capgo.ReleasePlan) error {
	const op = "plan the release"
	if err := c.needApp(ctx, capgo.CapSchedule, op, p.AppID); err != nil {
		return err
	}
	body := planBody{AppID: p.AppID, Channel: p.Channel, Version: p.Version, Steps: p.Steps, Promote: p.Promote}
	if p.At != nil {
		body.At = p.At
	}
	return c.send(ctx, op, http.MethodPut, "/capstan/v1/schedule", nil, body, nil, true)
}

// ClearPlan drops the plan of a channel; code plan_not_found when it has none.
func (c *Client) ClearPlan(ctx context.Context, appID, channel string) error {
	const op = "cancel the planned release"
	if err := c.needApp(ctx, capgo.CapSchedule, op, appID); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "/capstan/v1/schedule", nil, map[string]string{"app_id": appID, "channel": channel}, nil, false)
}

// Freezes lists the times in which nothing of an app moves.
func (c *Client) Freezes(ctx context.Context, appID string) (capgo.Freezes, error) {
	const op = "list the freezes"
	var all capgo.Freezes
	if err := c.needApp(ctx, capgo.CapSchedule, op, appID); err != nil {
		return all, err
	}
	err := c.get(ctx, op, "/capstan/v1/freeze", url.Values{"app_id": {appID}}, &all)
	return all, err
}

// SetFreeze adds a freeze, or replaces the one of its name.
func (c *Client) SetFreeze(ctx context.Context, f capgo.Freeze) error {
	const op = "set the freeze"
	if err := c.needApp(ctx, capgo.CapSchedule, op, f.AppID); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPut, "/capstan/v1/freeze", nil, f, nil, true)
}

// ClearFreeze removes a freeze; code freeze_not_found when there is none.
func (c *Client) ClearFreeze(ctx context.Context, appID, name string) error {
	const op = "remove the freeze"
	if err := c.needApp(ctx, capgo.CapSchedule, op, appID); err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "/capstan/v1/freeze", nil, map[string]string{"app_id": appID, "name": name}, nil, false)
}
