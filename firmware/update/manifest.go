package update

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"nightseg/edge/disk"
)

// Kind is what an update brings.
type Kind string

// The kinds.
const (
	Bundle  Kind = "bundle"
	Package Kind = "package"
)

// Schema is the version of the form of manifests.
const Schema = 1

// Bounds of an update.
const (
	maxManifest = 64 << 10
	maxPayload  = 4 << 30
	maxUnpacked = 16 << 30
	maxFiles    = 10_000
)

// Manifest says what an update is; it is what is signed.
type Manifest struct {
	Schema  int       `json:"schema"`
	Kind    Kind      `json:"kind"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	Payload Payload   `json:"payload"`
	For     For       `json:"for"`
	// MinVersion is the lowest version of what is there that this one may follow.
	MinVersion string `json:"min_version,omitempty"`
	// Replaces are higher versions that this one may take the place of all the same.
	Replaces []string `json:"replaces,omitempty"`
}

// Payload is the content: a tar of files, compressed with zstd.
type Payload struct {
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"`     // bytes
	Unpacked int64  `json:"unpacked"` // bytes of all files in it
	Files    int    `json:"files"`    // and links
}

// For says which devices an update is for. An empty list stands for all; an entry
// that ends in * for all that begin with it.
type For struct {
	Arch    []string `json:"arch,omitempty"`
	Fleets  []string `json:"fleets,omitempty"`
	Devices []string `json:"devices,omitempty"`
	Boards  []string `json:"boards,omitempty"`
}

// Target is the machine at hand.
type Target struct{ Arch, Fleet, Device, Board string }

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$`)
	versionPattern = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~-]{0,63}$`)
	hashPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	deviceWord     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\*?$`)
)

// ParseManifest reads a manifest; unknown members are an error, because they may
// hold a condition that this version does not know how to keep.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) > maxManifest {
		return nil, refuse(BadFormat, "manifest: above the limit of %d bytes", maxManifest)
	}
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(text, &head); err == nil && head.Schema > Schema {
		return nil, refuse(BadFormat, "manifest: schema %d is newer than this program, which knows %d: "+
			"update the program first", head.Schema, Schema)
	}
	m, err := disk.Strictly[Manifest](text)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, refuse(BadFormat, "manifest: %w", err)
	}
	return &m, nil
}

func (m *Manifest) check() error {
	p := m.Payload
	for _, c := range []struct {
		ok    bool
		field string
		value any
	}{
		{m.Schema == Schema, "schema", m.Schema},
		{m.Kind == Bundle || m.Kind == Package, "kind", m.Kind},
		{namePattern.MatchString(m.Name), "name", m.Name},
		{versionPattern.MatchString(m.Version), "version", m.Version},
		{m.MinVersion == "" || versionPattern.MatchString(m.MinVersion), "min_version", m.MinVersion},
		{!m.Created.IsZero(), "created", m.Created},
		{hashPattern.MatchString(p.SHA256), "payload.sha256", p.SHA256},
		{p.Size > 0 && p.Size <= maxPayload, "payload.size", p.Size},
		{p.Unpacked > 0 && p.Unpacked <= maxUnpacked, "payload.unpacked", p.Unpacked},
		{p.Files > 0 && p.Files <= maxFiles, "payload.files", p.Files},
		{m.Kind != Package || len(m.For.Arch) > 0, "for.arch (a program needs one)", m.For.Arch},
	} {
		if !c.ok {
			return fmt.Errorf("%s: %v is not allowed", c.field, c.value)
		}
	}
	for _, v := range m.Replaces {
		if !versionPattern.MatchString(v) {
			return fmt.Errorf("replaces: %q is no version", v)
		}
	}
	for _, v := range slices.Concat(m.For.Arch, m.For.Fleets, m.For.Devices, m.For.Boards) {
		if !deviceWord.MatchString(v) {
			return fmt.Errorf("for: %q is not a name, or the beginning of one and *", v)
		}
	}
	return nil
}

// Fits says why the update is not for a machine.
func (m *Manifest) Fits(t Target) error {
	for _, c := range []struct {
		what, is string
		want     []string
	}{
		{"architecture", t.Arch, m.For.Arch},
		{"fleet", t.Fleet, m.For.Fleets},
		{"device", t.Device, m.For.Devices},
		{"board", t.Board, m.For.Boards},
	} {
		if len(c.want) > 0 && !slices.ContainsFunc(c.want, func(w string) bool { return fits(w, c.is) }) {
			return refuse(WrongDevice, "%s %s is for the %s %s, but this is %q", m.Name, m.Version, c.what,
				strings.Join(c.want, " or "), c.is)
		}
	}
	return nil
}

func fits(want, is string) bool {
	prefix, open := strings.CutSuffix(want, "*")
	return is == want || open && is != "" && strings.HasPrefix(is, prefix)
}

// Follows says why the update may not follow a version; "" is none.
func (m *Manifest) Follows(version string) error {
	if version == "" {
		return nil
	}
	if Compare(m.Version, version) < 0 && !slices.Contains(m.Replaces, version) {
		return refuse(Downgrade, "%s %s is older than %s, which is there: sign it with --replaces %s if that is meant",
			m.Name, m.Version, version, version)
	}
	if m.MinVersion != "" && Compare(version, m.MinVersion) < 0 {
		return refuse(Downgrade, "%s %s needs %s or newer to follow, but %s is there: install that first",
			m.Name, m.Version, m.MinVersion, version)
	}
	return nil
}

// Title names the update in folders and settings.
func (m *Manifest) Title() string { return m.Name + "@" + m.Version }

// identity is what an update is called in records: the hash of its manifest.
func identity(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}
