package tensorflow

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// inEmptyCheckout runs a script of the project in a folder that holds nothing else.
func inEmptyCheckout(t *testing.T, script string, args ...string) (string, error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "scripts", script))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "scripts", script), text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(dir, "scripts", script)}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestScriptsNameWhatIsMissing(t *testing.T) {
	tiny, err := filepath.Abs(tinyBundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		script string
		args   []string
		want   []string
	}{
		{"setup-tensorflow.sh", []string{"--env"}, []string{"libtensorflow.so", "run scripts/setup-tensorflow.sh"}},
		{"savedmodel.sh", []string{tiny}, []string{"converter is missing", "run scripts/setup-tensorflow.sh"}},
		{"savedmodel.sh", nil, []string{"usage: scripts/savedmodel.sh BUNDLE_DIRECTORY"}},
		{"savedmodel.sh", []string{t.TempDir()}, []string{"usage: scripts/savedmodel.sh BUNDLE_DIRECTORY"}},
	} {
		out, err := inEmptyCheckout(t, c.script, c.args...)
		if err == nil {
			t.Errorf("%s %v succeeds in an empty folder", c.script, c.args)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s %v: %q does not say %q", c.script, c.args, out, want)
			}
		}
	}
}

const tinyBundle = "../testdata/tiny"
