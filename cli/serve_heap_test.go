package cli

import "testing"

func TestFillBeforeCollecting(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	if n := len(fillBeforeCollecting()); n != heapFloor {
		t.Errorf("%d bytes", n)
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "100")
			if fillBeforeCollecting() != nil {
				t.Errorf("the operator's %s does not hold", name)
			}
		})
	}
}
