package nodediff

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// node is a root file system by path; a path that ends in a slash is an empty
// directory.
type node map[string]string

func goodNode() node {
	return node{
		"etc/os-release":                     "ID=debian\nVERSION_ID=\"13\"\n",
		"etc/sysctl.d/90-node.conf":          "net.ipv4.ip_forward = 1\n",
		"etc/fstab":                          "LABEL=root / ext4 rw 0 1\n",
		"boot/grub/grub.cfg":                 "menuentry 'a' {\n linux /vmlinuz-a root=LABEL=root\n}\n",
		"etc/motd":                           "hello\n",
		"var/lib/dpkg/status":                stanza("curl", "8.1") + stanza("systemd", "257.8"),
		"var/lib/dpkg/info/curl.list":        "/.\n/usr/bin/curl\n/usr/share/curl/a\n",
		"usr/bin/curl":                       "curl 8.1",
		"usr/share/curl/a":                   "a",
		"usr/local/sbin/runc":                "runc 1.5.1",
		"usr/lib/modules/6.12.1/x.ko":        "module",
		"usr/lib/modules/6.12.1/modules.dep": "x.ko:\n",
		"usr/lib/nodeimage/manifest.d/runtime.json": `{"components":[{"name":"runc","version":"1.5.1","source":"gomod","sum":"h1:a","files":[{"path":"/usr/local/sbin/runc","sha256":"x","size":1}]}],
			"containerImages":[{"name":"registry.k8s.io/pause:3.10.2","digest":"sha256:1","size":1}]}`,
		"usr/lib/systemd/system/ssh.service": "[Service]\nExecStart=/usr/sbin/sshd -D\nKillMode=process\n",
	}
}

func stanza(name, version string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n\n", name, version)
}

func (n node) but(change node) node {
	out := maps.Clone(n)
	maps.Copy(out, change)
	for k, v := range out {
		if v == "-" {
			delete(out, k)
		}
	}
	return out
}

