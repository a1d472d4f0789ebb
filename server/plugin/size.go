package plugin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"capstan/core/capgo"
	"capstan/server/decide"
)

// manifestSize answers POST /updates/manifest_size: how much the named delta
// files weigh. What the server does not know it says so, also for an app it
// does not know.
func (h *Handler) manifestSize(w http.ResponseWriter, r *http.Request) {
	var b body
	if !read(w, r, MaxManifestBody, &b) {
		return
	}
	req, e := b.request(&updateRules)
	if e != nil {
		writeRefusal(w, e)
		return
	}
	app, err := h.Apps.Snapshot(r.Context(), req.AppID)
	if err != nil {
		h.unavailable(w, r, "manifest_size", req.AppID, err)
		return
	}
	if h.crowded(w, app, req.AppID) {
		return
	}
	files := b.manifest
	if files.kind <= null {
		files = b.files
	}
	writeValue(w, http.StatusOK, manifestSizes(app, wantedFiles(files), bundleID(b.versionID), b.version))
}

// wanted is a file whose size is asked for. bundle is the bundle its download
// address names, 0 for none.
type wanted struct {
	size   capgo.ManifestFileSize
	bundle int64
}

// wantedFiles reads the list: objects with a hash, each once.
func wantedFiles(list value) []wanted {
	if list.kind != array {
		return nil
	}
	type identity struct{ name, hash, address string }
	seen := map[identity]bool{}
	var files []wanted
	p := scanner{s: list.s}
	p.elements(0, func(v value) {
		if v.kind != object {
			return
		}
		var name, hash, address value
		entry := scanner{s: v.s}
		entry.members(0, func(key string, v value) {
			switch key {
			case "file_name":
				name = v
			case "file_hash":
				hash = v
			case "download_url":
				address = v
			}
		})
		id := identity{name.str(), hash.str(), address.str()}
		if id.hash == "" || seen[id] {
			return
		}
		seen[id] = true
		f := wanted{size: capgo.ManifestFileSize{FileHash: id.hash}}
		if name.kind == text {
			f.size.FileName = &id.name
		}
		if address.kind == text {
			f.size.DownloadURL = &id.address
			if u, err := url.Parse(id.address); err == nil && u.IsAbs() {
				f.bundle = bundleID(value{text, u.Query().Get("key")})
			}
		}
		files = append(files, f)
	})
	return files
}

// bundleID reads the number of a bundle, given as a number or as text; 0 for
// anything else.
func bundleID(v value) int64 {
	id, err := strconv.ParseInt(strings.TrimSpace(v.s), 10, 64)
	if err != nil || id < 0 || v.kind != number && v.kind != text || strings.HasPrefix(v.s, "+") {
		return 0
	}
	return id
}

// manifestSizes looks the files up in the bundles in question: the one a
// file's address names, else the one with the id, else those with the version's
// name, else all of the app.
func manifestSizes(app *decide.App, files []wanted, id int64, version value) capgo.ManifestSize {
	result := capgo.ManifestSize{Files: []capgo.ManifestFileSize{}}
	type place struct {
		bundle int64
		hash   string
	}
	inBundle := map[place]int64{}
	largest := map[string]int64{}
	look := map[int64]map[string]bool{} // hashes wanted, by bundle; 0 = no bundle named
	for i := range files {
		f := &files[i]
		if look[f.bundle] == nil {
			look[f.bundle] = map[string]bool{}
		}
		look[f.bundle][f.size.FileHash] = true
	}
	if app != nil && len(files) > 0 {
		for _, b := range app.Bundles {
			general := id == b.ID || id == 0 && (version.kind != text || version.s == b.Name)
			if b.Deleted {
				continue
			}
			for i := range b.Manifest {
				m := &b.Manifest[i]
				// A device asks with the hash in the form that it was given.
				for _, hash := range [...]string{m.FileHash, m.FileHashV2, m.FileHashV3} {
					if hash != "" && m.Size > 0 && (look[b.ID][hash] || general && look[0][hash]) {
						at := place{b.ID, hash}
						inBundle[at] = max(inBundle[at], m.Size)
						largest[hash] = max(largest[hash], m.Size)
					}
				}
			}
		}
	}
	for _, f := range files {
		size := inBundle[place{f.bundle, f.size.FileHash}]
		if size == 0 {
			size = largest[f.size.FileHash]
		}
		if size > 0 {
			f.size.Size = size
			result.TotalSize += size
			result.KnownFiles++
		} else {
			f.size.Error = "size_unknown"
			result.UnknownFiles++
		}
		result.Files = append(result.Files, f.size)
	}
	return result
}
