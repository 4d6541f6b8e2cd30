// Package nightseg_test holds no code but a test of who imports whom in this
// repository, so that parts stay apart that are to be read, tested and replaced apart.
package nightseg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "nightseg"

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

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	CgoFiles     []string
	CFiles       []string
}

// ours returns a path without the module's name.
func ours(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// matches reports whether a pattern covers path; from is the importing package.
func matches(pattern, path, from string) bool {
	if pattern == "..." {
		return true
	}
	if rest, ok := strings.CutPrefix(pattern, "./"); ok {
		return strings.HasPrefix(path, from+"/") && matches(from+"/"+rest, path, "")
	}
	dir, ok := strings.CutSuffix(pattern, "/...")
	return path == dir || ok && strings.HasPrefix(path, dir+"/")
}

func anyMatches(patterns []string, path, from string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path, from) })
}

func ruleFor(path string) *rule {
	for i := range rules {
		if matches(rules[i].pkg, path, "") {
			return &rules[i]
		}
	}
	return nil
}

// offences lists what in the packages is against the rules.
func offences(pkgs []pkg) []string {
	var list []string
	foreignC := map[string]bool{}
	for _, p := range pkgs {
		if _, own := ours(p.ImportPath); !own && !p.Standard && len(p.CgoFiles)+len(p.CFiles) > 0 {
			foreignC[p.ImportPath] = true
		}
	}
	for _, p := range pkgs {
		path, own := ours(p.ImportPath)
		if !own || path == "" { // the folder of this test
			continue
		}
		r := ruleFor(path)
		if r == nil {
			list = append(list, path+" is in no rule: add it to the table in imports_test.go, "+
				"with what it may import and why nothing else")
			continue
		}
		list = append(list, r.imports(path, &p)...)
		if !r.cgo {
			list = append(list, r.usesC(path, &p, foreignC)...)
		}
	}
	return list
}

func (r *rule) imports(path string, p *pkg) (list []string) {
	for _, i := range p.Imports {
		to, own := ours(i)
		if !own {
			continue
		}
		if !anyMatches(r.may, to, path) {
			may := "nothing of ours"
			if len(r.may) > 0 {
				may = strings.Join(r.may, ", ")
			}
			list = append(list, fmt.Sprintf("%s imports %s, but may import %s: %s", path, to, may, r.deny))
		}
		for _, b := range banned[1:] {
			if matches(b.pkg, to, "") && !anyMatches(b.may, path, "") {
				list = append(list, fmt.Sprintf("%s imports %s: %s", path, to, b.deny))
			}
		}
	}
	// Tests may import what helps them, but no program.
	for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
		if to, own := ours(i); own && matches(banned[0].pkg, to, "") && to != path {
			list = append(list, fmt.Sprintf("%s imports %s: %s", path, to, banned[0].deny))
		}
	}
	return list
}

// usesC complains about C code in a package, or in a package of others that it imports itself.
func (r *rule) usesC(path string, p *pkg, foreign map[string]bool) (list []string) {
	if len(p.CgoFiles)+len(p.CFiles) > 0 {
		list = append(list, fmt.Sprintf("%s holds C code (%s): %s", path,
			strings.Join(slices.Concat(p.CgoFiles, p.CFiles), ", "), cgoReason))
	}
	for _, i := range p.Imports {
		if foreign[i] {
			list = append(list, fmt.Sprintf("%s imports %s, which holds C code: %s", path, i, cgoReason))
		}
	}
	return list
}

