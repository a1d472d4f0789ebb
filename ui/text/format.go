package text

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bytes writes a size in binary units, e.g. "12.4 MiB".
func (s *Strings) Bytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.95 && unit < 4 {
		value /= 1024
		unit++
	}
	return s.Decimal(value, 1) + " " + []string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// Decimal writes a number with the language's decimal mark.
func (s *Strings) Decimal(v float64, digits int) string {
	return strings.Replace(strconv.FormatFloat(v, 'f', digits, 64), ".", s.DecimalMark, 1)
}

// Count writes a whole number in groups of three.
func (s *Strings) Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString(s.GroupMark)
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Percent writes a share of 0 to 1 without a needless decimal: "84 %", "0.3 %".
func (s *Strings) Percent(share float64) string {
	p := share * 100
	switch {
	case p > 0 && p < 0.05:
		return "<" + s.Decimal(0.1, 1) + " %"
	case p > 0 && p < 9.95 && p != float64(int64(p)):
		return s.Decimal(p, 1) + " %"
	case p > 99 && p < 100:
		return s.Decimal(float64(int64(p*10))/10, 1) + " %" // never rounds up to "all"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + " %"
}

// Bps writes basis points (0 to 10000) as a percentage, exactly: it is what an
// operator has set.
func (s *Strings) Bps(bps int) string {
	return strings.Replace(strconv.FormatFloat(float64(bps)/100, 'f', -1, 64), ".", s.DecimalMark, 1) + " %"
}

// Clock writes a duration as minutes and seconds, e.g. "0:02", "1:04:05".
func (s *Strings) Clock(d time.Duration) string {
	sec := int64((d + 500*time.Millisecond) / time.Second)
	if sec >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", sec/3600, sec/60%60, sec%60)
	}
	return fmt.Sprintf("%d:%02d", sec/60, sec%60)
}

// Span writes a length of time in its largest unit, e.g. "12 min".
func (s *Strings) Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int64(d/time.Second)))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int64(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int64(d/time.Hour))
	case d < 60*24*time.Hour:
		return fmt.Sprintf(s.Days, int64(d/(24*time.Hour)))
	case d < 730*24*time.Hour:
		return fmt.Sprintf(s.Months, int64(d/(30*24*time.Hour)))
	}
	return fmt.Sprintf(s.Years, int64(d/(365*24*time.Hour)))
}

// Ago writes how long before now t was: "just now", "12 min ago".
func (s *Strings) Ago(now, t time.Time) string {
	if t.IsZero() {
		return s.Never
	}
	d := now.Sub(t)
	if d < 5*time.Second {
		return s.JustNow
	}
	return fmt.Sprintf(s.AgoFormat, s.Span(d))
}

// One picks between the singular and the plural form; both take the count as %s.
func (s *Strings) One(n int64, one, many string) string {
	if n == 1 {
		return fmt.Sprintf(one, s.Count(n))
	}
	return fmt.Sprintf(many, s.Count(n))
}
