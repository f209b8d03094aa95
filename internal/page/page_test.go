package page

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

func render(t testing.TB, dir string, c matrix.Collected) string {
	t.Helper()
	var b bytes.Buffer
	must(t, WriteHTML(&b, dir, c))
	return b.String()
}

func TestPageSaysAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := collected(t, dir, 24, 7)
	must(t, Save(dir, c))
	text, err := os.ReadFile(filepath.Join(dir, IndexFile))
	must(t, err)
	page := string(text)
	for _, want := range []string{
		"release 2026.11", "cgroup-driver-mismatch", "no cause named", "SystemdCgroup = false", "set SystemdCgroup = true for every runc handler",
		"kube-proxy stays up", "6.12.42-1", "package-", "linux-image-amd64", "Linux version", "./runs/run-006/cells/", "p95", "Flake rate", "known bad",
		"missing", "no verdict", "https://github.com/kubernetes/kubernetes/issues/110177", "Cannot allocate memory", "kernel",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	for _, cell := range c.Cells {
		if !strings.Contains(page, `id="`+anchorOf(cell.Cell)+`"`) || !strings.Contains(page, cell.Cell.ID) {
			t.Errorf("no details of %s", cell.Cell.Name)
		}
	}
	for _, name := range []string{SummaryFile, BadgeFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// nothing tells what in a page would load or run something, or is not an
// element that the template has.
func nothing(t *testing.T, page string) (found []string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() == io.EOF {
				return found
			}
			t.Fatal(z.Err())
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			switch tok.Data {
			case "script", "img", "iframe", "link", "object", "embed", "form", "base", "svg", "video", "audio", "input", "b", "marquee":
				found = append(found, "<"+tok.Data+">")
			}
			for _, a := range tok.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "srcset" {
					found = append(found, tok.Data+" "+a.Key)
				}
				if a.Key == "href" && !regexp.MustCompile(`^(#|\./|https://)`).MatchString(a.Val) {
					found = append(found, "href "+a.Val)
				}
			}
		}
	}
}

func TestHostileResults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := hostile(t, dir)
	page := render(t, dir, c)
	if found := nothing(t, page); len(found) > 0 {
		t.Errorf("in the page: %q", found)
	}
	for _, bad := range []string{"<script>alert", "\u202e", "\x1b", "\x00", "of the machine"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;") || !strings.Contains(page, "end</pre>") {
		t.Error("what was said is not shown")
	}
	var b bytes.Buffer
	must(t, WriteMarkdown(&b, c))
	for _, bad := range []string{"<script", "<img", "](", "\n# head", "\u202e", "`["} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the summary has %q:\n%s", bad, b.String())
		}
	}
	// The console must not lead out of the folder.
	c.Cells[0].Result.Evidence = []matrix.File{{Path: "console.txt"}}
	if strings.Contains(render(t, dir, c), "of the machine") {
		t.Error("a link out of the folder was followed")
	}
}

func TestEverythingIsBounded(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 3<<20)
	r := matrix.Result{Run: huge, Verdict: matrix.Failed, Reason: huge}
	for range 5000 {
		r.Specs = append(r.Specs, matrix.Spec{Name: huge[:5000], State: "passed", Message: huge[:50_000]})
		r.Causes = append(r.Causes, matrix.Cause{ID: huge[:5000], Evidence: huge})
		r.Evidence = append(r.Evidence, matrix.File{Path: huge[:5000]})
		r.Checks = append(r.Checks, matrix.Check{ID: huge[:5000], Got: huge})
		r.Infrastructure = append(r.Infrastructure, matrix.InfraFailure{Message: huge})
	}
	c := matrix.Collected{Matrix: huge, Cells: []matrix.CollectedCell{{Cell: matrix.Cell{Name: huge, Profile: huge}, Outcome: matrix.Bad, Why: huge, Result: &r}}}
	for range 5000 {
		c.Strays = append(c.Strays, huge[:5000])
		c.Cells[0].History = append(c.Cells[0].History, matrix.RunRecord{Run: huge[:5000], Causes: []string{huge[:5000]}})
	}
	if n := len(render(t, t.TempDir(), c)); n > 4<<20 {
		t.Errorf("the page of one cell has %d bytes", n)
	}
}

func TestSummaryAndBadge(t *testing.T) {
	t.Parallel()
	c := collected(t, t.TempDir(), 24, 2)
	var b bytes.Buffer
	must(t, WriteMarkdown(&b, c))
	for _, want := range []string{"cgroup-driver-mismatch", "Kubernetes 1.34.3", "| p50 | p95 |", "not as planned", "debian-13"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the summary does not have %q:\n%s", want, b.String())
		}
	}
	b.Reset()
	must(t, WriteBadge(&b, c))
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, b.String())
		}
	}
	good := 0
	for _, cell := range c.Cells {
		if cell.Outcome.AsPlanned() {
			good++
		}
	}
	if !strings.Contains(b.String(), itoa(good)+"/24 as planned") || !strings.Contains(b.String(), "#b3261e") {
		t.Errorf("badge: %s", b.String())
	}
	b.Reset()
	must(t, WriteBadge(&b, matrix.Collected{Cells: []matrix.CollectedCell{{Outcome: matrix.Good}}}))
	if !strings.Contains(b.String(), "#1a7f37") {
		t.Errorf("badge: %s", b.String())
	}
}

