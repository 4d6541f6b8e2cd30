package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigExampleIsValid(t *testing.T) {
	code, text, errOut := command(t, "config", "example")
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	name := saveText(t, filepath.Join(t.TempDir(), "nightseg.yaml"), text)
	if code, out, errOut := command(t, "config", "check", name); code != exitDone ||
		!strings.Contains(out, "valid") {
		t.Errorf("check of the example: exit code %d, %q %q", code, out, errOut)
	}
	_, shown, _ := command(t, "config", "show", name)
	_, factory, _ := command(t, "config", "show")
	if shown != factory {
		t.Errorf("the example gives\n%s\nfactory settings are\n%s", shown, factory)
	}
}

func TestConfigCheckNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	name := saveText(t, filepath.Join(dir, "bad.yaml"), "fleet: yard\ntreshold: 0.2\nthreshold: 7\n")
	code, _, errOut := command(t, "config", "check", name)
	if code != exitUsage || !strings.Contains(errOut, "line 2") || !strings.Contains(errOut, "threshold") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
	var r configReport
	commandJSON(t, exitUsage, &r, "config", "check", name)
	if r.Valid || len(r.Errors) != 2 {
		t.Errorf("--json: %+v", r)
	}
	commandJSON(t, exitUsage, &r, "config", "check", filepath.Join(dir, "missing.yaml"))
	if r.Valid || len(r.Errors) != 1 {
		t.Errorf("a file that is not there: %+v", r)
	}
	if code, _, _ := command(t, "config", "show", name); code != exitUsage {
		t.Errorf("show of a bad file: exit code %d", code)
	}
}

func TestConfigSchemas(t *testing.T) {
	for _, args := range [][]string{
		{"config", "schema"}, {"config", "schema", "--desired"}, {"config", "show", "--json"},
	} {
		code, out, errOut := command(t, args...)
		var doc map[string]any
		if err := json.Unmarshal([]byte(out), &doc); code != exitDone || err != nil || len(doc) == 0 {
			t.Errorf("%v: exit code %d, %v, %s", args, code, err, errOut)
		}
	}
}
