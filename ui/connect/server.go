package connect

import (
	"context"

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
	return views.ServerStatus{
		Version: p.Version, Address: address, PublicURL: p.Server.URL(), DataDir: p.DataDir,
		Started: s.Started, Requests: s.Requests, Total: int64(s.Total), Devices: s.Devices, Log: s.Log,
	}, nil
}
