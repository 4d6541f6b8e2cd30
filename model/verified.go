package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// verification is the record of a check that held.
type verification struct {
	Bundle  string `json:"bundle"`
	Library string `json:"library"`
	Machine string `json:"machine"`
	Check   Check  `json:"check"`
}

// VerifyOnce replays the golden vectors on an engine unless a record says that
// this bundle held on this machine, engine, provider, precision, library and
// number of threads. cached tells which of the two it was. An unwritable cache is
// no error: the check is then made at each start.
func VerifyOnce(ctx context.Context, b *Bundle, cacheDir string, e Inferer) (c Check, cached bool, err error) {
	info := e.Info()
	key := fmt.Sprintf("%s|%s|%s|%s|%s|%d|%s", b.SHA256, info.Engine, info.Provider, info.Precision,
		info.Library, info.Threads, machine())
	sum := sha256.Sum256([]byte(key))
	name := filepath.Join(cacheDirOr(cacheDir), "verified", hex.EncodeToString(sum[:])+".json")
	if old, ok := readVerification(name, b.SHA256); ok {
		return old, true, nil
	}
	checks, err := Verify(ctx, b, e)
	if err != nil {
		return Check{}, false, err
	}
	c = checks[0]
	writeVerification(name, verification{Bundle: b.SHA256, Library: info.Library, Machine: machine(), Check: c})
	return c, false, nil
}

func readVerification(name, sha string) (Check, bool) {
	doc, err := readCapped(name, 1<<16)
	if err != nil {
		return Check{}, false
	}
	var v verification
	if json.Unmarshal(doc, &v) != nil || v.Bundle != sha || !v.Check.OK() {
		return Check{}, false
	}
	return v.Check, true
}

func writeVerification(name string, v verification) {
	doc, err := json.MarshalIndent(v, "", " ")
	if err != nil || os.MkdirAll(filepath.Dir(name), 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".part-*")
	if err != nil {
		return
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(doc)
	if e := f.Close(); err == nil && e == nil {
		_ = os.Rename(f.Name(), name) // without the record the check is made again
	}
}

// machine names the processor and the installation, so that a cache that is
// copied to another machine proves nothing there.
func machine() string {
	id, err := readCapped("/etc/machine-id", 1<<10)
	if err != nil {
		id = nil // a container may lack it; the processor's name remains
	}
	cpu, err := readCapped("/proc/device-tree/model", 1<<10)
	if err != nil {
		cpu = cpuModel()
	}
	return strings.TrimSpace(string(id)) + " " + strings.Trim(string(cpu), "\x00 \n")
}

func cpuModel() []byte {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(info) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.Equal(bytes.TrimSpace(name), []byte("model name")) {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}
