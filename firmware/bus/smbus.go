package bus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrSMBus is the error of a transaction that an adapter cannot do because it knows
// SMBus alone, as those of PC chipsets do.
var ErrSMBus = errors.New("the adapter knows SMBus alone, which has no such transaction: " +
	"wire the device to a plain I2C bus, of a header or a USB adapter (i2cdetect -l)")

// ErrDriver is the error of a device that the kernel keeps to itself.
var ErrDriver = errors.New("a driver of the kernel has this device: take its readings (hwmon), or unbind it")

// command is a transaction as SMBus has it. On the wire it is the same as that of I2C:
// the register is the first byte that is written, words go with their low byte first.
type command struct {
	smbusArg
	needs uint64 // of the adapter
}

// smbus does a transaction on an adapter that knows SMBus alone.
func smbus(h handle, funcs uint64, addr uint16, w, r []byte) error {
	if len(w) == 0 && len(r) == 0 {
		return nil // as on a plain bus
	}
	c, ok := toSMBus(w, len(r))
	if !ok || funcs&c.needs == 0 {
		return fmt.Errorf("%d bytes written and %d read: %w", len(w), len(r), ErrSMBus)
	}
	switch err := h.Device(addr); {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", err, ErrDriver)
	case err != nil:
		return err
	}
	if err := h.SMBus(c.smbusArg); err != nil {
		return err
	}
	return c.read(r)
}

// toSMBus finds the command for bytes that are written and a number of bytes that are
// read; ok is false where there is none.
func toSMBus(w []byte, read int) (c command, ok bool) {
	c.data = new(smbusData)
	if len(w) > 0 {
		c.command = w[0]
	}
	switch {
	case len(w) <= 1 && read > 0:
		return c.reading(len(w) == 1, read)
	case len(w) > 0 && read == 0:
		return c.writing(w[1:])
	}
	return c, false
}

func (c command) reading(register bool, n int) (command, bool) {
	c.direction = directionRead
	switch {
	case !register:
		c.kind, c.needs = kindByte, funcReadByte
		return c, n == 1
	case n == 1:
		c.kind, c.needs = kindByteData, funcReadByteData
	case n == 2:
		c.kind, c.needs = kindWordData, funcReadWordData
	case n <= mostBlock:
		c.kind, c.needs = kindI2CBlock, funcReadI2CBlock
		c.data[0] = byte(n)
	default:
		return c, false
	}
	return c, true
}

func (c command) writing(b []byte) (command, bool) {
	c.direction = directionWrite
	switch n := len(b); {
	case n == 0:
		c.kind, c.needs = kindByte, funcWriteByte
	case n == 1:
		c.kind, c.needs = kindByteData, funcWriteByteData
		c.data[0] = b[0]
	case n == 2:
		c.kind, c.needs = kindWordData, funcWriteWordData
		binary.NativeEndian.PutUint16(c.data[:], binary.LittleEndian.Uint16(b))
	case n <= mostBlock:
		c.kind, c.needs = kindI2CBlock, funcWriteI2CBlock
		c.data[0] = byte(n)
		copy(c.data[1:], b)
	default:
		return c, false
	}
	return c, true
}

// read takes what the device has answered.
func (c command) read(r []byte) error {
	switch {
	case len(r) == 0:
	case c.kind == kindWordData:
		binary.LittleEndian.PutUint16(r, binary.NativeEndian.Uint16(c.data[:]))
	case c.kind == kindI2CBlock:
		if n := int(c.data[0]); n != len(r) {
			return fmt.Errorf("%d bytes came, not %d", n, len(r))
		}
		copy(r, c.data[1:])
	default:
		r[0] = c.data[0]
	}
	return nil
}
