package cli

import "capstan/server"

// Sandbox is what capstan demo starts: a server on loopback, folder storage and
// the sample app, all below Dir.
type Sandbox struct {
	Dir        string // root of the sandbox
	ProjectDir string // the sample Capacitor app
	ServerURL  string // base URL of the update server
	Token      string // admin token of that server
	StorageURL string // file:// URL of the folder that the server serves
	PublicURL  string // base URL under which that folder is public
	AppID      string
	// Server runs in this process; ServerDir is its data.
	Server    *server.Server
	ServerDir string
	Channel   string
}
