package profiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// tree writes files into a new directory and loads one of them.
func tree(t *testing.T, files map[string]string, load string) (*Profile, []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Load(filepath.Join(dir, load))
	if err == nil {
		return p, nil
	}
	if code := exitcode.Of(err); code != exitcode.Usage {
		t.Errorf("exit code %d, expected %d", code, exitcode.Usage)
	}
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		lines = append(lines, strings.ReplaceAll(line, dir+"/", ""))
	}
	return nil, lines
}

const header = "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\n"

func TestExtendsMergesKeyByKey(t *testing.T) {
	t.Parallel()
	p, problems := tree(t, map[string]string{
		"good.yaml": readGood(t),
		"middle.yaml": header + `name: middle
description: not inherited
abstract: true
extends: good
disk: {rootLabel: other}
packages:
  include:
    network: [iproute2]
    extra: [jq]
host:
  modules: []
  sysctls: {vm.swappiness: "0"}
`,
		"top.yaml": header + `name: top
extends: middle
packages: {include: {extra: [htop]}}
components:
  runc: {version: 1.5.3}
`,
	}, "top.yaml")
	if problems != nil {
		t.Fatal(strings.Join(problems, "\n"))
	}
	want, err := Load("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want.Name, want.Extends = "top", "middle"
	want.Disk.RootLabel = "other"                           // a single value replaces
	want.Packages.Include["network"] = []string{"iproute2"} // a list replaces
	want.Packages.Include["extra"] = []string{"htop"}       // the nearest wins
	want.Host.Modules = []string{}                          // also by an empty list
	want.Host.Sysctls["vm.swappiness"] = "0"                // a mapping gains a key
	runc := want.Components["runc"]                         // and keeps the others
	runc.Version = "1.5.3"
	want.Components["runc"] = runc
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("effective profile (-want +got):\n%s", diff)
	}
}

func TestExtendsBesideTheFileComesFirst(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"top.yaml":    header + "name: top\nextends: debian-13\n",
		"debian.yaml": header + "name: debian\nabstract: true\n",
	}
	builtin, problems := tree(t, files, "top.yaml")
	if problems != nil {
		t.Fatal(strings.Join(problems, "\n"))
	}
	if builtin.Disk.RootLabel != "nodeimage-root" {
		t.Errorf("label %q, expected that of the built-in debian-13", builtin.Disk.RootLabel)
	}
	files["debian-13.yaml"] = strings.Replace(readGood(t), "rootLabel: root", "rootLabel: mine", 1)
	local, problems := tree(t, files, "top.yaml")
	if problems != nil {
		t.Fatal(strings.Join(problems, "\n"))
	}
	if local.Disk.RootLabel != "mine" {
		t.Errorf("label %q, expected that of debian-13.yaml beside the file", local.OS.Codename)
	}
}

