package profile

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"capstan/core/failure"
	"capstan/core/remote/storage"
)

// Place is a kind of storage that a wizard offers.
type Place struct {
	Scheme string // of the storage's URL; "" is the server's own storage
	Text   string // one line for people
	// Login says where the credentials come from.
	Login string
	Asks  []Question
	// Mine is set where only the user's own file may name such a storage.
	Mine bool
}

// Question is one value of a Place.
type Question struct {
	Name, Text string
	Optional   bool
}

// Places lists the kinds of storage that this build has a driver for, the
// server's own first.
func Places() []Place {
	known := storage.Schemes()
	return slices.DeleteFunc([]Place{
		{Text: "the update server itself", Login: "the server's token"},
		{Scheme: "s3", Text: "Amazon S3 and compatible services: R2, MinIO, Ceph, …", Login: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials",
			Asks: []Question{{Name: "bucket", Text: "Bucket"}, {Name: "prefix", Text: "Folder in it", Optional: true},
				{Name: "endpoint", Text: "Endpoint, for another service than Amazon's (s3.example.com)", Optional: true}, {Name: "region", Text: "Region", Optional: true}}},
		{Scheme: "gs", Text: "Google Cloud Storage", Login: "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS",
			Asks: []Question{{Name: "bucket", Text: "Bucket"}, {Name: "prefix", Text: "Folder in it", Optional: true}}},
		{Scheme: "azblob", Text: "Azure Blob Storage", Login: "AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY, or az login",
			Asks: []Question{{Name: "bucket", Text: "Container"}, {Name: "prefix", Text: "Folder in it", Optional: true}}},
		{Scheme: "sftp", Text: "a folder on an SSH server", Login: "the SSH agent; the server's key has to be in known_hosts",
			Asks: []Question{{Name: "host", Text: "Host, with user and port where they differ (deploy@www.example.com:2222)"}, {Name: "folder", Text: "Folder there (/srv/www/updates)"}}},
		{Scheme: "https+put", Text: "anything that stores a PUT: Artifactory, Nexus, WebDAV, GitLab packages", Login: "CAPSTAN_STORAGE_TOKEN",
			Asks: []Question{{Name: "address", Text: "Address of the folder (https://artifacts.example.com/repository/updates)"},
				{Name: "header", Text: "Header that carries the token, when it is not Authorization: Bearer", Optional: true}}},
		{Scheme: "file", Text: "a folder of this machine that a web server publishes", Login: "none",
			Asks: []Question{{Name: "folder", Text: "Folder"}}},
		{Scheme: "capstan+https", Text: "the storage of another capstan server", Login: "that server's token",
			Asks: []Question{{Name: "address", Text: "Address of that server (https://updates.example.com)"}}},
		{Scheme: "exec", Text: "programs of your choice, such as rclone", Login: "the programs' own", Mine: true,
			Asks: []Question{{Name: "folder", Text: "TOML file that names them"}}},
		{Scheme: "https+put", Text: "presigned URLs that a program of yours prints", Login: "the program's own", Mine: true,
			Asks: []Question{{Name: "address", Text: "Address where the objects are read (https://cdn.example.com/updates)"},
				{Name: "program", Text: "Program that prints the URL to PUT to, with its arguments (upload-url {name})"}}},
	}, func(p Place) bool { return p.Scheme != "" && !slices.Contains(known, p.Scheme) })
}

// Fill writes the answers into a profile, as its storage's URL and headers.
// Code answer_missing names a question that has to be answered.
func (p Place) Fill(profile *Profile, answers map[string]string) error {
	get := func(name string) string { return strings.TrimSpace(answers[name]) }
	for _, q := range p.Asks {
		if !q.Optional && get(q.Name) == "" {
			return failure.Newf(failure.Usage, "answer_missing", "describe the storage", "", "%s: no answer was given", q.Text)
		}
	}
	switch u := (url.URL{Scheme: p.Scheme, Host: get("bucket"), Path: "/" + strings.Trim(get("prefix"), "/")}); p.Scheme {
	case "":
		profile.Storage = ""
		return nil
	case "s3", "gs", "azblob":
		u.Path = strings.TrimSuffix(u.Path, "/")
		query := url.Values{}
		for _, name := range []string{"endpoint", "region"} {
			if value := get(name); value != "" {
				query.Set(name, value)
			}
		}
		u.RawQuery = query.Encode()
		profile.Storage = u.String()
	case "sftp":
		u.Path = "/" + strings.Trim(get("folder"), "/")
		user, host, both := strings.Cut(get("host"), "@")
		if !both {
			user, host = "", user
		}
		if u.Host = host; user != "" {
			u.User = url.User(user)
		}
		profile.Storage = u.String()
	case "file", "exec":
		path, err := filepath.Abs(get("folder"))
		if err != nil {
			return failure.Wrap(err, failure.Usage, "storage_url_malformed", "describe the storage", "")
		}
		slashes := filepath.ToSlash(path)
		if !strings.HasPrefix(slashes, "/") { // a drive
			slashes = "/" + slashes
		}
		profile.Storage = (&url.URL{Scheme: p.Scheme, Path: slashes}).String()
	default: // https+put and capstan+https: an address with the driver's name in its scheme
		address, err := url.Parse(get("address"))
		if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" {
			return failure.New(failure.Usage, "storage_url_malformed", "describe the storage", "the address is no complete URL", "write it with https://")
		}
		if p.Scheme == "https+put" {
			address.Scheme += "+put"
		} else {
			address.Scheme = "capstan+" + address.Scheme
		}
		profile.Storage = strings.TrimRight(address.String(), "/")
		if program := strings.Fields(get("program")); len(program) > 0 {
			profile.UploadURL = program
		}
		if header := get("header"); header != "" {
			if profile.Headers == nil {
				profile.Headers = map[string]string{}
			}
			profile.Headers[header] = "{token}"
		}
	}
	return nil
}
