package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
)

// palette are the colours of a chart.
type palette struct {
	back, ink, faint, floor, ours, peer string
	lines                               []string
}

func light() palette {
	return palette{"#ffffff", "#1f2328", "#d1d9e0", "#8c959f", "#0969da", "#bc4c00", []string{"#0969da", "#1a7f37", "#8250df", "#bc4c00"}}
}

func dark() palette {
	return palette{"#0d1117", "#e6edf3", "#3d444d", "#7d8590", "#4493f8", "#db6d28", []string{"#4493f8", "#3fb950", "#ab7df8", "#db6d28"}}
}

const (
	width    = 860
	left     = 340 // of the bars, right of their names
	right    = 90  // for the numbers behind the bars
	row      = 22
	plotHigh = 160
	// most is how many runs the lines show: the newest.
	most = 60
)

// canvas is an SVG that grows downwards.
type canvas struct {
	b bytes.Buffer
	p palette
	y float64
}

func (c *canvas) text(x, y float64, anchor, colour, s string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">`, x, y, anchor, colour)
	_ = xml.EscapeText(&c.b, []byte(s)) // into memory
	c.b.WriteString("</text>\n")
}

// chart draws the last run as bars, and the ratios of all runs as lines.
func chart(out *bytes.Buffer, runs []benchlog.Run, p palette) {
	c := &canvas{p: p, y: 16}
	if len(runs) == 0 {
		c.y += row
		c.text(width/2, c.y, "middle", p.ink, "no run is in the history yet")
		c.y += row
	} else {
		for _, t := range tables(runs[len(runs)-1]) {
			c.bars(t)
		}
		c.history(runs)
	}
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img" font-family="sans-serif" font-size="12">`+"\n", width, c.y, width, c.y)
	out.WriteString("<title>Benchmarks of nodeimage</title>\n<desc>Seconds of the last run as bars, and the ratios to the floor in all runs as lines. The numbers are in bench.md.</desc>\n")
	fmt.Fprintf(out, `<rect width="100%%" height="100%%" fill="%s"/>`+"\n", p.back)
	out.Write(c.b.Bytes())
	out.WriteString("</svg>\n")
}

// bars draws one table.
func (c *canvas) bars(t table) {
	longest := 0.0
	for _, m := range t.rows {
		longest = max(longest, m.Seconds)
	}
	c.y += row
	fmt.Fprintf(&c.b, `<g font-weight="bold">`)
	c.text(16, c.y, "start", c.p.ink, t.title+", seconds")
	c.b.WriteString("</g>\n")
	c.y += 8
	for _, m := range t.rows {
		colour := c.p.ours
		switch {
		case strings.HasPrefix(m.Name, "floor: "):
			colour = c.p.floor
		case strings.HasPrefix(m.Name, "peer: "):
			colour = c.p.peer
		}
		c.text(left-8, c.y+15, "end", c.p.ink, m.Name)
		if m.Error != "" {
			c.text(left, c.y+15, "start", c.p.faint, "failed here")
			c.y += row
			continue
		}
		w := 0.0
		if longest > 0 {
			w = m.Seconds / longest * (width - left - right)
		}
		fmt.Fprintf(&c.b, `<rect x="%d" y="%.1f" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", left, c.y+3, max(w, 1), row-6, colour)
		label := fmt.Sprintf("%.1f", m.Seconds)
		if m.Ratio > 0 && m.Ratio != 1 {
			label += fmt.Sprintf(" (×%.2f)", m.Ratio)
		}
		c.text(left+max(w, 1)+6, c.y+15, "start", c.p.ink, label)
		c.y += row
	}
	c.y += 10
}

// history draws the ratio of each of our builds to its floor, run by run.
func (c *canvas) history(runs []benchlog.Run) {
	if len(runs) > most {
		runs = runs[len(runs)-most:]
	}
	var names []string
	values := map[string][]float64{} // by run, -1 where there is none
	top := 1.0
	for i, r := range runs {
		for _, m := range r.Build {
			if m.Ratio == 0 || !strings.HasPrefix(m.Name, "image, ") || strings.HasPrefix(m.Name, "image, base and") {
				continue
			}
			if values[m.Name] == nil {
				names = append(names, m.Name)
				values[m.Name] = make([]float64, len(runs))
				for j := range values[m.Name] {
					values[m.Name][j] = -1
				}
			}
			values[m.Name][i] = m.Ratio
			top = max(top, m.Ratio)
		}
	}
	if len(names) == 0 {
		return
	}
	c.y += row
	c.b.WriteString(`<g font-weight="bold">`)
	c.text(16, c.y, "start", c.p.ink, "builds, as ratios to plain mmdebstrap, run by run")
	c.b.WriteString("</g>\n")
	c.y += 12
	x0, x1, y0 := 56.0, float64(width-right), c.y+plotHigh
	at := func(i int, v float64) (x, y float64) {
		x = (x0 + x1) / 2
		if len(runs) > 1 {
			x = x0 + 12 + float64(i)/float64(len(runs)-1)*(x1-x0-24)
		}
		return x, y0 - v/top*(plotHigh-10)
	}
	for _, v := range []float64{0, 0.5 * top, top, 1} {
		_, y := at(0, v)
		fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x0, y, x1, y, c.p.faint)
		if v != 0.5*top {
			c.text(x0-6, y+4, "end", c.p.ink, fmt.Sprintf("%.2f", v))
		}
	}
	c.y = y0 + 8
	for n, name := range names {
		colour := c.p.lines[n%len(c.p.lines)]
		var points []string
		for i, v := range values[name] {
			if v < 0 {
				continue
			}
			x, y := at(i, v)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
			fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, colour)
		}
		fmt.Fprintf(&c.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="12" height="4" fill="%s"/>`+"\n", x0, c.y+8, colour)
		c.text(x0+18, c.y+14, "start", c.p.ink, name)
		c.y += row
	}
	c.y += 6
}
