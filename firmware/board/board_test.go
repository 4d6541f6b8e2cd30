package board

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/firmware/boards"
	"nightseg/firmware/button"
	"nightseg/firmware/governor"
	"nightseg/firmware/indicate"
	"nightseg/firmware/tree"
)

const trees = "testdata/trees/"

// machine copies a recorded machine, to be changed.
func machine(t *testing.T, name string) tree.Root {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(trees+name)); err != nil {
		t.Fatal(err)
	}
	return tree.Root(dir)
}

func put(t *testing.T, root tree.Root, name, text string) {
	t.Helper()
	if err := os.WriteFile(root.Path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pass lets fake time pass, and what happens in it end.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // fake time
	synctest.Wait()
}

// fitted is the Orin Nano with all that its description proposes, wired.
func fitted(t *testing.T) Description {
	t.Helper()
	text := uncommented(t, "jetson-orin-nano")
	text = strings.Replace(text, "rails: # the INA3221 of the module\n", "rails:\n"+
		"  battery: {i2c: header, chip: ina219, address: 0x40, shunt: 0.1, max_amps: 3.2}\n", 1)
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// uncommented is a description with the groups at its end that are for what one has.
func uncommented(t *testing.T, name string) string {
	t.Helper()
	for _, f := range boards.All() {
		if f.Name != name {
			continue
		}
		head, tail, ok := strings.Cut(string(f.Text), "\n# light:\n")
		if !ok {
			t.Fatal("no groups for what is wired")
		}
		return head + "\n" + strings.ReplaceAll("# light:\n"+tail, "\n# ", "\n")[2:]
	}
	t.Fatalf("no board %s", name)
	return ""
}

func TestShippedBoards(t *testing.T) {
	known, err := Known()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("../boards")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			files = append(files, name)
		}
	}
	var names []string
	for i, d := range known {
		names = append(names, d.Name)
		if d.Name != boards.All()[i].Name || d.Title == "" || d.Governor == nil {
			t.Errorf("%s is %q, %q", boards.All()[i].Name, d.Name, d.Title)
		}
		if g := *d.Governor; g.Warm != governor.Default(g.Critical.Up).Warm || g.Hot != governor.Default(g.Critical.Up).Hot ||
			g.Critical != governor.Default(g.Critical.Up).Critical { // which the simulated boards were tried with
			t.Errorf("%s: bands %+v are not those of the simulation", d.Name, g)
		}
	}
	if slices.Sort(names); !slices.Equal(names, files) {
		t.Errorf("boards %q, files %q", names, files)
	}
}

func TestDetect(t *testing.T) {
	for name, want := range map[string]string{
		"orin-nano": "jetson-orin-nano", "pi5": "raspberry-pi-5", "pc": "pc",
	} {
		if d, err := Detect(trees + tree.Root(name)); err != nil || d.Name != want {
			t.Errorf("%s is %s, %v", name, d.Name, err)
		}
	}
	root := machine(t, "orin-nano")
	put(t, root, "/proc/device-tree/model", "Radxa ROCK 5B\x00")
	if d, err := Detect(root); err == nil || !strings.Contains(err.Error(), `"Radxa ROCK 5B"`) {
		t.Errorf("a ROCK 5B is %s, %v", d.Name, err)
	}
	if _, err := Detect(tree.Root(t.TempDir())); err == nil {
		t.Error("nothing is a board")
	}
}

// The machines in testdata are those that the script beside them makes.
func TestTreesAreThoseOfTheScript(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "python3", "testdata/make_trees.py", dir).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no python3")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	read := func(dir string) map[string]string {
		files := map[string]string{}
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(p)
			files[strings.TrimPrefix(p, filepath.Clean(dir))] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	made, kept := read(dir), read(trees)
	for name := range made {
		if made[name] != kept[name] {
			t.Errorf("%s differs: run testdata/make_trees.py", name)
		}
	}
	if len(made) != len(kept) {
		t.Errorf("%d files, the script makes %d", len(kept), len(made))
	}
}