// tar packs a node.
func (n node) tar(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dirs := map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(n)) {
		parts := strings.Split(p, "/")
		for i := 1; i < len(parts); i++ {
			d := strings.Join(parts[:i], "/") + "/"
			if !dirs[d] {
				dirs[d] = true
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p, Mode: 0o755, Size: int64(len(n[p]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(n[p])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, "root.tar", b.String())
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// changes are all of a report, one line each.
func changes(r Report) []string {
	var out []string
	for _, t := range r.Topics {
		for _, c := range t.Changes {
			if t.Name != "sizes" {
				out = append(out, fmt.Sprintf("%s: %s %s: %s -> %s", t.Name, c.Kind, c.Key, c.A, c.B))
			}
		}
	}
	if r.Files != nil {
		for _, f := range r.Files.Changes {
			out = append(out, fmt.Sprintf("file: %s %s %v [%s]", f.Kind, f.Path, f.Fields, f.Owner))
		}
	}
	return out
}

func TestCompareTrees(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		b    node
		want []string
	}{
		"the same": {},
		"a package": {
			node{"var/lib/dpkg/status": stanza("curl", "8.2") + stanza("systemd", "257.8"), "usr/bin/curl": "curl 8.2", "usr/share/curl/a": "-"},
			[]string{"packages: changed curl: 8.1 -> 8.2", "file: changed /usr/bin/curl [content] [package curl]",
				"file: removed /usr/share [] []", "file: removed /usr/share/curl [] []",
				"file: removed /usr/share/curl/a [] [package curl]", "file: changed /var/lib/dpkg/status [content] [dpkg's database]"},
		},
		"a component": {
			node{"usr/local/sbin/runc": "runc 1.5.2", "usr/lib/nodeimage/manifest.d/runtime.json": `{"components":[{"name":"runc","version":"1.5.2","source":"gomod","sum":"h1:b","files":[{"path":"/usr/local/sbin/runc","sha256":"y","size":1}]}]}`},
			[]string{"components: changed runc: 1.5.1 -> 1.5.2", "programs: changed runc: 1.5.1 -> 1.5.2",
				"file: changed /usr/lib/nodeimage/manifest.d/runtime.json [size content] [nodeimage's record]", "file: changed /usr/local/sbin/runc [content] [component runc]"},
		},
		"the same version of another sum": {
			node{"usr/lib/nodeimage/manifest.d/runtime.json": strings.Replace(goodNode()["usr/lib/nodeimage/manifest.d/runtime.json"], "h1:a", "h1:b", 1)},
			[]string{"components: changed runc: 1.5.1 (h1:a) -> 1.5.1 (h1:b)", "file: changed /usr/lib/nodeimage/manifest.d/runtime.json [content] [nodeimage's record]"},
		},
		"a setting that a new file overrides": {
			node{"etc/sysctl.d/99-mine.conf": "net.ipv4.ip_forward = 0\n"},
			[]string{"sysctl: changed net.ipv4.ip_forward: 1 -> 0", "file: added /etc/sysctl.d/99-mine.conf [] []"},
		},
		"a unit": {
			node{"etc/systemd/system/ssh.service.d/a.conf": "[Service]\nKillMode=mixed\n"},
			[]string{"systemd: changed ssh.service: Service.KillMode: process -> mixed", "file: added /etc/systemd [] []", "file: added /etc/systemd/system [] []",
				"file: added /etc/systemd/system/ssh.service.d [] []", "file: added /etc/systemd/system/ssh.service.d/a.conf [] []"},
		},
		// What a manifest cannot know of is no difference from it.
		"another default kernel": {
			node{"boot/grub/grub.cfg": "menuentry 'a' {\n linux /vmlinuz-b root=LABEL=root\n}\n"},
			[]string{"kernel command line: changed (kernel): /vmlinuz-a -> /vmlinuz-b", "file: changed /boot/grub/grub.cfg [content] []"},
		},
		"the kernel": {
			node{"usr/lib/modules/6.12.1/x.ko": "-", "usr/lib/modules/6.12.1/modules.dep": "-", "usr/lib/modules/6.12.2/modules.dep": "x.ko:\n"},
			[]string{"kernel: changed installed: 6.12.1 -> 6.12.2", "file: removed /usr/lib/modules/6.12.1 [] []", "file: removed /usr/lib/modules/6.12.1/modules.dep [] [depmod]",
				"file: removed /usr/lib/modules/6.12.1/x.ko [] []", "file: added /usr/lib/modules/6.12.2 [] []", "file: added /usr/lib/modules/6.12.2/modules.dep [] [depmod]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := goodNode().tar(t), goodNode().but(tt.b).tar(t)
			r, err := Compare(t.Context(), a, b, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, changes(r)); diff != "" {
				t.Error(diff)
			}
			if r.Same != (len(tt.want) == 0) {
				t.Errorf("same is %v", r.Same)
			}
		})
	}
}

func sum(c string) string { return strings.Repeat(c, 64) }

func lockFile(t *testing.T) string {
	t.Helper()
	deb := func(name, version, s string) lock.Package {
		return lock.Package{Name: name, Version: version, Arch: "amd64", SHA256: sum(s), Size: 10, URI: "http://m.example/debian", Path: "pool/main/" + name + ".deb"}
	}
	l := &lock.Lock{Content: lock.Content{
		Profile:  lock.Profile{Name: "node", SHA256: sum("1"), Arch: "amd64"},
		Kernel:   lock.Kernel{Package: "linux-image-6.12.1", Release: "6.12.1", SHA256: sum("2")},
		Releases: []lock.Release{{URI: "http://m.example/debian", Suite: "trixie", SHA256: sum("3"), Date: "2026-01-31T12:00:00Z", Signer: strings.Repeat("A", 40)}},
		Packages: []lock.Package{deb("linux-image-6.12.1", "1", "4"), deb("curl", "8.2", "5")},
		Components: []lock.Component{
			{Name: "runc", Version: "1.5.1", Source: "gomod", From: "github.com/opencontainers/runc@v1.5.1", Sum: "h1:a", Files: []lock.File{{Name: "runc", SHA256: sum("6"), Size: 3}}},
		},
		Images: []lock.Image{{Name: "registry.k8s.io/pause:3.10.2", Digest: "sha256:" + sum("9")}},
	}}
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "node.lock.yaml", string(text))
}

const oldManifest = `{"schema":"nodeimage.dev/manifest/v1","images":[{"format":"qcow2","size":1000,"virtualSize":4000}],
"components":[{"name":"runc","version":"1.5.0","source":"gomod","sum":"h1:z"}],
"packages":[{"name":"curl","version":"8.2","arch":"amd64","sha256":"c1"},{"name":"linux-image-6.12.1","version":"1","arch":"amd64","sha256":"k"}],
"containerImages":[],"sizes":{"rootfs":5}}`

// What two sides of any kinds both tell of is compared, and the rest is said.
func TestCompareAcrossKinds(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"tree": goodNode().tar(t), "lock": lockFile(t), "manifest": write(t, "a.manifest.json", oldManifest),
	}
	files["profile"] = write(t, "mine.yaml", "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: mine\nextends: debian-13\nhost:\n  sysctls:\n    net.ipv4.ip_forward: \"0\"\n")
	for name, tt := range map[string]struct {
		want []string
		left string // a topic that cannot be compared
	}{
		"tree lock": {[]string{"packages: changed curl: 8.1 -> 8.2", "packages: added linux-image-6.12.1:  -> 1", "packages: removed systemd: 257.8 -> ",
			"container images: changed registry.k8s.io/pause:3.10.2: sha256:1 -> sha256:" + sum("9")}, "files"},
		"lock manifest": {[]string{"packages: changed curl: 8.2 (" + sum("5")[:19] + ") -> 8.2 (c1)",
			"packages: changed linux-image-6.12.1: 1 (" + sum("4")[:19] + ") -> 1 (k)", "components: changed runc: 1.5.1 -> 1.5.0"}, "container images"},
		"manifest tree": {[]string{"packages: changed curl: 8.2 -> 8.1", "packages: removed linux-image-6.12.1: 1 -> ",
			"packages: added systemd:  -> 257.8", "components: changed runc: 1.5.0 -> 1.5.1"}, "sysctl"},
		"profile profile": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, _ := strings.Cut(name, " ")
			r, err := Compare(t.Context(), files[a], files[b], Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, changes(r)); diff != "" {
				t.Error(diff)
			}
			if tt.left != "" && !slices.ContainsFunc(r.Left, func(l Left) bool { return l.Topic == tt.left }) {
				t.Errorf("%s is not among what was not compared: %+v", tt.left, r.Left)
			}
		})
	}
	r, err := Compare(t.Context(), files["profile"], files["tree"], Options{})
	if err != nil || !slices.Contains(changes(r), "sysctl: changed net.ipv4.ip_forward: 0 -> 1") {
		t.Errorf("a profile and a tree: %v, %q", err, changes(r))
	}
}

