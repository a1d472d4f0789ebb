package management

import (
	"math"
	"strconv"
	"time"

	"capstan/core/failure"
	"capstan/server/store"
)

// maxDays bounds the range of a statistics call.
const maxDays = 400

// span reads from and to. Code invalid_body.
func (c *call) span() (from, to time.Time, err error) {
	f, t := c.in.optTime("from"), c.in.optTime("to")
	c.in.optBool("breakdown")
	c.in.optBool("noAccumulate")
	if f == nil || t == nil || c.in.problem != nil || t.Before(*f) || t.Sub(*f) > maxDays*24*time.Hour {
		return from, to, bad("invalid_body", "from and to are dates, at most %d days apart, breakdown and noAccumulate true or false", maxDays)
	}
	return *f, *t, nil
}

// day is the day that a time falls on.
func day(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }

// appDay is an element of GET /statistics/app. The metered values of Capgo's
// cloud that a server of one's own does not have are 0.
type appDay struct {
	Date              string `json:"date"`
	MAU               int64  `json:"mau"`
	Storage           int64  `json:"storage"`
	StorageByteHours  int64  `json:"storage_byte_hours"`
	Bandwidth         int64  `json:"bandwidth"`
	BuildTimeSeconds  int64  `json:"build_time_seconds"`
	InstallsSucceeded int64  `json:"installs"`
	InstallsFailed    int64  `json:"failures"`
}

func appStatistics(c *call) error {
	from, to, err := c.span()
	if err != nil {
		return err
	}
	if err := c.mustExist(); err != nil {
		return appNotFound(err)
	}
	days, err := c.days([]string{c.app}, from, to)
	if err != nil {
		return err
	}
	return c.ok(days)
}

// appNotFound gives an unknown app the code that it has in statistics only.
func appNotFound(err error) error {
	if failure.CodeOf(err) == "cannot_find_app" {
		return failure.New(failure.NotFound, "app_not_found", "", "there is no such app", "see the app id")
	}
	return err
}

func userStatistics(c *call) error {
	from, to, err := c.span()
	if err != nil {
		return err
	}
	apps, err := c.visibleApps("")
	if err != nil {
		return err
	}
	days, err := c.days(apps, from, to)
	if err != nil {
		return err
	}
	return c.ok(days)
}

// visibleApps are the apps of an organisation, or of all where it is "", that
// the token may see.
func (c *call) visibleApps(organisation string) (apps []string, err error) {
	for offset := 0; ; offset += 1000 {
		list, err := c.api.Store.Apps(c.ctx, c.token.Apps, offset, 1000)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if organisation == "" || organisationOf(a) == organisation {
				apps = append(apps, a.AppID)
			}
		}
		if len(list) < 1000 {
			return apps, nil
		}
	}
}

// appBreakdown is a day of one app of an organisation.
type appBreakdown struct {
	AppID string `json:"app_id"`
	appDay
}

// orgStatistics adds up the apps of an organisation; with breakdown it also
// gives them one by one. An organisation without an app that the token may see
// is not told from one that does not exist.
func orgStatistics(c *call) error {
	from, to, err := c.span()
	if err != nil {
		return err
	}
	breakdown := c.in.optBool("breakdown")
	apps, err := c.visibleApps(c.r.PathValue("org_id"))
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		return failure.New(failure.NotAuthorised, "no_access_to_organization", "", "the token sees no app of this organisation", "see owner_org in the list of apps")
	}
	total, err := c.days(apps, from, to)
	if err != nil {
		return err
	}
	if breakdown == nil || !*breakdown {
		return c.ok(total)
	}
	each := []appBreakdown{}
	for _, app := range apps {
		days, err := c.days([]string{app}, from, to)
		if err != nil {
			return err
		}
		for _, day := range days {
			each = append(each, appBreakdown{app, day})
		}
	}
	return c.ok(map[string]any{"global": total, "byApp": each})
}

