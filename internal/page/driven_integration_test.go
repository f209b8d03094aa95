//go:build integration

package page

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// driven is a page that the tests look at in a browser.
type driven struct {
	browser context.Context
	dir     string
	cells   matrix.Collected
	html    string
}

// address writes the page under a name of its own and returns its address.
func (d *driven) address(t *testing.T, name, html string) string {
	t.Helper()
	path := filepath.Join(d.dir, name+".html")
	must(t, os.WriteFile(path, []byte(html), 0o644))
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// TestInBrowser shows the page as people see it. Each check tells what is wrong,
// and is seen to tell it on a page that was broken in that very way.
func TestInBrowser(t *testing.T) {
	d := &driven{browser: startBrowser(t), dir: t.TempDir()}
	d.cells = collected(t, d.dir, 24, 7)
	d.html = render(t, d.dir, d.cells)
	const policy = `<meta http-equiv="Content-Security-Policy"`
	for _, tt := range []struct {
		name   string
		check  func(t *testing.T, d *driven, url string) []string
		breaks []breakage
	}{
		{"loads and runs nothing", loads, []breakage{
			{"a picture from elsewhere", []string{policy, `<meta name="gone"`, "<main>", `<main><img src="https://registry.example.org/badge.png" alt="">`}, "request https://registry.example.org/badge.png"},
			{"a picture that the policy stops", []string{"<main>", `<main><img src="https://registry.example.org/badge.png" alt="">`}, "Content Security Policy"},
		}},
		{"light and dark", lightAndDark, []breakage{
			{"one look for both", []string{"(prefers-color-scheme: dark)", "(prefers-color-scheme: gone)"}, "dark: .chip.bad"},
			{"faint in the dark", []string{"--bad: #ff9d94", "--bad: #8d352f"}, "dark: 1."},
			{"faint in the light", []string{"--dim: #59636e", "--dim: #a9b3be"}, "light: 2."},
		}},
		{"a phone", fitsPhone, []breakage{
			{"digests in one line", []string{"code { overflow-wrap: anywhere; }", "code { white-space: nowrap; }"}, "the page is"},
			{"faint names of columns", []string{`content: attr(data-label); display: block; color: var(--dim)`, `content: attr(data-label); display: block; color: var(--line)`}, "::before"},
		}},
		{"on paper", prints, []breakage{
			{"closed details stay closed", []string{"details::details-content", "details::gone"}, "not printed: details.cell"},
			{"half a console", []string{".console { max-height: none;", ".console { max-height: 1rem;"}, "cut off: pre.console"},
			{"the link past the head", []string{".hidden, .skip:not(:focus)", ".hidden"}, "printed: a.skip"},
		}},
		{"red cells name the cause", namesCauses, []breakage{
			{"no name", []string{">cgroup-driver-mismatch</span></a>", "></span></a>"}, "expected cgroup-driver-mismatch"},
		}},
		{"links", links, []breakage{
			{"cells that are nowhere", []string{`id="cell-`, `id="sell-`}, "leads nowhere"},
			{"evidence that is nowhere", []string{`href="./runs/`, `href="./gone/`}, "no file ./gone/"},
		}},
		{"the keyboard alone", keyboard, []breakage{
			{"details that it cannot open", []string{"<summary>", `<summary tabindex="-1">`}, "not reached: summary"},
			{"a focus that cannot be seen", []string{":focus-visible { outline: 3px solid", ":focus-visible { outline: 0 solid"}, "focus cannot be seen"},
		}},
		{"what a screen reader is told", accessible, []breakage{
			{"no landmark", []string{"<main>", "<div>", "</main>", "</div>"}, "landmarks"},
			{"a table without heads", []string{`<th scope="col">Spec</th><th scope="col" class="num">Time</th>`, "<td>Spec</td><td>Time</td>"}, "table"},
			{"a level left out", []string{"<h3><span", "<h5><span", "</span></h3>", "</span></h5>"}, "heading"},
			{"a region without a name", []string{` role="region" aria-label="Specs"`, ` role="region"`}, "has no name"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, found := range tt.check(t, d, d.address(t, "index", d.html)) {
				t.Error(found)
			}
			for i, b := range tt.breaks {
				found := tt.check(t, d, d.address(t, fmt.Sprintf("broken-%d", i), b.apply(t, d.html)))
				if !slices.ContainsFunc(found, func(text string) bool { return strings.Contains(text, b.want) }) {
					t.Errorf("%s: found %q, want one with %q", b.name, found, b.want)
				}
			}
		})
	}
}

// breakage is a change to the page that a check must notice.
type breakage struct {
	name    string
	replace []string // texts, each followed by what it becomes
	want    string
}

func (b breakage) apply(t *testing.T, html string) string {
	t.Helper()
	for i := 0; i < len(b.replace); i += 2 {
		if !strings.Contains(html, b.replace[i]) {
			t.Fatalf("%s: the page has no %q to break", b.name, b.replace[i])
		}
	}
	return strings.NewReplacer(b.replace...).Replace(html)
}

// Whatever results say, a browser must neither run it nor load it.
func TestHostileResultsInBrowser(t *testing.T) {
	d := &driven{browser: startBrowser(t), dir: t.TempDir()}
	address := d.address(t, "index", render(t, d.dir, hostile(t, d.dir)))
	for _, found := range loads(t, d, address) {
		t.Error(found)
	}
}

func loads(t *testing.T, d *driven, url string) []string {
	t.Helper()
	var found []string
	for _, s := range []screen{desk, phone, paper} {
		b := show(t, d.browser, url, s)
		// A picture may come later, when its place is shown.
		b.do(t, chromedp.KeyEvent(kb.End))
		found = append(found, b.heard(url)...)
	}
	return found
}

// shownChip is a cell in the table at the page's head.
type shownChip struct{ Href, Text, Look string }

func lightAndDark(t *testing.T, d *driven, url string) []string {
	t.Helper()
	var found []string
	for name, s := range map[string]screen{"light": desk, "dark": night} {
		b := show(t, d.browser, url, s)
		for _, text := range measure[[]string](t, b, "faint") {
			found = append(found, name+": "+text)
		}
		for _, c := range measure[[][4]string](t, b, "colours") {
			if c[3] != name {
				found = append(found, fmt.Sprintf("%s: %s is %s on %s", name, c[0], c[1], c[2]))
			}
		}
		looks := map[string]bool{}
		for _, c := range measure[[]shownChip](t, b, "chips") {
			looks[c.Look] = true
		}
		for look := range looks {
			shot := shoot(t, b, ".chip."+look)
			if ratio := contrast(shot); ratio < 4.5 {
				found = append(found, fmt.Sprintf("%s: %.2f is the contrast of the pixels of .chip.%s", name, ratio, look))
			}
		}
		keep(t, b, url, name)
	}
	return found
}

// shoot takes a picture of the first element that a selector names.
func shoot(t *testing.T, b *tab, selector string) image.Image {
	t.Helper()
	shot, err := png.Decode(bytes.NewReader(get(t, b, chromedp.Screenshot(chromedp.CSS(selector)))))
	must(t, err)
	return shot
}

// contrast is the one between a picture's most frequent colour, which is behind
// the text, and the one farthest from it, which is the text's where it is not
// smoothed.
func contrast(shot image.Image) float64 {
	count := map[color.RGBA]int{}
	// Not the border and what is outside of its round corners.
	inner := shot.Bounds().Inset(8)
	for y := inner.Min.Y; y < inner.Max.Y; y++ {
		for x := inner.Min.X; x < inner.Max.X; x++ {
			count[color.RGBAModel.Convert(shot.At(x, y)).(color.RGBA)]++
		}
	}
	var back color.RGBA
	for c, n := range count {
		if n > count[back] {
			back = c
		}
	}
	most := 0.0
	for c := range count {
		high, low := luminance(c), luminance(back)
		most = max(most, (max(high, low)+.05)/(min(high, low)+.05))
	}
	return most
}

// luminance is WCAG's relative luminance.
func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		x := float64(v) / 255
		if x <= .04045 {
			return x / 12.92
		}
		return math.Pow((x+.055)/1.055, 2.4)
	}
	return .2126*linear(c.R) + .7152*linear(c.G) + .0722*linear(c.B)
}

