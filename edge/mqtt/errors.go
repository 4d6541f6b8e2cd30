package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// ErrStopped is returned by calls that wait for a client whose Run has ended.
var ErrStopped = errors.New("mqtt client has stopped")

// ConnectError says why the broker could not be reached, and what to do.
type ConnectError struct {
	URL    string
	Remedy string
	// Permanent is true where the broker or its certificate refused us: waiting
	// will not help, although the client goes on trying, since files may change.
	Permanent bool
	Err       error
}

// Error names the broker, the reason and the remedy.
func (e *ConnectError) Error() string {
	return fmt.Sprintf("connect to broker %s: %v (%s)", e.URL, e.Err, e.Remedy)
}

// Unwrap returns the reason.
func (e *ConnectError) Unwrap() error { return e.Err }

// connectError finds the remedy for a failed connect.
func connectError(o *Options, err error) *ConnectError {
	e := &ConnectError{URL: o.URL, Err: err}
	var unknownCA x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		e.Permanent, e.Remedy = true, "check username_file and password_file, and the broker's access rules"
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		e.Permanent, e.Remedy = true, "the broker does not take this client_id"
	case errors.Is(err, packets.ErrorRefusedBadProtocolVersion):
		e.Permanent, e.Remedy = true, "the broker must speak MQTT 3.1.1"
	case errors.As(err, &unknownCA):
		e.Permanent, e.Remedy = true, "ca_file must hold the authority that signed the broker's certificate"
	case errors.As(err, &wrongName):
		e.Permanent, e.Remedy = true, "the broker's certificate must name the host of the URL"
	case errors.As(err, &invalid):
		e.Permanent, e.Remedy = true, "check the broker's certificate and this machine's clock"
	case errors.As(err, &noTLS):
		e.Permanent, e.Remedy = true, "this port speaks no TLS: use mqtt:// or the broker's TLS port"
	case strings.Contains(err.Error(), "remote error: tls:"):
		e.Permanent, e.Remedy = true, "the broker refused our certificate: check cert_file and key_file"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Remedy = "is the broker running, and is the port right?"
	case errors.As(err, &dns):
		e.Remedy = "check the host name and the network"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		e.Permanent, e.Remedy = true, "the file must exist and be readable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Remedy = "no answer in time: check host, port and network"
	case hungUp(err) && strings.HasPrefix(o.URL, "mqtt://"), hungUp(err) && strings.HasPrefix(o.URL, "tcp://"):
		e.Remedy = "the broker hung up: a TLS port needs mqtts://, and its log may say more"
	case hungUp(err):
		// With TLS 1.3 a refused certificate shows only after the handshake.
		e.Remedy = "the broker hung up: does this port speak TLS, and does it take our certificate? " +
			"Check cert_file and key_file, and the broker's log"
	default:
		e.Remedy = "retried with back-off"
	}
	return e
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
