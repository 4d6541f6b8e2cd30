package main

import (
	"fmt"
	"sync/atomic"

	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/model"
)

// envelope is the stage that puts masks into messages.
type envelope struct {
	encoder *message.Encoder
	codec   message.Codec
	version atomic.Int64 // of the settings in force, as the messages tell it
}

// newEnvelope makes the stage for one camera.
func newEnvelope(b *model.Bundle, s sender, codec message.Codec) (*envelope, error) {
	if err := checkCodec(codec); err != nil {
		return nil, err
	}
	e, err := newEncoder(b, s)
	if err != nil {
		return nil, err
	}
	return &envelope{encoder: e, codec: codec}, nil
}

// newEncoder makes the encoder of masks with the classes of a bundle.
func newEncoder(b *model.Bundle, s sender) (*message.Encoder, error) {
	o := message.Origin{Fleet: s.fleet, Device: s.device, Bundle: b.SHA256}
	for _, c := range b.Classes {
		o.Palette[c.ID] = c.Colour
		o.Classes = max(o.Classes, c.ID+1)
	}
	o.Palette[frame.Unknown] = b.Unknown.Colour
	return message.NewEncoder(o)
}

// apply changes the codec. It belongs between two calls of Append; a codec that
// is not known changes nothing, as live settings are checked before.
func (e *envelope) apply(codec message.Codec) {
	if codec.Valid() {
		e.codec = codec
	}
}

// Append implements edge.Encoder.
func (e *envelope) Append(dst []byte, m *frame.Mask) ([]byte, error) {
	return e.encoder.Append(dst, m, message.Sending{
		Codec: e.codec, Published: frame.Mono(), Settings: e.version.Load(),
	})
}

func checkCodec(codec message.Codec) error {
	if codec.Valid() {
		return nil
	}
	return fmt.Errorf("codec %q is not known: use one of %v", string(codec), codecNames())
}

// codecNames are the codecs as meta tells them.
func codecNames() []string {
	all := message.Codecs()
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = string(c)
	}
	return names
}
