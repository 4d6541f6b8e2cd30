package mqtt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightseg/edge/mqtt/mqtttest"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = a.write(name+".ca.pem", "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// issue returns the files of a certificate for server and client.
func (a *authority) issue(name string, expires time.Time) (certFile, keyFile string) {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: expires,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{name},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	file := name + "-" + template.SerialNumber.String()
	return a.write(file+".pem", "CERTIFICATE", der), a.write(file+".key", "EC PRIVATE KEY", keyDER)
}

func tlsBroker(t *testing.T, ca *authority, name string, expires time.Time, lines ...string) *mqtttest.Process {
	t.Helper()
	cert, key := ca.issue(name, expires)
	return mqtttest.StartMosquitto(t, append(lines, "cafile "+ca.file, "certfile "+cert, "keyfile "+key,
		"require_certificate true", "use_identity_as_username true", "allow_anonymous false")...)
}

func TestTLSWithClientCertificate(t *testing.T) {
	ca := newAuthority(t, "ours")
	hour := time.Now().Add(time.Hour)
	// As docs/mqtt.md says.
	acl := writeFile(t, strings.Join([]string{
		"user observer", "topic read #",
		"pattern write nightseg/v1/test/%u/#",
		"pattern read nightseg/v1/test/%u/status",
		"pattern read nightseg/v1/test/%u/config/desired",
		"pattern read nightseg/v1/test/%u/cmd/+",
	}, "\n"))
	m := tlsBroker(t, ca, "127.0.0.1", hour, "acl_file "+acl)
	o := testOptions("mqtts://127.0.0.1:" + m.Port)
	o.CAFile = ca.file
	o.CertFile, o.KeyFile = ca.issue("car1", hour)
	w := WatchOptions{Options: o, QoS: 1}
	w.CertFile, w.KeyFile = ca.issue("observer", hour)
	w.ClientID, w.Run = "observer", ""
	ob := observe(t, w)
	o.OnDesired, o.OnCommand = func([]byte) {}, func(Command) {}
	c, stop := runClient(t, o)
	waitConnected(t, c)
	offer(c, "front", []byte("mask"))
	if m := ob.next(t, testTopics.Mask("front")); string(m.Payload) != "mask" {
		t.Errorf("got %s", m.Payload)
	}
	stop()
	ob.status(t, Stopped)

	// Another device than the certificate says: its topics are refused.
	o.Device = "car2"
	states := make(chan ConnectionState, 64)
	o.OnState = func(s ConnectionState) {
		select {
		case states <- s:
		default:
		}
	}
	// Debian's mosquitto hangs up on the first message that may not be written,
	// others refuse the subscription.
	runClient(t, o)
	if s := receive(t, states, "refusal"); s.Connected || !strings.Contains(s.Err.Error(), "access rules") {
		t.Errorf("got %v\n%s", s.Err, m.Log)
	}
}

// refused runs a client that cannot connect and returns why.
func refused(t *testing.T, o Options) *ConnectError {
	t.Helper()
	states := make(chan ConnectionState, 64)
	o.OnState = func(s ConnectionState) {
		select {
		case states <- s:
		default:
		}
	}
	c, stop := runClient(t, o)
	defer stop()
	s := receive(t, states, "refusal")
	var e *ConnectError
	if s.Connected || !errors.As(s.Err, &e) {
		t.Fatalf("got %+v", s)
	}
	if e.Permanent {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.WaitConnected(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("WaitConnected: %v", err)
		}
	}
	return e
}

