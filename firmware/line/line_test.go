package line

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/firmware/abitest"
	"nightseg/firmware/tree"
)

const trees = "../board/testdata/trees/"

// The numbers here are those that a C compiler finds in <linux/gpio.h>.
func TestABI(t *testing.T) {
	abitest.Compare(t, map[string]uint64{
		"sizeof gpiochip_info": sizeChipInfo, "offset gpiochip_info.label": atChipLabel,
		"offset gpiochip_info.lines": atChipLines,
		"sizeof gpio_v2_line_info":   sizeLineInfo, "offset gpio_v2_line_info.consumer": atInfoConsumer,
		"offset gpio_v2_line_info.offset": atInfoOffset, "offset gpio_v2_line_info.flags": atInfoFlags,
		"sizeof gpio_v2_line_request": sizeRequest, "offset gpio_v2_line_request.consumer": atRequestConsumer,
		"offset gpio_v2_line_request.config":    atRequestConfig,
		"offset gpio_v2_line_request.num_lines": atRequestLines, "offset gpio_v2_line_request.fd": atRequestFD,
		"sizeof gpio_v2_line_config": sizeConfig, "offset gpio_v2_line_config.num_attrs": atConfigNumAttrs,
		"offset gpio_v2_line_config.attrs":                             atConfigAttrs,
		"sizeof gpio_v2_line_config_attribute":                         sizeAttr,
		"offset gpio_v2_line_config_attribute.attr.debounce_period_us": atAttrValue,
		"offset gpio_v2_line_config_attribute.attr.values":             atAttrValue,
		"offset gpio_v2_line_config_attribute.mask":                    atAttrMask,
		"sizeof gpio_v2_line_values":                                   sizeValues,
		"offset gpio_v2_line_values.mask":                              atValuesMask,
		"sizeof gpio_v2_line_event":                                    sizeEvent, "offset gpio_v2_line_event.id": atEventID,
		"number GPIO_GET_CHIPINFO_IOCTL":       reqChipInfo,
		"number GPIO_V2_GET_LINEINFO_IOCTL":    reqLineInfo,
		"number GPIO_V2_GET_LINE_IOCTL":        reqLine,
		"number GPIO_V2_LINE_GET_VALUES_IOCTL": reqGetValues, "number GPIO_V2_LINE_SET_VALUES_IOCTL": reqSetValues,
		"number GPIO_V2_LINE_FLAG_USED": flagUsed, "number GPIO_V2_LINE_FLAG_ACTIVE_LOW": flagActiveLow,
		"number GPIO_V2_LINE_FLAG_INPUT": flagInput, "number GPIO_V2_LINE_FLAG_OUTPUT": flagOutput,
		"number GPIO_V2_LINE_FLAG_EDGE_RISING": flagRising, "number GPIO_V2_LINE_FLAG_EDGE_FALLING": flagFalling,
		"number GPIO_V2_LINE_FLAG_BIAS_PULL_UP": flagPullUp, "number GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN": flagPullDown,
		"number GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES": attrOutputValues, "number GPIO_V2_LINE_ATTR_ID_DEBOUNCE": attrDebounce,
		"number GPIO_V2_LINE_EVENT_RISING_EDGE": eventRising, "number GPIO_V2_LINE_EVENT_FALLING_EDGE": eventFalling,
	})
}

