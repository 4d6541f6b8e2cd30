package mqtt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"nightseg/edge/mqtt/mqtttest"
)

// aclBroker is a mosquitto with the rules that ship, its configuration's lines but
// for addresses and places, and users whose password is their name.
func aclBroker(t *testing.T, users ...string) (b *mqtttest.Process, login func(o Options, user string) Options) {
	t.Helper()
	passwd := mqtttest.FindProgram(t, "mosquitto_passwd")
	dir := t.TempDir()
	words := filepath.Join(dir, "passwd")
	for i, u := range users {
		args := []string{"-b", words, u, u}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.Command(passwd, args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
		}
		if err := os.WriteFile(filepath.Join(dir, u), []byte(u+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shipped := filepath.Join("..", "..", "packaging", "mosquitto")
	text, err := os.ReadFile(filepath.Join(shipped, "nightseg.conf"))
	if err != nil {
		t.Fatal(err)
	}
	acl, err := filepath.Abs(filepath.Join(shipped, "nightseg.acl"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, _, _ := strings.Cut(line, " ")
		switch key {
		case "", "#", "listener", "certfile", "keyfile", "persistence", "persistence_location", "max_queued_messages":
			continue
		case "password_file":
			line = key + " " + words
		case "acl_file":
			line = key + " " + acl
		}
		lines = append(lines, line)
	}
	b = mqtttest.StartMosquitto(t, lines...)
	return b, func(o Options, user string) Options {
		o.URL, o.UsernameFile = b.URL(), filepath.Join(dir, user)
		o.PasswordFile = o.UsernameFile
		return o
	}
}

// TestACL: with the rules that ship a device works as without any.
func TestACL(t *testing.T) {
	_, login := aclBroker(t, "car1", "operator")
	ob := observe(t, WatchOptions{Options: login(Options{}, "operator"), QoS: 1})
	desired, commands := make(chan string, 1), make(chan Command, 1)
	o := login(testOptions(""), "car1")
	o.OnDesired = func(b []byte) { desired <- string(b) }
	o.OnCommand = func(c Command) { commands <- c }
	box := &memory{past: []Past{
		{Camera: "front", Payload: []byte("old")},
		{Event: true, Run: "before", Payload: []byte("yesterday"), Ref: 1},
		{Event: true, Run: o.Run, Payload: []byte("now"), Ref: 2},
	}}
	o.Outbox = box
	c, stop := runClient(t, o)
	waitConnected(t, c)
	c.SetStatus(Online, "")
	c.SetMeta([]byte("m"))
	c.SetSchema([]byte("s"))
	c.SetReported([]byte("r"))
	c.PublishHealth([]byte("h"))
	c.PublishStats("front", []byte("f"))
	offer(c, "front", []byte("mask"))
	if err := c.PublishMask(t.Context(), "front", []byte("lossless")); err != nil {
		t.Fatal(err)
	}
	c.Ack([]byte("a"))
	c.Result("ping", []byte("p"))
	base := testTopics.Base() + "/"
	want := map[string]string{
		"meta": "m", "config/schema": "s", "config/reported": "r", "health": "h", "cam/front/stats": "f",
		"config/ack": "a", "cmd/ping/result": "p", "hist/cam/front/mask": "old",
		"hist/event": "yesterday", "event": "now",
	}
	masks := 0
	for len(want) > 0 || masks < 2 {
		m := receive(t, ob.messages, "messages of the device")
		name := strings.TrimPrefix(m.Topic, base)
		if want[name] == string(m.Payload) {
			delete(want, name)
		}
		if name == "cam/front/mask" {
			masks++
		}
	}
	op := loggedIn(t, login(Options{ClientID: "op"}, "operator"))
	op.publish(t, testTopics.Desired(), true, `{"version":1}`)
	op.publish(t, testTopics.Command("ping"), false, `{"id":"1"}`)
	if got := receive(t, desired, "settings"); got != `{"version":1}` {
		t.Errorf("settings %s", got)
	}
	receive(t, commands, "command")
	stop()
	ob.status(t, Stopped)
}

// loggedIn opens a connection that can try anything.
func loggedIn(t *testing.T, o Options) *conn {
	t.Helper()
	o.setDefaults()
	c, err := connect(t.Context(), &o, noTune)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.disconnect)
	return c
}

// TestACLKeepsOthersOut has a second device try all that it must not.
func TestACLKeepsOthersOut(t *testing.T) {
	b, login := aclBroker(t, "car1", "car2", "operator")
	ob := observe(t, WatchOptions{Options: login(Options{}, "operator"), QoS: 1})
	op := loggedIn(t, login(Options{ClientID: "op"}, "operator"))
	op.publish(t, testTopics.Desired(), true, `{"version":7,"secret":true}`)

	// Reading: nothing of the first device arrives, retained or fresh.
	heard := make(chan Message, 64)
	all := []string{"#", testTopics.Desired()}
	spy := observe(t, WatchOptions{Options: login(Options{}, "car2"), QoS: 1, Filters: all})
	go func() {
		for m := range spy.messages {
			heard <- m
		}
	}()
	op.publish(t, testTopics.Desired(), true, `{"version":8,"secret":true}`)
	op.publish(t, Topics{Fleet: "test", Device: "car2"}.Desired(), false, "yours")
	if m := receive(t, heard, "its own settings"); m.Topic != (Topics{Fleet: "test", Device: "car2"}).Desired() {
		t.Errorf("car2 heard %s: %s", m.Topic, m.Payload)
	}

	// Writing: the broker refuses, and nothing arrives.
	forbidden := []string{
		testTopics.Status(), testTopics.Meta(), testTopics.Mask("front"), testTopics.History("front"),
		testTopics.Event(), testTopics.PastEvent(),
		testTopics.Desired(), testTopics.Ack(), testTopics.Command("ping"), testTopics.Result("ping"),
		Topics{Fleet: "test", Device: "car2"}.Desired(), // a device does not set itself
		"nightseg/v1/test", "elsewhere",
	}
	for i, topic := range forbidden {
		o := login(Options{ClientID: "intruder"}, "car2")
		o.setDefaults()
		c, err := connect(t.Context(), &o, func(po *paho.ClientOptions) {})
		if err != nil {
			t.Fatal(err)
		}
		// MQTT 3.1.1 has no word for a refusal of a message: mosquitto hangs up, or
		// acknowledges and throws away; its log tells.
		token := c.paho.Publish(topic, 1, false, "forged")
		select {
		case <-token.Done():
		case <-c.lost:
		}
		c.abandon()
		refused := func() bool { return strings.Count(b.Log.String(), "Denied PUBLISH from intruder") > i }
		deadline := time.Now().Add(patience)
		for tick := time.Tick(time.Millisecond); !refused(); <-tick {
			if time.Now().After(deadline) {
				t.Fatalf("%s was not refused", topic)
			}
		}
	}
	op.publish(t, testTopics.Command("end"), false, "end")
	for {
		m := receive(t, ob.messages, "the end")
		if string(m.Payload) == "forged" {
			t.Errorf("a forged message came on %s", m.Topic)
		}
		if string(m.Payload) == "end" {
			break
		}
	}
}

// TestACLWithoutMasks: rules that forbid the masks' topics take the other
// connection nothing, and the reason is told.
func TestACLWithoutMasks(t *testing.T) {
	acl := filepath.Join(t.TempDir(), "acl")
	rules := "topic write " + testTopics.Status() + "\ntopic read " + testTopics.Status() + "\n"
	if err := os.WriteFile(acl, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	m := mqtttest.StartMosquitto(t, "allow_anonymous true", "acl_file "+acl)
	o := testOptions(m.URL())
	masks := make(chan ConnectionState, 64)
	o.OnMasks = func(s ConnectionState) { masks <- s }
	c, _ := runClient(t, o)
	waitConnected(t, c)
	receive(t, masks, "connection")
	offer(c, "front", []byte("x"))
	if s := receive(t, masks, "loss"); s.Connected || !strings.Contains(s.Err.Error(), "access rules") {
		t.Errorf("%+v", s)
	}
	if n := c.Counters(); n.Connects != 1 {
		t.Errorf("%+v", n)
	}
}

// TestACLWrongPassword: files are read again at each connect, so that a password can
// be put right while the service runs.
func TestACLWrongPassword(t *testing.T) {
	_, login := aclBroker(t, "car1")
	o := login(testOptions(""), "car1")
	if err := os.WriteFile(o.PasswordFile+"-wrong", []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	right := o.PasswordFile
	o.PasswordFile += "-wrong"
	states := make(chan ConnectionState, 64)
	o.OnMasks = func(s ConnectionState) { states <- s }
	c, _ := runClient(t, o)
	if s := receive(t, states, "refusal"); s.Connected || !strings.Contains(s.Err.Error(), "password_file") {
		t.Errorf("%+v", s)
	}
	text, err := os.ReadFile(right)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.PasswordFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for !receive(t, states, "connection with the right password").Connected {
	}
	if err := c.control.wait(t.Context(), c.done, 0); err != nil && !strings.Contains(err.Error(), "password_file") {
		t.Error(err)
	}
}
