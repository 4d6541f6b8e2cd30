package v4l2

import "encoding/binary"

// The kernel's <linux/videodev2.h>. A test compares this with what a C compiler makes of
// that file (testdata/abi.txt).
const (
	reqQuery = 0xc0445624
	reqGet   = 0xc0205647
	reqSet   = 0xc0205648

	sizeQuery    = 68
	sizeControls = 32
	sizeControl  = 20

	atQueryID       = 0
	atQueryType     = 4
	atQueryMin      = 40
	atQueryMax      = 44
	atQueryStep     = 48
	atQueryFlags    = 56
	atControlID     = 0
	atControlValue  = 12
	atControlsWhich = 0
	atControlsCount = 4
	atControlsError = 8
	atControlsArray = 24

	flagDisabled = 1 << 0
	flagReadOnly = 1 << 2

	typeInteger = 1
	typeBoolean = 2
	typeMenu    = 3

	idAutoExposure = 0x9a0901
	idExposure     = 0x9a0902 // in units of 100 µs
	idAutoPriority = 0x9a0903 // exposure may lower the rate of pictures
	idAutoGain     = 0x980912
	idGain         = 0x980913
	idAnalogueGain = 0x9e0903

	exposureManual = 1
)

var native = binary.NativeEndian
