package bus

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"nightseg/firmware/abitest"
)

// The numbers here are those that a C compiler finds in <linux/i2c-dev.h>.
func TestABI(t *testing.T) {
	var arg smbusArg
	abitest.Compare(t, map[string]uint64{
		"sizeof i2c_smbus_ioctl_data":            uint64(unsafe.Sizeof(arg)),
		"offset i2c_smbus_ioctl_data.read_write": uint64(unsafe.Offsetof(arg.direction)),
		"offset i2c_smbus_ioctl_data.command":    uint64(unsafe.Offsetof(arg.command)),
		"offset i2c_smbus_ioctl_data.size":       uint64(unsafe.Offsetof(arg.kind)),
		"offset i2c_smbus_ioctl_data.data":       uint64(unsafe.Offsetof(arg.data)),
		"sizeof i2c_smbus_data":                  uint64(unsafe.Sizeof(smbusData{})),
		"number I2C_SLAVE":                       reqDevice, "number I2C_FUNCS": reqFuncs, "number I2C_SMBUS": reqSMBus,
		"number I2C_SMBUS_READ": directionRead, "number I2C_SMBUS_WRITE": directionWrite,
		"number I2C_SMBUS_BYTE": kindByte, "number I2C_SMBUS_BYTE_DATA": kindByteData,
		"number I2C_SMBUS_WORD_DATA": kindWordData, "number I2C_SMBUS_I2C_BLOCK_DATA": kindI2CBlock,
		"number I2C_SMBUS_BLOCK_MAX": mostBlock, "number I2C_FUNC_I2C": funcI2C,
		"number I2C_FUNC_SMBUS_READ_BYTE": funcReadByte, "number I2C_FUNC_SMBUS_WRITE_BYTE": funcWriteByte,
		"number I2C_FUNC_SMBUS_READ_BYTE_DATA":  funcReadByteData,
		"number I2C_FUNC_SMBUS_WRITE_BYTE_DATA": funcWriteByteData,
		"number I2C_FUNC_SMBUS_READ_WORD_DATA":  funcReadWordData,
		"number I2C_FUNC_SMBUS_WRITE_WORD_DATA": funcWriteWordData,
		"number I2C_FUNC_SMBUS_READ_I2C_BLOCK":  funcReadI2CBlock,
		"number I2C_FUNC_SMBUS_WRITE_I2C_BLOCK": funcWriteI2CBlock,
	})
}

// calls answers as in a recording of the kernel's calls: a call in each line, with what
// came of it behind "=", or behind "!" the number of the error. Words are numbers, as in
// the kernel's union.
type calls struct {
	left []string
	open int
}

func recorded(text string) *calls {
	c := &calls{}
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			c.left = append(c.left, l)
		}
	}
	return c
}

func (c *calls) next(call string) (answer string, err error) {
	if len(c.left) == 0 {
		return "", fmt.Errorf("%q is not recorded", call)
	}
	want, problem, failed := strings.Cut(c.left[0], " ! ")
	want, answer, _ = strings.Cut(want, " = ")
	if want != call {
		return "", fmt.Errorf("%q, recorded is %q", call, want)
	}
	c.left = c.left[1:]
	if failed {
		n, err := strconv.Atoi(problem)
		return "", errors.Join(err, unix.Errno(n))
	}
	return answer, nil
}

// Funcs implements handle.
func (c *calls) Funcs() (uint64, error) {
	s, err := c.next("funcs")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(s, 16, 64)
}

// Device implements handle.
func (c *calls) Device(addr uint16) error {
	_, err := c.next(fmt.Sprintf("device %02x", addr))
	return err
}

// SMBus implements handle.
func (c *calls) SMBus(a smbusArg) error {
	call := map[uint8]string{directionRead: "read", directionWrite: "write"}[a.direction]
	var to []byte
	switch a.kind {
	case kindByte:
		call, to = call+" byte", a.data[:1]
	case kindByteData:
		call, to = call+" byte-data", a.data[:1]
	case kindWordData:
		call, to = call+" word-data", a.data[:2]
	case kindI2CBlock:
		call, to = call+" block", a.data[:1+a.data[0]]
	}
	if a.direction == directionWrite || a.kind != kindByte {
		call += fmt.Sprintf(" %02x", a.command)
	}
	if a.kind == kindWordData && a.direction == directionWrite {
		call += fmt.Sprintf(" %04x", binary.NativeEndian.Uint16(to))
	} else if a.kind == kindI2CBlock && a.direction == directionRead {
		call += fmt.Sprintf(" %02x", a.data[0])
	} else if a.direction == directionWrite && a.kind != kindByte {
		call += " " + hex.EncodeToString(to)
	}
	s, err := c.next(call)
	if err != nil || s == "" {
		return err
	}
	b, err := hex.DecodeString(s)
	if a.kind == kindWordData {
		binary.NativeEndian.PutUint16(to, binary.BigEndian.Uint16(b)) // a number is written high byte first
		return err
	}
	copy(a.data[:], b)
	return err
}

// Close implements handle.
func (c *calls) Close() error {
	c.open--
	return nil
}

func (c *calls) bus() *Bus {
	return New(&adapter{
		name: "/dev/i2c-9", open: func() (handle, error) { c.open++; return c, nil },
		plain: func() (i2c.BusCloser, error) { return nil, errors.New("not asked for") },
	}, Deadline)
}

// stub is what i2c-stub can do, and the SMBus of Intel's chipsets.
const stub = "funcs = 0c7f0000\n"

