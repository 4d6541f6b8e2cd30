// Package camera opens what nightseg looks through: a folder of images, a video
// file, a V4L2, CSI or RTSP camera or a made-up drive, named by a path or a URI.
//
// Every frame comes out in the shape that the networks want, with the meta that
// leads back from a mask's pixel to the camera's. The kinds live in the folders
// below: images and synth work in this process, capture talks to the process
// that holds OpenCV. Watcher tells a frozen camera from a still night.
package camera

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"nightseg/camera/fit"
	"nightseg/camera/images"
	"nightseg/edge/frame"
)

// NominalRate is that of recordings which do not say theirs, in frames per
// second.
const NominalRate = 30

// Options say what frames of a source shall be like.
type Options struct {
	ID            string // of the camera, for the meta
	Width, Height int    // pixels of the frames; 0, 0: as the source has them
	Fit           string // stretch, crop or letterbox; empty: stretch
	Filter        string // bilinear or nearest; empty: bilinear
	Antialias     bool
	Rotate        int // degrees clockwise
	FlipH, FlipV  bool

	// Rate is that to ask of a camera or to play a recording at, in frames per
	// second; 0: the source's own.
	Rate float64
	// Realtime plays a recording at its rate; else frames come as fast as they are
	// fetched. No frame is left out for that.
	Realtime bool
	// Live lets a synth:// source with Realtime behave as a camera does: it plays a
	// loop that was drawn before, and loses what nobody fetched in time.
	Live bool
	// Loop starts a recording again at its end.
	Loop bool
	// Logger is told of pictures that are skipped; nil: slog's default.
	Logger *slog.Logger
}

// feed is one kind of source. Next fills the picture at its own size, and the
// part of the meta that the kind knows; it may reuse the buffer of dst.
type feed interface {
	Next(ctx context.Context, dst *frame.Frame) error
	Counters() map[string]uint64
	Close() error
}

// opening is a feed that was opened, and what is known of it.
type opening struct {
	feed
	length int     // frames until io.EOF, -1: not known
	rate   float64 // frames per second to play at; 0: the feed sets the pace itself
}

// Source delivers the frames of one camera. Next is for one goroutine, Counters
// for any; Close when Next does not run.
type Source struct {
	id     string
	in     opening
	fitter *fit.Fitter
	refit  atomic.Pointer[fit.Fitter] // takes the fitter's place at the next picture
	pace   pace
	asked  float64 // rate that was asked for; 0: none
	logger *slog.Logger

	raw    frame.Frame // the picture before it is fitted
	direct bool        // the last picture needed no fitting
	seq    uint64
	lost   uint32 // pictures skipped since the last delivered frame
	warned int
	broken atomic.Uint64 // pictures that could not be fitted
}

