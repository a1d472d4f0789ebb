package management

import (
	"encoding/json"
	"time"

	"capstan/core/capgo"
	"capstan/server/store"
)

// The rows of Capgo's tables as its API gives them: with every column, null
// where there is nothing, and capstan's own members after them.

// appRow is an element of GET /app.
type appRow struct {
	capgo.App
	OwnerOrg      string  `json:"owner_org"`
	DefaultUpload string  `json:"default_upload_channel"`
	UserID        string  `json:"user_id"`
	LastVersion   *string `json:"last_version"`
	AllowPreview  bool    `json:"allow_preview"`
}

func rowOfApp(a capgo.App) any {
	return appRow{App: a, OwnerOrg: organisationOf(a), DefaultUpload: a.DefaultUpload, UserID: onlyUser}
}

// bundleRow is an element of GET /bundle.
type bundleRow struct {
	capgo.Bundle
	SessionKey       *string         `json:"session_key"`
	KeyID            *string         `json:"key_id"`
	ExternalURL      *string         `json:"external_url"`
	StorageProvider  string          `json:"storage_provider"`
	R2Path           *string         `json:"r2_path"`
	MinUpdateVersion *string         `json:"min_update_version"`
	Link             *string         `json:"link"`
	Comment          *string         `json:"comment"`
	NativePackages   json.RawMessage `json:"native_packages"`
	UserID           string          `json:"user_id"`
	OwnerOrg         string          `json:"owner_org"`
	DeletedAt        *time.Time      `json:"deleted_at"`
	CLIVersion       *string         `json:"cli_version"`
}

func rowOfBundle(b store.Bundle, organisation string) bundleRow {
	row := bundleRow{
		Bundle: b.Bundle, SessionKey: orNull(b.SessionKey), KeyID: orNull(b.KeyID), ExternalURL: orNull(b.ExternalURL), StorageProvider: b.StorageProvider,
		R2Path: orNull(b.R2Path), MinUpdateVersion: orNull(b.MinUpdateVersion), Link: orNull(b.Link), Comment: orNull(b.Comment),
		NativePackages: b.NativePackages, UserID: onlyUser, OwnerOrg: organisation,
	}
	if b.Deleted {
		row.DeletedAt = &b.UpdatedAt
	}
	return row
}

// deviceRow is an element of GET /device. Where a device is, nobody asks here.
type deviceRow struct {
	capgo.Device
	InstallSource *string `json:"install_source"`
	KeyID         *string `json:"key_id"`
	CountryCode   *string `json:"country_code"`
}

func rowOfDevice(d capgo.Device) deviceRow {
	return deviceRow{Device: d, InstallSource: orNull(d.InstallSource), KeyID: orNull(d.KeyID)}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
