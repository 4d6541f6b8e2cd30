package edge

import (
	"log/slog"
	"maps"
	"sort"
	"strings"
	"sync"
	"time"

	"nightseg/edge/frame"
)

// logEvery is how often one part may write a fault to the log.
const logEvery = time.Second

// Health holds what is wrong at the moment, one reason per part. A service
// with a reason is degraded, not dead.
type Health struct {
	notify func(degraded bool, reason string)

	mu      sync.Mutex
	reasons map[string]string
	logged  map[string]time.Duration
	hidden  map[string]int // faults not written since the last line
}

// NewHealth returns a health without a reason. notify, if given, is called
// whenever the reasons change, and must not call back.
func NewHealth(notify func(degraded bool, reason string)) *Health {
	return &Health{
		notify:  notify,
		reasons: map[string]string{},
		logged:  map[string]time.Duration{},
		hidden:  map[string]int{},
	}
}

// Set gives a part a reason to be degraded.
func (h *Health) Set(part, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.reasons[part]; ok && old == reason {
		return
	}
	h.reasons[part] = reason
	h.tell()
}

// Note sets the reason of a part, or clears it where the reason is "".
func (h *Health) Note(part, reason string) {
	if reason == "" {
		h.Clear(part)
		return
	}
	h.Set(part, reason)
}

// Clear takes a part's reason away.
func (h *Health) Clear(part string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.reasons[part]; !ok {
		return
	}
	delete(h.reasons, part)
	h.tell()
}

// Of returns the reasons of a camera, "" where there are none.
func (h *Health) Of(camera string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for part, reason := range h.reasons {
		if isOf(part, camera) {
			all = append(all, reason)
		}
	}
	sort.Strings(all)
	return strings.Join(all, "; ")
}

func isOf(part, camera string) bool {
	return part == camera || strings.HasPrefix(part, partName(camera, ""))
}

// Forget takes away all reasons of a camera that is not looked through any more.
func (h *Health) Forget(camera string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.reasons)
	maps.DeleteFunc(h.reasons, func(part, _ string) bool {
		return isOf(part, camera)
	})
	if len(h.reasons) < n {
		h.tell()
	}
}

// State reports whether there is a reason, and all of them in one line.
func (h *Health) State() (degraded bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.reasons) > 0, h.text()
}

// Log writes a fault of a part, at most one a second; what was left out is
// counted in the next line.
func (h *Health) Log(part string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := frame.Mono()
	if last, ok := h.logged[part]; ok && now-last < logEvery {
		h.hidden[part]++
		return
	}
	slog.Warn(err.Error(), "part", part, "left_out", h.hidden[part])
	h.logged[part], h.hidden[part] = now, 0
}

func (h *Health) text() string {
	parts := make([]string, 0, len(h.reasons))
	for p, r := range h.reasons {
		parts = append(parts, p+": "+r)
	}
	sort.Strings(parts)
	return strings.Join(parts, "; ")
}

func (h *Health) tell() {
	if h.notify != nil {
		h.notify(len(h.reasons) > 0, h.text())
	}
}