// Open opens a source: a path or a URI.
func Open(ctx context.Context, source string, o Options) (*Source, error) {
	t, err := parse(source)
	if err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	f, err := o.fitter()
	if err != nil {
		return nil, err
	}
	if o.Rate < 0 || math.IsNaN(o.Rate) || o.Rate > maxAskedRate {
		return nil, fmt.Errorf("camera: rate %g is not a number from 0 (its own) to %d", o.Rate, maxAskedRate)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	in, err := t.open(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	s := &Source{id: o.ID, in: in, fitter: f, asked: o.Rate, logger: o.Logger}
	if o.Realtime && in.rate > 0 {
		s.pace.period = time.Duration(float64(time.Second) / in.rate)
	}
	return s, nil
}

// fitter makes what brings pictures into the shape that the options ask for.
func (o *Options) fitter() (*fit.Fitter, error) {
	f, err := fit.New(fit.Settings{
		W: o.Width, H: o.Height, Fit: o.Fit, Filter: o.Filter, Antialias: o.Antialias,
		Rotate: o.Rotate, FlipH: o.FlipH, FlipV: o.FlipV,
	})
	if err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	return f, nil
}

// Refit gives the next frames the shape that o asks for: its size, fit, filter and
// turns; the camera itself goes on as it was opened. It may be called from any
// goroutine.
func (s *Source) Refit(o Options) error {
	f, err := o.fitter()
	if err != nil {
		return err
	}
	s.refit.Store(f)
	return nil
}

// Len returns how many frames there will be, broken pictures counted; -1 when
// that is not known or there is no end.
func (s *Source) Len() int { return s.in.length }

// maxSkips is how many broken pictures in a row are passed over before the
// caller is told.
const maxSkips = 10

// Next writes the next frame into dst. Pictures of a recording that cannot be
// read are counted, told to the logger and passed over; ten in a row are an
// error, after which Next may be called again. io.EOF is the end.
func (s *Source) Next(ctx context.Context, dst *frame.Frame) error {
	if err := s.pace.wait(ctx); err != nil {
		return fmt.Errorf("camera: %w", err)
	}
	for skipped := 1; ; skipped++ {
		err := s.take(ctx, dst)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if !errors.Is(err, images.ErrFile) {
			return err // names its stage and what it reads
		}
		s.lost++
		if skipped == maxSkips {
			return fmt.Errorf("camera: %d pictures in a row cannot be read; the last: %w", skipped, err)
		}
		s.warn(err)
	}
	dst.Camera = s.id
	dst.Seq = s.seq
	dst.DroppedBefore += s.lost
	s.seq++
	s.lost = 0
	return nil
}

// maxWarnings bounds what a recording with many broken pictures writes to the
// log; the counters go on.
const maxWarnings = 10

func (s *Source) warn(err error) {
	if s.warned < maxWarnings {
		s.warned++
		s.logger.Warn("picture skipped", "camera", s.id, "error", err, "last_warning", s.warned == maxWarnings)
	}
}

// take brings one picture of the feed into dst, fitted. It is decoded right
// into dst when the last one needed no fitting. When a guess was wrong, which
// takes a source that changes its size, the buffers change hands.
func (s *Source) take(ctx context.Context, dst *frame.Frame) error {
	if f := s.refit.Swap(nil); f != nil {
		s.fitter, s.direct = f, false
	}
	into := &s.raw
	if s.direct {
		into = dst
	}
	into.Meta = frame.Meta{} // frames are used again: nothing of another one may stay
	if err := s.in.Next(ctx, into); err != nil {
		return err
	}
	s.direct = s.fitter.Identity(into.W, into.H)
	if s.direct != (into == dst) {
		s.raw, *dst = *dst, s.raw
	}
	var err error
	if s.direct {
		err = s.fitter.Describe(&dst.Meta, dst.W, dst.H)
	} else {
		err = s.fitter.Fit(dst, &s.raw)
		dst.Luma = 0 // of another picture
	}
	if err != nil {
		s.broken.Add(1)
		return err
	}
	if dst.Luma == 0 {
		dst.Luma = meanLuma(dst)
	}
	return nil
}

// Counters returns how many pictures were lost, by reason.
func (s *Source) Counters() map[string]uint64 {
	c := s.in.Counters()
	if n := s.broken.Load(); n > 0 {
		c["unfit"] += n
	}
	return c
}

// Trouble says why no picture comes; nil where nothing is known.
func (s *Source) Trouble() error {
	if t, ok := s.in.feed.(interface{ Trouble() error }); ok {
		return t.Trouble()
	}
	return nil
}

// Period is the time from one picture to the next; 0 where it is not known.
func (s *Source) Period() time.Duration {
	if s.pace.period == 0 && s.asked > 0 {
		return time.Duration(float64(time.Second) / s.asked)
	}
	return s.pace.period
}

// Close ends the source. It may be called twice.
func (s *Source) Close() error {
	if err := s.in.Close(); err != nil {
		return fmt.Errorf("camera: close: %w", err)
	}
	return nil
}