// keep leaves pictures of the page, for people: `go test -artifacts`.
func keep(t *testing.T, b *tab, url, name string) {
	t.Helper()
	if asked := flag.Lookup("test.artifacts"); asked.Value.String() != "true" || !strings.HasSuffix(url, "/index.html") {
		return // a picture of the whole page takes seconds
	}
	must(t, os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), get(t, b, chromedp.CaptureScreenshot()), 0o644))
	must(t, os.WriteFile(filepath.Join(t.ArtifactDir(), name+"-whole.png"), get(t, b, chromedp.FullScreenshot(100)), 0o644))
}

func fitsPhone(t *testing.T, d *driven, url string) []string {
	t.Helper()
	b := show(t, d.browser, url, phone)
	keep(t, b, url, "phone")
	return append(measure[[]string](t, b, "wide"), measure[[]string](t, b, "faint")...)
}

func prints(t *testing.T, d *driven, url string) []string {
	t.Helper()
	b := show(t, d.browser, url, paper)
	found := append(measure[[]string](t, b, "unprinted"), measure[[]string](t, b, "faint")...)
	document := get(t, b, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize()))
	if !bytes.HasPrefix(document, []byte("%PDF-")) {
		found = append(found, "the print is no PDF")
	}
	if strings.HasSuffix(url, "/index.html") {
		must(t, os.WriteFile(filepath.Join(t.ArtifactDir(), "paper.pdf"), document, 0o644))
	}
	return found
}

