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
