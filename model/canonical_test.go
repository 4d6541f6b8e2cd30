package model

import (
	"os/exec"
	"testing"
)

// A document with what canonical forms differ in: key order, escapes, numbers.
const awkward = `{"b": 1, "a": [1.0, 0.1, 1e-3, 1e-05, 1E22, 123456789.5, -0.0, -0, 1e16, 12345678901234567890],
 "é": "ü\u00e9\u2028 <&> \"\\ \b\f\n\r\t\u0001 \u007f/", "Z": null, "z": [true, false, {}, []], "aa": "\u20ac"}`

const awkwardCanonical = `{"Z":null,"a":[1.0,0.1,0.001,1e-05,1e+22,123456789.5,-0.0,0,1e+16,12345678901234567890],` +
	`"aa":"€","b":1,"z":[true,false,{},[]],"é":"üé` + "\u2028" + ` <&> \"\\ \b\f\n\r\t\u0001 ` + "\u007f" + `/"}`

func TestCanonical(t *testing.T) {
	got, err := Canonical([]byte(awkward))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != awkwardCanonical {
		t.Errorf("got  %s\nwant %s", got, awkwardCanonical)
	}
	for _, bad := range []string{"", "{", `{"a":1} x`, `{"a":1e999}`} {
		if c, err := Canonical([]byte(bad)); err == nil {
			t.Errorf("%q has the canonical form %q", bad, c)
		}
	}
}

// The trainer computes the identity in Python; both must agree.
func TestCanonicalIsPythons(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3")
	}
	const script = `import json,sys
print(json.dumps(json.loads(sys.argv[1]),sort_keys=True,separators=(",",":"),ensure_ascii=False),end="")`
	for _, doc := range []string{awkward, string(readFile(t, tiny+"/bundle.json"))} {
		want, err := exec.CommandContext(t.Context(), python, "-X", "utf8", "-c", script, doc).Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Canonical([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
