package widget

import "rsc.io/qr"

// QR draws text as a QR code in half blocks, two rows of modules a line, with
// the quiet zone that scanners need. Dark modules are drawn as such whatever
// the terminal's background is, because the light ones are painted too. nil
// when text is empty or too long.
func QR(text string) []string {
	if text == "" {
		return nil
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil
	}
	const quiet = 2
	black := func(x, y int) bool {
		return x >= 0 && y >= 0 && x < code.Size && y < code.Size && code.Black(x, y)
	}
	var lines []string
	for y := -quiet; y < code.Size+quiet; y += 2 {
		line := "\x1b[38;2;0;0;0;48;2;255;255;255m"
		for x := -quiet; x < code.Size+quiet; x++ {
			switch up, down := black(x, y), black(x, y+1); {
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
		lines = append(lines, line+"\x1b[m")
	}
	return lines
}