// days adds up the days of some apps, from the first to the one before the
// last, none of them in the future; values accumulate, as in Capgo's API, unless
// noAccumulate is set.
func (c *call) days(apps []string, from, to time.Time) ([]appDay, error) {
	list := []appDay{}
	index := map[string]int{}
	tomorrow := day(time.Now()).Add(24 * time.Hour)
	for n := range int(math.Round(to.Sub(from).Hours() / 24)) {
		at := from.Add(time.Duration(n) * 24 * time.Hour)
		if !day(at).Before(tomorrow) {
			break
		}
		index[at.Format(time.DateOnly)] = len(list)
		list = append(list, appDay{Date: at.Format(databaseTime)})
	}
	for _, app := range apps {
		rows, err := c.api.Store.Days(c.ctx, app, day(from), day(to))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if i, ok := index[r.Date]; ok {
				list[i].MAU += r.NewDevices
				list[i].InstallsSucceeded += r.Installs
				list[i].InstallsFailed += r.Failures
				list[i].Storage += r.StoredBytes
			}
		}
	}
	if keep := c.in.optBool("noAccumulate"); keep == nil || !*keep {
		for i := 1; i < len(list); i++ {
			list[i].MAU += list[i-1].MAU
			list[i].InstallsSucceeded += list[i-1].InstallsSucceeded
			list[i].InstallsFailed += list[i-1].InstallsFailed
			list[i].Storage += list[i-1].Storage
		}
	}
	return list, nil
}

// usage is the answer of the two usage routes: for each day the share of each
// version in per cent, and the counts behind it.
type usage struct {
	Labels   []string       `json:"labels"`
	Datasets []usageDataset `json:"datasets"`
	Latest   *usageLatest   `json:"latestVersion,omitempty"`
}

type usageDataset struct {
	Label  string    `json:"label"`
	Data   []float64 `json:"data"`
	Counts []int64   `json:"metaCounts"`
}

type usageLatest struct {
	Name       string `json:"name"`
	Percentage string `json:"percentage"`
}

func bundleUsage(c *call) error { return c.usage(store.ByBundle) }

func nativeUsage(c *call) error { return c.usage(store.ByNative) }

func (c *call) usage(by store.UsageKind) error {
	from, to, err := c.span()
	if err != nil {
		return err
	}
	if err := c.mustExist(); err != nil {
		return appNotFound(err)
	}
	from, to = day(from), day(to)
	rows, err := c.api.Store.Usage(c.ctx, c.app, by, from, to)
	if err != nil {
		return err
	}
	u := usage{Labels: []string{}, Datasets: []usageDataset{}}
	index := map[string]int{}
	for at := from; !at.After(to); at = at.Add(24 * time.Hour) {
		index[at.Format(time.DateOnly)] = len(u.Labels)
		u.Labels = append(u.Labels, at.Format(time.DateOnly))
	}
	totals := make([]int64, len(u.Labels))
	sets := map[string]int{}
	for _, r := range rows {
		day, ok := index[r.Date]
		if !ok {
			continue
		}
		at, ok := sets[r.Version]
		if !ok {
			at = len(u.Datasets)
			sets[r.Version] = at
			u.Datasets = append(u.Datasets, usageDataset{r.Version, make([]float64, len(u.Labels)), make([]int64, len(u.Labels))})
		}
		u.Datasets[at].Counts[day] += r.Devices
		totals[day] += r.Devices
	}
	for i := range u.Datasets {
		for day, n := range u.Datasets[i].Counts {
			if totals[day] > 0 {
				u.Datasets[i].Data[day] = float64(n*1000/totals[day]) / 10
			}
		}
	}
	if by == store.ByNative {
		u.Latest = latest(u)
	}
	return c.ok(u)
}

// latest is the version that most devices ran on the last day of the range.
func latest(u usage) *usageLatest {
	if len(u.Labels) == 0 {
		return nil
	}
	last, best := len(u.Labels)-1, -1
	for i, d := range u.Datasets {
		if d.Counts[last] > 0 && (best < 0 || d.Counts[last] > u.Datasets[best].Counts[last]) {
			best = i
		}
	}
	if best < 0 {
		return &usageLatest{Percentage: "0.0"}
	}
	return &usageLatest{u.Datasets[best].Label, strconv.FormatFloat(u.Datasets[best].Data[last], 'f', 1, 64)}
}
