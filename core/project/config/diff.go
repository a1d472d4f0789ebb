package config

import (
	"bytes"
	"fmt"
	"strings"
)

// contextLines is how many unchanged lines a diff shows around a change.
const contextLines = 3

// unified gives a unified diff of two small texts; empty when they are equal.
func unified(fromName, toName string, from, to []byte) string {
	if bytes.Equal(from, to) {
		return ""
	}
	a, b := lines(from), lines(to)
	steps := compare(a, b)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", fromName, toName)
	for i := 0; i < len(steps); {
		if steps[i].kind == ' ' {
			i++
			continue
		}
		start := max(0, i-contextLines)
		end, quiet := i, 0
		for end < len(steps) && quiet <= 2*contextLines {
			if steps[end].kind == ' ' {
				quiet++
			} else {
				quiet = 0
			}
			end++
		}
		end = min(len(steps), end-quiet+contextLines)
		writeHunk(&out, steps[start:end])
		i = end
	}
	return out.String()
}

// step is one line of a comparison: ' ' in both, '-' in the first, '+' in the second.
type step struct {
	kind byte
	line string
	a, b int // line numbers, from 1, of the next line on each side
}

func writeHunk(out *strings.Builder, steps []step) {
	inA, inB := 0, 0
	for _, s := range steps {
		if s.kind != '+' {
			inA++
		}
		if s.kind != '-' {
			inB++
		}
	}
	span := func(start, n int) string {
		if n == 0 {
			start--
		}
		return fmt.Sprintf("%d,%d", start, n)
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(steps[0].a, inA), span(steps[0].b, inB))
	for _, s := range steps {
		out.WriteByte(s.kind)
		out.WriteString(strings.TrimSuffix(s.line, "\n"))
		out.WriteByte('\n')
		if !strings.HasSuffix(s.line, "\n") {
			out.WriteString("\\ No newline at end of file\n")
		}
	}
}

// lines splits a text into lines that keep their line breaks.
func lines(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		out = append(out, line)
	}
	return out
}

// compare aligns the lines by their longest common subsequence. The texts are
// configs: what remains between the common head and tail is small, and where it
// is not the middle is shown as replaced.
func compare(a, b []string) []step {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	midA, midB := a[head:len(a)-tail], b[head:len(b)-tail]
	var steps []step
	na, nb := 1, 1
	add := func(kind byte, line string) {
		steps = append(steps, step{kind, line, na, nb})
		if kind != '+' {
			na++
		}
		if kind != '-' {
			nb++
		}
	}
	for _, line := range a[:head] {
		add(' ', line)
	}
	if len(midA)*len(midB) > 1<<22 {
		for _, line := range midA {
			add('-', line)
		}
		for _, line := range midB {
			add('+', line)
		}
	} else {
		length := make([][]int32, len(midA)+1)
		for i := range length {
			length[i] = make([]int32, len(midB)+1)
		}
		for i := len(midA) - 1; i >= 0; i-- {
			for j := len(midB) - 1; j >= 0; j-- {
				if midA[i] == midB[j] {
					length[i][j] = length[i+1][j+1] + 1
				} else {
					length[i][j] = max(length[i+1][j], length[i][j+1])
				}
			}
		}
		i, j := 0, 0
		for i < len(midA) || j < len(midB) {
			switch {
			case i < len(midA) && j < len(midB) && midA[i] == midB[j]:
				add(' ', midA[i])
				i, j = i+1, j+1
			case j == len(midB) || i < len(midA) && length[i+1][j] >= length[i][j+1]:
				add('-', midA[i])
				i++
			default:
				add('+', midB[j])
				j++
			}
		}
	}
	for _, line := range a[len(a)-tail:] {
		add(' ', line)
	}
	return steps
}