func TestTLSErrorsNameTheRemedy(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	hour := time.Now().Add(time.Hour)
	good := tlsBroker(t, ours, "127.0.0.1", hour)
	expired := tlsBroker(t, ours, "127.0.0.1", time.Now().Add(-time.Hour))
	elsewhere := tlsBroker(t, ours, "elsewhere.example", hour)
	plain := mqtttest.StartMosquitto(t)
	cert, key := ours.issue("car1", hour)
	foreignCert, foreignKey := theirs.issue("car1", hour)
	tests := []struct {
		name, port, ca, cert, key string
		remedy                    string
	}{
		{"foreign authority", good.Port, theirs.file, cert, key, "ca_file"},
		{"no authority", good.Port, "", cert, key, "ca_file"},
		{"no client certificate", good.Port, ours.file, "", "", "cert_file and key_file"},
		{"foreign client certificate", good.Port, ours.file, foreignCert, foreignKey, "cert_file and key_file"},
		{"expired", expired.Port, ours.file, cert, key, "clock"},
		{"wrong name", elsewhere.Port, ours.file, cert, key, "must name the host"},
		{"no TLS there", plain.Port, ours.file, cert, key, "TLS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions("mqtts://127.0.0.1:" + tt.port)
			o.CAFile, o.CertFile, o.KeyFile = tt.ca, tt.cert, tt.key
			e := refused(t, o)
			if !strings.Contains(e.Error(), tt.remedy) {
				t.Errorf("got %v, want %s", e, tt.remedy)
			}
			// Whether the broker's refusal of our certificate arrives before the
			// reset of the connection is a matter of luck.
			if sure := strings.Contains(tt.remedy, "ca_file"); sure && !e.Permanent {
				t.Errorf("not permanent: %v", e)
			}
		})
	}
	if e := refused(t, testOptions("mqtt://127.0.0.1:"+good.Port)); !strings.Contains(e.Error(), "mqtts://") {
		t.Errorf("without TLS: %v", e)
	}
	e := refused(t, testOptions("mqtt://127.0.0.1:"+mqtttest.FreePort(t)))
	if !strings.Contains(e.Error(), "is the broker running") {
		t.Errorf("nobody there: %v", e)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPasswordFiles(t *testing.T) {
	passwd := mqtttest.FindProgram(t, "mosquitto_passwd")
	store := filepath.Join(t.TempDir(), "passwd")
	if out, err := exec.Command(passwd, "-b", "-c", store, "car1", "s3cret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	real := mqtttest.StartMosquitto(t, "allow_anonymous false", "password_file "+store)
	embedded, err := StartBroker(BrokerOptions{Username: "car1", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = embedded.Close() })
	for name, url := range map[string]string{"mosquitto": real.URL(), "mochi": embedded.URL()} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(url)
			if e := refused(t, o); !e.Permanent || !strings.Contains(e.Error(), "password_file") {
				t.Errorf("anonymous: %v", e)
			}
			o.UsernameFile, o.PasswordFile = writeFile(t, "car1\n"), writeFile(t, "wrong\n")
			e := refused(t, o)
			if !e.Permanent || !strings.Contains(e.Error(), "password_file") || strings.Contains(e.Error(), "wrong") {
				t.Errorf("wrong password: %v", e)
			}
			if err := Watch(t.Context(), WatchOptions{Options: o}, func(Message) {}); !errors.As(err, &e) {
				t.Errorf("Watch: %v", err)
			}
			// The file is renewed while the client runs: no restart is needed.
			c, _ := runClient(t, o)
			if err := c.WaitConnected(t.Context()); err == nil {
				t.Error("connected with a wrong password")
			}
			if err := os.WriteFile(o.PasswordFile, []byte("s3cret\r\nrest"), 0o600); err != nil {
				t.Fatal(err)
			}
			for c.WaitConnected(t.Context()) != nil {
				if t.Context().Err() != nil {
					t.Fatal("not connected with the right password")
				}
			}
		})
	}
}

func TestOptionsNameTheField(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no url", func(o *Options) { o.URL = "" }, "url: missing"},
		{"scheme", func(o *Options) { o.URL = "http://x" }, `url: "http://x" has scheme "http"`},
		{"no host", func(o *Options) { o.URL = "mqtt://" }, "has no host"},
		{"path", func(o *Options) { o.URL = "mqtt://x/y" }, "nothing may follow"},
		{"password in url", func(o *Options) { o.URL = "mqtt://u:p@x" }, "password_file"},
		{"no url at all", func(o *Options) { o.URL = "://" }, "url: no URL"},
		{"device", func(o *Options) { o.Device = "a/b" }, `device: "a/b" is no id`},
		{"fleet", func(o *Options) { o.Fleet = "" }, `fleet: "" is no id`},
		{"client id", func(o *Options) { o.ClientID = "a#" }, "client_id: "},
		{"keep alive", func(o *Options) { o.KeepAlive = time.Hour }, "keep_alive: 1h0m0s is outside 1s to 10m0s"},
		{"backoff", func(o *Options) { o.BackoffMax = time.Minute }, "backoff_max: "},
		{"qos", func(o *Options) { o.QoS = 2 }, "qos: 2 is outside 0 to 1"},
		{"queue", func(o *Options) { o.Queue = -1 }, "queue: -1 is outside"},
		{"user file", func(o *Options) { o.UsernameFile = missing }, "username_file: "},
		{"empty file", func(o *Options) { o.UsernameFile = writeFile(t, "\n") }, "username_file: the first line"},
		{"password alone", func(o *Options) { o.PasswordFile = writeFile(t, "x") }, "username_file: needed"},
		{"ca", func(o *Options) { o.URL, o.CAFile = "mqtts://x", missing }, "ca_file: "},
		{"ca is none", func(o *Options) { o.URL, o.CAFile = "mqtts://x", writeFile(t, "x") }, "holds no PEM certificate"},
		{"key alone", func(o *Options) { o.URL, o.KeyFile = "ssl://x", missing }, "give both or neither"},
		{"pair", func(o *Options) { o.URL, o.CertFile, o.KeyFile = "ssl://x", missing, missing }, "cert_file, key_file: "},
		{"ca without tls", func(o *Options) { o.CAFile = missing }, "is not encrypted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions("mqtt://localhost")
			tt.change(&o)
			_, err := New(o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	o := testOptions("http://x")
	o.Device, o.QoS = "", 7
	_, err := New(o)
	for _, want := range []string{"url:", "device:", "qos:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}