func TestExtendsRefusals(t *testing.T) {
	t.Parallel()
	deep := map[string]string{"p9.yaml": readGood(t)}
	for i := range 9 {
		deep["p"+string(rune('0'+i))+".yaml"] = header + "name: p\nextends: p" + string(rune('1'+i)) + "\n"
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"no such base", map[string]string{"p0.yaml": header + "name: a\nextends: debain\n"}, []string{
			`p0.yaml:4:10: extends: no profile "debain" beside this file and built in; the built-in ones are debian, debian-12, debian-13, debian-13-arm64, ubuntu, ubuntu-22.04, ubuntu-24.04, ubuntu-24.04-docker, ubuntu-26.04; did you mean "debian"?`,
		}},
		{"a path", map[string]string{"p0.yaml": header + "name: a\nextends: ../good.yaml\n"}, []string{
			`p0.yaml:4:10: extends: found "../good.yaml", expected the name of a profile, without a directory and without .yaml`,
		}},
		{"the compatibility table", map[string]string{"p0.yaml": header + "name: a\nextends: compatibility\n"}, []string{
			`p0.yaml:4:10: extends: no profile "compatibility" beside this file and built in; the built-in ones are debian, debian-12, debian-13, debian-13-arm64, ubuntu, ubuntu-22.04, ubuntu-24.04, ubuntu-24.04-docker, ubuntu-26.04`,
		}},
		{"itself", map[string]string{"p0.yaml": header + "name: a\nextends: p0\n"}, []string{
			`p0.yaml:4:10: extends: profiles extend each other in a circle: p0.yaml -> p0.yaml`,
		}},
		{"a circle further down", map[string]string{
			"p0.yaml": header + "name: a\nextends: b\n",
			"b.yaml":  header + "name: b\nextends: c\n",
			"c.yaml":  header + "# again\nname: c\nextends: b\n",
		}, []string{
			`c.yaml:5:10: extends: profiles extend each other in a circle: b.yaml -> c.yaml -> b.yaml`,
		}},
		{"too deep", deep, []string{
			`p8.yaml:4:10: extends: too many base profiles: expected at most 8 that extend one another`,
		}},
		{"no string", map[string]string{"p0.yaml": header + "name: a\nextends: [good]\n"}, []string{
			`p0.yaml:4:10: extends: found a list, expected a string`,
		}},
		{"a broken base, and what is wrong above it", map[string]string{
			"p0.yaml": header + "name: a\nextends: b\nos: {arch: 64}\n",
			"b.yaml":  "kind: [\n",
		}, []string{
			`b.yaml:2: not YAML: did not find expected node content`,
			`p0.yaml:5:12: os.arch: found the number 64, expected a string; quote it: "64"`,
		}},
		{"problems keep their own file", map[string]string{
			"p0.yaml":   header + "name: a\nextends: good\ndisk: {size: 1GiB}\n",
			"good.yaml": strings.Replace(readGood(t), "espSize: 64MiB", "espSize: 1MiB", 1),
		}, []string{
			`good.yaml:96:12: disk.espSize: found "1MiB", expected at least 33MiB`,
			`p0.yaml:5:14: disk.size: found "1GiB", expected at least 4GiB`,
		}},
		{"a base says what it is too", map[string]string{
			"p0.yaml":   header + "name: a\nextends: good\n",
			"good.yaml": strings.Replace(readGood(t), "kind: Profile", "kind: Profil\nabstract: 1", 1),
		}, []string{
			`good.yaml:2:7: kind: found the string "Profil", expected "Profile"`,
			`good.yaml:3:11: abstract: found the number 1, expected true or false`,
		}},
		{"a value that is overridden is not complained about", map[string]string{
			"p0.yaml":   header + "name: a\nextends: good\ndisk: {espSize: 1KiB}\n",
			"good.yaml": strings.Replace(readGood(t), "espSize: 64MiB", "espSize: 1MiB", 1),
		}, []string{
			`p0.yaml:5:17: disk.espSize: found "1KiB", expected at least 33MiB`,
		}},
		{"a mapping replaced by something else", map[string]string{
			"p0.yaml":   header + "name: a\nextends: good\ndisk: [8GiB]\n",
			"good.yaml": readGood(t),
		}, []string{
			`p0.yaml:5:7: disk: found a list, expected a mapping`,
		}},
		{"something missing from a section of both", map[string]string{
			"p0.yaml":   header + "name: a\nextends: good\nos:\n  arch: arm64\n",
			"good.yaml": strings.Replace(readGood(t), "  codename: trixie\n", "", 1),
		}, []string{
			`good.yaml:20:12: kernel.package: found "linux-image-amd64", a package for amd64: expected one for arm64, such as linux-image-arm64`,
			`good.yaml:63:9: components.runc.files[0].sha256.arm64: missing: expected the sha256 of the file for arm64`,
			`good.yaml:69:9: components.cni-plugins.files[0].sha256.arm64: missing: expected the sha256 of the file for arm64`,
			`p0.yaml:5:1: os.codename: missing: expected a release's code name, such as trixie`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, got := tree(t, tt.files, "p0.yaml")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEightBasesAreNotTooDeep(t *testing.T) {
	t.Parallel()
	files := map[string]string{"p8.yaml": readGood(t)}
	for i := range 8 {
		files["p"+string(rune('0'+i))+".yaml"] = header + "name: p\nextends: p" + string(rune('1'+i)) + "\n"
	}
	if _, problems := tree(t, files, "p0.yaml"); problems != nil {
		t.Error(strings.Join(problems, "\n"))
	}
}

func TestNamesThatDoNotLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dir.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge.yaml")
	if err := os.WriteFile(huge, []byte(strings.Repeat("#", maxFileSize+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		is         error
	}{
		{"debian-31", `no built-in profile "debian-31": expected debian-12, debian-13, debian-13-arm64, ubuntu-22.04, ubuntu-24.04, ubuntu-24.04-docker, ubuntu-26.04, or a path ending in .yaml; did you mean "debian-13"?`, nil},
		{"", `no built-in profile "": expected debian-12, debian-13, debian-13-arm64, ubuntu-22.04, ubuntu-24.04, ubuntu-24.04-docker, ubuntu-26.04, or a path ending in .yaml`, nil},
		{"../profiles/debian-13", `no built-in profile "../profiles/debian-13": expected debian-12, debian-13, debian-13-arm64, ubuntu-22.04, ubuntu-24.04, ubuntu-24.04-docker, ubuntu-26.04, or a path ending in .yaml`, nil},
		{"compatibility", `no built-in profile "compatibility": expected debian-12, debian-13, debian-13-arm64, ubuntu-22.04, ubuntu-24.04, ubuntu-24.04-docker, ubuntu-26.04, or a path ending in .yaml`, nil},
		{"debian", "profiles/debian.yaml:6:11: abstract: this profile is only a base for others and cannot be built; name one that extends it", nil},
		{filepath.Join(dir, "none.yaml"), "reading profile: stat " + filepath.Join(dir, "none.yaml") + ": no such file or directory", fs.ErrNotExist},
		{filepath.Join(dir, "dir.yaml"), "reading profile: read " + filepath.Join(dir, "dir.yaml") + ": not a regular file", nil},
		{huge, huge + ":1:1: file too large: expected at most 256 KiB", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(tt.name)
			if err == nil || err.Error() != tt.want {
				t.Fatalf("Load: %v\nexpected: %s", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("expected an error that is %v", tt.is)
			}
			if code := exitcode.Of(err); code != exitcode.Usage {
				t.Errorf("exit code %d, expected %d", code, exitcode.Usage)
			}
		})
	}
}

func TestTextsThatAreNoProfile(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+prev+",", 8) + "*" + prev + "]\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "1:1: empty file: expected a profile"},
		{"only a comment", "# nothing\n", "1:1: empty file: expected a profile"},
		{"null", "---\n", "2:1: found nothing, expected a mapping"},
		{"a list", "- debian\n", "1:1: found a list, expected a mapping"},
		{"a word", "debian\n", `1:1: found the string "debian", expected a mapping`},
		{"not UTF-8", "name: \xff\xfe\n", "1: not YAML: invalid leading UTF-8 octet"},
		{"a tab", "os:\n\tarch: amd64\n", "2: not YAML: found character that cannot start any token"},
		{"deep", header + "name: a\nos: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "nested too deep: expected at most 16 levels"},
		{"alias bomb", bomb, "anchors and aliases are not read"},
		{"second document that is no YAML", header + "---\n[\n", "not YAML: did not find expected node content"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(refused(t, tt.text), "\n")
			if !strings.Contains(got, tt.want) {
				t.Errorf("problems:\n%s\nexpected: %s", clip(got), tt.want)
			}
		})
	}
}

// TestManyUnknownKeysAreQuick: a file as large as is read, of nothing but
// mistakes, is answered at once and not after minutes.
func TestManyUnknownKeysAreQuick(t *testing.T) {
	t.Parallel()
	const count = 20000
	var text strings.Builder
	text.WriteString(header + "name: a\n")
	for i := range count {
		fmt.Fprintf(&text, "k%d: 0\n", i)
	}
	start := time.Now()
	got := refused(t, text.String())
	if len(got) < count {
		t.Errorf("%d problems, expected at least %d", len(got), count)
	}
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("took %v, expected seconds", took)
	}
}
