package examples

import (
	"fmt"
	"math"
	"strings"
)

// signalFlags are the designs of the international code of signals: a shape
// and its colours (w white, b blue, r red, y yellow, k black), read by flag.
var signalFlags = map[string]string{
	"a": "v wb tail", "b": "v r tail", "c": "h bwrwb", "d": "h yby", "e": "h br", "f": "diamond wr", "g": "v ybybyb",
	"h": "v wr", "i": "disc yk", "j": "h bwb", "k": "v yb", "l": "quarters ykky", "m": "saltire bw", "n": "chequers bw",
	"o": "halves yr", "p": "square bw", "q": "v y", "r": "cross ry", "s": "square wb", "t": "v rwb", "u": "quarters rwwr",
	"v": "saltire wr", "w": "nested bwr", "x": "cross wb", "y": "slanted yr", "z": "triangles ykrb",
	"0": "v yry pennant", "1": "disc wr pennant", "2": "disc bw pennant", "3": "v rwb pennant", "4": "cross rw pennant",
	"5": "v yb pennant", "6": "h kw pennant", "7": "h yr pennant", "8": "cross wr pennant", "9": "quarters wkry pennant",
}

var dyes = map[byte]string{'w': "#ffffff", 'b': "#1d4f9c", 'r': "#d3212f", 'y': "#f6c917", 'k': "#1a1a1a"}

// flag draws one signal flag on a 64 by 64 square.
func flag(name, design string) string {
	parts := strings.Fields(design)
	shape, colours := parts[0], parts[1]
	fill := func(i int) string { return dyes[colours[i]] }
	var b strings.Builder
	rect := func(x, y, w, h float64, colour string) {
		fmt.Fprintf(&b, `<rect x="%.4g" y="%.4g" width="%.4g" height="%.4g" fill="%s"/>`, x, y, w, h, colour)
	}
	polygon := func(points, colour string) { fmt.Fprintf(&b, `<polygon points="%s" fill="%s"/>`, points, colour) }
	n := float64(len(colours))
	switch shape {
	case "v":
		for i := range colours {
			rect(float64(i)*64/n, 0, 64/n, 64, fill(i))
		}
	case "h":
		for i := range colours {
			rect(0, float64(i)*64/n, 64, 64/n, fill(i))
		}
	case "quarters":
		for i := range 4 {
			rect(float64(i%2)*32, float64(i/2)*32, 32, 32, fill(i))
		}
	case "chequers":
		for i := range 16 {
			rect(float64(i%4)*16, float64(i/4)*16, 16, 16, fill((i+i/4)%2))
		}
	case "square", "nested":
		for i := range colours {
			side := []float64{64, 34, 12}[i]
			if shape == "nested" {
				side = []float64{64, 40, 16}[i]
			}
			rect(32-side/2, 32-side/2, side, side, fill(i))
		}
	case "disc":
		rect(0, 0, 64, 64, fill(0))
		fmt.Fprintf(&b, `<circle cx="32" cy="32" r="15" fill="%s"/>`, fill(1))
	case "diamond":
		rect(0, 0, 64, 64, fill(0))
		polygon("32,2 62,32 32,62 2,32", fill(1))
	case "cross":
		rect(0, 0, 64, 64, fill(0))
		rect(25, 0, 14, 64, fill(1))
		rect(0, 25, 64, 14, fill(1))
	case "saltire":
		rect(0, 0, 64, 64, fill(0))
		fmt.Fprintf(&b, `<path d="M0 0L64 64M64 0L0 64" stroke="%s" stroke-width="13"/>`, fill(1))
	case "halves":
		rect(0, 0, 64, 64, fill(0))
		polygon("0,0 64,0 64,64", fill(1))
	case "slanted":
		rect(0, 0, 64, 64, fill(0))
		for i := 1; i < 10; i += 2 {
			at := float64(i) * 12.8
			polygon(fmt.Sprintf("%.4g,0 %.4g,0 0,%.4g 0,%.4g", at, at+12.8, at+12.8, at), fill(1))
		}
	case "triangles":
		for i, points := range []string{"0,0 64,0 32,32", "0,0 0,64 32,32", "0,64 64,64 32,32", "64,0 64,64 32,32"} {
			polygon(points, fill(i))
		}
	}
	outline := "0,0 64,0 64,64 0,64"
	if len(parts) == 3 {
		outline = map[string]string{"tail": "0,0 64,0 46,32 64,64 0,64", "pennant": "0,4 64,20 64,44 0,60"}[parts[2]]
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><title>%s</title><clipPath id="c"><polygon points="%s"/></clipPath><g clip-path="url(#c)">%s</g></svg>`+"\n",
		strings.ToUpper(name), outline, b.String())
}

// windBarb draws the station-model barb: a pennant is 50 knots, a long feather
// 10, a short one 5, on a staff that points to where the wind comes from.
func windBarb(heading, knots int) string {
	var b strings.Builder
	if knots == 0 {
		b.WriteString(`<circle cx="40" cy="40" r="14"/>`)
	} else {
		b.WriteString(`<path d="M40 68V10"/>`)
	}
	y, rest := 10, knots
	for ; rest >= 50; rest -= 50 {
		fmt.Fprintf(&b, `<path d="M40 %dL60 %dL40 %dZ" fill="#2b6cb0"/>`, y, y+3, y+9)
		y += 11
	}
	for ; rest >= 10; rest -= 10 {
		fmt.Fprintf(&b, `<path d="M40 %dL60 %d"/>`, y, y-6)
		y += 7
	}
	if rest == 5 {
		if knots == 5 {
			y += 7 // a lone half feather is set in from the end, by convention
		}
		fmt.Fprintf(&b, `<path d="M40 %dL50 %d"/>`, y, y-3)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 80"><title>%d kn from %d degrees</title><g transform="rotate(%d 40 40)" stroke="#2b6cb0" stroke-width="3" fill="none" stroke-linecap="round">%s</g></svg>`+"\n",
		knots, heading, heading, b.String())
}

// moon draws the lit part of the moon at age/28 of its month.
func moon(age int) string {
	phase := 2 * math.Pi * float64(age) / 28
	width := 26 * math.Cos(phase) // half axis of the terminator; its sign says which way it bulges
	outer, inner := 1, 0
	if age > 14 {
		outer = 0
	}
	if (width < 0) == (age <= 14) {
		inner = 1
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><title>moon, day %d</title><circle cx="32" cy="32" r="26" fill="#33415c"/><path d="M32 6A26 26 0 0 %d 32 58A%.2f 26 0 0 %d 32 6Z" fill="#f4e9c8"/></svg>`+"\n",
		age, outer, math.Abs(width), inner)
}
