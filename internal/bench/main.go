// Command bench measures how long building an image and looking into it take,
// as ratios against floors measured in the same run: plain mmdebstrap of the
// same packages, and guestfish reading one file. Other tools that make a disk of
// the same packages run beside it. Absolute seconds say little on a shared
// machine.
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
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	profile := flag.String("profile", "debian-13", "profile to build")
	tool := flag.String("nodeimage", "bin/nodeimage", "the command line to measure")
	image := flag.String("image", "", "only look into this image, and build nothing")
	guestfish := flag.String("guestfish", "guestfish", "the guestfish to compare with")
	patch := flag.String("patch", "", "profile that stands for a patch; default: the profile with one sysctl more")
	result := flag.String("e2e", "", "result of the suite (summary.json) to compare")
	limit := flag.Duration("peer-limit", 10*time.Minute, "longest time for a peer; 0 for no peers")
	output := flag.String("json", "", "also write the measurements to this file")
	history := flag.String("history", "", "also append the measurements to this file")
	flag.Parse()
	b := bench{profile: *profile, tool: *tool, guestfish: *guestfish, patch: *patch, suite: *result, limit: *limit}
	b.Run = benchlog.Run{Time: time.Now().UTC().Truncate(time.Second), Tool: version.String(), CPUs: runtime.NumCPU(), Profile: *profile}
	err := b.run(ctx, *image)
	if err == nil && *output != "" {
		err = b.write(*output)
	}
	if err == nil && *history != "" {
		err = benchlog.Append(*history, b.Run)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitcode.Of(err))
	}
}

// bench is one run of the benchmark.
type bench struct {
	profile, tool, guestfish, patch, suite string

	limit time.Duration // of a peer

	benchlog.Run
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
		p, err := profiles.Load(b.profile)
		if err != nil {
			return err
		}
		image = filepath.Join(dir, "out", p.Name+".qcow2")
	}
	fmt.Fprintln(os.Stderr, "measuring: looking into", image)
	var note string
	if b.Validate, note, err = look(ctx, b.tool, b.guestfish, image); err != nil {
		return err
	}
	show("looking into "+filepath.Base(image), b.Validate)
	b.note(note)
	if b.suite != "" {
		if b.Suite, note, err = suite(b.suite); err != nil {
			return err
		}
		if len(b.Suite) > 0 {
			show("the booted suite", b.Suite)
		}
		b.note(note)
	}
	return nil
}

// note keeps and prints what could not be measured.
func (b *bench) note(text string) {
	if text != "" {
		b.Notes = append(b.Notes, text)
		fmt.Println(text)
	}
}

// build measures builds, with dir to work in.
func (b *bench) build(ctx context.Context, dir string) error {
	p, err := profiles.Load(b.profile)
	if err != nil {
		return err
	}
	patched, err := b.patched(p, dir)
	if err != nil {
		return err
	}
	var table []benchlog.Measurement
	measure := func(name string, work func() (peak int64, err error)) error {
		fmt.Fprintln(os.Stderr, "measuring:", name)
		before := written(dir)
		start := time.Now()
		peak, err := work()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m := benchlog.Measurement{Name: name, Seconds: time.Since(start).Seconds(), PeakMiB: peak}
		// What is still in memory only belongs to this line, too.
		unix.Sync()
		if after := written(dir); before > 0 {
			m.WrittenMiB = (after - before) >> 20
		}
		table = append(table, m)
		return nil
	}
	build := func(profile string, args ...string) func() (int64, error) {
		return func() (int64, error) {
			return command(ctx, b.tool, append([]string{"build", profile, "-o", filepath.Join(dir, "out")}, args...)...)
		}
	}
	cold := filepath.Join(dir, "store")
	inColdStore := func(profile string) func() (int64, error) {
		return func() (int64, error) {
			return command(ctx, "env", "NODEIMAGE_CACHE="+cold, b.tool, "build", profile, "--force", "-o", filepath.Join(dir, "cold"))
		}
	}
	// What has to be compiled or fetched is not what is measured.
	for _, profile := range []string{b.profile, b.patch} {
		if profile == "" {
			continue
		}
		fmt.Fprintln(os.Stderr, "getting ready:", profile)
		if _, err := build(profile)(); err != nil {
			return err
		}
	}
	if err := componentsOnly(cold); err != nil {
		return err
	}
	another := ""
	if !strings.HasSuffix(b.profile, ".yaml") { // extends takes a name
		if another, err = anotherKubernetes(ctx, p, cold, dir); err != nil {
			return err
		}
	}
	err = errors.Join(
		measure("floor: plain mmdebstrap of the same packages", func() (int64, error) { return floor(ctx, p, dir) }),
		measure("image, cold but for components", inColdStore(b.profile)),
		measure("image, base and components ready", build(b.profile, "--force")),
		measure("image, patched", build(patched, "--force")),
	)
	if err == nil && another != "" {
		// In the store that has what the cold build left.
		err = measure("image, another Kubernetes", inColdStore(another))
	}
	if err == nil {
		err = measure("image, nothing changed", build(b.profile))
	}
	if err != nil {
		return err
	}
	b.Build = table
	if b.limit == 0 {
		return nil
	}
	others, err := comparePeers(ctx, peers(), p, dir, b.limit)
	b.Build = append(b.Build, others...)
	return err
}

// patched returns the profile that stands for a small change.
func (b *bench) patched(p *profiles.Profile, dir string) (string, error) {
	if b.patch != "" {
		return b.patch, nil
	}
	if strings.HasSuffix(b.profile, ".yaml") {
		return "", exitcode.BadInput(fmt.Errorf("-profile %s is a file: name a -patch of it", b.profile))
	}
	path := filepath.Join(dir, "patched.yaml")
	text := fmt.Sprintf("apiVersion: %s\nkind: Profile\nname: patched\nextends: %s\nhost:\n  sysctls:\n    vm.max_map_count: \"262144\"\n", p.APIVersion, p.Name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// show fills in the ratios to the first line, if that is a floor, and prints
// the table.
func show(title string, table []benchlog.Measurement) {
	fmt.Printf("%-50s %9s %7s %9s %12s\n", title, "seconds", "ratio", "peak MiB", "written MiB")
	floored := strings.HasPrefix(table[0].Name, "floor: ")
	for i := range table {
		ratio, peak, written := "", "", ""
		if floored && table[i].Error == "" {
			table[i].Ratio = table[i].Seconds / table[0].Seconds
			ratio = fmt.Sprintf("%.2f", table[i].Ratio)
		}
		if table[i].PeakMiB > 0 {
			peak = fmt.Sprint(table[i].PeakMiB)
		}
		if table[i].WrittenMiB > 0 {
			written = fmt.Sprint(table[i].WrittenMiB)
		}
		fmt.Printf("%-50s %9.2f %7s %9s %12s\n", table[i].Name, table[i].Seconds, ratio, peak, written)
		if table[i].Error != "" {
			fmt.Printf("    failed: %s\n", table[i].Error)
		}
	}
}

// write leaves the measurements for a machine.
func (b *bench) write(path string) error {
	data, err := json.MarshalIndent(b.Run, "", "  ")
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
