package remote_test

import (
	"strings"
	"testing"

	"capstan/core/capgo"
	"capstan/core/remote"
)

func TestPrevious(t *testing.T) {
	for _, test := range []struct{ history, live, want string }{ // oldest first: +TO promotes, -TO rolls back
		{"", "1", ""},
		{"+1", "1", "builtin"},
		{"+1 +2", "2", "1"},
		{"+1 +2 +3", "3", "2"},
		{"+1 +2 +3 -2", "2", "1"},
		{"+1 +2 +3 -2 -1", "1", "builtin"},
		{"+1 +2 +3 -1 +4", "4", "1"},
		{"+1 +2 -1 +2", "2", "1"},
		{"+1 +2 -9", "9", ""},
		{"+1 +2 -9 +3", "3", "9"},
		{"+1 +2", "7", ""}, // somebody changed it elsewhere
		{"+1 +1.5 -builtin", "builtin", ""},
	} {
		var history []capgo.Change
		live := "builtin"
		for _, step := range strings.Fields(test.history) {
			action := map[byte]string{'+': "channel.promote", '-': "channel.rollback"}[step[0]]
			history = append([]capgo.Change{{Action: "channel.settings"}, {Action: action, From: live, To: step[1:]}}, history...)
			live = step[1:]
		}
		if got, _ := remote.Previous(history, test.live); got != test.want {
			t.Errorf("after %q with %s live the previous one is %q, want %q", test.history, test.live, got, test.want)
		}
	}
}
