// Command bench measures how long a build takes as ratios against a floor
// measured in the same run: plain mmdebstrap of the same packages. Absolute
// seconds say little on a shared machine.
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
	// Ratio is Seconds divided by the floor's.
	Ratio float64 `json:"ratio"`
	// PeakMiB is the resident memory of the largest process, where it was a
	// process of its own.
	PeakMiB int64 `json:"peakMiB,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	profile := flag.String("profile", "debian-13", "profile to build")
	tool := flag.String("nodeimage", "bin/nodeimage", "the command line to measure")
	output := flag.String("json", "", "also write the measurements to this file")
	flag.Parse()
	if err := bench(ctx, *profile, *tool, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitcode.Of(err))
	}
}

func bench(ctx context.Context, profile, tool, output string) (err error) {
	p, err := profiles.Load(profile)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "nodeimage-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

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
			return command(ctx, tool, append([]string{"build", profile, "-o", filepath.Join(dir, "out")}, args...)...)
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
	table = append(table[:3], append([]Measurement{cold}, table[3:]...)...)
	fmt.Printf("%-50s %9s %7s %9s\n", "", "seconds", "ratio", "peak MiB")
	for i := range table {
		table[i].Ratio = table[i].Seconds / table[0].Seconds
		peak := ""
		if table[i].PeakMiB > 0 {
			peak = fmt.Sprint(table[i].PeakMiB)
		}
		fmt.Printf("%-50s %9.1f %7.2f %9s\n", table[i].Name, table[i].Seconds, table[i].Ratio, peak)
	}
	if output == "" {
		return nil
	}
	data, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(output, append(data, '\n'), 0o644)
}

// floor is what anybody gets without this project.
func floor(ctx context.Context, p *profiles.Profile, dir string) (int64, error) {
	sources := filepath.Join(dir, "floor.sources")
	if err := os.WriteFile(sources, []byte(bootstrap.Sources(p.Archive, p.Archive.Keyring)), 0o644); err != nil {
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
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", run.Quote(cmd.Args), err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, nil
	}
	return usage.Maxrss / 1024, nil
}
