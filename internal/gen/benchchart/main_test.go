package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
)

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	run := func(cold float64) benchlog.Run {
		return benchlog.Run{Time: time.Unix(0, 0), Tool: "1", CPUs: 2, Profile: "debian-13",
			Build: []benchlog.Measurement{
				{Name: "floor: plain <mmdebstrap>", Seconds: 50, Ratio: 1},
				{Name: "image, cold", Seconds: 50 * cold, Ratio: cold, PeakMiB: 700},
				{Name: "peer: debos", Seconds: 63, Error: "no | vfat"},
			},
			Notes: []string{"no time of the suite"}}
	}
	for name, tt := range map[string]struct {
		runs       []benchlog.Run
		page, svg  []string
		polyPoints int
	}{
		"no run": {nil, []string{"No run is in the history yet"}, []string{"no run is in the history yet"}, 0},
		"two runs": {[]benchlog.Run{run(0.9), run(0.8)},
			[]string{"| image, cold | 40.00 | 0.80 | 700 |", "peer: debos: failed: `no \\| vfat`", "no time of the suite", "Runs in the history: 2"},
			[]string{"plain &lt;mmdebstrap&gt;", "failed here", "40.0 (×0.80)"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			history, out := filepath.Join(dir, "history.jsonl"), filepath.Join(dir, "bench.md")
			for _, r := range tt.runs {
				if err := benchlog.Append(history, r); err != nil {
					t.Fatal(err)
				}
			}
			if err := write(history, out); err != nil {
				t.Fatal(err)
			}
			read := func(name string) string {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			for _, want := range tt.page {
				if page := read("bench.md"); !strings.Contains(page, want) {
					t.Errorf("no %q in\n%s", want, page)
				}
			}
			for _, file := range []string{"chart.svg", "chart-dark.svg"} {
				svg := read(file)
				wellFormed(t, svg)
				for _, want := range tt.svg {
					if !strings.Contains(svg, want) {
						t.Errorf("no %q in\n%s", want, svg)
					}
				}
				if _, line, ok := strings.Cut(svg, `<polyline points="`); ok {
					points, _, _ := strings.Cut(line, `"`)
					if n := len(strings.Fields(points)); n != tt.polyPoints {
						t.Errorf("%d points in the line, want %d", n, tt.polyPoints)
					}
				} else if tt.polyPoints > 0 {
					t.Error("no line")
				}
			}
			if strings.Contains(read("chart.svg"), dark().back) || read("chart.svg") == read("chart-dark.svg") {
				t.Error("light and dark do not differ")
			}
		})
	}
}

func TestWriteRefusesADamagedHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	history := filepath.Join(dir, "history.jsonl")
	if err := os.WriteFile(history, []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(history, filepath.Join(dir, "bench.md")); err == nil {
		t.Error("got no error")
	}
}
