package release

import (
	"context"
	"fmt"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// channelMoved says who was faster, as far as the server tells.
func (r *run) channelMoved(ctx context.Context, had string) error {
	plan := r.plan()
	now, hint := "was changed meanwhile", fmt.Sprintf("look at what changed; then promote with: capstan channel set %s %s --bundle %s", plan.Channel, plan.AppID, plan.Version)
	if channel, err := r.Registry.Channel(ctx, plan.AppID, plan.Channel); err == nil {
		now = "has " + orNone(liveName(channel)) + " now"
	}
	if from, keeps := r.Registry.(interface {
		History(ctx context.Context, appID, channel string) ([]capgo.Change, error)
	}); keeps {
		if history, err := from.History(ctx, plan.AppID, plan.Channel); err == nil && len(history) > 0 && history[0].Actor != "" {
			now += fmt.Sprintf(" (%s by %s, %s)", history[0].Action, history[0].Actor, history[0].At.Local().Format("2006-01-02 15:04:05"))
		}
	}
	return failure.Newf(failure.Conflict, "channel_moved", "promote the bundle", hint, "%s had %s when this release began and %s", plan.Channel, orNone(had), now)
}
