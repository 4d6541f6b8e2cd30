package mqtttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Network is a network namespace with a broker in it, and two ways to it: one
// that a test makes bad, for the device, and a good one, for those who watch.
type Network struct {
	*Process // the broker; its address is the one on the good way

	t    testing.TB
	name string // of the namespace, and of the devices
}

// The addresses of a Network: on the way of the device, and on the good one. The
// two ranges are for tests of networks (RFC 2544).
const (
	hereBad, thereBad   = "198.18.77.1", "198.18.77.2"
	hereGood, thereGood = "198.19.77.1", "198.19.77.2"
)

// inOwnNetwork tells the child that WithNetwork starts that it is one.
const inOwnNetwork = "NIGHTSEG_IN_OWN_NETWORK"

// WithNetwork runs a test with a Network; the way of the device has to be made yet.
// The test runs again in a child that has network devices and mounts of its own:
// neither a firewall of this machine nor what a killed run has left is in its way,
// and of itself it leaves nothing. It is skipped where that is not allowed.
func WithNetwork(t *testing.T, test func(n *Network)) {
	t.Helper()
	if os.Getenv(inOwnNetwork) != "" {
		test(newNetwork(t))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	child := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), inOwnNetwork+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL,
	}
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		t.Skipf("no network namespace can be made here: %v", err)
	case bytes.Contains(out, []byte("--- SKIP: ")):
		t.Skip(strings.TrimSpace(string(out)))
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")):
		t.Fatalf("the test has not run in its own network:\n%s", out)
	}
	t.Logf("%s", out)
}

// newNetwork makes a namespace with mosquitto in it.
func newNetwork(t testing.TB) *Network {
	t.Helper()
	FindProgram(t, "ip")
	n := &Network{t: t, name: fmt.Sprintf("ns%d", os.Getpid())}
	n.Do("ip", "link", "set", "lo", "up")
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { n.Do("ip", "netns", "del", n.name) })
	n.pair("g", hereGood, thereGood)
	n.There("ip", "link", "set", "lo", "up")
	n.Process = startMosquitto(t, []string{"ip", "netns", "exec", n.name}, "0.0.0.0", thereGood)
	return n
}

// Do runs a program.
func (n *Network) Do(args ...string) {
	n.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// There runs a program in the namespace.
func (n *Network) There(args ...string) {
	n.t.Helper()
	n.Do(append([]string{"ip", "netns", "exec", n.name}, args...)...)
}

// pair joins the namespace by two virtual network devices.
func (n *Network) pair(suffix, here, there string) {
	n.t.Helper()
	a, b := n.name+suffix, n.name+suffix+"x"
	n.Do("ip", "link", "add", a, "type", "veth", "peer", "name", b)
	n.t.Cleanup(func() { n.Do("ip", "link", "del", a) })
	n.Do("ip", "link", "set", b, "netns", n.name)
	n.Do("ip", "addr", "add", here+"/30", "dev", a)
	n.Do("ip", "link", "set", a, "up")
	n.There("ip", "addr", "add", there+"/30", "dev", b)
	n.There("ip", "link", "set", b, "up")
}

// DeviceURL is where the device connects, by the bad way.
func (n *Network) DeviceURL() string { return "mqtt://" + net.JoinHostPort(thereBad, n.Port) }

// Thin makes a way that carries bytesPerSecond to the broker, behind a queue as
// deep as that of a bad modem: ten seconds.
func (n *Network) Thin(bytesPerSecond int) {
	n.t.Helper()
	n.pair("b", hereBad, thereBad)
	FindProgram(n.t, "tc")
	n.Do("tc", "qdisc", "add", "dev", n.name+"b", "root", "tbf", "rate", fmt.Sprintf("%dbit", 8*bytesPerSecond),
		"burst", "2kb", "limit", fmt.Sprint(10*bytesPerSecond))
}

// Plain makes a way like the good one.
func (n *Network) Plain() { n.pair("b", hereBad, thereBad) }

// Down and Up take the other end of a plain way away, and bring it back.
func (n *Network) Down() { n.There("ip", "link", "set", n.name+"bx", "down") }

// Up ends Down.
func (n *Network) Up() { n.There("ip", "link", "set", n.name+"bx", "up") }

// Long makes a way of a rate and a round trip, with a queue of half a second. The
// kernel's own means for that (netem) are often missing: packets pass through this
// process.
func (n *Network) Long(bytesPerSecond int, trip time.Duration) {
	n.t.Helper()
	here, there := n.tunnel("l"), n.tunnel("lx")
	n.Do("ip", "link", "set", n.name+"lx", "netns", n.name)
	n.Do("ip", "addr", "add", hereBad, "peer", thereBad, "dev", n.name+"l")
	n.Do("ip", "link", "set", n.name+"l", "up")
	n.There("ip", "addr", "add", thereBad, "peer", hereBad, "dev", n.name+"lx")
	n.There("ip", "link", "set", n.name+"lx", "up")
	var wg sync.WaitGroup
	ended := make(chan struct{})
	for _, way := range [][2]*os.File{{here, there}, {there, here}} {
		wg.Go(func() { carry(way[1], way[0], float64(bytesPerSecond), trip/2, ended) })
	}
	n.t.Cleanup(func() {
		close(ended)
		_ = here.Close()
		_ = there.Close()
		wg.Wait()
	})
}

// tunnel makes a network device whose packets this process reads and writes.
func (n *Network) tunnel(suffix string) *os.File {
	n.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		n.t.Skipf("no network device of our own can be made here: %v", err)
	}
	req, err := unix.NewIfreq(n.name + suffix)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		n.t.Skipf("no network device of our own can be made here: %v", err)
	}
	return os.NewFile(uintptr(fd), n.name+suffix)
}

// carry takes packets from one end to the other, late.
func carry(dst, src *os.File, rate float64, delay time.Duration, ended <-chan struct{}) {
	type packet struct {
		b  []byte
		at time.Time
	}
	queue := make(chan packet, 4096)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for p := range queue {
			timer.Reset(time.Until(p.at))
			select {
			case <-timer.C:
			case <-ended:
				return
			}
			_, _ = dst.Write(p.b) // a network loses packets
		}
	})
	defer close(queue)
	free := time.Now()
	for {
		b := make([]byte, 2048)
		k, err := src.Read(b)
		if err != nil {
			return
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > time.Second/2 {
			continue
		}
		free = free.Add(time.Duration(float64(k) / rate * float64(time.Second)))
		select {
		case queue <- packet{b[:k], free.Add(delay)}:
		default:
		}
	}
}
