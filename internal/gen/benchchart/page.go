package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
)

const intro = `<!-- Generated from bench/history.jsonl by internal/gen/benchchart; do not edit. -->

# Benchmarks

` + "`make bench`" + ` measures, in one run on one machine, what building and looking into an
image take, beside floors and other tools:

- plain ` + "`mmdebstrap`" + ` of the same packages, which makes a tar and no disk, is the floor
  of a build;
- vmdb2, debos and mkosi, as Debian ships them, make a disk of the same packages
  without boot loader, Kubernetes or container images. One that does not run here
  is listed with its error;
- guestfish reading a single file is the floor of ` + "`nodeimage validate`" + `, which runs
  every check;
- boot and ` + "`kubeadm init`" + ` are the floor of the suite, whose time is read from the last
  ` + "`make e2e`" + `.

Ratios are to the floor of the same run: seconds alone say little on a shared
machine. A cold build has a store with components and nothing else. "Patched" is the
profile with one sysctl more, or the profile of
` + "`go run ./internal/bench -patch FILE`" + ` with all its components ready. "Another
Kubernetes" stands for a new patch release: the same programs with a byte more at
their ends, in the store that the cold build left, where the base is ready and
neither its container images nor anything made of them is. Memory is that of
the largest process; a tmpfs, where a build has one, is not in it. Written is what the
machine gave its disk. The peers come with ` + "`.ci/setup bench`" + `. Each run is a line of
[bench/history.jsonl](bench/history.jsonl);
` + "`make generate`" + ` makes this page of it.

`

// page writes the Markdown page.
func page(w io.Writer, runs []benchlog.Run) {
	var b strings.Builder
	b.WriteString(intro)
	if len(runs) == 0 {
		b.WriteString("No run is in the history yet.\n")
	} else {
		last := runs[len(runs)-1]
		b.WriteString("<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"bench/chart-dark.svg\">\n" +
			"  <img alt=\"The last run as bars, and the ratios of all runs as lines\" src=\"bench/chart.svg\">\n</picture>\n\n")
		fmt.Fprintf(&b, "## The last run\n\n%s, nodeimage %s, %d CPUs, profile %s. Runs in the history: %d.\n",
			last.Time.UTC().Format(time.DateOnly), last.Tool, last.CPUs, last.Profile, len(runs))
		for _, t := range tables(last) {
			fmt.Fprintf(&b, "\n| %s | seconds | ratio | peak MiB | written MiB |\n|---|--:|--:|--:|--:|\n", t.title)
			for _, m := range t.rows {
				ratio, peak, written := "", "", ""
				if m.Ratio > 0 {
					ratio = fmt.Sprintf("%.2f", m.Ratio)
				}
				if m.PeakMiB > 0 {
					peak = fmt.Sprint(m.PeakMiB)
				}
				if m.WrittenMiB > 0 {
					written = fmt.Sprint(m.WrittenMiB)
				}
				name := m.Name
				if m.Error != "" {
					name += ": failed: `" + strings.NewReplacer("`", "'", "|", `\|`).Replace(m.Error) + "`"
				}
				fmt.Fprintf(&b, "| %s | %.2f | %s | %s | %s |\n", name, m.Seconds, ratio, peak, written)
			}
		}
		for _, note := range last.Notes {
			fmt.Fprintf(&b, "\n%s\n", note)
		}
	}
	_, _ = io.WriteString(w, b.String()) // into memory
}

type table struct {
	title string
	rows  []benchlog.Measurement
}

// tables are those of a run that have rows.
func tables(r benchlog.Run) []table {
	var all []table
	for _, t := range []table{{"building", r.Build}, {"looking into the image", r.Validate}, {"the booted suite", r.Suite}} {
		if len(t.rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}
