package page

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// glance is the matrix as a table: what is built on going down, what is put
// into it going right.
type glance struct {
	Groups []group // Kubernetes versions
	Rows   []row
}

type group struct {
	Kubernetes string
	Containerd []string
}

type row struct {
	Profile, More string // more: firmware and architecture
	Fields        []field
}

// field is a place in the table; several cells differ by runc alone.
type field struct {
	Label string // of its column, where there is no table head to look at
	Chips []chip
}

type chip struct {
	look
	Anchor string // "" if the page has no details of the cell
	Text   string // the cause in a red cell
	Runc   string // where several cells share a place
	Title  string
}

type place struct{ profile, firmware, arch, kubernetes, containerd string }

// versions sorts versions, newest last, whatever they look like.
func versions(a, b string) int {
	return cmp.Or(semver.Compare("v"+strings.TrimPrefix(a, "v"), "v"+strings.TrimPrefix(b, "v")), strings.Compare(a, b))
}

func newGlance(cells []matrix.CollectedCell, anchor func(matrix.CollectedCell) string) glance {
	places := map[place][]matrix.CollectedCell{}
	columns := map[string][]string{} // containerd by Kubernetes
	var rows []place
	seen := map[place]bool{}
	for _, c := range cells {
		p := place{c.Cell.Profile, c.Cell.Firmware, c.Cell.Arch, c.Cell.Kubernetes, c.Cell.Containerd}
		places[p] = append(places[p], c)
		if !slices.Contains(columns[p.kubernetes], p.containerd) {
			columns[p.kubernetes] = append(columns[p.kubernetes], p.containerd)
		}
		p.kubernetes, p.containerd = "", ""
		if !seen[p] {
			seen[p] = true
			rows = append(rows, p)
		}
	}
	slices.SortFunc(rows, func(a, b place) int {
		return cmp.Or(strings.Compare(a.profile, b.profile), strings.Compare(a.arch, b.arch), strings.Compare(a.firmware, b.firmware))
	})
	var g glance
	for k, list := range columns {
		slices.SortFunc(list, versions)
		g.Groups = append(g.Groups, group{k, list})
	}
	slices.SortFunc(g.Groups, func(a, b group) int { return versions(a.Kubernetes, b.Kubernetes) })
	for _, r := range rows {
		shown := row{Profile: name(r.profile), More: name(r.firmware + ", " + r.arch)}
		for _, k := range g.Groups {
			for _, d := range k.Containerd {
				here := places[place{r.profile, r.firmware, r.arch, k.Kubernetes, d}]
				shown.Fields = append(shown.Fields, field{
					Label: name("Kubernetes " + k.Kubernetes + ", containerd " + d), Chips: chips(here, anchor),
				})
			}
		}
		g.Rows = append(g.Rows, shown)
	}
	for i, k := range g.Groups {
		g.Groups[i].Kubernetes = name(k.Kubernetes)
		for j := range k.Containerd {
			g.Groups[i].Containerd[j] = name(k.Containerd[j])
		}
	}
	return g
}

func chips(cells []matrix.CollectedCell, anchor func(matrix.CollectedCell) string) []chip {
	slices.SortFunc(cells, func(a, b matrix.CollectedCell) int { return versions(a.Cell.Runc, b.Cell.Runc) })
	var list []chip
	for _, c := range cells {
		l := lookOf(c.Outcome)
		shown := chip{look: l, Anchor: anchor(c), Text: l.Word, Title: name(c.Cell.Name) + ": " + l.Word + " (" + l.Explains + ")"}
		if text := causes(c); text != "" {
			shown.Text = text
		}
		if len(cells) > 1 {
			shown.Runc = name(c.Cell.Runc)
		}
		list = append(list, shown)
	}
	return list
}

// causes are the names of what made a cell red; the first and how many more.
func causes(c matrix.CollectedCell) string {
	if c.Result == nil || c.Result.Verdict != matrix.Failed {
		return ""
	}
	if len(c.Result.Causes) == 0 {
		return "no cause named"
	}
	text := name(c.Result.Causes[0].ID)
	if n := len(c.Result.Causes) - 1; n > 0 {
		text += " +" + itoa(n)
	}
	return text
}
