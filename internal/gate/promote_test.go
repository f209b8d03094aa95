package gate

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
)

func tree(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, p)
			names = append(names, name)
		}
		return err
	}))
	return names
}

func (r *release) manifest(sum string) {
	r.t.Helper()
	r.write(filepath.Join(r.dir, "node.manifest.json"), `{"schema":"nodeimage.dev/manifest/v1","images":[{"file":"node.qcow2","sha256":"`+sum+`"}]}`)
}

func TestPromoteCopies(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	r.manifest(r.sum)
	r.state("other.e2e", goodE2E(), sumOf("another image"))
	released := filepath.Join(r.dir, "released")
	for _, already := range []bool{false, true} {
		p, err := Promote(t.Context(), r.opts, Target{Dir: released})
		if err != nil || !p.Passed || p.Already != already {
			t.Fatalf("got %+v, %v; want a promotion, already there: %v", p, err, already)
		}
		if want := filepath.Join(released, "node-"+r.sum[:12]); p.Path != want {
			t.Errorf("path %s, want %s", p.Path, want)
		}
	}
	want := []string{
		"attestations/e2e.sigstore.json", "attestations/sbom.sigstore.json", "attestations/validate.sigstore.json",
		"gate-verdict.json", "node.manifest.json", "node.qcow2",
	}
	dir := filepath.Join(released, "node-"+r.sum[:12])
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// What was released passes where it is.
	o := r.opts
	o.Image, o.Attestations = filepath.Join(dir, "node.qcow2"), filepath.Join(dir, "attestations")
	if v, err := Judge(t.Context(), o); err != nil || !v.Passed {
		t.Errorf("the copy does not pass: %+v, %v", v.Reasons, err)
	}

	r.write(filepath.Join(dir, "node.qcow2"), "damaged")
	if _, err := Promote(t.Context(), r.opts, Target{Dir: released}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a damaged copy was taken for the image: %v", err)
	}
}

func TestPromoteTags(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	p, err := Promote(t.Context(), r.opts, Target{Tag: "stable"})
	must(t, err)
	data, err := os.ReadFile(filepath.Join(r.dir, "stable.tag.json"))
	must(t, err)
	var got struct{ Schema, Tag, SHA256, Policy string }
	must(t, json.Unmarshal(data, &got))
	if got.Schema != TagSchema || got.Tag != "stable" || got.SHA256 != r.sum || got.Policy != "release" || p.Path == "" {
		t.Errorf("tag: %s", data)
	}
	for _, to := range []Target{{}, {Dir: "x", Tag: "y"}, {Tag: "../up"}, {Tag: ""}} {
		if _, err := Promote(t.Context(), r.opts, to); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("target %+v: %v, want bad input", to, err)
		}
	}
}

func TestPromoteRefusesAnotherImagesManifest(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	r.manifest(sumOf("another image"))
	released := filepath.Join(r.dir, "released")
	if _, err := Promote(t.Context(), r.opts, Target{Dir: released}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got %v, want bad input", err)
	}
	if _, err := os.Stat(released); err == nil {
		t.Error("something was left in the folder for releases")
	}
}

// Between the judgement and the copy the path may lead to another file, and
// the file may be written to. The first does not matter, the second must show.
func TestSwapsBetweenJudgementAndCopy(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	evil := filepath.Join(r.dir, "evil.qcow2")
	r.write(evil, "an image that nobody tested")
	link := filepath.Join(r.dir, "link.qcow2")
	must(t, os.Symlink(r.opts.Image, link))
	r.opts.Image = link

	img, err := imagefile.Open(t.Context(), link)
	must(t, err)
	defer img.Close()
	v, err := judge(t.Context(), r.opts, img)
	if err != nil || !v.Passed {
		t.Fatalf("refused: %+v, %v", v.Reasons, err)
	}
	must(t, os.Remove(link))
	must(t, os.Symlink(evil, link))
	p, err := copyInto(t.Context(), img, filepath.Join(r.dir, "released"), Promotion{Verdict: v})
	must(t, err)
	if data, err := os.ReadFile(filepath.Join(p.Path, "link.qcow2")); err != nil || string(data) != imageText {
		t.Errorf("copied %q, %v; want what was judged", data, err)
	}

	again := filepath.Join(r.dir, "again")
	must(t, os.WriteFile(filepath.Join(r.dir, "node.qcow2"), []byte("changed while it was read"), 0o644))
	if _, err := copyInto(t.Context(), img, again, Promotion{Verdict: v}); err == nil || !strings.Contains(err.Error(), "was changed meanwhile") {
		t.Errorf("a changed image: %v", err)
	}
	if left := tree(t, again); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if entries, err := os.ReadDir(again); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// publisher keeps what it is given.
type publisher struct{ got []Release }

func (p *publisher) Publish(ctx context.Context, r Release) (string, error) {
	if _, err := imagefile.Digest(ctx, r.Image); err != nil { // it is still open
		return "", err
	}
	p.got = append(p.got, r)
	return "registry.example/node@sha256:" + r.Image.SHA256, nil
}

func TestPromotePublishesWhatPassesAlone(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	to := &publisher{}
	p, err := Promote(t.Context(), r.opts, Target{Publisher: to})
	must(t, err)
	if len(to.got) != 1 || !p.Passed || p.Path != "registry.example/node@sha256:"+r.sum {
		t.Fatalf("published %d, %+v", len(to.got), p)
	}
	got := to.got[0]
	var verdict Verdict
	must(t, json.Unmarshal(got.Verdict, &verdict))
	if got.Image.SHA256 != r.sum || len(got.Bundles) != 3 || len(got.Bundles[0].Data) == 0 || !verdict.Passed || verdict.SHA256 != r.sum {
		t.Errorf("published %+v with the verdict %s", got, got.Verdict)
	}

	// One more bundle that cannot be read, and nothing is published.
	r.write(filepath.Join(r.opts.Attestations, "broken.sigstore.json"), "{")
	p, err = Promote(t.Context(), r.opts, Target{Publisher: to})
	must(t, err)
	if p.Passed || p.Path != "" || len(to.got) != 1 {
		t.Errorf("published what does not pass: %+v", p)
	}
	if _, err := Promote(t.Context(), r.opts, Target{Publisher: to, Tag: "stable"}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("two targets: %v, want bad input", err)
	}
}