func namesCauses(t *testing.T, d *driven, url string) []string {
	t.Helper()
	var found []string
	for _, s := range []screen{desk, phone} {
		b := show(t, d.browser, url, s)
		shown := map[string]shownChip{}
		for _, c := range measure[[]shownChip](t, b, "chips") {
			shown[c.Href] = c
		}
		red := 0
		for _, cell := range d.cells.Cells {
			if cell.Result == nil || cell.Result.Verdict != matrix.Failed {
				continue
			}
			red++
			want := "no cause named"
			if len(cell.Result.Causes) > 0 {
				want = cell.Result.Causes[0].ID
			}
			if got := shown["#"+anchorOf(cell.Cell)]; !strings.Contains(got.Text, want) || got.Look == "good" {
				found = append(found, fmt.Sprintf("%s: its place shows %q as %s, expected %s", cell.Cell.Name, got.Text, got.Look, want))
			}
		}
		if red < 3 || len(shown) != len(d.cells.Cells) {
			found = append(found, fmt.Sprintf("%d red cells, %d of %d cells shown", red, len(shown), len(d.cells.Cells)))
		}
	}
	return found
}

func links(t *testing.T, d *driven, url string) []string {
	t.Helper()
	b := show(t, d.browser, url, desk)
	var found []string
	all := measure[struct{ Dead, Files []string }](t, b, "links")
	for _, text := range all.Dead {
		found = append(found, text+" leads nowhere")
	}
	if len(all.Files) == 0 {
		found = append(found, "no link to a file")
	}
	for _, file := range all.Files {
		if _, err := os.Stat(filepath.Join(d.dir, file)); err != nil {
			found = append(found, "no file "+file)
		}
	}
	if len(all.Dead) > 0 {
		return found
	}
	// Of a good cell the details are closed, and open for who follows the link.
	b.do(t, chromedp.Click(chromedp.CSS(".chip.good")))
	if !measure[bool](t, b, "arrived") {
		found = append(found, "a click on a cell does not lead to its details")
	}
	return found
}

