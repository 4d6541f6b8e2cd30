package update

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"nightseg/edge/disk"
)

const maxWindow = 64 << 20 // bytes of memory that unpacking may take

// Pack writes the files of a folder that keep wants as the payload of an update, the
// same bytes for the same files, and says how many files and bytes there are in it.
func Pack(w io.Writer, folder fs.FS, keep func(name string) bool) (files int, unpacked int64, err error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return 0, 0, err
	}
	t := tar.NewWriter(z)
	err = fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !keep(name) {
			return err
		}
		n, err := packOne(t, folder, name, d)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		files, unpacked = files+1, unpacked+n
		return nil
	})
	if err == nil {
		err = t.Close()
	}
	return files, unpacked, errors.Join(err, z.Close())
}

func packOne(t *tar.Writer, folder fs.FS, name string, d fs.DirEntry) (int64, error) {
	h := &tar.Header{Name: name, Mode: 0o644, Format: tar.FormatPAX}
	switch d.Type() {
	case fs.ModeSymlink:
		target, err := fs.ReadLink(folder, name)
		if err != nil {
			return 0, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		if err := checkLink(name, target); err != nil {
			return 0, err
		}
		return 0, t.WriteHeader(h)
	case 0:
	default:
		return 0, errors.New("is no file and no link")
	}
	info, err := d.Info()
	if err != nil {
		return 0, err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if info.Mode()&0o100 != 0 {
		h.Mode = 0o755
	}
	f, err := folder.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := t.WriteHeader(h); err != nil {
		return 0, err
	}
	return io.Copy(t, f)
}

// unpacker writes a payload into a folder.
type unpacker struct {
	to   disk.Tree
	dirs map[string]bool // made
	buf  []byte
	left int64 // bytes
	n    int   // files
}

// unpack writes the payload below a folder, which must be there and empty. After nil
// all of it lasts but the name of the folder itself.
func (u *Update) unpack(ctx context.Context, to disk.Tree, dir string) error {
	z, err := zstd.NewReader(reader(ctx, io.NewSectionReader(u.payload, 0, u.payload.Size())),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	p := &unpacker{to: to, dirs: map[string]bool{dir: true}, buf: make([]byte, 1<<20), left: u.Payload.Unpacked}
	for t := tar.NewReader(z); ; p.n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && p.n >= u.Payload.Files {
			err = refuse(Damaged, "more than the %d files that the manifest says", u.Payload.Files)
		}
		if err == nil {
			err = p.entry(dir, h, t)
		}
		if err != nil {
			return fmt.Errorf("%s %s: payload: %w", u.Name, u.Version, err)
		}
	}
	if p.n != u.Payload.Files || p.left != 0 {
		return refuse(Damaged, "%s %s: the payload has %d files of %d, %d bytes are missing",
			u.Name, u.Version, p.n, u.Payload.Files, p.left)
	}
	for _, d := range slices.Sorted(maps.Keys(p.dirs)) {
		if err := to.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

func (p *unpacker) entry(dir string, h *tar.Header, r io.Reader) error {
	if !filepath.IsLocal(h.Name) || path.Clean(h.Name) != h.Name || strings.Contains(h.Name, `\`) {
		return refuse(Damaged, "%q leads out of it", h.Name)
	}
	name := dir + "/" + h.Name
	if err := p.mkdir(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size > p.left {
			return refuse(Damaged, "%s: more bytes than the manifest says", h.Name)
		}
		p.left -= h.Size
		return p.file(name, h.Mode&0o100 != 0, r)
	case tar.TypeSymlink:
		if err := checkLink(h.Name, h.Linkname); err != nil {
			return refuse(Damaged, "%s: %w", h.Name, err)
		}
		return p.to.Symlink(h.Linkname, name)
	}
	return refuse(Damaged, "%s is no file and no link", h.Name)
}

// checkLink allows links within the tree only.
func checkLink(name, target string) error {
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) || len(target) > 255 {
		return fmt.Errorf("a link to %q leads out of it", target)
	}
	return nil
}

func (p *unpacker) mkdir(dir string) error {
	if p.dirs[dir] {
		return nil
	}
	if err := p.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	p.dirs[dir] = true
	return p.to.Mkdir(dir)
}

func (p *unpacker) file(name string, executable bool, r io.Reader) error {
	f, err := p.to.Create(name, executable)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(f, 0)}, r, p.buf)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