// A board at work: what is newest is there without waiting, and each second again.
func TestBoardAtWork(t *testing.T) {
	root := machine(t, "orin-nano")
	d := fitted(t)
	d.Battery.Below, d.Battery.For = 13, 20*time.Second // the recorded battery has 12.4 V
	synctest.Test(t, func(t *testing.T) {
		var steps []governor.Change
		var presses []button.Event
		var empty []string
		b := New(root, d, Options{
			OnStep:    func(c governor.Change) { steps = append(steps, c) },
			OnButton:  func(e button.Event) { presses = append(presses, e) },
			OnBattery: func(why string) { empty = append(empty, why) },
		})
		if why := b.MayStart(); why != "" {
			t.Error(why)
		}
		b.Show(indicate.Degraded)
		ctx, cancel := context.WithCancel(t.Context())
		var ran error
		ended := make(chan struct{})
		go func() { ran = b.Run(ctx); close(ended) }()
		pass(30 * time.Second)
		h := b.Health()
		if len(h.Problems) > 0 {
			t.Errorf("problems %v", h.Problems)
		}
		if l, ok := b.Light("front"); !ok || !l.Valid || l.Lux < 34 || l.Lux > 39 || h.Light["front"] != l {
			t.Errorf("light %+v", l)
		}
		if _, ok := b.Light("rear"); ok {
			t.Error("a sensor that nobody described")
		}
		if h.Celsius["tj"] != 51.093 || h.Counters["over_current_instant"] != 37 || h.Rails["battery"].Volts != 12.4 ||
			h.Governor == nil || h.Governor.Level != 0 || h.Clocks["gpu"].MHz != 612 || h.Buses["header"].Transactions == 0 {
			t.Errorf("%+v", h)
		}
		if len(presses) != 2 || presses[0].Kind != button.Pressed || presses[1].Kind != button.Held { // never let go
			t.Errorf("button %+v", presses)
		}
		if len(empty) != 1 || h.Battery == "" {
			t.Errorf("battery %q, %q", empty, h.Battery)
		}
		put(t, root, "/sys/class/thermal/thermal_zone8/temp", "94800\n")
		pass(30 * time.Second)
		if h := b.Health(); len(steps) == 0 || steps[0].To.LiveView || h.Governor.Zone != "tj" {
			t.Errorf("steps %+v", steps)
		}
		if err := os.Remove(root.Path("/dev/i2c-7")); err != nil { // one that is open goes on
			t.Error(err)
		}
		var text bytes.Buffer
		h.Metrics(&text)
		for _, want := range []string{
			"nightseg_board_celsius{zone=\"tj\"} 51.093\n", "nightseg_board_rail_volts{rail=\"battery\"} 12.4\n",
			"nightseg_board_load_percent{clock=\"gpu\"} 43.7\n", "nightseg_board_light_valid{sensor=\"front\"} 1\n",
			"nightseg_board_problems 0\n",
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %q in\n%s", want, text.String())
			}
		}
		cancel()
		<-ended
		if ran != nil {
			t.Error(ran)
		}
	})
}

// Nothing that is missing stops the program; each thing is told, and taken when it comes.
func TestWhatIsMissingIsToldAndTakenLater(t *testing.T) {
	root := machine(t, "orin-nano")
	put := func(name, from string) { put(t, root, name, from) }
	chip, err := os.ReadFile(root.Path("/dev/gpiochip0"))
	if err != nil {
		t.Fatal(err)
	}
	traffic, err := os.ReadFile(root.Path("/dev/i2c-7"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/dev/i2c-7", "/dev/gpiochip0", "/sys/class/hwmon/hwmon1/name"} {
		if err := os.Remove(root.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	d := fitted(t)
	synctest.Test(t, func(t *testing.T) {
		b := New(root, d, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		pass(5 * time.Second)
		h := b.Health()
		for _, want := range []string{"light front", "rail battery", "rail input", "rail soc", "button stop", "status"} {
			if h.Problems[want] == "" {
				t.Errorf("nothing is told of %s: %v", want, h.Problems)
			}
		}
		if h.Celsius["tj"] != 51.093 || h.Governor == nil {
			t.Errorf("what is there: %+v", h)
		}
		put("/dev/gpiochip0", string(chip))
		put("/dev/i2c-7", string(traffic))
		put("/sys/class/hwmon/hwmon1/name", "ina3221\n")
		pass(time.Minute)
		if h := b.Health(); len(h.Problems) > 0 || !h.Light["front"].Valid || len(h.Rails) != 4 {
			t.Errorf("%v, light %+v, rails %v", h.Problems, h.Light, h.Rails)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestRecordingOfABoardPlays(t *testing.T) {
	d := fitted(t)
	files := map[string]*bytes.Buffer{}
	var lux float64
	run := func(root tree.Root, o Options) {
		synctest.Test(t, func(t *testing.T) {
			b := New(root, d, o)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- b.Run(ctx) }()
			pass(10 * time.Second)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			l, _ := b.Light("front")
			if lux != 0 && l.Lux != lux {
				t.Errorf("%v lx, %v when it was recorded", l.Lux, lux)
			}
			lux = l.Lux
		})
	}
	root := machine(t, "orin-nano")
	run(root, Options{Record: func(name string) (io.Writer, error) {
		files[name] = &bytes.Buffer{}
		return files[name], nil
	}})
	if len(files) != 1 || files["/dev/i2c-7"] == nil {
		t.Fatalf("recorded %v", files)
	}
	put(t, root, "/dev/i2c-7", files["/dev/i2c-7"].String())
	run(root, Options{})
}