// list returns all packages of the module and what they are made of.
func list(t *testing.T, cgo string, flags ...string) []pkg {
	t.Helper()
	args := slices.Concat([]string{
		"list", "-e", "-deps",
		"-json=ImportPath,Standard,Imports,TestImports,XTestImports,CgoFiles,CFiles",
	}, flags, []string{"./..."})
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// lookAtFiles tells `go test`, by looking at every Go file, what this test depends
// on: of what another program reads it knows nothing, and would repeat an old result.
func lookAtFiles(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".go" || d.Name() == "go.mod":
			_, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) { // an editor at work
				return nil
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	lookAtFiles(t)
	for name, pkgs := range map[string][]pkg{
		"with C and TensorFlow": list(t, "1", "-tags=tensorflow"),
		"without C":             list(t, "0"),
	} {
		seen := 0
		for _, p := range pkgs {
			if _, own := ours(p.ImportPath); own {
				seen++
			}
		}
		if seen < 10 {
			t.Errorf("%s: go list finds %d packages of ours only", name, seen)
		}
		for _, o := range offences(pkgs) {
			t.Errorf("%s: %s", name, o)
		}
	}
}

// The rules are worth what the check finds.
func TestOffencesAreFound(t *testing.T) {
	gocv := pkg{ImportPath: "gocv.io/x/gocv", CgoFiles: []string{"core.go"}}
	for _, c := range []struct {
		p    pkg
		want []string // a part of each offence
	}{
		{pkg{ImportPath: "nightseg/edge/frame", Imports: []string{"nightseg/score"}}, []string{"nothing of ours"}},
		{pkg{ImportPath: "nightseg/edge/decide", Imports: []string{"math", "nightseg/edge/frame"}}, nil},
		{pkg{ImportPath: "nightseg/edge/decide", Imports: []string{"nightseg/edge/mqtt"}}, []string{"may import edge/frame"}},
		{pkg{ImportPath: "nightseg/edge", Imports: []string{"nightseg/edge/mqtt", "nightseg/edge/frame"}}, nil},
		{pkg{ImportPath: "nightseg/edge", Imports: []string{"nightseg/model"}}, []string{"must not know an engine"}},
		{pkg{ImportPath: "nightseg/edge/mqtt", Imports: []string{"nightseg/edge"}}, []string{"it sends bytes"}},
		{pkg{ImportPath: "nightseg/edge/mqtt", Imports: []string{"nightseg/edge/spool"}}, []string{"it sends bytes"}},
		{pkg{ImportPath: "nightseg/edge/outbox", Imports: []string{"nightseg/edge/mqtt", "nightseg/edge/spool"}}, nil},
		{pkg{ImportPath: "nightseg/edge/new"}, []string{"edge/new is in no rule"}},
		{pkg{ImportPath: "nightseg/pkg/util"}, []string{"pkg/util is in no rule"}},
		{pkg{ImportPath: "nightseg/camera", Imports: []string{"nightseg/camera/images"}}, nil},
		{pkg{ImportPath: "nightseg/camera/capture", Imports: []string{"nightseg/camera/capture/ring"}}, nil},
		{pkg{ImportPath: "nightseg/camera/images", Imports: []string{"nightseg/camera/jpeg"}}, []string{"pull in another"}},
		{pkg{ImportPath: "nightseg/camera/images", Imports: []string{"nightseg/camera"}}, []string{"pull in another"}},
		{pkg{ImportPath: "nightseg/camera/video", Imports: []string{gocv.ImportPath}}, []string{"gocv, which holds C code"}},
		{pkg{ImportPath: "nightseg/cmd/nightseg", Imports: []string{gocv.ImportPath}}, []string{"gocv, which holds C code"}},
		{pkg{ImportPath: "nightseg/cmd/nightseg-capture", Imports: []string{gocv.ImportPath}}, nil},
		{pkg{ImportPath: "nightseg/relight", CgoFiles: []string{"fast.go"}}, []string{"relight holds C code (fast.go)"}},
		{pkg{ImportPath: "nightseg/model/ort", CgoFiles: []string{"a.go"}, Imports: []string{"nightseg/model"}}, nil},
		{
			pkg{ImportPath: "nightseg/model/trt", Imports: []string{"nightseg/model/ort"}},
			[]string{"do not know each other", "chosen by the program"},
		},
		{pkg{ImportPath: "nightseg/model", XTestImports: []string{"nightseg/cmd/nightseg"}}, []string{"not a library"}},
		{pkg{ImportPath: "nightseg/cmd/nightseg", Imports: []string{"nightseg/cmd/tools"}}, []string{"not a library"}},
		{pkg{ImportPath: "nightseg/cmd/nightseg", XTestImports: []string{"nightseg/cmd/nightseg"}}, nil},
		{pkg{ImportPath: "nightseg/calibrate", Imports: []string{"nightseg/model/ort", "nightseg/edge/decide"}}, nil},
		{
			pkg{ImportPath: "nightseg/edge", Imports: []string{"nightseg/calibrate"}},
			[]string{"must not know", "it is offline"},
		},
		{pkg{ImportPath: "nightseg/edge/settings", Imports: []string{"nightseg/edge/frame"}}, []string{"without, the loop"}},
		{pkg{ImportPath: "nightseg/firmware/board", Imports: []string{"nightseg/firmware/bus"}}, nil},
		{pkg{ImportPath: "nightseg/firmware/board", Imports: []string{"nightseg/edge"}}, []string{"while the loop is down"}},
		{pkg{ImportPath: "nightseg/firmware/update", Imports: []string{"nightseg/edge/disk"}}, nil},
		{pkg{ImportPath: "nightseg/firmware/update", Imports: []string{"nightseg/edge/settings"}}, []string{"root runs it"}},
		{pkg{ImportPath: "nightseg/firmware/governor", Imports: []string{"nightseg/firmware/bus"}}, []string{"arithmetic"}},
		{
			pkg{ImportPath: "nightseg/firmware/lamp", Imports: []string{"nightseg/firmware/bus"}},
			[]string{"must not be able to hang"},
		},
		{
			pkg{ImportPath: "nightseg/cmd/nightseg-lamp", Imports: []string{"nightseg/firmware/board"}},
			[]string{"a lamp must go out"},
		},
		{pkg{ImportPath: "nightseg/camera/v4l2", Imports: []string{"nightseg/camera/control"}}, []string{"one camera"}},
		{pkg{ImportPath: "nightseg/score", Imports: []string{"nightseg/edge/frame"}}, nil},
		{pkg{ImportPath: "nightseg/score", Imports: []string{"nightseg/edge/decide"}}, []string{"how the masks came about"}},
	} {
		got := offences([]pkg{gocv, c.p})
		if len(got) != len(c.want) {
			t.Errorf("%+v: offences %q, want %d", c.p, got, len(c.want))
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: offence %q, want one with %q", c.p.ImportPath, got[i], want)
			}
		}
	}
}
