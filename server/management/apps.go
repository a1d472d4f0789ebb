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
	offset := c.in.page(limit)
	if err := c.checked(); err != nil {
		return err
	}
	list, err := c.api.Store.Apps(c.ctx, c.token.Apps, offset, limit)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].OwnerOrg = organisationOf(list[i])
	}
	return c.ok(list)
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
	a.OwnerOrg = organisationOf(a)
	return c.ok(a)
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
	if v := c.in.optInt(1, maxRetention, "retention"); v != nil {
		a.Retention = *v
	}
	if a.Name == "" {
		a.Name = c.app
	}
	if err := checkNames(c, a.Name); err != nil {
		return err
	}
	made, err := c.api.Store.CreateApp(c.ctx, c.actor(), a)
	if err != nil {
		return err
	}
	made.OwnerOrg = organisationOf(made)
	return c.ok(made)
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

func changeApp(c *call) error {
	change := store.AppChange{
		Name: c.in.optText("name"), DefaultUpload: c.in.optText("default_upload_channel"), PublicKey: c.in.optText("public_key"),
		SecondPublicKey: c.in.optText("second_public_key"),
		Retention:       c.in.optInt(1, maxRetention, "retention"), ExposeMetadata: c.in.optBool("expose_metadata"),
		AllowDeviceCustomID: c.in.optBool("allow_device_custom_id"),
	}
	name := ""
	if change.Name != nil {
		name = *change.Name
	}
	if err := checkNames(c, name); err != nil {
		return err
	}
	a, err := c.api.Store.ChangeApp(c.ctx, c.actor(), c.app, change)
	if err != nil {
		return err
	}
	return c.ok(a)
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