func TestFind(t *testing.T) {
	l, err := List(trees + "orin-nano").Find("PAC.06")
	want := Info{Chip: "/dev/gpiochip0", Label: "tegra234-gpio", Offset: 144, Name: "PAC.06"}
	if err != nil || l != want { // pin 7; the number is also that of NVIDIA's Jetson.GPIO
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := List(trees + "orin-nano").Find("PCC.00"); err != nil || l.Label != "tegra234-gpio-aon" || l.Offset != 12 {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := List(trees + "orin-nano").Find("PZ.06"); err != nil || !l.Used || l.Consumer != "spi0 CS0" {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := List(trees + "orin-nano").Find("PX.99"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if _, err := List(trees + "pi5").Find("2712_WAKE"); err == nil || !strings.Contains(err.Error(), "write gpio-br") {
		t.Error(err)
	}
	if l, err := List(trees + "pi5").Find("gpio-brcmstb@107d517c00:2712_WAKE"); err != nil || l.Offset != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := List(trees + "pc").Find("GPIO17"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// A Raspberry Pi 5 has /dev/gpiochip4 as a link to its chip: a line is not there twice.
func TestLinkToAChip(t *testing.T) {
	dir := t.TempDir()
	dev := filepath.Join(dir, "dev")
	b, err := os.ReadFile(trees + "pi5/dev/gpiochip0")
	if err == nil {
		err = errors.Join(os.Mkdir(dev, 0o755), os.WriteFile(filepath.Join(dev, "gpiochip0"), b, 0o600),
			os.Symlink("gpiochip0", filepath.Join(dev, "gpiochip4")))
	}
	if err != nil {
		t.Fatal(err)
	}
	if l, err := List(tree.Root(dir)).Find("GPIO17"); err != nil || l.Chip != "/dev/gpiochip0" {
		t.Errorf("%+v, %v", l, err)
	}
}

// The calls are those of the recording, bit by bit: another one has no answer there.
func TestOutputAndInput(t *testing.T) {
	o, err := OpenOutput(trees+"orin-nano", "PQ.05", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Set(true), o.Set(false), o.Close()); err != nil {
		t.Error(err)
	}
	if _, err := OpenOutput(trees+"orin-nano", "PQ.05", true); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("another request was answered: %v", err)
	}
	if _, err := OpenOutput(trees+"orin-nano", "PZ.06", false); !errors.Is(err, unix.EBUSY) ||
		!strings.Contains(err.Error(), `"spi0 CS0" uses it`) {
		t.Error(err)
	}
	i, err := OpenInput(trees+"orin-nano", "PQ.06",
		InputOptions{ActiveLow: true, Pull: PullUp, Debounce: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	e, err := i.Next(t.Context())
	if want := (Edge{Active: true, At: 81000000123}); err != nil || e != want {
		t.Errorf("%+v, %v", e, err)
	}
	if on, err := i.Active(); !on || err != nil {
		t.Errorf("%t, %v", on, err)
	}
	ends(t, i)
	if err := i.Close(); err != nil {
		t.Error(err)
	}
}

// ends checks that waiting for a change ends with its context.
func ends(t *testing.T, i *Input) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, err := i.Next(ctx)
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %v", err)
	}
}

// Descriptors of the kernel: a pipe stands for a line's, which is read in the same way.
func TestKernelFile(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	h, err := file{}.adopt(int32(p[0]), "line X")
	if err != nil {
		t.Fatal(err)
	}
	event := make([]byte, sizeEvent)
	native.PutUint64(event, 7)
	native.PutUint32(event[atEventID:], eventFalling)
	if _, err := unix.Write(p[1], event); err != nil {
		t.Fatal(err)
	}
	i := &Input{h}
	if e, err := i.Next(t.Context()); err != nil || e != (Edge{At: 7}) {
		t.Errorf("%+v, %v", e, err)
	}
	ends(t, i)
	if _, err := i.Active(); !errors.Is(err, unix.ENOTTY) { // the call reaches the kernel
		t.Errorf("a pipe is a line: %v", err)
	}
	if err := errors.Join(i.Close(), unix.Close(p[1])); err != nil {
		t.Error(err)
	}
	null, err := openChip("", "/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if err := null.Close(); err != nil {
		t.Error(err)
	}
}

var badRecordings = map[string]string{
	"":                                "first line",
	header + "\nchip 8044b401 -\n":    "line 2: 3 words",
	header + "\nchip 0 - -\n":         "no request",
	header + "\nchip 8044b401 zz -\n": "invalid byte",
	header + "\nchip c010b40e - " + zeros(17): "17 bytes, the request has 16",
	header + "\n#\nfd3 read - - ! x\n":        "line 3",
	header + "\nfd3 read - - ! 0\n":           "no number of an error",
}

func zeros(n int) string { return strings.Repeat("01", n) }

func TestBadRecordings(t *testing.T) {
	for text, want := range badRecordings {
		if _, err := newRecording("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	many := []byte(header + "\nchip 8044b401 - " + strings.Repeat("00", atChipLines) + "ffffffff\n")
	r, err := newRecording("f", many)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := describe(r.handle("chip"), "f"); err == nil || !strings.Contains(err.Error(), "are believed") {
		t.Error(err)
	}
}

func FuzzRecording(f *testing.F) {
	for text := range badRecordings {
		f.Add([]byte(text))
	}
	b, err := os.ReadFile(trees + "pi5/dev/gpiochip11")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newRecording("f", b)
		if err != nil {
			return
		}
		lines, err := describe(r.handle("chip"), "f")
		if err == nil && len(lines) > maxLines {
			t.Error("too many lines")
		}
		h := r.handle("fd3")
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		for range bytes.Count(b, []byte("\n")) + 1 {
			if _, err := h.Read(make([]byte, 8)); errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
		}
		t.Error("reads do not end")
	})
}
