package remote

import "capstan/core/capgo"

// Previous gives the bundle that a channel had before the one that is live
// now, from its history (newest first, as History gives it). Steps back are
// walked back too: after 1, 2, 3 and a rollback to 2 the previous one is 1, and
// not 3 again. ok is false when the history does not say.
func Previous(history []capgo.Change, live string) (name string, ok bool) {
	var stack []string
	for i := len(history) - 1; i >= 0; i-- {
		change := history[i]
		switch change.Action {
		case "channel.promote", "rollout.promote":
			if len(stack) == 0 && change.From != "" {
				stack = append(stack, change.From)
			}
			stack = append(stack, change.To)
		case "channel.rollback":
			back := len(stack) - 1
			for back >= 0 && stack[back] != change.To {
				back--
			}
			if back >= 0 {
				stack = stack[:back+1]
			} else { // to something that the history does not know: it starts there
				stack = []string{change.To}
			}
		}
	}
	if len(stack) < 2 || stack[len(stack)-1] != live {
		return "", false
	}
	return stack[len(stack)-2], true
}
