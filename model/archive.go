package model

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Bounds of what is unpacked: an archive that holds more is refused.
const (
	maxArchiveFiles  = 256
	maxArchiveBytes  = 2 << 30 // of all files, unpacked
	maxArchiveWindow = 128 << 20
)

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Pack writes the bundle in dir as one .tar.zst file. Only the files that its
// manifest names go in, in a fixed order, without times and owners: the same
// bundle gives the same bytes.
func Pack(dir, out string) (err error) {
	b, err := Open(dir)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".pack-*")
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	defer f.Close()           //nolint:errcheck // closed below; a second time does no harm
	z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := b.writeTar(tar.NewWriter(z)); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := errors.Join(z.Close(), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := os.Rename(f.Name(), out); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

func (b *Bundle) writeTar(w *tar.Writer) error {
	written := map[string]bool{}
	for _, f := range append([]File{{File: ManifestName}}, b.AllFiles()...) {
		if written[f.File] {
			continue
		}
		written[f.File] = true
		data, err := readCapped(b.path(f), maxFile)
		if err != nil {
			return &FileError{File: b.path(f), Problem: "cannot be read", Err: err}
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.File, Size: int64(len(data)), Mode: 0o644,
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return w.Close()
}

// unpackCached unpacks an archive into a folder of the cache that is named by
// the archive's hash, and returns the folder; fresh is false when it was there.
func unpackCached(name, cacheDir string) (dir string, fresh bool, err error) {
	bad := func(problem string, err error) error {
		return &FileError{
			File: name, Problem: problem, Err: err, Remedy: "a bundle is a directory with " + ManifestName +
				", or a .tar.zst file that `nightseg bundle pack` wrote",
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return "", false, bad("cannot be read", bareError(err))
	}
	defer f.Close() //nolint:errcheck // only read from
	magic := make([]byte, len(zstdMagic))
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, zstdMagic) {
		return "", false, bad("is neither a bundle directory nor a .tar.zst file", nil)
	}
	hash := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", false, bad("cannot be read", bareError(err))
	}
	if _, err := io.Copy(hash, f); err != nil {
		return "", false, bad("cannot be read", bareError(err))
	}
	dir = filepath.Join(cacheDir, "bundles", hex.EncodeToString(hash.Sum(nil)))
	if _, err := os.Stat(filepath.Join(dir, ManifestName)); err == nil {
		return dir, false, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", false, bad("cannot be read", bareError(err))
	}
	part, err := unpackBeside(f, dir)
	if err != nil {
		return "", false, bad("cannot be unpacked into "+filepath.Dir(dir), err)
	}
	if err := os.Rename(part, dir); err != nil {
		_ = os.RemoveAll(part)                                           // ours, and of no use now
		if _, e := os.Stat(filepath.Join(dir, ManifestName)); e != nil { // not another process that was first
			return "", false, fmt.Errorf("bundle cache: %w", err)
		}
	}
	return dir, true, nil
}

// unpackBeside unpacks a stream into a new folder beside dir.
func unpackBeside(r io.Reader, dir string) (part string, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	if part, err = os.MkdirTemp(filepath.Dir(dir), ".part-*"); err != nil {
		return "", err
	}
	if err = errors.Join(unpack(r, part), os.Chmod(part, 0o755)); err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	return part, nil
}

// unpack writes the regular files of a .tar.zst stream below dir, and refuses
// names that lead out of it, links, devices, and more than the bounds allow.
func unpack(r io.Reader, dir string) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxArchiveWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // a folder handle
	t := tar.NewReader(z)
	left := int64(maxArchiveBytes)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n >= maxArchiveFiles {
			return fmt.Errorf("holds more than %d files", maxArchiveFiles)
		}
		if err := unpackOne(root, h, t, &left); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, r io.Reader, left *int64) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "./"))
	if h.Typeflag == tar.TypeDir {
		if name != "." && !filepath.IsLocal(name) {
			return errors.New("leads out of the bundle")
		}
		return nil // made when a file needs it
	}
	if h.Typeflag != tar.TypeReg {
		return errors.New("is not a regular file")
	}
	if name == "." || !filepath.IsLocal(name) || strings.Contains(name, `\`) {
		return errors.New("leads out of the bundle")
	}
	if h.Size < 0 || h.Size > maxFile || h.Size > *left {
		return fmt.Errorf("with %d bytes the archive is larger than allowed", h.Size)
	}
	*left -= h.Size
	if d := path.Dir(name); d != "." {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return errors.New("occurs twice")
		}
		return err
	}
	_, err = io.CopyN(f, r, h.Size)
	return errors.Join(err, f.Close())
}
