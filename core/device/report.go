package device

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"capstan/core/capgo"
	"capstan/core/failure"
)

// maxRetryHint is the longest pause that a 429 can ask of the plugin.
const maxRetryHint = 24 * time.Hour

// rateLimited books a 429 as this generation does.
func (d *Device) rateLimited(header http.Header, body []byte) {
	if d.generation.LatchesOn429 {
		d.latched = true
		return
	}
	if !d.generation.HonoursRetryHint {
		return
	}
	var hint struct {
		Seconds  float64 `json:"retryAfterSeconds"`
		Reset    int64   `json:"rateLimitResetAt"`
		MoreInfo struct {
			Seconds float64 `json:"retryAfterSeconds"`
			Reset   int64   `json:"rateLimitResetAt"`
		} `json:"moreInfo"`
	}
	_ = json.Unmarshal(body, &hint) // a body without hints is none
	var wait time.Duration
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	switch {
	case err == nil:
		wait = time.Duration(seconds) * time.Second
	case hint.MoreInfo.Seconds > 0:
		wait = time.Duration(hint.MoreInfo.Seconds * float64(time.Second))
	case hint.Seconds > 0:
		wait = time.Duration(hint.Seconds * float64(time.Second))
	case hint.MoreInfo.Reset > 0:
		wait = time.Until(time.UnixMilli(hint.MoreInfo.Reset))
	case hint.Reset > 0:
		wait = time.Until(time.UnixMilli(hint.Reset))
	}
	d.blockedTil = time.Now().Add(min(wait, maxRetryHint))
}

// muted reports whether a 429 keeps the device from stats and channel calls.
func (d *Device) muted() bool { return d.latched || time.Now().Before(d.blockedTil) }

// Event is one stats action of this device.
type Event struct {
	Action string // of the plugin's vocabulary, e.g. "set"
	// Version is the bundle that the event is about; "" is the one that runs.
	Version    string
	OldVersion string // what ran before, sent where this generation does
	Metadata   map[string]string
}

// Report sends stats events as this generation does: one array, or one request
// for each event. A device that a 429 muted sends nothing. A server that does
// not answer is a failure of class Unavailable with the code stats_unreachable;
// a status other than 2xx has the code stats_refused.
func (d *Device) Report(ctx context.Context, statsURL string, events ...Event) error {
	if len(events) == 0 || statsURL == "" || d.muted() {
		return nil
	}
	var batch []map[string]any
	for _, e := range events {
		body := d.info()
		if e.Version != "" {
			body["version_name"] = e.Version
		}
		body["action"] = e.Action
		if d.generation.StatsOldVersion {
			body["old_version_name"] = e.OldVersion
		}
		if len(e.Metadata) > 0 {
			body["metadata"] = e.Metadata
		}
		if d.generation.StatsBatch {
			body["timestamp"] = time.Now().UnixMilli()
		}
		batch = append(batch, body)
	}
	if d.generation.StatsBatch {
		return d.sendStats(ctx, statsURL, batch)
	}
	for _, body := range batch {
		if err := d.sendStats(ctx, statsURL, body); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) sendStats(ctx context.Context, statsURL string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return failure.Wrap(err, failure.Failed, "stats_malformed", "report", "")
	}
	limited, cancel := context.WithTimeout(ctx, d.responseTimeout())
	defer cancel()
	resp, err := d.post(limited, statsURL, text)
	if err != nil {
		return unreachable(ctx, err, "stats_unreachable", "report", statsURL)
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // only a 429's body is looked at
	resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		d.rateLimited(resp.Header, answer)
	}
	if resp.StatusCode/100 != 2 {
		class := failure.Failed
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			class = failure.Unavailable
		}
		return failure.Newf(class, "stats_refused", "report", "", "the server answers with HTTP %d", resp.StatusCode)
	}
	return nil
}

// ChannelVerb is one of the plugin's calls to channel_self.
type ChannelVerb string

// The verbs, by the method that the plugin calls them with.
const (
	SetChannel   ChannelVerb = http.MethodPost
	GetChannel   ChannelVerb = http.MethodPut
	ListChannels ChannelVerb = http.MethodGet
	UnsetChannel ChannelVerb = http.MethodDelete
)

// ChannelReply is what channel_self answered.
type ChannelReply struct {
	Status   string `json:"status"`
	Channel  string `json:"channel"`
	AllowSet bool   `json:"allowSet"`
	Unset    bool   `json:"unset"`
	// Channels is the answer to ListChannels.
	Channels []ChannelChoice `json:"-"`
}

