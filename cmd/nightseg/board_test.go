package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/firmware/board"
)

// boardRoot copies a recorded machine: LEDs of it are written to.
func boardRoot(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../firmware/board/testdata/trees/"+name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// boardFile is a description of one's own: the one that ships, and groups more.
func boardFile(t *testing.T, name, groups string) string {
	t.Helper()
	code, text, errOut := command(t, "board", "list", "--show", name)
	if code != exitDone {
		t.Fatal(errOut)
	}
	p := filepath.Join(t.TempDir(), "board.yaml")
	if err := os.WriteFile(p, []byte(text+groups), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

const wired = `
light: {front: {i2c: header, chip: bh1750, address: 0x23, interval: 200ms}}
outputs: {led: {line: pin29}, lamp: {line: pin13, longest: 1s}, dimmer: {pwm: pin33, hertz: 1000, most: 80}}
status: led
`

func TestBoardList(t *testing.T) {
	var got boardListing
	commandJSON(t, exitDone, &got, "board", "list", "--root", boardRoot(t, "pi5"))
	this := ""
	for _, b := range got.Boards {
		if b.This {
			this += b.Name
		}
	}
	if got.Model != "Raspberry Pi 5 Model B Rev 1.0" || this != "raspberry-pi-5" || len(got.Boards) != 4 {
		t.Errorf("%+v", got)
	}
	if _, out, _ := command(t, "board", "list", "--root", t.TempDir()); !strings.Contains(out, "no description is known") {
		t.Error(out)
	}
}

func TestBoardCheck(t *testing.T) {
	for _, name := range []string{"orin-nano", "pi5", "pc"} {
		if code, out, errOut := command(t, "board", "check", "--root", boardRoot(t, name)); code != exitDone {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errOut)
		}
	}
	var got boardCheck
	file := boardFile(t, "jetson-orin-nano", wired)
	commandJSON(t, exitDone, &got, "board", "check", "--root", boardRoot(t, "orin-nano"), "--board", file)
	if len(got.Findings) < 15 || got.Missing != 0 {
		t.Errorf("%+v", got)
	}
	commandJSON(t, exitRefused, &got, "board", "check", "--root", boardRoot(t, "pi5"), "--board", file)
	for _, f := range got.Findings {
		if !f.OK && f.Remedy == "" {
			t.Errorf("no remedy: %+v", f)
		}
	}
	if got.Missing < 10 {
		t.Errorf("a Raspberry Pi lacks %d things of an Orin Nano", got.Missing)
	}
	for name, want := range map[string]string{
		boardFile(t, "pc", "lamps: {}\n"): `unknown field "lamps"`,
		"orin":                            "no board that ships has this name (jetson-orin-nano, ",
	} {
		if code, _, errOut := command(t, "board", "check", "--board", name); code != exitUsage ||
			!strings.Contains(errOut, want) {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
}

func TestBoardWatch(t *testing.T) {
	file, root, rec := boardFile(t, "jetson-orin-nano", wired), boardRoot(t, "orin-nano"), t.TempDir()
	code, out, errOut := command(t, "board", "watch", "--root", root, "--board", file, "--count", "2", "--json",
		"--record", rec)
	if code != exitDone {
		t.Fatal(errOut)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var h board.Health
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &h); err != nil || len(lines) != 2 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if h.Celsius["tj"] != 51.093 || h.Light["front"].Lux < 30 || h.Rails["input"].Volts != 4.984 || len(h.Problems) > 0 {
		t.Errorf("%+v", h)
	}
	b, err := os.ReadFile(filepath.Join(rec, "dev", "i2c-7"))
	if err != nil || !strings.Contains(string(b), "\n23 11 ") {
		t.Errorf("recorded %q, %v", b, err)
	}
	for flag, want := range map[string]string{
		"--metrics": "nightseg_board_celsius{zone=\"tj\"} 51.093\n", "": "tj 51.1 °C |",
	} {
		args := []string{"board", "watch", "--root", root, "--count", "1"}
		if flag != "" {
			args = append(args, flag)
		}
		if _, out, errOut := command(t, args...); !strings.Contains(out, want) {
			t.Errorf("watch %s: %s%s", flag, out, errOut)
		}
	}
}

func TestBoardSet(t *testing.T) {
	file, root := boardFile(t, "jetson-orin-nano", wired), boardRoot(t, "orin-nano")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"lamp on --for 10ms", exitDone, "lamp: on for 10ms"},
		{"lamp on", exitDone, "lamp: on for 1s"},
		{"lamp off", exitDone, ""},
		{"lamp on --for 2s", exitUsage, "not above 0s to 1s"},
		{"led degraded --for 450ms", exitDone, "led: degraded"},
		{"led 50 --for 1s", exitUsage, "no value for led"},
		{"dimmer 60% --for 10ms", exitDone, "dimmer: 60%"},
		{"dimmer 81", exitUsage, "0 to 80 %"},
		{"dimmer fault", exitUsage, "no value"},
		{"horn on", exitUsage, "there are: dimmer lamp led"},
	} {
		args := append([]string{"board", "set", "--root", root, "--board", file}, strings.Fields(c.args)...)
		code, out, errOut := command(t, args...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("set %s: exit code %d: %s%s", c.args, code, out, errOut)
		}
	}
	if b, err := os.ReadFile(filepath.Join(root, "sys/class/pwm/pwmchip1/pwm0/duty_cycle")); string(b) != "0\n" {
		t.Errorf("the dimmer is left at %q, %v", b, err)
	}
}
