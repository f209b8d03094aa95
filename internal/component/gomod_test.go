package component

import (
	"archive/zip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

const (
	fakeModule  = "example.test/tool"
	fakeVersion = "v1.2.3"
)

// proxy is a module proxy in a directory that serves one small module.
type proxy struct {
	dir      string
	sum, mod string // h1: sums of the zip and of go.mod
}

// newProxy serves a program that prints what version.Version was stamped with.
func newProxy(t *testing.T, greeting string) proxy {
	t.Helper()
	p := proxy{dir: t.TempDir()}
	files := map[string]string{
		"go.mod":             "module " + fakeModule + "\n\ngo 1.24\n",
		"main.go":            "package main\n\nimport (\n\t\"fmt\"\n\n\t\"" + fakeModule + "/version\"\n)\n\nfunc main() { fmt.Println(\"" + greeting + "\", version.Version) }\n",
		"version/version.go": "package version\n\nvar Version = \"unknown\"\n",
		"c/hello.c":          "#include <stdio.h>\n#define S_(x) #x\n#define S(x) S_(x)\nint main(void) { puts(\"hello.c \" S(VERSION)); return 0; }\n",
	}
	dir := filepath.Join(p.dir, fakeModule, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, fakeVersion+".zip")
	out, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(out)
	for name, content := range files {
		w, err := z.Create(fakeModule + "@" + fakeVersion + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), out.Close(),
		os.WriteFile(filepath.Join(dir, fakeVersion+".mod"), []byte(files["go.mod"]), 0o644),
		os.WriteFile(filepath.Join(dir, fakeVersion+".info"), []byte(`{"Version":"`+fakeVersion+`"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	if p.sum, err = dirhash.HashZip(archive, dirhash.Hash1); err != nil {
		t.Fatal(err)
	}
	goMod := filepath.Join(t.TempDir(), "go.mod")
	if err := os.WriteFile(goMod, []byte(files["go.mod"]), 0o644); err != nil {
		t.Fatal(err)
	}
	if p.mod, err = dirhash.Hash1([]string{"go.mod"}, opener(goMod)); err != nil {
		t.Fatal(err)
	}
	return p
}

// fake returns a Maker whose only component, tool, comes from the proxy, and
// that keeps modules in a cache of its own.
func fake(t *testing.T, p proxy, recipe recipe) (*Maker, *goModule) {
	t.Helper()
	cache := t.TempDir()
	t.Cleanup(func() { // the go command makes its directories read-only
		_ = filepath.WalkDir(cache, func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	profile := debian13(t)
	profile.Components = nil
	m, err := New(profile, newStore(t), Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	m.pauses = []time.Duration{time.Millisecond}
	tools, err := m.toolchain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tools.fetch["GOPROXY"] = "file://" + p.dir
	tools.fetch["GOMODCACHE"] = cache
	g := &goModule{
		maker: m, name: "tool", recipe: recipe,
		rel: release{"1.2.3", fakeModule, fakeVersion, p.sum},
		pin: pin{
			GoMod: fmt.Sprintf("module nodeimage.invalid/pin/tool\n\ngo 1.24\n\ntool %s\n\nrequire %s %s // indirect\n", fakeModule, fakeModule, fakeVersion),
			GoSum: fmt.Sprintf("%[1]s %[2]s %[3]s\n%[1]s %[2]s/go.mod %[4]s\n", fakeModule, fakeVersion, p.sum, p.mod),
		},
	}
	m.sources["tool"] = g
	return m, g
}

func toolRecipe(stamp string) recipe {
	return recipe{
		Builds: []build{{Binaries: []binary{{"tool", fakeModule}}, Stamps: []string{stamp}}},
		Probes: []probe{{"tool", nil, []string{"hello " + fakeVersion + "\n"}}},
	}
}

const goodStamp = fakeModule + "/version.Version=" + fakeVersion

// nothingLeft fails the test when a failed build left anything in the store.
func nothingLeft(t *testing.T, m *Maker) {
	t.Helper()
	for _, sub := range []string{"entries", "tmp", "scratch"} {
		found, err := os.ReadDir(filepath.Join(m.store.Dir(), sub))
		if err != nil || len(found) != 0 {
			t.Errorf("left in %s: %v, %v", sub, found, err)
		}
	}
}

func TestBuildFromProxy(t *testing.T) {
	t.Parallel()
	p := newProxy(t, "hello")
	m, _ := fake(t, p, toolRecipe(goodStamp))
	built, err := m.Component(t.Context(), "tool")
	if err != nil {
		t.Fatal(err)
	}
	file, ok := built.File("tool")
	if !ok || len(built.Files) != 1 {
		t.Fatalf("files %+v, expected tool alone", built.Files)
	}
	described, err := describe(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	if described.SHA256 != file.SHA256 || described.Size != file.Size || file.Size == 0 {
		t.Errorf("the file is %+v and was recorded as %+v", described, file)
	}
	r := built.Record
	if r.Name != "tool" || r.Version != "1.2.3" || r.Source != "gomod" || r.Module != fakeModule+"@"+fakeVersion || r.Sum != p.sum || !strings.HasPrefix(r.Toolchain, "go1.") {
		t.Errorf("record %+v", r)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file.Path), "..", ".work")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the work directory is still there: %v", err)
	}
	// The second time nothing is fetched: there is no proxy any more.
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	again, err := m.Component(t.Context(), "tool")
	if err != nil || again.Files[0] != file {
		t.Errorf("the second time: %+v, %v", again, err)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	p := newProxy(t, "hello")
	var sums []string
	for range 2 {
		m, _ := fake(t, p, toolRecipe(goodStamp))
		built, err := m.Component(t.Context(), "tool")
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, built.Files[0].SHA256)
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds in two directories gave %s and %s", sums[0], sums[1])
	}
}

func TestWrongStampFails(t *testing.T) {
	t.Parallel()
	m, _ := fake(t, newProxy(t, "hello"), toolRecipe(fakeModule+"/version.Versoin="+fakeVersion))
	_, err := m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), `printed "hello unknown\n", expected it to contain "hello v1.2.3\n"`) {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
	nothingLeft(t, m)
}

func TestProxyServesOtherContent(t *testing.T) {
	t.Parallel()
	good, evil := newProxy(t, "hello"), newProxy(t, "hullo")
	m, g := fake(t, evil, toolRecipe(goodStamp))
	g.rel.Sum = good.sum
	g.pin.GoSum = strings.ReplaceAll(g.pin.GoSum, evil.sum, good.sum)
	_, err := m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Usage {
		t.Errorf("exit code %d, expected bad input", exitcode.Of(err))
	}
	want := fmt.Sprintf("component tool: sum of module %s %s does not match: expected %s, found %s", fakeModule, fakeVersion, good.sum, evil.sum)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nexpected %s", err, want)
	}
	nothingLeft(t, m)
}

func TestModuleCacheWasTouched(t *testing.T) {
	t.Parallel()
	m, g := fake(t, newProxy(t, "hello"), toolRecipe(goodStamp))
	if _, err := m.Component(t.Context(), "tool"); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(m.tools.fetch["GOMODCACHE"], fakeModule+"@"+fakeVersion, "main.go")
	if err := os.Chmod(source, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(`hello v1.2.3`) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	g.recipe.Builds[0].Tags = []string{"another"} // another key, so that it is built again
	_, err := m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "was modified") {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
}

func TestProxyUnreachable(t *testing.T) {
	t.Parallel()
	p := newProxy(t, "hello")
	m, _ := fake(t, p, toolRecipe(goodStamp))
	var lines []string
	m.logf = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	_, err := m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), fakeModule) {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
	if said := strings.Join(lines, "\n"); strings.Count(said, "trying again") != 1 {
		t.Errorf("expected one retry to be told of, got:\n%s", said)
	}
	nothingLeft(t, m)
}

func TestPinMissesADependency(t *testing.T) {
	t.Parallel()
	m, g := fake(t, newProxy(t, "hello"), toolRecipe(goodStamp))
	g.pin.GoSum = ""
	_, err := m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "the pin pins/tool/1.2.3 is not complete") {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
}

func TestGoTooOld(t *testing.T) {
	t.Parallel()
	m, g := fake(t, newProxy(t, "hello"), toolRecipe(goodStamp))
	g.pin.GoMod = strings.Replace(g.pin.GoMod, "go 1.24", "go 1.999.0", 1)
	_, err := m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "install a newer Go") {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	m, _ := fake(t, newProxy(t, "hello"), toolRecipe(goodStamp))
	ctx, cancel := testContext(t)
	m.logf = func(format string, _ ...any) {
		if strings.Contains(format, "compiling") {
			cancel()
		}
	}
	_, err := m.Component(ctx, "tool")
	if !errors.Is(err, errStop) {
		t.Errorf("%v, expected the context's cause", err)
	}
	nothingLeft(t, m)
}

// The user's environment must not reach a binary.
func TestCommandEnvironment(t *testing.T) {
	for name, value := range map[string]string{"GOFLAGS": "-tags=evil", "CGO_CFLAGS": "-DEVIL", "GOEXPERIMENT": "evil", "CC": "evil", "CPATH": "/evil", "https_proxy": "http://proxy.test:3128"} {
		t.Setenv(name, value)
	}
	tools := &toolchain{hostArch: "amd64", goArch: "amd64", fetch: map[string]string{"GOPROXY": "https://mirror.test", "GOPRIVATE": ""}}
	argv := tools.command(build{CGO: true}, "/tmp/x", []string{"go", "version"})
	text := strings.Join(argv, "\n")
	if strings.Contains(text, "evil") || strings.Contains(text, "EVIL") {
		t.Errorf("the user's environment got in:\n%s", text)
	}
	for _, want := range []string{"env\n-i\n", "\nGOPROXY=https://mirror.test\n", "\nhttps_proxy=http://proxy.test:3128\n", "\nGOTOOLCHAIN=local\n", "\nGOENV=off\n", "\nCC=gcc\n", "\nCGO_ENABLED=1\n", "\ngo\nversion"} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "PKG_CONFIG") {
		t.Errorf("a native build is told where libraries are:\n%s", text)
	}
}

func TestCommandEnvironmentForAnotherArchitecture(t *testing.T) {
	t.Parallel()
	tools := &toolchain{hostArch: "amd64", goArch: "arm64"}
	text := strings.Join(tools.command(build{CGO: true}, "/tmp/x", []string{"go", "version"}), "\n")
	for _, want := range []string{"\nGOARCH=arm64\n", "\nCC=aarch64-linux-gnu-gcc\n", "\nCGO_ENABLED=1\n", "\nPKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q in:\n%s", want, text)
		}
	}
	plain := strings.Join(tools.command(build{}, "/tmp/x", []string{"go", "version"}), "\n")
	if !strings.Contains(plain, "\nCGO_ENABLED=0\n") || !strings.Contains(plain, "\nGOARCH=arm64\n") || strings.Contains(plain, "aarch64") {
		t.Errorf("what has no C in it:\n%s", plain)
	}
}

// A program of another architecture that was compiled and cannot be tried says
// what a host needs for that.
func TestProbeOfAnotherArchitecture(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	p.Components = nil
	f := runtest.New(t)
	f.ExpectFunc("the program", func(c run.Cmd) bool { return strings.HasSuffix(c.Argv[len(c.Argv)-1], "/tool") }).
		Fails(126, "env: '/x/tool': Exec format error")
	m, err := New(p, newStore(t), Options{Runner: f})
	if err != nil {
		t.Fatal(err)
	}
	w := workspace{
		goModule: &goModule{maker: m, name: "tool", recipe: toolRecipe(goodStamp)},
		tools:    &toolchain{hostArch: "amd64", goArch: "arm64"},
		out:      t.TempDir(), tmp: t.TempDir(),
	}
	err = w.probe(t.Context())
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "compiled for arm64") || !strings.Contains(err.Error(), "qemu-user-static") {
		t.Errorf("%v, expected bad input that names qemu-user-static", err)
	}
}

func TestCProgram(t *testing.T) {
	t.Parallel()
	p := newProxy(t, "hello")
	cRecipe := recipe{
		C:      &cProgram{Name: "hello", Source: "c/hello.c", Flags: []string{"-static", "-DVERSION=v9"}},
		Probes: []probe{{"hello", nil, []string{"hello.c v9\n"}}},
	}
	m, _ := fake(t, p, cRecipe)
	built, err := m.Component(t.Context(), "tool")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := built.File("hello"); !ok {
		t.Errorf("files %+v, expected hello", built.Files)
	}
	// A zip that was exchanged in the cache after it was checked.
	m, g := fake(t, p, cRecipe)
	g.rel.Sum = "h1:another"
	_, err = m.Component(t.Context(), "tool")
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "the profile expects h1:another, found "+p.sum) {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
	nothingLeft(t, m)
}
