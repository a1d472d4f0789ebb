package widget

import "rsc.io/qr"

// QR draws text as a QR code in half blocks, two rows of modules a line, with
// the quiet zone that scanners need. nil when text is empty or too long.
//
// With colours both kinds of modules are painted, so that the terminal's
// background does not matter. Without (plain), blocks have the terminal's own
// ink: on a dark background (dark) they stand for the light modules, else for
// the dark ones, so that the code is never inverted.
func QR(text string, plain, dark bool) []string {
	if text == "" {
		return nil
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil
	}
	const quiet = 2
	inked := func(x, y int) bool {
		black := x >= 0 && y >= 0 && x < code.Size && y < code.Size && code.Black(x, y)
		if plain && dark {
			// The row below the code is the terminal's: it stays empty.
			return !black && y < code.Size+quiet
		}
		return black
	}
	open, end := "\x1b[38;2;0;0;0;48;2;255;255;255m", "\x1b[m"
	if plain {
		open, end = "", ""
	}
	var lines []string
	for y := -quiet; y < code.Size+quiet; y += 2 {
		line := open
		for x := -quiet; x < code.Size+quiet; x++ {
			switch up, down := inked(x, y), inked(x, y+1); {
			case up && down:
				line += "█"
			case up:
				line += "▀"
			case down:
				line += "▄"
			default:
				line += " "
			}
		}
		lines = append(lines, line+end)
	}
	return lines
}
