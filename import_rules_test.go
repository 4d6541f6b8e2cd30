package nightseg_test

// rule says what the packages that match a pattern may import of ours.
type rule struct {
	pkg  string   // "a/b", or "a/..." for a and all below it
	may  []string // the same; "./..." stands for the packages below the importing one
	cgo  bool     // C code may be in it, or in what it imports of others
	deny string   // why it may import nothing else
}

// rules are looked at from the top; the first that matches counts. A package that
// none matches fails the test.
var rules = []rule{
	{pkg: "edge/frame", deny: "everything travels in its values: what it imports, everybody imports"},
	{pkg: "edge/decide", may: []string{"edge/frame"}, deny: "it is arithmetic on the hot path: logits in, mask out"},
	{
		pkg: "edge/message", may: []string{"edge/frame"},
		deny: "the wire form is for programs of others too, and is fuzzed without a broker",
	},
	{
		pkg: "edge/mqtt", may: []string{"edge/message", "edge/frame"},
		deny: "it sends bytes: what they mean, and who made them, is not its business",
	},
	{pkg: "edge/disk", deny: "files are files, whatever is in them"},
	{pkg: "edge/disk/disktest", may: []string{"edge/disk"}, deny: "it stands in for a disk, whoever writes to it"},
	{
		pkg:  "edge/spool",
		may:  []string{"edge/disk", "edge/message", "edge/frame"},
		deny: "it keeps bytes for the broker, and must work when the rest does not",
	},
	{
		pkg: "edge/outbox", may: []string{"edge/frame", "edge/mqtt", "edge/spool"},
		deny: "it joins the connection and the spool, which do not know each other",
	},
	{pkg: "edge/mqtt/mqtttest", deny: "brokers and bad networks for tests: of what is tested it must not know"},
	{
		pkg: "edge/settings", may: []string{"edge/disk"},
		deny: "settings are read and checked before, and without, the loop; others turn them into options",
	},
	{
		pkg: "edge/control", may: []string{"edge/disk", "edge/settings"},
		deny: "what settings steer is behind an interface: changing them must not depend on how it runs",
	},
	{pkg: "edge/alive", deny: "whether threads get on must not depend on what they do"},
	{pkg: "edge/journal", deny: "all parts write to the log; it must not need any of them"},
	{
		pkg:  "edge",
		may:  []string{"edge/..."},
		deny: "the loop declares the interfaces that it uses; it must not know an engine, a camera or a file format",
	},
	{
		pkg: "camera", may: []string{"edge/frame", "./..."},
		deny: "a source makes frames, whoever reads them",
	},
	{
		pkg: "camera/jpeg", may: []string{"edge/frame"}, cgo: true,
		deny: "a decoder needs frames only; its C library has a stand-in in Go",
	},
	{pkg: "camera/control", deny: "it is arithmetic; who sets the camera and who measures must not matter"},
	{pkg: "camera/v4l2", deny: "it speaks to the kernel of one camera, whatever is wanted of it"},
	{
		pkg: "camera/...", may: []string{"edge/frame", "./..."},
		deny: "one kind of source must not pull in another: package camera puts them together",
	},
	{pkg: "relight", may: []string{"edge/frame"}, deny: "it changes pictures before any engine sees them"},
	{
		pkg: "model", may: []string{"edge/frame", "model/onnx"},
		deny: "a bundle is read and checked without an engine; engines import it",
	},
	{pkg: "model/onnx", deny: "it reads and writes a file format of others, whoever wants that"},
	{
		pkg: "model/ort", may: []string{"edge/frame", "model", "model/onnx"}, cgo: true,
		deny: "an engine runs bundles: a crash in it must be looked for in one place",
	},
	{
		pkg: "model/tensorflow", may: []string{"edge/frame", "model"}, cgo: true,
		deny: "an engine runs bundles, and is left out of a build without the tag",
	},
	{pkg: "model/...", may: []string{"edge/frame", "model"}, deny: "engines and tools of bundles do not know each other"},
	{pkg: "score", may: []string{"edge/frame"}, deny: "figures about masks do not depend on how the masks came about"},
	{pkg: "firmware/boards", deny: "it holds texts, which others read"},
	{pkg: "firmware/governor", deny: "it is arithmetic; who measures and who sheds must not matter"},
	{
		pkg:  "firmware/output",
		may:  []string{"firmware/line", "firmware/tree"},
		deny: "the lamp's program has all of it in it, and is to stay small",
	},
	{
		pkg:  "firmware/lamp",
		may:  []string{"firmware/output", "firmware/poll", "firmware/thermal", "firmware/tree"},
		deny: "what is in the lamp's program must not be able to hang",
	},
	{
		pkg: "firmware/update", may: []string{"edge/disk"},
		deny: "root runs it on what the service has written: it needs files that outlive crashes, and nothing of the loop",
	},
	{pkg: "firmware/...", may: []string{"firmware/..."}, deny: "the board is looked after while the loop is down"},
	{pkg: "calibrate/observe", deny: "it counts numbers, whatever network they come from"},
	{
		pkg: "calibrate/qdq", may: []string{"calibrate/observe", "model/onnx"},
		deny: "it turns one network into another, without an engine or a bundle",
	},
	{
		pkg: "calibrate/quantize",
		may: []string{
			"calibrate/drive", "calibrate/observe", "calibrate/qdq", "edge/frame", "model", "model/onnx",
		},
		deny: "who runs the networks and where frames come from is given to it, so that it can be tried without",
	},
	{
		pkg:  "calibrate/sensitivity",
		may:  []string{"calibrate/observe", "calibrate/qdq", "calibrate/quantize", "model", "model/onnx"},
		deny: "who runs the networks is given to it, so that it can be tried without an engine",
	},
	{pkg: "calibrate/drive", may: []string{"edge/frame"}, deny: "a hash of frames is one, whatever they are used for"},
	{
		pkg: "calibrate/shares", may: []string{"edge/frame", "model"},
		deny: "labels are counted without networks: only the classes of a bundle matter",
	},
	{
		pkg: "calibrate/gate", may: []string{"edge/decide", "edge/frame", "model", "score"},
		deny: "it judges what was counted; which engine counted must not matter",
	},
	{
		pkg: "calibrate/pick", may: []string{"edge/frame"},
		deny: "frames are chosen by how they look, before any network sees them",
	},
	{
		pkg: "calibrate/sweep", may: []string{"edge/decide", "score"},
		deny: "a choice is made on scores, whatever they were made with",
	},
	{
		pkg: "calibrate/...", may: []string{"edge/...", "camera/...", "model/...", "relight", "score", "./..."},
		deny: "it works on the stages; what a command line is it need not know",
	},
	{
		pkg: "cmd/nightseg-capture", may: []string{"camera/...", "edge/frame"}, cgo: true,
		deny: "it holds OpenCV, so that a crash there does not end the service: it is to stay small",
	},
	{
		pkg: "cmd/nightseg-lamp", may: []string{"firmware/lamp", "firmware/tree"},
		deny: "a lamp must go out whatever else is wrong: its program has nothing in it that could hang or crash",
	},
	// The engines and the JPEG decoder have stand-ins, so that this program needs no C compiler.
	{pkg: "cmd/...", may: []string{"..."}},
}

// banned are packages that not all who may import packages of ours may import.
var banned = []struct {
	pkg  string
	may  []string
	deny string
}{
	{"cmd/...", nil, "a program is not a library: move what is needed to a package of its own"},
	{"calibrate/...", []string{"cmd/...", "calibrate/..."}, "it is offline; the service must build and run without it"},
	{"edge/disk/disktest", nil, "it is for tests"},
	{
		"model/ort",
		[]string{"cmd/...", "calibrate/..."},
		"engines are chosen by the program; all else takes the interface that it needs",
	},
	{
		"model/tensorflow",
		[]string{"cmd/...", "calibrate/..."},
		"engines are chosen by the program; all else takes the interface that it needs",
	},
}

const cgoReason = "cgo is in cmd/nightseg-capture, model/ort, model/tensorflow and camera/jpeg only: " +
	"all else, and its tests, builds with CGO_ENABLED=0, for any machine, without a C compiler"
