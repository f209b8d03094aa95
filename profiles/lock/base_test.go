package lock

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// onImage is a lock of a system that begins as a cloud image, which has the kernel.
func onImage() *Lock {
	l := example()
	l.Packages = slices.DeleteFunc(l.Packages, func(p Package) bool { return p.Name != "libc6" })
	l.Base.CloudImage = CloudImage{
		URL: "https://images.example/20251113/noble.img", SHA256: sum("d"), Size: 600 << 20, Signer: strings.Repeat("B", 40),
		Packages: []Installed{{"linux-image-6.12.1-amd64", "6.12.1-1", "amd64"}, {"bash", "5.2", "amd64"}, {"tzdata", "2025b", "all"}},
	}
	return l
}

func TestALockOnACloudImage(t *testing.T) {
	t.Parallel()
	l := onImage()
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse("x.lock.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Content, back.Content); diff != "" || back.Base.CloudImage.Packages[0].Name != "bash" {
		t.Errorf("what was read is not what was written (-want +got):\n%s", diff)
	}
	if plain, err := example().Encode(); err != nil || strings.Contains(string(plain), "cloudImage") {
		t.Errorf("a lock of a bootstrapped system says something of a base (%v)", err)
	}
	empty := onImage()
	empty.Packages = nil
	if _, err := empty.Encode(); err != nil {
		t.Errorf("an image that lacks no package: %v", err)
	}
	for name, tc := range map[string]struct {
		change func(*Lock)
		want   string
	}{
		"no sum":                    {func(l *Lock) { l.Base.CloudImage.SHA256 = "" }, "base.cloudImage.sha256"},
		"a size that is none":       {func(l *Lock) { l.Base.CloudImage.Size = 17 << 30 }, "base.cloudImage.size: found 18253611008, expected 1 to"},
		"a password in the address": {func(l *Lock) { l.Base.CloudImage.URL = "https://u:p@images.example/x" }, "base.cloudImage.url"},
		"a name for a key":          {func(l *Lock) { l.Base.CloudImage.Signer = "Ubuntu" }, "base.cloudImage.signer"},
		"no packages":               {func(l *Lock) { l.Base.CloudImage.Packages = nil }, "base.cloudImage.packages: missing"},
		"a package twice":           {func(l *Lock) { l.Base.CloudImage.Packages[1].Name = "libc6" }, `"libc6" is listed already`},
		"an option as a name":       {func(l *Lock) { l.Base.CloudImage.Packages[1].Name = "--oops" }, "a package's name"},
		"another architecture":      {func(l *Lock) { l.Base.CloudImage.Packages[1].Arch = "arm64" }, "amd64 or all"},
		"a kernel of neither":       {func(l *Lock) { l.Kernel.Package = "linux-image-other" }, "one of the lock's packages"},
	} {
		l := onImage()
		tc.change(l)
		if _, err := l.Encode(); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got code %d, %v, want %q", name, exitcode.Of(err), err, tc.want)
		}
	}
}

func TestTheImagesPackagesCount(t *testing.T) {
	t.Parallel()
	installed := []manifest.Package{
		{Name: "libc6", Version: "2.41-12+deb13u1", Arch: "amd64"}, {Name: "linux-image-6.12.1-amd64", Version: "6.12.1-1", Arch: "amd64"},
		{Name: "bash", Version: "5.2", Arch: "amd64"}, {Name: "tzdata", Version: "2025b", Arch: "all"},
	}
	if got := onImage().DiffPackages(installed); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	installed[2].Version = "5.3"
	want := []string{"package bash: found 5.3 (amd64), expected 5.2 (amd64) alone", "package tzdata: found none, expected 2025b (all)"}
	if diff := cmp.Diff(want, onImage().DiffPackages(installed[:3])); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestCompareBases(t *testing.T) {
	t.Parallel()
	old, now := onImage(), onImage()
	now.Base.CloudImage.URL, now.Base.CloudImage.SHA256 = "https://images.example/20251213/noble.img", sum("e")
	now.Base.CloudImage.Packages[1].Version = "5.3"
	var out strings.Builder
	if err := WriteChanges(&out, now.Compare(old)); err != nil {
		t.Fatal(err)
	}
	want := "~ base cloud image https://images.example/20251113/noble.img -> https://images.example/20251213/noble.img\n~ package bash 5.2 -> 5.3\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := old.With(now, wants("1.5.2"), []string{"libc6"}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "the base is another one") {
		t.Errorf("one package moves and the image with it: %v", err)
	}
}

// A package of the image that is replaced by the archive's is the image's no more,
// and only what is named moves.
func TestAnImagesPackageMoves(t *testing.T) {
	t.Parallel()
	old, now := onImage(), onImage()
	now.Packages = append(now.Packages, Package{Name: "bash", Version: "5.2+new"}, Package{Name: "tzdata", Version: "2026a"})
	now.Base.CloudImage.Packages = now.Base.CloudImage.Packages[:1]
	merged, err := old.With(now, wants("1.5.2"), []string{"bash"})
	if err != nil {
		t.Fatal(err)
	}
	var packages []string
	for _, p := range merged.Packages {
		packages = append(packages, p.Name+" "+p.Version)
	}
	if diff := cmp.Diff([]string{"libc6 2.41-12+deb13u1", "bash 5.2+new"}, packages); diff != "" {
		t.Errorf("of the archive (-want +got):\n%s", diff)
	}
	want := []Installed{{"linux-image-6.12.1-amd64", "6.12.1-1", "amd64"}, {"tzdata", "2025b", "all"}}
	if diff := cmp.Diff(want, merged.Base.CloudImage.Packages); diff != "" {
		t.Errorf("of the image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(onImage().Content, old.Content); diff != "" {
		t.Errorf("the old lock was changed:\n%s", diff)
	}
}
