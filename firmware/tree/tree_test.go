package tree

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRoot(t *testing.T) {
	dir := t.TempDir()
	r := Root(dir)
	write(t, dir, "proc/device-tree/model", "NVIDIA Jetson\x00")
	write(t, dir, "sys/class/hwmon/hwmon2/name", "ina3221\n")
	write(t, dir, "sys/class/hwmon/hwmon10/name", "ina3221\n")
	write(t, dir, "sys/class/hwmon/hwmon1/name", "other\n")
	write(t, dir, "sys/n", "-12000\n")
	write(t, dir, "sys/word", "nan\n")
	if w, err := r.Word("/proc/device-tree/model"); w != "NVIDIA Jetson" || err != nil {
		t.Errorf("model %q, %v", w, err)
	}
	if n, err := r.Number("/sys/n"); n != -12000 || err != nil {
		t.Errorf("number %v, %v", n, err)
	}
	if _, err := r.Number("/sys/word"); err == nil || !strings.Contains(err.Error(), "no number") {
		t.Errorf("nan: %v", err)
	}
	want := []string{"/sys/class/hwmon/hwmon2", "/sys/class/hwmon/hwmon10"}
	if got := r.Hwmon("ina3221"); !slices.Equal(got, want) {
		t.Errorf("hwmon %q", got)
	}
	if err := r.Write("/sys/n", "7"); err != nil {
		t.Fatal(err)
	}
	if n, _ := r.Number("/sys/n"); n != 7 {
		t.Errorf("wrote 7, read %v", n)
	}
	if err := r.Write("/sys/new", "7"); err == nil {
		t.Error("a file was made in /sys")
	}
	if Root("/").Recorded() || Root("").Path("/sys") != "/sys" || !r.Recorded() {
		t.Error("which root is the machine's")
	}
}
