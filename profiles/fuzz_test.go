package profiles

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// FuzzResolve: any text at all ends in a profile that holds what it promises,
// or in problems that say where they are.
func FuzzResolve(f *testing.F) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(header + "name: top\nextends: debian-13\n"))
	for _, odd := range []string{
		"", "---\n---\n", "a: &a [*a]\n", "? {a: b}\n: c\n", "<<: {kind: Profile}\n", "kind: !!binary UHJvZmlsZQ==\n",
		"os: {arch: \"\\u0000\"}\n", "\xef\xbb\xbfkind: Profile\n", "%YAML 1.1\n---\nkind: yes\n", "disk: " + strings.Repeat("{a: ", 50),
	} {
		f.Add([]byte(odd))
	}
	for _, tt := range refusals {
		f.Add([]byte(strings.Replace(string(good), tt.old, tt.new, 1)))
	}
	r := newReader()
	r.file = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := r.resolve(source{name: "x.yaml", dir: ".", data: text})
		if err != nil {
			var problems Problems
			if p != nil || !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("resolve: %v and %#v, expected Problems and nothing else", p, err)
			}
			for _, problem := range problems {
				if problem.File == "" || problem.Line < 1 || problem.Message == "" {
					t.Errorf("%#v: expected file, line and message", problem)
				}
			}
			return
		}
		again, err := p.YAML()
		if err != nil {
			t.Fatal(err)
		}
		q, err := r.resolve(source{name: "y.yaml", data: again})
		if err != nil {
			t.Fatalf("the effective profile is refused:\n%v\n%s", err, again)
		}
		if p.Hash() != q.Hash() {
			t.Errorf("the effective profile has another hash:\n%s", again)
		}
		if images, err := KubeadmImages(p); err != nil || len(images) != 7 {
			t.Errorf("KubeadmImages = %q, %v, expected 7 images", images, err)
		}
		if _, err := ConfigVersion(p.Components["containerd"].Version); err != nil {
			t.Error(err)
		}
		if size, err := ParseSize(p.Disk.Size); err != nil || size < minDiskSize {
			t.Errorf("disk of %d bytes: %v", size, err)
		}
	})
}
