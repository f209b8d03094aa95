package component

import (
	"regexp"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// keyOf makes the store's key of a component whose host answers as told.
func keyOf(t *testing.T, name string, change func(*profiles.Profile), goEnv, gcc string) string {
	t.Helper()
	p := debian13(t)
	change(p)
	fake := runtest.New(t)
	m, err := New(p, newStore(t), Options{Runner: fake})
	if err != nil {
		t.Fatal(err)
	}
	src := m.sources[name]
	if _, ok := src.(*goModule); ok {
		fake.ExpectFunc("go env", isGoEnv).Returns(goEnv)
		if src.(*goModule).recipe.needsC() {
			cc := "gcc"
			if host := regexp.MustCompile(`"GOHOSTARCH":"([a-z0-9]+)"`).FindStringSubmatch(goEnv)[1]; host != p.OS.Arch {
				cc = triplets()[p.OS.Arch] + "-gcc"
			}
			fake.Expect(cc, "--version").Returns(gcc)
			for _, lib := range src.(*goModule).recipe.staticLibs() {
				fake.Expect(cc, "-print-file-name="+lib).Returns(emptyLib(t) + "\n")
			}
		}
	}
	parts, err := src.keyParts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := store.Key(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	go1268 = `{"GOVERSION":"go1.26.8","GOHOSTARCH":"amd64","GOPROXY":"https://a.test"}`
	go1269 = `{"GOVERSION":"go1.26.9","GOHOSTARCH":"amd64"}`
	gcc12  = "gcc (Debian 12.2.0-14) 12.2.0\nCopyright\n"
)

func TestKeyCoversInputs(t *testing.T) {
	t.Parallel()
	same := func(*profiles.Profile) {}
	base := keyOf(t, "runc", same, go1268, gcc12)
	if base != keyOf(t, "runc", same, `{"GOVERSION":"go1.26.8","GOHOSTARCH":"amd64","GOPROXY":"https://b.test"}`, gcc12) {
		t.Error("another proxy gave another key, though the pins fix what it may serve")
	}
	if base != keyOf(t, "runc", func(p *profiles.Profile) { p.Description = "x"; p.Disk.Size = "9GiB" }, go1268, gcc12) {
		t.Error("a disk size changed runc's key")
	}
	arm64 := func(p *profiles.Profile) { p.OS.Arch = "arm64" }
	const onArm64 = `{"GOVERSION":"go1.26.8","GOHOSTARCH":"arm64"}`
	if keyOf(t, "etcd", arm64, go1268, gcc12) != keyOf(t, "etcd", arm64, onArm64, gcc12) {
		t.Error("Go without C gave another key on another host, though it compiles the same")
	}
	if keyOf(t, "etcd", arm64, go1268, gcc12) == keyOf(t, "etcd", same, go1268, gcc12) {
		t.Error("another architecture gave the same key of what has no C in it")
	}
	for name, key := range map[string]string{
		"Go":           keyOf(t, "runc", same, go1269, gcc12),
		"architecture": keyOf(t, "runc", arm64, go1268, gcc12),
		"C compiler":   keyOf(t, "runc", same, onArm64, "x86_64-linux-gnu-gcc (Debian 12.2.0-14) 12.2.0\n"),
		"gcc":          keyOf(t, "runc", same, go1268, "gcc (Debian 14.2.0-19) 14.2.0\n"),
	} {
		if key == base {
			t.Errorf("another %s gave the same key", name)
		}
	}
	debs := keyOf(t, "kube-proxy-base", same, "", "")
	for name, change := range map[string]func(*profiles.Profile){
		"package": func(p *profiles.Profile) {
			c := p.Components["kube-proxy-base"]
			c.Packages = append(c.Packages[:len(c.Packages):len(c.Packages)], "conntrack")
			p.Components["kube-proxy-base"] = c
		},
		"suite": func(p *profiles.Profile) { p.Archive.Sources[0].Suites = []string{"forky"} },
	} {
		if keyOf(t, "kube-proxy-base", change, "", "") == debs {
			t.Errorf("another %s gave the same key", name)
		}
	}
}

func TestKeyCoversLibraryContent(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for _, content := range []string{"2.5.4", "2.6.0"} {
		fake := runtest.New(t)
		m, err := New(debian13(t), newStore(t), Options{Runner: fake})
		if err != nil {
			t.Fatal(err)
		}
		fake.ExpectFunc("go env", isGoEnv).Returns(go1268)
		fake.Expect("gcc", "--version").Returns(gcc12)
		fake.Expect("gcc", "-print-file-name=libc.a").Returns(emptyLib(t) + "\n")
		fake.Expect("gcc", "-print-file-name=libseccomp.a").Returns(libWith(t, content) + "\n")
		parts, err := m.sources["runc"].keyParts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key, err := store.Key(parts...)
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Error("another libseccomp.a gave the same key")
	}
}

// A lock with the signer and one without mean the same entry.
func TestLockedKeyIsOfTheFiles(t *testing.T) {
	t.Parallel()
	c := lock.Component{Name: "runc", Version: "1.5.2", Source: "release", Sum: "sha256:x"}
	plain, err := LockedKey(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Signer = "someone"
	if signed, err := LockedKey(c); err != nil || signed != plain {
		t.Errorf("with its signer the key is %s, without %s (%v)", signed, plain, err)
	}
	c.Version = "1.5.3"
	if other, err := LockedKey(c); err != nil || other == plain {
		t.Errorf("another version has the same key (%v)", err)
	}
}