func TestNoCells(t *testing.T) {
	t.Parallel()
	page := render(t, t.TempDir(), matrix.Collected{})
	if !strings.Contains(page, "The plan has no cells") || strings.Contains(page, `class="headline good"`) {
		t.Error("an empty plan reads as a success")
	}
}

func TestTrends(t *testing.T) {
	t.Parallel()
	var h []matrix.RunRecord
	for i := range 20 {
		r := matrix.RunRecord{ID: "a", Verdict: matrix.Passed, Seconds: map[matrix.Stage]float64{matrix.StageE2E: float64(i + 1)}}
		switch i {
		case 3:
			r.Verdict = matrix.Failed
		case 4:
			r.Verdict = matrix.None
		case 5:
			r.ID = "b"
		}
		h = append(h, r)
	}
	if differ, of := flakes(h); differ != 1 || of != 18 {
		t.Errorf("%d of %d differ, want 1 of 18: no verdict and an ID of its own tell nothing", differ, of)
	}
	if rows := times(h); len(rows) != 1 || rows[0].P50 != "10 s" || rows[0].P95 != "19 s" || rows[0].Runs != 20 {
		t.Errorf("times: %+v", rows)
	}
}

func TestChangesSinceGreen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(folder, manifest, profile string) string {
		must(t, os.MkdirAll(filepath.Join(dir, folder), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, folder, matrix.ManifestFile), []byte(manifest), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, folder, matrix.ProfileFile), []byte(profile), 0o644))
		return folder
	}
	green := matrix.RunRecord{Run: "1", Verdict: matrix.Passed, ProfileSHA256: "p1", ToolVersion: "1", Folder: write("1",
		`{"packages":[{"name":"a","version":"1"},{"name":"gone","version":"1"},{"name":"same","version":"1"}]}`, "kind: Profile\nswap: off\n"),
		Versions: matrix.Versions{Kernel: "6.12.40", Components: map[string]string{"runc": "1.3.5", "pause": "3"}}}
	red := matrix.RunRecord{Run: "3", Verdict: matrix.Failed, ProfileSHA256: "p2", ToolVersion: "2", Folder: write("3",
		`{"packages":[{"name":"a","version":"2"},{"name":"new","version":"1"},{"name":"same","version":"1"}]}`, "kind: Profile\nswap: on\n"),
		Versions: matrix.Versions{Kernel: "6.12.41", Components: map[string]string{"runc": "1.3.6", "pause": "3"}}}
	c := matrix.CollectedCell{Result: &matrix.Result{Run: "3"}, History: []matrix.RunRecord{{Run: "0", Verdict: matrix.Passed}, green, {Run: "2", Verdict: matrix.Failed}, red}}
	var got []string
	for _, l := range newChanges(dir, c).Lines {
		got = append(got, l.What+": "+l.Was+" > "+l.Is)
	}
	want := "kernel: 6.12.40 > 6.12.41, runc: 1.3.5 > 1.3.6, tool: 1 > 2, package a: 1 > 2, package gone: 1 > , package new:  > 1, configuration: swap: off > , configuration:  > swap: on"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	c.History[1].Folder = "gone"
	if ch := newChanges(dir, c); len(ch.Notes) != 1 || !strings.Contains(ch.Notes[0], "cannot be compared") {
		t.Errorf("without the manifest: %+v", ch)
	}
	if ch := newChanges(dir, matrix.CollectedCell{Result: &matrix.Result{Run: "3"}, History: []matrix.RunRecord{red}}); ch.Since != "" {
		t.Errorf("never green, and changed since %s", ch.Since)
	}
}

// Ten thousand cells must stay one page that a browser can open.
func TestTenThousandCells(t *testing.T) {
	t.Parallel()
	c := matrix.Collected{Matrix: "large"}
	for i := range 10_000 {
		cell := matrix.Cell{ID: strings.Repeat("0", 50) + itoa(10_000+i), Name: "cell " + itoa(i), Profile: "p" + itoa(i%40), Kubernetes: "1.3" + itoa(i%10), Containerd: "2." + itoa(i%5), Runc: "1." + itoa(i)}
		c.Cells = append(c.Cells, matrix.CollectedCell{Cell: cell, Outcome: matrix.Good})
	}
	c.Cells[9_999].Outcome = matrix.Bad
	start := time.Now()
	page := render(t, t.TempDir(), c)
	if len(page) > 8<<20 || !strings.Contains(page, "cell 9999") {
		t.Errorf("%d bytes", len(page))
	}
	t.Logf("%d bytes in %s", len(page), time.Since(start))
}
