// Command bench measures how long building an image and looking into it take,
// as ratios against floors measured in the same run: plain mmdebstrap of the
// same packages, and guestfish reading one file. Absolute seconds say little on
// a shared machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Measurement is one line of the table.
type Measurement struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	// Ratio is Seconds divided by the floor's, 0 where no floor was measured.
	Ratio float64 `json:"ratio,omitempty"`
	// PeakMiB is the resident memory of the largest process, where it was a
	// process of its own.
	PeakMiB int64 `json:"peakMiB,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	profile := flag.String("profile", "debian-13", "profile to build")
	tool := flag.String("nodeimage", "bin/nodeimage", "the command line to measure")
	image := flag.String("image", "", "only look into this image, and build nothing")
	guestfish := flag.String("guestfish", "guestfish", "the guestfish to compare with")
	output := flag.String("json", "", "also write the measurements to this file")
	flag.Parse()
	b := bench{profile: *profile, tool: *tool, guestfish: *guestfish}
	err := b.run(ctx, *image)
	if err == nil && *output != "" {
		err = b.write(*output)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitcode.Of(err))
	}
}

// bench is one run of the benchmark.
type bench struct {
	profile, tool, guestfish string

	Build    []Measurement `json:"build,omitempty"`
	Validate []Measurement `json:"validate"`
	// Note says why Validate has no floor.
	Note string `json:"note,omitempty"`
}

// run measures everything, or with an image only what looking into that costs.
func (b *bench) run(ctx context.Context, image string) (err error) {
	if image == "" {
		var dir string
		if dir, err = os.MkdirTemp("/var/tmp", "nodeimage-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := b.build(ctx, dir); err != nil {
			return err
		}
		show("building "+b.profile, b.Build)
		image = filepath.Join(dir, "out", b.profile+".qcow2")
	}
	fmt.Fprintln(os.Stderr, "measuring: looking into", image)
	if b.Validate, b.Note, err = look(ctx, b.tool, b.guestfish, image); err != nil {
		return err
	}
	show("looking into "+filepath.Base(image), b.Validate)
	if b.Note != "" {
		fmt.Println(b.Note)
	}
	return nil
}

// build measures builds, with dir to work in.
func (b *bench) build(ctx context.Context, dir string) error {
	p, err := profiles.Load(b.profile)
	if err != nil {
		return err
	}
	var table []Measurement
	measure := func(name string, work func() (peak int64, err error)) error {
		fmt.Fprintln(os.Stderr, "measuring:", name)
		start := time.Now()
		peak, err := work()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		table = append(table, Measurement{Name: name, Seconds: time.Since(start).Seconds(), PeakMiB: peak})
		return nil
	}
	build := func(args ...string) func() (int64, error) {
		return func() (int64, error) {
			return command(ctx, b.tool, append([]string{"build", b.profile, "-o", filepath.Join(dir, "out")}, args...)...)
		}
	}
	err = errors.Join(
		measure("floor: plain mmdebstrap of the same packages", func() (int64, error) { return floor(ctx, p, dir) }),
		measure("base system, cold", func() (int64, error) { return 0, base(ctx, p, filepath.Join(dir, "store")) }),
		measure("image, base and components ready", build("--force")),
		measure("image, nothing changed", build()),
	)
	if err != nil {
		return err
	}
	cold := Measurement{Name: "image, cold but for components (the two above)", Seconds: table[1].Seconds + table[2].Seconds}
	b.Build = append(table[:3], append([]Measurement{cold}, table[3:]...)...)
	return nil
}

// show fills in the ratios to the first line, if that is a floor, and prints
// the table.
func show(title string, table []Measurement) {
	fmt.Printf("%-50s %9s %7s %9s\n", title, "seconds", "ratio", "peak MiB")
	floored := strings.HasPrefix(table[0].Name, "floor: ")
	for i := range table {
		ratio, peak := "", ""
		if floored {
			table[i].Ratio = table[i].Seconds / table[0].Seconds
			ratio = fmt.Sprintf("%.2f", table[i].Ratio)
		}
		if table[i].PeakMiB > 0 {
			peak = fmt.Sprint(table[i].PeakMiB)
		}
		fmt.Printf("%-50s %9.2f %7s %9s\n", table[i].Name, table[i].Seconds, ratio, peak)
	}
}

// write leaves the measurements for a machine.
func (b *bench) write(path string) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(data, '\n'), 0o644)
}

// floor is what anybody gets without this project.
func floor(ctx context.Context, p *profiles.Profile, dir string) (int64, error) {
	sources := filepath.Join(dir, "floor.sources")
	if err := os.WriteFile(sources, []byte(bootstrap.Sources(p.Archive.Effective(), p.Archive.Snapshot != "")), 0o644); err != nil {
		return 0, err
	}
	return command(ctx, "mmdebstrap", "--quiet", "--variant="+p.Packages.Variant, "--architectures="+p.OS.Arch,
		"--include="+strings.Join(p.PackageList(), ","), p.OS.Codename, filepath.Join(dir, "floor.tar"), sources)
}

// base makes the base system in an empty store.
func base(ctx context.Context, p *profiles.Profile, dir string) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	_, err = bootstrap.Maker{Host: run.Host{}, Store: s}.Make(ctx, p)
	return err
}

// command runs argv and returns the peak resident memory of its largest
// process in MiB.
func command(ctx context.Context, name string, args ...string) (int64, error) {
	peak, _, err := timed(ctx, name, args...)
	return peak, err
}

// timed also says how long it took.
func timed(ctx context.Context, name string, args ...string) (peak int64, took time.Duration, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	peak, took, out, err := wait(cmd)
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", run.Quote(cmd.Args), err, out)
	}
	return peak, took, err
}

// wait runs a command and returns all that it printed.
func wait(cmd *exec.Cmd) (peak int64, took time.Duration, out string, err error) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	start := time.Now()
	b, err := cmd.CombinedOutput()
	took = time.Since(start)
	if cmd.ProcessState != nil {
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peak = usage.Maxrss / 1024
		}
	}
	return peak, took, string(b), err
}
