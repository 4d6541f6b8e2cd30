package mqtt

import (
	"fmt"
	"regexp"
)

// Root is the first two levels of every topic; the number rises when a topic
// or a message changes in a way that an old reader cannot ignore.
const Root = "nightseg/v1"

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckID returns an error when s cannot be a level of a topic: ids of fleets,
// devices, cameras and commands are [A-Za-z0-9_-]{1,64}.
func CheckID(s string) error {
	if idPattern.MatchString(s) {
		return nil
	}
	return fmt.Errorf("%q is no id: use 1 to 64 of the characters A-Z a-z 0-9 _ -", s)
}

// Topics names the topics of one device.
type Topics struct{ Fleet, Device string }

// Check returns an error when the fleet or the device is no id.
func (t Topics) Check() error {
	if err := CheckID(t.Fleet); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if err := CheckID(t.Device); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	return nil
}

// Base is the topic prefix of the device, without a slash at its end.
func (t Topics) Base() string { return Root + "/" + t.Fleet + "/" + t.Device }

// Status holds the retained state of the service, and is the topic of the will.
func (t Topics) Status() string { return t.Base() + "/status" }

// Meta holds the retained description of software, bundle and cameras.
func (t Topics) Meta() string { return t.Base() + "/meta" }

// Health carries the state of the machine.
func (t Topics) Health() string { return t.Base() + "/health" }

// Mask carries the masks of a camera.
func (t Topics) Mask(camera string) string { return t.Base() + "/cam/" + camera + "/mask" }

// Stats carries the figures of a camera, once a second.
func (t Topics) Stats(camera string) string { return t.Base() + "/cam/" + camera + "/stats" }

// History carries masks that were kept while the broker was away.
func (t Topics) History(camera string) string { return t.Base() + "/hist/cam/" + camera + "/mask" }

// Desired is where the operator writes the settings that the device should have.
func (t Topics) Desired() string { return t.Base() + "/config/desired" }

// Reported holds the settings in force.
func (t Topics) Reported() string { return t.Base() + "/config/reported" }

// Schema holds the JSON Schema of the settings.
func (t Topics) Schema() string { return t.Base() + "/config/schema" }

// Ack carries one answer per request that came in on Desired.
func (t Topics) Ack() string { return t.Base() + "/config/ack" }

// Command carries requests; use "#" as name to subscribe to all.
func (t Topics) Command(name string) string { return t.Base() + "/cmd/" + name }

// Result carries the answers to a command.
func (t Topics) Result(name string) string { return t.Base() + "/cmd/" + name + "/result" }
