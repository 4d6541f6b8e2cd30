package mqtt

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt/mqtttest"
)

// camera offers masks of a size until the returned function is called, which says
// how many. The first bytes of a mask say when it was offered.
func camera(t *testing.T, c *Client, size int, every time.Duration) (stop func() uint64) {
	t.Helper()
	ended, n := make(chan struct{}), uint64(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		mask, meta := make([]byte, size), &frame.Meta{Camera: "front"}
		for {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
			binary.LittleEndian.PutUint64(mask, uint64(time.Now().UnixNano()))
			c.Offer(meta, mask)
			n++
		}
	})
	stop = sync.OnceValue(func() uint64 {
		close(ended)
		wg.Wait()
		return n
	})
	t.Cleanup(func() { stop() })
	return stop
}

// ages collects how old masks are when they come.
type ages struct {
	mu   sync.Mutex
	list []time.Duration
}

func (a *ages) take(m Message) {
	if len(m.Payload) < 8 {
		return
	}
	sent := time.Unix(0, int64(binary.LittleEndian.Uint64(m.Payload)))
	a.mu.Lock()
	a.list = append(a.list, m.Received.Sub(sent))
	a.mu.Unlock()
}

// cut returns the sorted ages so far, and begins anew.
func (a *ages) cut() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	slices.Sort(list)
	return list
}

// watchMasks subscribes to masks.
func watchMasks(t *testing.T, url string) *ages {
	t.Helper()
	a := &ages{}
	o := watchAll(url)
	o.Filters = []string{testTopics.Mask("+")}
	ob := observe(t, o)
	go func() { // ends with the test program; the observer with the test
		for m := range ob.messages {
			a.take(m)
		}
	}()
	return a
}

// answersOverAThinLink asks for settings again and again, over a link of 10 kB/s
// that has 150 kB/s of masks to carry.
func answersOverAThinLink(t *testing.T, device, operatorURL string) {
	o := testOptions(device)
	var c *Client
	reported := []byte(strings.Repeat("r", 3000))
	o.OnDesired = func(b []byte) {
		c.SetReported(reported)
		c.Ack(b)
	}
	var err error
	if c, err = New(o); err != nil {
		t.Fatal(err)
	}
	runThis(t, c)
	masks := watchMasks(t, operatorURL)
	asked := watchAll(operatorURL)
	asked.Filters = []string{testTopics.Ack()}
	ob := observe(t, asked)
	op := operator(t, operatorURL)
	waitConnected(t, c)
	c.SetStatus(Online, "")
	stop := camera(t, c, 5000, time.Second/30)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	figures := []byte(strings.Repeat("s", 900))
	const warmUp, rounds = 3, 20
	var took []time.Duration
	begin := time.Now()
	for i := range warmUp + rounds {
		<-tick.C
		c.PublishStats("front", figures)
		if i == warmUp {
			begin = time.Now()
			masks.cut()
		}
		want := fmt.Sprintf(`{"version":%d}`, i)
		start := time.Now()
		op.publish(t, testTopics.Desired(), true, want)
		for string(ob.next(t, testTopics.Ack()).Payload) != want {
		}
		if i >= warmUp {
			took = append(took, time.Since(start))
		}
	}
	length := time.Since(begin)
	old := masks.cut()
	offered := stop()
	slices.Sort(took)
	n := c.Counters()
	if len(old) == 0 {
		t.Fatal("no mask has come")
	}
	rate := float64(len(old)*5000) / length.Seconds()
	t.Logf("answer: median %v, worst %v of %d; masks: %.1f kB/s, median age %v, worst %v; %d offered, %d thinned",
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took),
		rate/1000, old[len(old)/2].Round(time.Millisecond), old[len(old)-1].Round(time.Millisecond), offered, n.DroppedThin)
	if worst := took[len(took)-1]; worst > 3*time.Second {
		t.Errorf("an answer took %v", worst)
	}
	if rate < 3000 || n.DroppedThin < offered/2 || n.DroppedQueue > 5 {
		t.Errorf("masks at %.0f B/s; counters %+v", rate, n)
	}
	if worst := old[len(old)-1]; worst > 3*time.Second {
		t.Errorf("a mask was %v old", worst)
	}
	if n.Connects != 1 || n.MasksConnects != 1 {
		t.Errorf("a connection was lost: %+v", n)
	}
}

