package camera

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync/atomic"

	"nightseg/camera/capture/ring"
	"nightseg/camera/images"
	"nightseg/camera/jpeg"
	"nightseg/camera/synth"
	"nightseg/edge/frame"
)

// open opens the feed of a target.
func (t target) open(ctx context.Context, o *Options) (opening, error) {
	if t.kind == kindPath {
		kind, err := kindOf(t.address)
		if err != nil {
			return opening{}, err
		}
		t.kind = kind
	}
	switch t.kind {
	case kindImages:
		return openImages(t.address, o)
	case kindSynth:
		return openSynth(t.query, o)
	default:
		return openCapture(ctx, t, o)
	}
}

// kindOf looks what is at a path.
func kindOf(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: there is no such file or folder; %s", path, known())
	case err != nil:
		return "", err
	case info.IsDir(), info.Mode().IsRegular() && images.IsPicture(path):
		return kindImages, nil
	case info.Mode().IsRegular():
		return ring.KindFile, nil
	case info.Mode()&fs.ModeCharDevice != 0:
		return ring.KindV4L2, nil
	}
	return "", fmt.Errorf("%s is no file, folder or device (%s); %s", path, info.Mode(), known())
}

// imagesFeed closes the decoder with the source.
type imagesFeed struct {
	*images.Source
	decoder *jpeg.Decoder
}

// Close implements feed.
func (f imagesFeed) Close() error { return errors.Join(f.Source.Close(), f.decoder.Close()) }

func openImages(path string, o *Options) (opening, error) {
	d, err := jpeg.New()
	if err != nil {
		return opening{}, err
	}
	s, err := images.Open(path, images.Options{JPEG: d, Loop: o.Loop})
	if err != nil {
		return opening{}, errors.Join(err, d.Close())
	}
	in := opening{feed: imagesFeed{s, d}, length: s.Len(), rate: o.Rate}
	if o.Loop {
		in.length = -1
	}
	if in.rate == 0 {
		in.rate = NominalRate
	}
	return in, nil
}

// synthFeed counts the frames that a live drive lost.
type synthFeed struct {
	*synth.Source
	late atomic.Uint64
}

// Next implements feed.
func (f *synthFeed) Next(ctx context.Context, dst *frame.Frame) error {
	if err := f.Source.Next(ctx, dst); err != nil {
		return err
	}
	if dst.DroppedBefore > 0 {
		f.late.Add(uint64(dst.DroppedBefore))
	}
	return nil
}

// Counters implements feed.
func (f *synthFeed) Counters() map[string]uint64 { return map[string]uint64{"late": f.late.Load()} }

func openSynth(query string, o *Options) (opening, error) {
	so, err := synth.ParseQuery(query)
	if err != nil {
		return opening{}, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return opening{}, err
	}
	if !values.Has("size") && o.Width > 0 {
		so.W, so.H = o.Width, o.Height
		if o.Rotate == 90 || o.Rotate == 270 {
			so.W, so.H = so.H, so.W
		}
	}
	so.Repeat = o.Loop
	rate := so.FPS
	if o.Rate > 0 {
		rate = o.Rate
	}
	if o.Live && o.Realtime {
		so.Realtime, so.FPS = true, rate
		rate = 0
	}
	s, err := synth.NewSource(so)
	if err != nil {
		return opening{}, err
	}
	in := opening{feed: &synthFeed{Source: s}, length: -1, rate: rate}
	if so.Frames > 0 && !o.Loop {
		in.length = so.Frames
	}
	return in, nil
}