// What two images begin as is compared, and so are the packages that came in it.
func TestCompareBases(t *testing.T) {
	t.Parallel()
	base := func(sum string) string {
		return write(t, sum+".manifest.json", strings.Replace(oldManifest, `"images":`, `"base":{"url":"https://images.example/20251113/noble.img","sha256":"`+sum+`"},"images":`, 1))
	}
	r, err := Compare(t.Context(), base("aa"), base("bb"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"base: changed cloud image: https://images.example/20251113/noble.img (aa) -> https://images.example/20251113/noble.img (bb)"}, changes(r)); diff != "" {
		t.Error(diff)
	}
	r, err = Compare(t.Context(), base("cc"), write(t, "b.manifest.json", oldManifest), Options{})
	if err != nil || !slices.ContainsFunc(r.Left, func(l Left) bool { return l.Topic == "base" }) {
		t.Errorf("with and without one: %v, left %+v", err, r.Left)
	}
}

func TestCompareRefuses(t *testing.T) {
	t.Parallel()
	tree := goodNode().tar(t)
	for name, p := range map[string]string{
		"missing":          filepath.Join(t.TempDir(), "none.qcow2"),
		"another document": write(t, "a.json", `{"kind":"List"}`),
		"no JSON":          write(t, "b.json", `{`),
		"no image":         write(t, "c.qcow2", "hello"),
		"a broken profile": write(t, "d.yaml", "kind: Profile\n"),
		"a damaged record": goodNode().but(node{"usr/lib/nodeimage/manifest.d/runtime.json": "{"}).tar(t),
	} {
		if _, err := Compare(t.Context(), tree, p, Options{}); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: got %v, want an error of exit code 2", name, err)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	many := node{"etc/evil": "x", "etc/sysctl.d/99.conf": "net.ipv4.ip_forward = 0`|\x1b[31m\n"}
	for i := range 40 {
		many[fmt.Sprintf("opt/%02d", i)] = "x"
	}
	r, err := Compare(t.Context(), goodNode().tar(t), goodNode().but(many).tar(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var text, all, md, js bytes.Buffer
	for _, err := range []error{r.WriteText(&text, TextOptions{}), r.WriteText(&all, TextOptions{All: true}), r.WriteMarkdown(&md, TextOptions{}), r.WriteJSON(&js)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"~ net.ipv4.ip_forward", `1 -> 0`, "/etc/sysctl.d/99.conf:1", "of no package or component:", "and 18 more", "the same: os (2), kernel (1), packages (2)", "not compared: containerd:"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, &text)
		}
	}
	if !strings.Contains(all.String(), "/opt/39") || strings.Contains(text.String(), "/opt/39") {
		t.Error("--all does not list all, or the short form does")
	}
	for _, form := range []string{text.String(), all.String(), md.String(), js.String()} {
		if strings.Contains(form, "\x1b") {
			t.Errorf("an escape sequence of the image is in:\n%s", form)
		}
	}
	if !strings.Contains(md.String(), "| ~ | `net.ipv4.ip_forward` | `1` | `` 0`\\|\\x1b[31m `` |") {
		t.Errorf("the value is no code span in:\n%s", &md)
	}
	var back Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Files.Changes) != r.Files.Total || back.Same {
		t.Errorf("the JSON does not hold all: %v", err)
	}
}
