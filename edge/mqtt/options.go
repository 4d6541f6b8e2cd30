package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options says how to reach a broker and who we are. Zero values of the
// durations and sizes mean the defaults given with each field.
type Options struct {
	URL      string // mqtt://host[:1883], tcp:// (the same), mqtts://host[:8883], ssl:// (the same)
	ClientID string // default: the device id; with MasksSuffix for masks. Two clients of one id throw each other out
	Topics          // fleet and device

	UsernameFile, PasswordFile string // first line is used; read at each connect
	CAFile                     string // PEM; default: the system's authorities
	CertFile, KeyFile          string // PEM client certificate

	KeepAlive      time.Duration // default 5 s, whole seconds
	PingTimeout    time.Duration // default 5 s
	ConnectTimeout time.Duration // default 5 s for dial, TLS and MQTT handshake
	WriteTimeout   time.Duration // default 2 s for a packet; then the connection is given up
	AckTimeout     time.Duration // default 20 s for the broker's acknowledgement of QoS 1
	BackoffMin     time.Duration // default 100 ms before the first retry
	BackoffMax     time.Duration // default and upper bound 5 s
	StableAfter    time.Duration // default 10 s: a shorter connection does not reset the back-off
	StopTimeout    time.Duration // default and upper bound 1 s, for the last messages

	Run        string // id of this start of the service, part of every status
	QoS        byte   // of the masks given to Offer: 0 (default) or 1
	Queue      int    // default 4: masks that Offer holds for a slow broker, 1..1024
	Window     int    // default 8: QoS 1 masks that wait for the broker, 1..64
	MaxPayload int    // default 8 MiB: larger masks are refused

	Outbox Outbox // keeps live masks that the broker may not have; default: none

	OnDesired func(payload []byte)    // a settings document arrived; called from one goroutine
	OnCommand func(c Command)         // a command arrived; called from the same goroutine
	OnState   func(s ConnectionState) // the connection came or went; must not block
	OnMasks   func(s ConnectionState) // the same of the connection for masks
	Logger    *slog.Logger            // default: no log
}

// Command is a request that came in on cmd/<name>.
type Command struct {
	Name    string
	ID      string // correlation id: member "id" of the payload, if that is a JSON object
	Payload []byte
}

func (o *Options) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.KeepAlive, 5*time.Second)
	def(&o.PingTimeout, 5*time.Second)
	def(&o.ConnectTimeout, 5*time.Second)
	def(&o.WriteTimeout, 2*time.Second)
	def(&o.AckTimeout, 20*time.Second)
	def(&o.BackoffMin, 100*time.Millisecond)
	def(&o.BackoffMax, 5*time.Second)
	def(&o.StableAfter, 10*time.Second)
	def(&o.StopTimeout, time.Second)
	if o.Queue == 0 {
		o.Queue = 4
	}
	if o.Window == 0 {
		o.Window = 8
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = 8 << 20
	}
	if o.ClientID == "" {
		o.ClientID = o.Device
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Check returns all that is wrong with the options, each error naming its
// field as it is called in the settings file.
func (o Options) Check() error {
	o.setDefaults()
	errs := []error{o.Topics.Check()}
	fail := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
	}
	u, err := parseURL(o.URL)
	if err != nil {
		fail("url", "%w", err)
	}
	if n := len(o.ClientID); n == 0 || n > 128-len(MasksSuffix) || strings.ContainsAny(o.ClientID, "\x00+#/") {
		fail("client_id", "%q: use 1 to %d characters without + # /", o.ClientID, 128-len(MasksSuffix))
	}
	ranged := func(field string, v, lo, hi time.Duration) {
		if v < lo || v > hi {
			fail(field, "%v is outside %v to %v", v, lo, hi)
		}
	}
	ranged("keep_alive", o.KeepAlive, time.Second, 10*time.Minute)
	ranged("ping_timeout", o.PingTimeout, 100*time.Millisecond, time.Minute)
	ranged("connect_timeout", o.ConnectTimeout, 100*time.Millisecond, time.Minute)
	ranged("write_timeout", o.WriteTimeout, 100*time.Millisecond, time.Minute)
	ranged("ack_timeout", o.AckTimeout, 100*time.Millisecond, time.Hour)
	ranged("backoff_min", o.BackoffMin, time.Millisecond, o.BackoffMax)
	ranged("backoff_max", o.BackoffMax, o.BackoffMin, 5*time.Second)
	ranged("stop_timeout", o.StopTimeout, time.Millisecond, time.Second)
	counted := func(field string, v, lo, hi int) {
		if v < lo || v > hi {
			fail(field, "%d is outside %d to %d", v, lo, hi)
		}
	}
	counted("qos", int(o.QoS), 0, 1)
	counted("queue", o.Queue, 1, 1024)
	counted("window", o.Window, 1, 64)
	counted("max_payload", o.MaxPayload, 1, 128<<20)
	if err == nil {
		errs = append(errs, o.checkFiles(u))
	}
	return errors.Join(errs...)
}

func (o *Options) checkFiles(u *url.URL) error {
	var errs []error
	if _, _, err := o.credentials(); err != nil {
		errs = append(errs, err)
	}
	switch {
	case encrypted(u):
		if _, err := o.tlsConfig(u); err != nil {
			errs = append(errs, err)
		}
	case o.CAFile != "" || o.CertFile != "" || o.KeyFile != "":
		errs = append(errs, fmt.Errorf("url: %s is not encrypted, but ca_file, cert_file or key_file is set: use mqtts://",
			u.Redacted()))
	}
	return errors.Join(errs...)
}

// parseURL accepts the four schemes of a broker and fills in the port.
func parseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("missing: write for instance mqtt://localhost:1883")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("no URL: %w", err)
	}
	switch u.Scheme {
	case "mqtt", "tcp", "mqtts", "ssl":
	default:
		return nil, fmt.Errorf("%q has scheme %q: use mqtt://, tcp://, mqtts:// or ssl://", u.Redacted(), u.Scheme)
	}
	switch {
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", u.Redacted())
	case u.User != nil:
		return nil, errors.New("user names and passwords belong into username_file and password_file, not into the URL")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%q: nothing may follow host and port", u.Redacted())
	}
	return u, nil
}

func encrypted(u *url.URL) bool { return u.Scheme == "mqtts" || u.Scheme == "ssl" }

func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case encrypted(u):
		port = "8883"
	default:
		port = "1883"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// credentials reads user name and password; a file's first line counts.
func (o *Options) credentials() (user, password string, err error) {
	if user, err = firstLine("username_file", o.UsernameFile); err != nil {
		return "", "", err
	}
	if password, err = firstLine("password_file", o.PasswordFile); err != nil {
		return "", "", err
	}
	if password != "" && user == "" {
		return "", "", errors.New("username_file: needed where password_file is set (MQTT 3.1.1 knows no password alone)")
	}
	return user, password, nil
}

func firstLine(field, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > 65535 {
		return "", fmt.Errorf("%s: the first line of %s is empty or too long", field, path)
	}
	return line, nil
}

// tlsConfig returns the TLS settings for the broker; its certificate is always
// verified.
func (o *Options) tlsConfig(u *url.URL) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("cert_file, key_file: give both or neither")
	}
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}
