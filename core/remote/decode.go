package remote

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// unmarshal reads an answer, strictly first. Rows of other servers and versions
// differ in three ways that are put right before a second attempt: a time
// without a zone, a channel's version as a bare number or name instead of an
// object, and a number in quotes.
func unmarshal(body []byte, into any) error {
	strict := json.Unmarshal(body, into)
	if strict == nil {
		return nil
	}
	var loose any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&loose) != nil {
		return strict
	}
	repaired, err := json.Marshal(repair(loose))
	if err != nil {
		return strict
	}
	if json.Unmarshal(repaired, into) != nil {
		return strict
	}
	return nil
}

func repair(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = repair(v[i])
		}
	case map[string]any:
		for key, field := range v {
			v[key] = repairField(key, field)
		}
	}
	return value
}

func repairField(key string, field any) any {
	switch f := field.(type) {
	case string:
		switch {
		case strings.HasSuffix(key, "_at") || strings.HasSuffix(key, "At"):
			return repairTime(f)
		case key == "id" || key == "rollout_version" || key == "retention" || key == "rolloutPercentageBps" || key == "manifest_count":
			if isDigits(f) {
				return json.Number(f)
			}
		case key == "version" || key == "rollout_version_info":
			return map[string]any{"name": f}
		}
	case json.Number:
		if key == "rollout_version_info" || key == "version" {
			return map[string]any{"id": f}
		}
	default:
		return repair(field)
	}
	return field
}

// repairTime gives a time RFC 3339's form: "T" between date and clock and a
// zone, UTC where none is written. An unreadable one becomes null.
func repairTime(s string) any {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(time.RFC3339Nano)
		}
	}
	return nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
