package connect

import (
	"context"
	"net"
	"net/url"
	"slices"

	"capstan/server"
	"capstan/ui/views"
)

// InProcess shows an update server that runs in this process.
type InProcess struct {
	Server  *server.Server
	Version string
	DataDir string
}

// Status asks the server's memory only.
func (p InProcess) Status(context.Context) (views.ServerStatus, error) {
	s := p.Server.Status()
	address := p.Server.URL()
	if bound := p.Server.Addr(); bound != nil {
		address = "http://" + bound.String()
	}
	status := views.ServerStatus{
		Version: p.Version, Address: address, PublicURL: p.Server.URL(), DataDir: p.DataDir,
		Started: s.Started, Requests: s.Requests, Total: int64(s.Total), Devices: s.Devices, Log: s.Log,
	}
	status.LocalOnly = loopback(status.PublicURL)
	return status, nil
}

// loopback reports whether only this machine reaches an address.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback() || slices.Contains([]string{"localhost", "localhost."}, u.Hostname())
}