// TestThinLink has a link in user space, which works everywhere.
func TestThinLink(t *testing.T) {
	m := mqtttest.StartMosquitto(t)
	answersOverAThinLink(t, mqtttest.StartThinProxy(t, m.URL(), 10e3).URL(), m.URL())
}

// TestThinNetwork has the kernel's token bucket behind a queue of ten seconds.
func TestThinNetwork(t *testing.T) {
	mqtttest.WithNetwork(t, func(n *mqtttest.Network) {
		n.Thin(10e3)
		answersOverAThinLink(t, n.DeviceURL(), n.URL())
	})
}

// TestLongNetwork fills a long link, and must not be taken for a thin one.
func TestLongNetwork(t *testing.T) {
	mqtttest.WithNetwork(t, func(n *mqtttest.Network) {
		n.Long(10e6/8, 100*time.Millisecond)
		for _, size := range []int{5000, 36000} { // 1.2 and 8.6 Mbit/s
			t.Run(fmt.Sprint(size), func(t *testing.T) { keepsItsRate(t, n, size) })
		}
	})
}

// keepsItsRate sends masks of a size, 30 a second.
func keepsItsRate(t *testing.T, n *mqtttest.Network, size int) {
	t.Helper()
	c, _ := runClient(t, testOptions(n.DeviceURL()))
	masks := watchMasks(t, n.URL())
	waitConnected(t, c)
	stop := camera(t, c, size, time.Second/30)
	<-time.After(3 * time.Second) // it begins slowly, as TCP does
	before := c.Counters()
	masks.cut()
	<-time.After(10 * time.Second)
	after := c.Counters()
	old := masks.cut()
	stop()
	if len(old) == 0 {
		t.Fatal("no mask has come")
	}
	dropped := after.DroppedThin + after.DroppedQueue - before.DroppedThin - before.DroppedQueue
	t.Logf("%d masks in 10 s, median age %v, worst %v, %d dropped", len(old),
		old[len(old)/2].Round(time.Millisecond), old[len(old)-1].Round(time.Millisecond), dropped)
	if len(old) < 285 || dropped > 15 { // this process may be held up, and the link with it
		t.Errorf("a long link does not keep its rate: %+v", after)
	}
}

// TestPartition takes the network away and brings it back.
func TestPartition(t *testing.T) {
	mqtttest.WithNetwork(t, func(n *mqtttest.Network) { partitions(t, n) })
}

func partitions(t *testing.T, n *mqtttest.Network) {
	t.Helper()
	n.Plain()
	c, _ := runClient(t, testOptions(n.DeviceURL()))
	masks := watchMasks(t, n.URL())
	waitConnected(t, c)
	camera(t, c, 5000, time.Second/30)
	for _, length := range []time.Duration{time.Second, 4 * time.Second, 12 * time.Second} {
		n.Down()
		<-time.After(length)
		n.Up()
		back := time.Now()
		masks.cut()
		tick := time.NewTicker(5 * time.Millisecond)
		for fresh := false; !fresh; {
			<-tick.C
			for _, age := range masks.cut() {
				fresh = fresh || age < time.Since(back)
			}
			if time.Since(back) > patience {
				t.Fatalf("no mask %v after the end of a partition of %v: %+v", patience, length, c.MasksState())
			}
		}
		tick.Stop()
		took := time.Since(back)
		t.Logf("partition of %v: a live mask %v after its end", length, took.Round(time.Millisecond))
		if took > 6*time.Second {
			t.Errorf("partition of %v: a live mask came %v after its end", length, took)
		}
	}
}