func TestSMBus(t *testing.T) {
	for _, v := range []struct{ name, calls, written, read, problem string }{
		{"nothing", stub, "", "", ""},
		{"TSL2561 on", stub + "device 39\nwrite byte-data 80 03", "8003", "", ""},
		{"TSL2561 id", stub + "device 39\nread byte-data 8a = 50", "8a", "50", ""},
		{"VEML7700 gain 1/8", stub + "device 39\nwrite word-data 00 1000", "000010", "", ""},
		{"VEML7700 light, low byte first", stub + "device 39\nread word-data 04 = 0123", "04", "2301", ""},
		{"INA3221 maker, high byte first", stub + "device 39\nread word-data fe = 4954", "fe", "5449", ""},
		{"INA219 calibration 0x1000", stub + "device 39\nwrite word-data 05 0010", "051000", "", ""},
		{"BH1750 on", stub + "device 39\nwrite byte 01", "01", "", ""},
		{"BH1750 measures", stub + "device 39\nread word-data 10 = 7f01", "10", "017f", ""},
		{"a byte", stub + "device 39\nread byte = 2a", "", "2a", ""},
		{"three bytes", stub + "device 39\nread block 07 03 = 03010203", "07", "010203", ""},
		{"three bytes into", stub + "device 39\nwrite block 07 03010203", "07010203", "", ""},
		{"fewer came", stub + "device 39\nread block 07 03 = 020102", "07", "010203", "2 bytes came, not 3"},
		{"nobody there", stub + "device 39\nread word-data 04 ! 6", "04", "2301", "address 0x39: no such device or address"},
		{"a driver has it", stub + "device 39 ! 16", "04", "2301", "busy: " + ErrDriver.Error()},
		{"no registers", stub, "", "2301", ErrSMBus.Error()},
		{"two bytes written, then read", stub, "0405", "2301", ErrSMBus.Error()},
		{"a long read", stub, "04", strings.Repeat("00", 33), ErrSMBus.Error()},
		{"a long write", stub, strings.Repeat("00", 34), "", ErrSMBus.Error()},
		{"no blocks (PIIX4)", "funcs = 037f0000", "07", "010203", ErrSMBus.Error()},
		{"no adapter", "funcs ! 25", "04", "2301", "/dev/i2c-9: inappropriate ioctl"},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := recorded(v.calls)
			w, _ := hex.DecodeString(v.written)
			want, _ := hex.DecodeString(v.read)
			r := make([]byte, len(want))
			err := c.bus().Tx(0x39, w, r)
			switch {
			case v.problem == "" && (err != nil || string(r) != string(want)):
				t.Errorf("read %x, want %x, %v", r, want, err)
			case v.problem != "" && (err == nil || !strings.Contains(err.Error(), v.problem)):
				t.Errorf("%v, want %q", err, v.problem)
			}
			if len(c.left) > 0 || c.open != 0 {
				t.Errorf("left over: %q; %d times open", c.left, c.open)
			}
		})
	}
}

// An adapter that can do more is spoken to by periph, and not with SMBus.
func TestPlainAdapter(t *testing.T) {
	c := recorded("funcs = 0eff0009\nfuncs = 0eff0009")
	p := &i2ctest.Playback{Ops: []i2ctest.IO{{Addr: 0x23, W: nil, R: []byte{1, 2}}}, DontPanic: true}
	a := &adapter{
		name: "/dev/i2c-9", open: func() (handle, error) { c.open++; return c, nil },
		plain: func() (i2c.BusCloser, error) { return p, nil },
	}
	r := make([]byte, 2)
	if err := a.Tx(0x23, nil, r); err != nil || r[1] != 2 || len(c.left) != 1 || c.open != 0 {
		t.Errorf("%v, %x, left over %q", err, r, c.left)
	}
	a.plain = func() (i2c.BusCloser, error) { return nil, os.ErrNotExist }
	if err := a.Tx(0x23, nil, r); !errors.Is(err, os.ErrNotExist) || c.open != 0 {
		t.Errorf("gone between the two: %v", err)
	}
	if err := a.SetSpeed(physic.KiloHertz); err == nil || !strings.Contains(err.Error(), a.String()) {
		t.Error(err)
	}
}

// A bus is there, goes away, and is back, by the file of its device.
func TestAdapterThatGoesAway(t *testing.T) {
	there := true
	a := &adapter{name: "/dev/i2c-9", open: func() (handle, error) {
		if !there {
			return nil, &os.PathError{Op: "open", Path: "/dev/i2c-9", Err: unix.ENOENT}
		}
		return recorded(stub + "device 10\nread byte-data 04 = 07"), nil
	}}
	b, r := New(a, Deadline), make([]byte, 1)
	for _, there = range []bool{true, false, true} {
		if err := b.Tx(0x10, []byte{4}, r); (err == nil) != there || !there && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("there %t: %v", there, err)
		}
	}
	if c := b.Counters(); c != (Counters{Transactions: 3, Errors: 1}) {
		t.Errorf("%+v", c)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// The kernel's own calls, on files that are no bus.
func TestFilesThatAreNoBus(t *testing.T) {
	name := filepath.Join(t.TempDir(), "i2c-9")
	if _, err := openFile(name); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Funcs(); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}
	if err := errors.Join(f.Device(0x10), f.SMBus(smbusArg{data: new(smbusData)})); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Funcs(); err == nil {
		t.Error("a closed file answers")
	}
	if _, err := Open("", 255); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/dev/i2c-255") {
		t.Error(err)
	}
}
