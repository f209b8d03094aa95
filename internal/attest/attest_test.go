package attest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

const dpkgStatus = `Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.22.21

Package: libc6
Source: glibc
Status: install ok installed
Architecture: amd64
Version: 2.41-12

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
`

const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: dpkg

Files: *
Copyright: somebody
License: GPL-2+

Files: lib/*
License: public-domain-md5
 text of it

License: GPL-2+
`

// fixture is an image, its manifest and reports about it.
type fixture struct {
	dir, image, sum string
	opts            Options
}

// program is a Go program: this test.
func program(t *testing.T) []byte {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

// newFixture makes an image: a tar of a root file system, which is as good a
// target as a disk.
func newFixture(t *testing.T, more map[string][]byte) fixture {
	t.Helper()
	files := map[string][]byte{
		"etc/os-release": []byte("ID=debian\nVERSION_ID=\"13\"\n"),
		"lib/modules/6.12.48+deb13-amd64/modules.x": nil,
		"var/lib/dpkg/status":                       []byte(dpkgStatus),
		"usr/share/doc/dpkg/copyright":              []byte(copyright),
		"usr/share/doc/libc6/copyright":             []byte("free text\n"),
		"usr/local/bin/script":                      bytes.Repeat([]byte("#!/bin/sh\n"), minProgram),
	}
	maps.Copy(files, more)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg}))
		_, err := w.Write(files[name])
		must(t, err)
	}
	must(t, w.Close())
	f := fixture{dir: t.TempDir(), sum: hexSum(out.Bytes())}
	f.image = filepath.Join(f.dir, "node.tar")
	f.write(t, "node.tar", out.String())
	f.write(t, "validate.json", strings.ReplaceAll(report, "%IMAGE%", f.sum))
	f.write(t, "summary.json", strings.NewReplacer("%IMAGE%", f.sum, "%PROFILE%", sumOf("profile")).Replace(summary))
	f.write(t, "node.manifest.json", `{"schema": "nodeimage.dev/manifest/v1", "profile": {"name": "debian-13", "sha256": "`+sumOf("profile")+`"},
  "inputs": "sha256:abc", "tool": {"name": "packer-plugin-nodeimage", "version": "0.1.0-dev"},
  "images": [{"file": "node.tar", "sha256": "`+f.sum+`"}],
  "components": [
    {"name": "containerd", "version": "2.3.7", "source": "gomod", "module": "github.com/containerd/containerd/v2@v2.3.7", "sum": "h1:x=", "files": [{"path": "/usr/local/bin/prog", "sha256": "`+sumOf("prog")+`"}]},
    {"name": "runc", "version": "1.5.2", "source": "release", "module": "https://example.org/runc", "sum": "sha256:`+sumOf("runc")+`"}],
  "base": {"url": "https://images.example.org/20251113/noble.img", "sha256": "`+sumOf("base")+`"},
  "packages": [{"name": "dpkg", "version": "1.22.21", "arch": "amd64", "sha256": "`+sumOf("dpkg.deb")+`"}],
  "containerImages": [{"name": "registry.k8s.io/pause:3.10.2", "digest": "sha256:`+sumOf("pause")+`"}]}`)
	f.opts = Options{
		Image: f.image, Validate: filepath.Join(f.dir, "validate.json"), E2E: filepath.Join(f.dir, "summary.json"),
		Key: newKey(t, ECDSA), OutputDir: filepath.Join(f.dir, "out"), Now: at,
	}
	return f
}

func (f fixture) write(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644))
}

func (f fixture) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.opts.OutputDir, name))
	must(t, err)
	return data
}

func TestRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string][]byte{"usr/local/bin/prog": program(t)})
	got, err := Run(t.Context(), f.opts)
	must(t, err)
	var names []string
	for _, file := range got.Files {
		names = append(names, filepath.Base(file))
	}
	want := []string{"node.validate.sigstore.json", "node.e2e.sigstore.json", "node.provenance.sigstore.json", "node.sbom.sigstore.json", "node.cdx.json"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got.SHA256 != f.sum || got.Key != f.opts.Key.Public().Fingerprint() || len(got.Notes) != 0 {
		t.Errorf("result: %+v", got)
	}
	for name, predicate := range map[string]string{want[0]: TypeTestResult, want[1]: TypeTestResult, want[2]: TypeProvenance, want[3]: TypeSBOM} {
		b, err := Parse(f.read(t, name))
		must(t, err)
		if _, err := b.Verify(t.Context(), []PublicKey{f.opts.Key.Public()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c := ReadClaim(b.Statement())
		if c.Type != predicate || !c.About(f.sum) || len(c.Problems) > 0 || !c.Attested.Equal(at) {
			t.Errorf("%s: %+v", name, c)
		}
		if predicate == TypeTestResult {
			r, err := ReadTestResult(b.Statement())
			must(t, err)
			want := Node{OS: "debian-13", Kernel: "6.12.48+deb13-amd64", Arch: "amd64", Pins: map[string]string{"containerd": "2.3.7", "runc": "1.5.2"}}
			if diff := cmp.Diff(want, r.Node); diff != "" {
				t.Errorf("%s: node (-want +got):\n%s", name, diff)
			}
		}
	}
	f.provenance(t, want[2])
	f.bill(t)
}

func (f fixture) provenance(t *testing.T, name string) {
	t.Helper()
	b, err := Parse(f.read(t, name))
	must(t, err)
	data, err := json.Marshal(b.Statement().GetPredicate().AsMap())
	must(t, err)
	var p struct {
		BuildDefinition struct {
			BuildType            string
			ExternalParameters   struct{ Profile struct{ Name, SHA256 string } }
			InternalParameters   struct{ Inputs string }
			ResolvedDependencies []struct {
				URI    string
				Digest map[string]string
			}
		}
		RunDetails struct {
			Builder    struct{ ID string }
			Byproducts []struct{ Name string }
		}
	}
	must(t, json.Unmarshal(data, &p))
	d := p.BuildDefinition
	if d.BuildType == "" || d.ExternalParameters.Profile.SHA256 != sumOf("profile") || d.InternalParameters.Inputs != "sha256:abc" ||
		p.RunDetails.Builder.ID == "" || p.RunDetails.Byproducts[0].Name != "node.manifest.json" {
		t.Errorf("provenance: %s", data)
	}
	got := map[string]string{}
	for _, r := range d.ResolvedDependencies {
		got[r.URI] = r.Digest["sha256"]
	}
	want := map[string]string{
		"pkg:deb/debian/dpkg@1.22.21?arch=amd64&distro=debian-13":                                         sumOf("dpkg.deb"),
		"pkg:golang/github.com/containerd/containerd/v2@v2.3.7":                                           "",
		"https://images.example.org/20251113/noble.img":                                                   sumOf("base"),
		"https://example.org/runc":                                                                        sumOf("runc"),
		"pkg:oci/pause@sha256%3A" + sumOf("pause") + "?repository_url=registry.k8s.io%2Fpause&tag=3.10.2": sumOf("pause"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dependencies (-want +got):\n%s", diff)
	}
}

func (f fixture) bill(t *testing.T) {
	t.Helper()
	data := f.read(t, "node.cdx.json")
	var bom cdx.BOM
	must(t, cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom))
	if bom.SpecVersion != cdx.SpecVersion1_6 || (*bom.Metadata.Component.Hashes)[0].Value != f.sum {
		t.Errorf("BOM: %s, %+v", bom.SpecVersion, bom.Metadata.Component)
	}
	parts := map[string]cdx.Component{}
	for _, c := range *bom.Components {
		if _, twice := parts[c.BOMRef]; twice {
			t.Errorf("%s is listed twice", c.BOMRef)
		}
		parts[c.BOMRef] = c
	}
	dpkg := parts["pkg:deb/debian/dpkg@1.22.21?arch=amd64&distro=debian-13"]
	if dpkg.Hashes == nil || (*dpkg.Hashes)[0].Value != sumOf("dpkg.deb") || dpkg.Licenses == nil || len(*dpkg.Licenses) != 2 || (*dpkg.Licenses)[0].License.Name != "GPL-2+" {
		t.Errorf("dpkg: %+v", dpkg)
	}
	if libc := parts["pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13"]; libc.Licenses != nil || (*libc.Properties)[0].Value != "glibc" {
		t.Errorf("libc6: %+v", libc)
	}
	for ref := range parts {
		if strings.Contains(ref, "gone") || strings.Contains(ref, "script") {
			t.Errorf("%s is not in the image, or no program of Go", ref)
		}
	}
	if c := parts["component/containerd"]; c.Licenses == nil || (*c.Licenses)[0].License.ID != "Apache-2.0" {
		t.Errorf("containerd: %+v", c)
	}
	depends := map[string][]string{}
	for _, d := range *bom.Dependencies {
		depends[d.Ref] = *d.Dependencies
		for _, on := range *d.Dependencies {
			if _, known := parts[on]; !known {
				t.Errorf("%s depends on %s, which is not listed", d.Ref, on)
			}
		}
	}
	modules := depends["file/usr/local/bin/prog"]
	if !slices.Contains(modules, "pkg:golang/stdlib@"+strings.TrimPrefix(runtime.Version(), "go")) || !slices.Contains(modules, "pkg:golang/github.com/nodeimage/packer-plugin-nodeimage") {
		t.Errorf("the program's modules: %v", modules)
	}
	if !slices.Contains(depends["component/containerd"], "file/usr/local/bin/prog") {
		t.Errorf("containerd's files: %v", depends["component/containerd"])
	}
	// The statement holds the same document.
	b, err := Parse(f.read(t, "node.sbom.sigstore.json"))
	must(t, err)
	var signed, plain any
	text, err := json.Marshal(b.Statement().GetPredicate().AsMap())
	must(t, err)
	must(t, json.Unmarshal(text, &signed))
	must(t, json.Unmarshal(data, &plain))
	if diff := cmp.Diff(plain, signed); diff != "" {
		t.Errorf("SBOM and statement differ (-file +statement):\n%s", diff)
	}
}

// What is about another image, or too new to be true, is told with everything
// else, and nothing is written.
func TestRunRefusesWhatIsAboutAnotherImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.write(t, "validate.json", strings.ReplaceAll(report, "%IMAGE%", sumOf("another")))
	f.write(t, "summary.json", strings.NewReplacer("%IMAGE%", sumOf("another"), "%PROFILE%", sumOf("another profile")).Replace(summary))
	f.opts.Now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	_, err := Run(t.Context(), f.opts)
	if exitcode.Of(err) != exitcode.Usage {
		t.Fatalf("got %v, want bad input", err)
	}
	for _, want := range []string{
		"validate.json: it is about the image sha256:" + sumOf("another"), "summary.json: it is about the image sha256:" + sumOf("another"),
		"this machine's clock says 2026-11-22", "against profile debian-13 (sha256 " + sumOf("another profile"),
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from:\n%v", want, err)
		}
	}
	if _, err := os.Stat(f.opts.OutputDir); err == nil {
		t.Error("something was written")
	}

	f = newFixture(t, nil)
	f.write(t, "node.manifest.json", `{"schema": "nodeimage.dev/manifest/v1", "images": [{"sha256": "`+sumOf("another")+`"}]}`)
	if _, err := Run(t.Context(), f.opts); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "does not list the image sha256:"+f.sum) {
		t.Errorf("another image's manifest: %v", err)
	}
}

func TestRunWithoutManifest(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	must(t, os.Remove(filepath.Join(f.dir, "node.manifest.json")))
	got, err := Run(t.Context(), f.opts)
	if err != nil || len(got.Files) != 4 || len(got.Notes) != 1 {
		t.Errorf("got %+v, %v; want all but provenance, and a note", got, err)
	}
	f.opts.Manifest = filepath.Join(f.dir, "none.json")
	if _, err := Run(t.Context(), f.opts); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a manifest that is not there: %v", err)
	}
	f.opts.Image = f.dir
	if _, err := Run(t.Context(), f.opts); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a directory as image: %v", err)
	}
}

func TestModulesOfAProgram(t *testing.T) {
	t.Parallel()
	got := programOf("/bin/x", &debug.BuildInfo{
		GoVersion: "go1.26.8 X:nocoverageredesign", Path: "example.org/x/cmd/x", Main: debug.Module{Path: "example.org/x", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "example.org/y", Version: "v1.2.3", Sum: "h1:y="},
			{Path: "example.org/z", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v1.0.1", Sum: "h1:f="}},
		},
	})
	want := goProgram{path: "/bin/x", main: "example.org/x/cmd/x", goes: "go1.26.8 X:nocoverageredesign", modules: []goModule{
		{path: "example.org/x"}, {"example.org/y", "v1.2.3", "h1:y="}, {"example.org/fork", "v1.0.1", "h1:f="}, {path: "stdlib", version: "1.26.8"},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(goProgram{}, goModule{})); diff != "" {
		t.Errorf("program (-want +got):\n%s", diff)
	}
}

func TestLicences(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"machine-readable": {copyright, []string{"GPL-2+", "public-domain-md5"}},
		"free text":        {"License: as you like\n", nil},
		"empty":            {"", nil},
		"a long line":      {"Format: x\nLicense: " + strings.Repeat("a", 300) + "\nLicense: MIT\n", []string{"MIT"}},
	} {
		if diff := cmp.Diff(test.want, parseLicences([]byte(test.text))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
