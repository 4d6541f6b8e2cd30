package bus

// The kernel's <linux/i2c-dev.h> and <linux/i2c.h>. A test compares this with what a C
// compiler makes of those files (testdata/abi.txt).
const (
	reqDevice = 0x703 // I2C_SLAVE
	reqFuncs  = 0x705
	reqSMBus  = 0x720

	directionWrite = 0
	directionRead  = 1

	kindByte     = 1 // no register
	kindByteData = 2
	kindWordData = 3
	kindI2CBlock = 8

	mostBlock = 32

	funcI2C           = 0x00000001
	funcReadByte      = 0x00020000
	funcWriteByte     = 0x00040000
	funcReadByteData  = 0x00080000
	funcWriteByteData = 0x00100000
	funcReadWordData  = 0x00200000
	funcWriteWordData = 0x00400000
	funcReadI2CBlock  = 0x04000000
	funcWriteI2CBlock = 0x08000000
)

// smbusData is a byte, a word in the machine's own order, or a block with its length
// before it.
type smbusData [mostBlock + 2]byte

// smbusArg is the argument of reqSMBus.
type smbusArg struct {
	direction uint8
	command   uint8
	kind      uint32
	data      *smbusData
}
