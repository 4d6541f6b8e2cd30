package update

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
)

// KeysDir is where a device has the keys that it trusts.
const KeysDir = "/etc/nightseg/update-keys.d"

// Keys are the public keys that may sign updates.
type Keys []minisign.PublicKey

// LoadKeys reads the files *.pub of a folder, in minisign's form. No keys are no
// error: then no signature is good.
func LoadKeys(dir string) (Keys, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.pub"))
	if err != nil {
		return nil, fmt.Errorf("update keys: %w", err)
	}
	var keys Keys
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("update keys: %w", err)
		}
		var k minisign.PublicKey
		if err := k.UnmarshalText(b); err != nil {
			return nil, fmt.Errorf("update keys: %s is no public key of minisign: %w", name, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// verify says why a signature is not that of a trusted key.
func (k Keys) verify(text, signature []byte) error {
	if len(k) == 0 {
		return refuse(BadSignature, "no key is trusted: put the maker's public key into %s/NAME.pub", KeysDir)
	}
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return refuse(BadSignature, "the signature is not of minisign's form: %w", err)
	}
	for _, key := range k {
		if key.ID() == s.KeyID && minisign.Verify(key, text, signature) {
			return nil
		}
	}
	return refuse(BadSignature, "the signature is of the key %X, and right by none of the %d keys that are trusted",
		s.KeyID, len(k))
}

// Key signs updates.
type Key struct{ private minisign.PrivateKey }

// NewKey makes a key.
func NewKey() (*Key, error) {
	_, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("update key: %w", err)
	}
	return &Key{private}, nil
}

// ReadKey reads a key that Text, or minisign itself, has written.
func ReadKey(text []byte, password string) (*Key, error) {
	k := new(Key)
	var err error
	if minisign.IsEncrypted(text) {
		k.private, err = minisign.DecryptKey(password, text)
	} else {
		err = k.private.UnmarshalText(text)
	}
	if err != nil {
		return nil, fmt.Errorf("update key: %w", err)
	}
	return k, nil
}

// Text is the secret key as a file has it, encrypted unless the password is empty.
func (k *Key) Text(password string) ([]byte, error) {
	if password == "" {
		return k.private.MarshalText()
	}
	return minisign.EncryptKey(password, k.private)
}

// Public is the public key as a file has it.
func (k *Key) Public() ([]byte, error) { return k.public().MarshalText() }

// Keys returns the public key alone.
func (k *Key) Keys() Keys { return Keys{k.public()} }

func (k *Key) public() minisign.PublicKey {
	p, _ := k.private.Public().(minisign.PublicKey) // it is no other
	return p
}

func (k *Key) sign(m *Manifest, text []byte) []byte {
	comment := fmt.Sprintf("nightseg update %s %s %s", m.Kind, m.Name, m.Version)
	return minisign.SignWithComments(k.private, text, comment, "minisign signature of a nightseg update")
}

// SaveKey writes a new key beside its public half, NAME.pub, and replaces nothing.
func SaveKey(name string, k *Key, password string) (err error) {
	secret, err := k.Text(password)
	if err != nil {
		return fmt.Errorf("update key: %w", err)
	}
	public, err := k.Public()
	if err != nil {
		return fmt.Errorf("update key: %w", err)
	}
	public = append([]byte(strings.TrimSpace(string(public))), '\n')
	if err := create(name, secret, 0o600); err != nil {
		return err
	}
	return create(name+".pub", public, 0o644)
}

func create(name string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("update key: %w", err)
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
