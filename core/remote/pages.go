package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"

	"capstan/core/failure"
)

// pageRows is the number of rows that a page has at least when more may follow.
const pageRows = 50

// maxPages ends a listing on a server that never runs out of rows.
const maxPages = 2000

// list collects the rows of a paged route, each id once, in the order of the
// server, until done says stop or the rows end.
//
// A page starts at row 50 × page on every server, but Capgo's own server lets
// pages after the first run on for hundreds of rows, so that they overlap: the
// next page asked for is the one at which the last one ended. (Only where the
// first page had 50 rows: a server with other pages is read one by one.) A page
// beyond the end may be an empty array or an error with the code in emptyCode.
func list[Row any](ctx context.Context, c *Client, op, path string, query url.Values, emptyCode string, id func(Row) string, done func(Row) bool) ([]Row, error) {
	var rows []Row
	seen := map[string]bool{}
	step := func(int) int { return 1 }
	for page, asked := 0, 0; ; asked++ {
		if asked == maxPages {
			return nil, failure.Newf(failure.Failed, "list_too_long", op, "", "the list did not end after %d pages", maxPages)
		}
		q := url.Values{}
		for key, values := range query {
			q[key] = values
		}
		q.Set("page", strconv.Itoa(page))
		var got rowsOf[Row]
		err := c.get(ctx, op, path, q, &got)
		if f, ok := failure.Find(err); ok && emptyCode != "" && f.Code == emptyCode {
			if asked > 0 {
				return rows, nil
			}
			return nil, errEmpty{err}
		}
		if err != nil {
			return nil, err
		}
		added := false
		for _, row := range got {
			key := id(row)
			if seen[key] {
				continue
			}
			seen[key], added = true, true
			rows = append(rows, row)
			if done != nil && done(row) {
				return rows, nil
			}
		}
		if len(got) < pageRows || !added {
			return rows, nil
		}
		if asked == 0 && len(got) == pageRows {
			step = func(rows int) int { return rows / pageRows }
		}
		page += step(len(got))
	}
}

// errEmpty marks the refusal that means "no rows, or no access": the caller
// finds out which.
type errEmpty struct{ error }

func (e errEmpty) Unwrap() error { return e.error }

// noRows tells a list without rows from a list that may not be seen, by asking
// for the app itself.
func (c *Client) noRows(ctx context.Context, appID string, err error) error {
	var empty errEmpty
	if !errors.As(err, &empty) {
		return err
	}
	_, appErr := c.App(ctx, appID)
	return appErr
}

// rowsOf is an array on the wire, bare or inside {"data":[…]}; a lone object
// counts as one row.
type rowsOf[Row any] []Row

func (r *rowsOf[Row]) UnmarshalJSON(raw []byte) error {
	*r = nil
	if len(raw) > 0 && raw[0] == '[' {
		return json.Unmarshal(raw, (*[]Row)(r))
	}
	var wrapped struct {
		Data *[]Row `json:"data"`
	}
	if err := json.Unmarshal(raw, &wrapped); err != nil {
		return err
	}
	if wrapped.Data != nil {
		*r = *wrapped.Data
		return nil
	}
	if string(raw) == "null" {
		return nil
	}
	var one Row
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*r = []Row{one}
	return nil
}
