package management

import (
	"regexp"

	"capstan/core/capgo"
	"capstan/core/failure"
	"capstan/server/store"
)

// appID is the form of app ids that the device endpoints take.
var appID = regexp.MustCompile(`^(?i)[a-z0-9]+(\.[\w-]+)+$`)

func validAppID(id string) bool { return len(id) <= 128 && appID.MatchString(id) }

func listApps(c *call) error {
	limit := c.in.limit()
	if limit == 0 {
		limit = 50
	}
	offset, organisation := c.in.page(limit), c.in.text("org_id")
	if err := c.checked(); err != nil {
		return err
	}
	only := c.token.Apps
	if organisation != "" {
		var err error
		if only, err = c.visibleApps(organisation); err != nil {
			return err
		}
		if len(only) == 0 && organisation != onlyOrganisation {
			return failure.New(failure.Usage, "user_does_not_have_access_to_this_organization", "", "the token sees no app of this organisation", "see owner_org in the list of apps")
		}
		if only == nil {
			only = []string{} // not every app
		}
	}
	list, err := c.api.Store.Apps(c.ctx, only, offset, limit)
	if err != nil {
		return err
	}
	rows := make([]any, len(list))
	for i := range list {
		rows[i] = rowOfApp(list[i])
	}
	return c.ok(rows)
}

// organisationOf is the organisation of an app; Capgo's CLI goes no further
// without one.
func organisationOf(a capgo.App) string {
	if a.OwnerOrg == "" {
		return onlyOrganisation
	}
	return a.OwnerOrg
}

func getApp(c *call) error {
	a, err := c.api.Store.App(c.ctx, c.app)
	if err != nil {
		return err
	}
	return c.ok(rowOfApp(a))
}

func createApp(c *call) error {
	a := capgo.App{
		AppID: c.app, Name: c.in.text("name"), OwnerOrg: c.in.text("owner_org"), PublicKey: c.in.text("public_key"),
		DefaultUpload: c.in.text("default_upload_channel"), AllowDeviceCustomID: true,
	}
	if v := c.in.optBool("allow_device_custom_id"); v != nil {
		a.AllowDeviceCustomID = *v
	}
	if v := c.in.optBool("expose_metadata"); v != nil {
		a.ExposeMetadata = *v
	}
	retention, err := c.retention()
	if err != nil {
		return err
	}
	if retention != nil {
		a.Retention = *retention
	}
	c.readProfile(&a.AppProfile)
	if a.Name == "" {
		a.Name = c.app
	}
	if a.DefaultUpload == "" {
		a.DefaultUpload = "dev" // where an upload of Capgo's command line that names no channel reaches nobody
	}
	if err := checkNames(c, a.Name); err != nil {
		return err
	}
	answers(c, rowOfApp)
	made, err := c.api.Store.CreateApp(c.ctx, c.actor(), a)
	if err != nil {
		return err
	}
	return c.ok(rowOfApp(made))
}

// maxRetention is two years in seconds, Capgo's own bound.
const maxRetention = 63113904 - 1

func checkNames(c *call, names ...string) error {
	for _, n := range names {
		if len(n) > 256 || n != clean(n) && len(n) <= 80 {
			return bad("invalid_json_body", "a name is too long or holds control characters")
		}
	}
	return c.checked()
}

// retention reads how long bundles are kept, in seconds. Codes retention_to_big,
// retention_to_small.
func (c *call) retention() (*int64, error) {
	n := c.in.optInt(-1<<53, 1<<53, "retention")
	switch {
	case n != nil && *n > maxRetention:
		return nil, bad("retention_to_big", "retention is at most %d seconds", maxRetention)
	case n != nil && *n < 1:
		return nil, bad("retention_to_small", "retention is at least a second")
	}
	return n, nil
}

// readProfile takes what Capgo's console shows of an app.
func (c *call) readProfile(p *capgo.AppProfile) {
	if icon := c.in.optText("icon"); icon != nil {
		p.IconURL = *icon
	}
	address := func(into **string, name string) {
		if _, given := c.in.fields[name]; given {
			*into = c.in.optText(name)
		}
	}
	address(&p.IOSStoreURL, "ios_store_url")
	address(&p.AndroidStoreURL, "android_store_url")
	flag := func(into *bool, name string) {
		if v := c.in.optBool(name); v != nil {
			*into = *v
		}
	}
	flag(&p.NeedOnboarding, "need_onboarding")
	flag(&p.ExistingApp, "existing_app")
	flag(&p.BlockProviderInfraRequests, "block_provider_infra_requests")
}

func changeApp(c *call) error {
	retention, err := c.retention()
	if err != nil {
		return err
	}
	change := store.AppChange{
		Name: c.in.optText("name"), DefaultUpload: c.in.optText("default_upload_channel"), PublicKey: c.in.optText("public_key"),
		SecondPublicKey: c.in.optText("second_public_key"),
		Retention:       retention, ExposeMetadata: c.in.optBool("expose_metadata"),
		AllowDeviceCustomID: c.in.optBool("allow_device_custom_id"), Profile: c.readProfile,
	}
	c.readProfile(new(capgo.AppProfile)) // finds wrong types before anything is done
	name := ""
	if change.Name != nil {
		name = *change.Name
	}
	if err := checkNames(c, name); err != nil {
		return err
	}
	answers(c, rowOfApp)
	a, err := c.api.Store.ChangeApp(c.ctx, c.actor(), c.app, change)
	if err != nil {
		return err
	}
	return c.ok(rowOfApp(a))
}

func deleteApp(c *call) error {
	if err := c.api.Store.DeleteApp(c.ctx, c.actor(), c.app); err != nil {
		return err
	}
	return c.ok(statusOK)
}

var statusOK = map[string]string{"status": "ok"}

// mustExist refuses calls about an app that is not there, so that a typing
// error is not answered with an empty list. Code cannot_find_app.
func (c *call) mustExist() error {
	if err := c.checked(); err != nil {
		return err
	}
	snapshot, err := c.api.Store.Snapshot(c.ctx, c.app)
	if err != nil {
		return err
	}
	if snapshot == nil {
		return failure.New(failure.NotFound, "cannot_find_app", "", "there is no such app", "create it first, or see the app id")
	}
	return nil
}
