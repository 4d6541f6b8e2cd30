package update

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"nightseg/edge/disk"
)

// members takes an update apart.
func members(t testing.TB, b []byte) map[string][]byte {
	t.Helper()
	parts := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		if parts[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// join puts an update together.
func join(t testing.TB, parts map[string][]byte, names ...string) []byte {
	t.Helper()
	if names == nil {
		names = []string{manifestName, signatureName, payloadName}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Name: n, Size: int64(len(parts[n])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(parts[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// packed is a payload with such entries.
func packed(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range entries {
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// of signs a payload as it is.
func of(t testing.TB, payload []byte, files int, unpacked int64) []byte {
	t.Helper()
	var out bytes.Buffer
	m := &Manifest{
		Schema: Schema, Kind: Package, Name: "nightseg", Version: "1.2", Created: testTime, For: For{Arch: []string{"amd64"}},
		Payload: Payload{identity(payload), int64(len(payload)), unpacked, files},
	}
	if err := Make(&out, m, testKey(), bytes.NewReader(payload)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// refused are updates that nobody may take, by why.
func refusedUpdates(t testing.TB) map[string]struct {
	reason Reason
	file   []byte
} {
	t.Helper()
	type bad = struct {
		reason Reason
		file   []byte
	}
	good := signed(t, Package, "1.2")
	parts := members(t, good)
	with := func(name string, b []byte) []byte {
		p := maps.Clone(parts)
		p[name] = b
		return join(t, p)
	}
	changed := func(change func(*Manifest)) []byte {
		return sign(t, testKey(), Package, "1.2", tree("1.2"), change)
	}
	stranger, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(parts[payloadName])
	flipped[len(flipped)/2] ^= 1
	one := func(h tar.Header) []byte { return of(t, packed(t, h), 1, max(h.Size, 1)) }
	reg := func(name string, n int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: n}
	}
	var evil Manifest
	if err := json.Unmarshal(parts[manifestName], &evil); err != nil {
		t.Fatal(err)
	}
	evil.Version = "9.9"
	text, err := json.MarshalIndent(evil, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]bad{
		"empty":                {BadFormat, nil},
		"noise":                {BadFormat, bytes.Repeat([]byte("x"), 5000)},
		"no signature":         {BadFormat, join(t, parts, manifestName, payloadName)},
		"another order":        {BadFormat, join(t, parts, signatureName, manifestName, payloadName)},
		"cut in the manifest":  {BadFormat, good[:700]},
		"cut in the payload":   {Damaged, good[:len(good)-1400]},
		"empty signature":      {BadSignature, with(signatureName, nil)},
		"key that is not ours": {BadSignature, sign(t, stranger, Package, "1.2", tree("1.2"), nil)},
		"signature of another": {BadSignature, with(signatureName, members(t, signed(t, Package, "1.3"))[signatureName])},
		"manifest was changed": {BadSignature, with(manifestName, append(text, '\n'))},
		"payload was changed":  {Damaged, with(payloadName, flipped)},
		"payload is longer":    {Damaged, with(payloadName, append(slices.Clone(flipped), 0))},
		"other architecture":   {WrongDevice, changed(func(m *Manifest) { m.For.Arch = []string{"arm64"} })},
		"other device":         {WrongDevice, changed(func(m *Manifest) { m.For.Devices = []string{"car8", "van*"} })},
		"other fleet":          {WrongDevice, changed(func(m *Manifest) { m.For.Fleets = []string{"docks"} })},
		"other board":          {WrongDevice, changed(func(m *Manifest) { m.For.Boards = []string{"jetson-*"} })},
		"older than what runs": {Downgrade, sign(t, testKey(), Package, "1.0.9", tree("1.0.9"), nil)},
		"too far ahead":        {Downgrade, changed(func(m *Manifest) { m.MinVersion = "1.1.5" })},
		"schema of the future": {BadFormat, with(manifestName,
			bytes.Replace(parts[manifestName], []byte(`"schema": 1`), []byte(`"schema": 2`), 1))},
		"leads out":            {Damaged, one(reg("../evil", 5))},
		"leads out from above": {Damaged, one(reg("/etc/evil", 5))},
		"link out": {Damaged, one(tar.Header{
			Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd",
		})},
		"device file":            {Damaged, one(tar.Header{Name: "d", Typeflag: tar.TypeChar})},
		"more bytes than signed": {Damaged, of(t, packed(t, reg("big", 1<<20)), 1, 1000)},
		"more files than signed": {Damaged, of(t, packed(t, reg("a", 5), reg("b", 5)), 1, 10)},
		"fewer than signed":      {Damaged, of(t, packed(t, reg("a", 5)), 2, 5)},
	}
}

// TestRefused hands updates that nobody may take to the service and, as a service that
// somebody else has taken over would, past it to the installer.
func TestRefused(t *testing.T) {
	for name, c := range refusedUpdates(t) {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.update("1.1")
			d.http = served(c.file)
			unpacked := strings.Contains(name, "signed") || strings.Contains(name, "out") || name == "device file"
			if j := d.ask(d.machine(), "bad", "http://x/"); !unpacked && (j.State != Failed || j.Reason != c.reason) {
				t.Errorf("service: %+v", j)
			}
			if o := d.drop(c.file); o.Slot != "" || o.Reason != c.reason || o.Error == "" {
				t.Errorf("installer: %+v", o)
			}
			if v, err := d.runs(d.launch()); v != "1.1" || err != nil {
				t.Errorf("runs %q, %v", v, err)
			}
			for _, n := range d.m.Names() {
				if strings.Contains(n, "evil") || strings.Contains(n, incomingFile) || strings.Contains(n, ".new/") {
					t.Errorf("%s was left", n)
				}
			}
		})
	}
}

// drop puts a file before the installer, past the service.
func (d *device) drop(b []byte) Outcome {
	d.t.Helper()
	_ = d.m.Mkdir("state/" + RequestDir) // may be there
	if err := disk.WriteAtomic(d.m.Sub("state/"+RequestDir), RequestFile, b); err != nil {
		d.t.Fatal(err)
	}
	o, err := d.installer()
	if err != nil {
		d.t.Fatal(err)
	}
	if d.m.Bytes("state/"+RequestDir+"/"+RequestFile) != nil {
		d.t.Error("the request is still there: it would be found for ever")
	}
	return o
}

func TestInstallerTakesABundleFromNobody(t *testing.T) {
	d := newDevice(t)
	if o := d.drop(signed(t, Bundle, "1.2")); o.Reason != BadFormat {
		t.Errorf("%+v", o)
	}
}

func TestDowngradeThatIsMeant(t *testing.T) {
	d := newDevice(t)
	d.update("1.1")
	for _, c := range []struct{ replaces, slot string }{{"1.0.5", ""}, {"1.1", "b"}} {
		o := d.drop(sign(t, testKey(), Package, "1.0.9", tree("1.0.9"), func(m *Manifest) {
			m.Replaces = []string{c.replaces}
		}))
		if o.Slot != c.slot {
			t.Errorf("replaces %s: %+v", c.replaces, o)
		}
	}
}

func TestNoKeysNoTrust(t *testing.T) {
	u, err := Open(bytes.NewReader(signed(t, Package, "1.2")), int64(len(signed(t, Package, "1.2"))))
	if err != nil {
		t.Fatal(err)
	}
	err = u.Verify(t.Context(), nil, testTarget)
	if reasonOf(err) != BadSignature || !strings.Contains(err.Error(), KeysDir) {
		t.Errorf("%v", err)
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	k := testKey()
	if err := SaveKey(dir+"/k", k, ""); err != nil {
		t.Fatal(err)
	}
	if err := SaveKey(dir+"/k", k, ""); err == nil {
		t.Error("a key was written over")
	}
	keys, err := LoadKeys(dir)
	if err != nil || len(keys) != 1 || !keys[0].Equal(k.public()) {
		t.Fatalf("%v, %v", keys, err)
	}
	if err := create(dir+"/bad.pub", []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(dir); err == nil || !strings.Contains(err.Error(), "bad.pub") {
		t.Errorf("%v", err)
	}
}

func TestCompare(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	list := []string{
		"1.0~rc1", "1.0", "1.0+git1", "1.0.1", "1.2", "1.10", "2.0~", "2.0", "0.1.0~git202605011200.abcdef12",
		"0.1.0", "1.0a", "1.0-1", "1.0-a", "00001.0", "3.2.0", "3.10.0",
	}
	for _, a := range list {
		for _, b := range list {
			if got := Compare(a, b); got != -Compare(b, a) {
				t.Errorf("Compare(%q, %q) = %d, the other way round %d", a, b, got, Compare(b, a))
			}
			if err != nil {
				continue
			}
			op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}[Compare(a, b)]
			if e := exec.CommandContext(t.Context(), dpkg, "--compare-versions", a, op, b).Run(); e != nil {
				t.Errorf("%q %s %q, dpkg says no", a, op, b)
			}
		}
	}
	if err != nil {
		t.Log("without dpkg: only against itself")
	}
}

func FuzzOpen(f *testing.F) {
	good := signed(f, Package, "1.2")
	f.Add(good)
	for _, b := range refusedUpdates(f) {
		f.Add(b.file)
	}
	keys := testKey().Keys()
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if reasonOf(err) == "" {
				t.Errorf("an error without a reason: %v", err)
			}
			return
		}
		if u.Verify(t.Context(), keys, testTarget) != nil {
			return
		}
		d := newDevice(t)
		_, _ = install(t.Context(), d.m.Sub("slots"), u, "", Slot{})
		for _, n := range d.m.Names() {
			if !strings.HasPrefix(n, "slots/") {
				t.Errorf("%s was written", n)
			}
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"id":"1","url":"https://x/u.nsup"}`))
	f.Add([]byte(`{"id":"1","url":"file:///etc/passwd","sha256":"00"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err == nil && (c.ID == "" || !strings.HasPrefix(strings.ToLower(c.URL), "http")) {
			t.Errorf("%+v", c)
		}
	})
}
