package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

const (
	// lookRuns is how often validate is run; the median counts.
	lookRuns = 5
	// guestfishFile is the one file that guestfish reads.
	guestfishFile = "/etc/os-release"
	// The first is plenty with KVM. Where a /dev/kvm is there and runs no
	// kernel, guestfish hangs, and is asked to emulate instead.
	guestfishLimit = time.Minute
	emulatedLimit  = 5 * time.Minute
)

// look measures what it costs to look into an image: all of validate, and as
// the floor what anybody can do without it, guestfish reading a single file.
// Without a guestfish that works there is no floor, and note says why.
func look(ctx context.Context, tool, guestfish, image string) (table []benchlog.Measurement, note string, err error) {
	name := "floor: guestfish --ro -i, one file"
	peak, took, err := fishOne(ctx, guestfish, image, "", guestfishLimit)
	if err != nil && ctx.Err() == nil && !errors.Is(err, exec.ErrNotFound) {
		name += ", emulated"
		peak, took, err = fishOne(ctx, guestfish, image, "force_tcg", emulatedLimit)
	}
	switch {
	case err == nil:
		table = append(table, benchlog.Measurement{Name: name, Seconds: took.Seconds(), PeakMiB: peak})
	case ctx.Err() != nil:
		return nil, "", err
	default:
		note = "no floor to compare with: " + err.Error()
	}
	m := benchlog.Measurement{Name: fmt.Sprintf("nodeimage validate, every check (median of %d)", lookRuns)}
	var seconds []float64
	for range lookRuns {
		peak, took, err := timed(ctx, tool, "validate", image)
		if err != nil {
			return nil, "", fmt.Errorf("validate %s: %w", image, err)
		}
		seconds = append(seconds, took.Seconds())
		m.PeakMiB = max(m.PeakMiB, peak)
	}
	slices.Sort(seconds)
	m.Seconds = seconds[lookRuns/2]
	return append(table, m), note, nil
}

// fishOne reads one file of the image with guestfish, within limit. settings
// are libguestfs's for its backend.
func fishOne(ctx context.Context, guestfish, image, settings string, limit time.Duration) (peak int64, took time.Duration, err error) {
	path, err := exec.LookPath(guestfish)
	if err != nil {
		return 0, 0, fmt.Errorf("%w; run .ci/setup bench, or apt-get install libguestfs-tools and a kernel in /boot", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// libvirt would be asked otherwise, where there is one.
	cmd := exec.CommandContext(ctx, path, "--ro", "-a", image, "-i", "cat", guestfishFile)
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS="+settings)
	peak, took, out, err := wait(cmd)
	if err == nil && !strings.Contains(out, "ID=") {
		err = errors.New("it printed no " + guestfishFile)
	}
	switch {
	case err == nil:
		return peak, took, nil
	case ctx.Err() != nil:
		err = fmt.Errorf("not done after %s", limit)
	}
	return 0, 0, fmt.Errorf("%s: %w: %s", run.Quote(cmd.Args), err, strings.TrimSpace(out))
}