func keyboard(t *testing.T, d *driven, url string) []string {
	t.Helper()
	b := show(t, d.browser, url, desk)
	type stop struct {
		I     int
		Label string
	}
	type focus struct {
		I               int
		Marked, Visible bool
	}
	stops := measure[[]stop](t, b, "stops")
	reached := map[int]bool{}
	var found []string
	for range len(stops) + 1 {
		b.do(t, chromedp.KeyEvent(kb.Tab))
		f := measure[focus](t, b, "focus")
		if f.I < 0 {
			break // past the last one
		}
		if len(reached) == 0 && f.I != stops[0].I {
			found = append(found, fmt.Sprintf("Tab starts at %d, expected the first, %s", f.I, stops[0].Label))
		}
		reached[f.I] = true
		if !f.Marked || !f.Visible {
			found = append(found, fmt.Sprintf("the focus cannot be seen on %d", f.I))
		}
	}
	for _, s := range stops {
		if !reached[s.I] {
			found = append(found, "not reached: "+s.Label)
		}
	}
	if len(found) > 0 {
		return found
	}
	// The first stop leads past the head, and Enter on a cell into its details.
	b.do(t, chromedp.Focus(chromedp.CSS(".skip")), chromedp.KeyEvent(kb.Enter))
	if !measure[bool](t, b, "arrived") {
		found = append(found, "the link past the head leads nowhere")
	}
	b.do(t, chromedp.Focus(chromedp.CSS("a.chip.good")), chromedp.KeyEvent(kb.Enter))
	if !measure[bool](t, b, "arrived") {
		found = append(found, "Enter on a cell does not lead to its details")
	}
	return found
}

// accessible holds what the browser tells a screen reader against what the page
// means: landmarks, levels of headings, heads of tables, names.
func accessible(t *testing.T, d *driven, url string) []string {
	t.Helper()
	b := show(t, d.browser, url, desk)
	nodes := call(t, b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	byID := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range nodes {
		byID[n.NodeID] = n
	}
	var found []string
	roles := map[string]int{}
	level, matrices := 0, 0
	// In the order of reading.
	var walk func(n *accessibility.Node, in string)
	walk = func(n *accessibility.Node, in string) {
		role, name := value(n.Role), strings.TrimSpace(value(n.Name))
		if !n.Ignored {
			roles[role]++
			if property(n, "focusable") == "true" && name == "" {
				found = append(found, fmt.Sprintf("%s can have the focus and has no name in %s", role, in))
			}
			switch role {
			case "heading":
				next, _ := strconv.Atoi(property(n, "level"))
				if next > level+1 || next == 0 || name == "" {
					found = append(found, fmt.Sprintf("heading %q is of level %d after %d", name, next, level))
				}
				level = next
			case "table":
				heads := under(byID, n, "columnheader")
				if heads == 0 {
					found = append(found, fmt.Sprintf("table %q without heads of its columns in %s", name, in))
				}
				if name == "Profiles by Kubernetes and containerd version" && under(byID, n, "rowheader") > 0 && under(byID, n, "link") == len(d.cells.Cells) {
					matrices++
				}
			}
			if name != "" {
				in = fmt.Sprintf("%s %q", role, name)
			}
		}
		for _, id := range n.ChildIDs {
			if child := byID[id]; child != nil {
				walk(child, in)
			}
		}
	}
	if len(nodes) > 0 {
		walk(nodes[0], "the page")
	}
	for role, want := range map[string]int{"banner": 1, "main": 1, "contentinfo": 1} {
		if roles[role] != want {
			found = append(found, fmt.Sprintf("landmarks: %d of %s, expected %d", roles[role], role, want))
		}
	}
	if matrices != 1 {
		found = append(found, "the matrix is no table with a name, row heads and a link for every cell")
	}
	if roles["DisclosureTriangle"] != len(d.cells.Cells) {
		found = append(found, fmt.Sprintf("%d cells can be opened, expected %d", roles["DisclosureTriangle"], len(d.cells.Cells)))
	}
	return found
}

// under counts the nodes of a role below another.
func under(byID map[accessibility.NodeID]*accessibility.Node, n *accessibility.Node, role string) int {
	count := 0
	for _, id := range n.ChildIDs {
		if child := byID[id]; child != nil {
			if !child.Ignored && value(child.Role) == role {
				count++
			}
			count += under(byID, child, role)
		}
	}
	return count
}

// property is a property of a node as text, "" if it has none.
func property(n *accessibility.Node, name accessibility.PropertyName) string {
	for _, p := range n.Properties {
		if p.Name == name {
			return value(p.Value)
		}
	}
	return ""
}

// value is a value of the accessibility tree as text.
func value(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var out any
	if json.Unmarshal(v.Value, &out) != nil {
		return ""
	}
	return fmt.Sprint(out)
}
