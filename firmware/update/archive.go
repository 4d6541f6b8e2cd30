package update

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The members of an update's file, a tar, in this order and no others.
const (
	manifestName  = "manifest.json"
	signatureName = "manifest.json.minisig" // minisign -V -m manifest.json reads it
	payloadName   = "payload.tar.zst"
)

const maxSignature = 4 << 10

// Update is the file of an update. Nothing of it is to be believed before Verify.
type Update struct {
	Manifest
	ID        string // of the manifest: its sha256
	text      []byte // of the manifest
	signature []byte
	payload   *io.SectionReader
}

// Open looks into the file of an update.
func Open(r io.ReaderAt, size int64) (*Update, error) {
	file := io.NewSectionReader(r, 0, size)
	t := tar.NewReader(file)
	member := func(name string, most int64) (*tar.Header, error) {
		h, err := t.Next()
		switch {
		case err != nil:
			return nil, refuse(BadFormat, "update: no member %s: %w", name, noEOF(err))
		case h.Name != name || h.Typeflag != tar.TypeReg:
			return nil, refuse(BadFormat, "update: member %q where %s should be", h.Name, name)
		case h.Size > most:
			return nil, refuse(BadFormat, "update: %s has %d bytes, above the limit of %d", name, h.Size, most)
		}
		return h, nil
	}
	read := func(name string, most int64) ([]byte, error) {
		if _, err := member(name, most); err != nil {
			return nil, err
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return nil, refuse(BadFormat, "update: %s: %w", name, noEOF(err))
		}
		return b, nil
	}
	text, err := read(manifestName, maxManifest)
	if err != nil {
		return nil, err
	}
	signature, err := read(signatureName, maxSignature)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, err
	}
	h, err := member(payloadName, maxPayload)
	if err != nil {
		return nil, err
	}
	at, err := file.Seek(0, io.SeekCurrent) // a tar.Reader reads whole blocks and nothing ahead
	if err != nil {
		return nil, err
	}
	if h.Size != m.Payload.Size || at+h.Size > size {
		return nil, refuse(Damaged, "update: a payload of %d bytes in a file of %d, where the manifest says %d: "+
			"it is cut short", h.Size, size, m.Payload.Size)
	}
	return &Update{
		Manifest: *m, ID: identity(text), text: text, signature: signature,
		payload: io.NewSectionReader(r, at, h.Size),
	}, nil
}

// noEOF makes the end of a file, where there should be more, an error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Verify says why the update is not what a trusted key has signed, or not for the
// machine. The signature comes first: nothing else is looked at without one.
func (u *Update) Verify(ctx context.Context, keys Keys, t Target) error {
	if err := u.Signed(keys); err != nil {
		return err
	}
	if err := u.Fits(t); err != nil {
		return err
	}
	return u.Content(ctx)
}

// Signed says why no trusted key has signed the update.
func (u *Update) Signed(keys Keys) error {
	if err := keys.verify(u.text, u.signature); err != nil {
		return fmt.Errorf("%s %s: %w", u.Name, u.Version, err)
	}
	return nil
}

// Content says why the payload is not what was signed.
func (u *Update) Content(ctx context.Context) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, reader(ctx, io.NewSectionReader(u.payload, 0, u.payload.Size()))); err != nil {
		return fmt.Errorf("%s %s: payload: %w", u.Name, u.Version, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != u.Payload.SHA256 {
		return refuse(Damaged, "%s %s: the payload has sha256 %.12s..., where the manifest says %.12s...",
			u.Name, u.Version, got, u.Payload.SHA256)
	}
	return nil
}

// Make signs a manifest and writes the file of an update. The payload must be what
// the manifest says.
func Make(w io.Writer, m *Manifest, k *Key, payload io.Reader) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	signature := k.sign(m, text)
	t := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		b    []byte
	}{{manifestName, text}, {signatureName, signature}} {
		if err := t.WriteHeader(header(f.name, int64(len(f.b)), m)); err != nil {
			return err
		}
		if _, err := t.Write(f.b); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(header(payloadName, m.Payload.Size, m)); err != nil {
		return err
	}
	if _, err := io.Copy(t, payload); err != nil {
		return err
	}
	return t.Close()
}

func header(name string, size int64, m *Manifest) *tar.Header {
	return &tar.Header{
		Name: name, Size: size, Mode: 0o644, ModTime: m.Created, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
	}
}

// reader is r until ctx ends.
func reader(ctx context.Context, r io.Reader) io.Reader { return &reading{ctx, r} }

type reading struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r *reading) Read(b []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