// ChannelChoice is a channel that the device may choose.
type ChannelChoice struct {
	ID           int64  `json:"id"`
	Name         string `json:"name"`
	Public       bool   `json:"public"`
	AllowSelfSet bool   `json:"allow_self_set"`
}

// ChannelSelf calls channel_self; channel is the name for SetChannel and
// ignored otherwise. Newer generations store the chosen channel on the device
// and unset it without asking. The server's refusal is a failure of class
// Conflict with the server's error code.
func (d *Device) ChannelSelf(ctx context.Context, channelURL string, verb ChannelVerb, channel string) (ChannelReply, error) {
	if d.muted() {
		return ChannelReply{}, failure.New(failure.Unavailable, "rate_limited", "ask for the channel", "the server asked this device for a pause", "")
	}
	if verb == UnsetChannel && d.generation.ChannelOnDevice {
		d.Request.DefaultChannel = ""
		return ChannelReply{Status: "ok"}, nil
	}
	status, text, err := d.askChannel(ctx, channelURL, verb, channel)
	if err != nil {
		return ChannelReply{}, err
	}
	var refusal capgo.APIError
	if json.Unmarshal(text, &refusal) == nil && refusal.Error != "" {
		// A channel that the server does not know any more stays the device's own.
		if verb == GetChannel && refusal.Error == "channel_not_found" && d.Request.DefaultChannel != "" {
			return ChannelReply{Channel: d.Request.DefaultChannel, Status: "default"}, nil
		}
		return ChannelReply{}, failure.Newf(failure.Conflict, refusal.Error, "ask for the channel", "", "the server refused: %s", orElse(refusal.Message, refusal.Error))
	}
	if status/100 != 2 {
		return ChannelReply{}, failure.Newf(failure.Unavailable, "response_error", "ask for the channel", "", "the server answers with HTTP %d", status)
	}
	var reply ChannelReply
	if verb == ListChannels {
		err = json.Unmarshal(text, &reply.Channels)
	} else {
		err = json.Unmarshal(text, &reply)
	}
	if err != nil {
		return ChannelReply{}, failure.Newf(failure.Failed, "parse_error", "ask for the channel", "", "the answer is not the expected JSON: %w", err)
	}
	d.rememberChannel(verb, channel, reply)
	return reply, nil
}

// rememberChannel stores the channel where this generation does.
func (d *Device) rememberChannel(verb ChannelVerb, channel string, reply ChannelReply) {
	if !d.generation.ChannelOnDevice {
		return
	}
	switch {
	case verb == SetChannel && reply.Unset:
		d.Request.DefaultChannel = ""
	case verb == SetChannel:
		d.Request.DefaultChannel = channel
	case verb == GetChannel && reply.Channel != "" && reply.Channel != capgo.Builtin:
		d.Request.DefaultChannel = reply.Channel
	}
}

func (d *Device) askChannel(ctx context.Context, channelURL string, verb ChannelVerb, channel string) (status int, text []byte, err error) {
	body := d.info()
	if verb == SetChannel {
		body["channel"] = channel
	}
	limited, cancel := context.WithTimeout(ctx, d.responseTimeout())
	defer cancel()
	req, err := d.channelRequest(limited, channelURL, verb, body)
	if err != nil {
		return 0, nil, failure.Wrap(err, failure.Usage, "channel_url_malformed", "ask for the channel", "")
	}
	req.Header.Set("User-Agent", d.userAgent())
	resp, err := d.client().Do(req)
	if err != nil {
		return 0, nil, unreachable(ctx, err, "channel_unreachable", "ask for the channel", channelURL)
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, nil, unreachable(ctx, err, "channel_unreachable", "ask for the channel", channelURL)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		d.rateLimited(resp.Header, text)
	}
	return resp.StatusCode, text, nil
}

// channelRequest puts the device's description into the body, or into the query
// for the two verbs that have none.
func (d *Device) channelRequest(ctx context.Context, channelURL string, verb ChannelVerb, body map[string]any) (*http.Request, error) {
	if verb == SetChannel || verb == GetChannel {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, string(verb), channelURL, bytes.NewReader(text))
		if err == nil {
			req.Header.Set("Content-Type", "application/json; charset=utf-8")
		}
		return req, err
	}
	u, err := url.Parse(channelURL)
	if err != nil {
		return nil, err
	}
	query := u.Query()
	for key, value := range body {
		switch v := value.(type) {
		case string:
			query.Set(key, v)
		case bool:
			query.Set(key, strconv.FormatBool(v))
		}
	}
	u.RawQuery = query.Encode()
	return http.NewRequestWithContext(ctx, string(verb), u.String(), nil)
}
