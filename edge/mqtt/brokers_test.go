package mqtt

import (
	"fmt"
	"io"
	"os"
	"testing"

	"nightseg/edge/mqtt/mqtttest"
)

// mochiAt is the variable that makes this test program a broker: its value is
// where to listen.
const mochiAt = "NIGHTSEG_TEST_BROKER"

func TestMain(m *testing.M) {
	listen := os.Getenv(mochiAt)
	if listen == "" {
		os.Exit(m.Run())
	}
	if _, err := StartBroker(BrokerOptions{Listen: listen}); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, in whichever way
	os.Exit(0)
}

// startMochi starts the embedded broker in a process that can be killed. Tests
// that lose connections need it for another reason too: mochi 2.7.9 has a data
// race of its own, between a will that it retains and a subscription that looks
// for retained messages, which the race detector would lay at our door.
func startMochi(t *testing.T) *mqtttest.Process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := mqtttest.NewProcess(t)
	p.Args, p.Env = []string{program}, append(os.Environ(), mochiAt+"=127.0.0.1:"+p.Port)
	p.Start()
	return p
}

// server is a broker that a test can kill and start again on the same address.
type server struct {
	url           string
	kill, restart func()
}

// eachBroker runs a test against both brokers.
func eachBroker(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("mochi", func(t *testing.T) {
		p := startMochi(t)
		test(t, &server{url: p.URL(), kill: p.Kill, restart: p.Start})
	})
	t.Run("mosquitto", func(t *testing.T) {
		m := mqtttest.StartMosquitto(t)
		test(t, &server{url: m.URL(), kill: m.Kill, restart: m.Start})
	})
}
