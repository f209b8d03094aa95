package lockbundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

const (
	kernelDeb = "the kernel's package"
	libcDeb   = "libc's package"
	runcFile  = "runc's program"
	record    = `{"record":{"name":"runc"},"files":[]}`
)

func example() *lock.Lock {
	deb := func(name, text string) lock.Package {
		return lock.Package{Name: name, Version: "1-1", Arch: "amd64", SHA256: sumOf(text), Size: len(text), URI: "http://m.example/debian", Path: "pool/" + name + ".deb"}
	}
	return &lock.Lock{Content: lock.Content{
		Profile:  lock.Profile{Name: "node", SHA256: strings.Repeat("1", 64), Arch: "amd64"},
		Kernel:   lock.Kernel{Package: "linux-image-6.12.1-amd64", Release: "6.12.1-amd64", SHA256: strings.Repeat("2", 64)},
		Releases: []lock.Release{{URI: "http://m.example/debian", Suite: "trixie", SHA256: strings.Repeat("3", 64), Date: "2026-01-31T12:00:00Z", Signer: strings.Repeat("A", 40)}},
		Packages: []lock.Package{deb("libc6", libcDeb), deb("linux-image-6.12.1-amd64", kernelDeb)},
		Components: []lock.Component{
			{Name: "runc", Version: "1.5.2", Source: "gomod", From: "github.com/opencontainers/runc@v1.5.2", Sum: "h1:x=", Files: []lock.File{{Name: "runc", SHA256: sumOf(runcFile), Size: len(runcFile)}}},
		},
		Images: []lock.Image{{Name: "registry.k8s.io/pause:3.10.2", Digest: "sha256:" + strings.Repeat("9", 64)}},
	}}
}

func emptyStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fullStore has all that the lock names, except what is left out.
func fullStore(t *testing.T, l *lock.Lock, without string) *store.Store {
	t.Helper()
	s := emptyStore(t)
	files := map[string]string{}
	for _, text := range []string{kernelDeb, libcDeb} {
		if text == without {
			continue
		}
		files[sumOf(text)] = filepath.Join(t.TempDir(), "deb")
		if err := os.WriteFile(files[sumOf(text)], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddBlobs(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	if without == runcFile {
		return s
	}
	key, err := component.LockedKey(l.Components[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Do(t.Context(), key, func(_ context.Context, dir string) error {
		if err := os.Mkdir(filepath.Join(dir, "files"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "files", "runc"), []byte(runcFile), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "component.json"), []byte(record), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The image that a system begins as is in its bundle.
func TestABundleHasTheCloudImage(t *testing.T) {
	t.Parallel()
	const image = "a cloud image"
	l := example()
	l.Base.CloudImage = lock.CloudImage{
		URL: "https://images.example/20251113/noble.img", SHA256: sumOf(image), Size: len(image), Packages: []lock.Installed{{Name: "bash", Version: "5", Arch: "amd64"}},
	}
	from := fullStore(t, l, "")
	file := filepath.Join(t.TempDir(), "node"+Suffix)
	if _, err := Export(t.Context(), from, l, file); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "package or cloud image with sha256 "+sumOf(image)) {
		t.Errorf("without it: %v", err)
	}
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, []byte(image), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := from.AddBlobs(t.Context(), map[string]string{sumOf(image): path}); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), from, l, file); err != nil {
		t.Fatal(err)
	}
	to := emptyStore(t)
	if _, err := Import(t.Context(), to, file); err != nil {
		t.Fatal(err)
	}
	if got, ok := to.Blob(sumOf(image)); !ok || string(read(t, got)) != image {
		t.Error("it did not come out of the bundle")
	}
}

func TestABundleMovesAStore(t *testing.T) {
	t.Parallel()
	l := example()
	file := filepath.Join(t.TempDir(), "node"+Suffix)
	index, err := Export(t.Context(), fullStore(t, l, ""), l, file)
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Files) != 5 {
		t.Errorf("%d files, want the lock, two packages, runc and its record", len(index.Files))
	}
	// The same from another store gives the same bytes.
	again := filepath.Join(t.TempDir(), "again")
	if _, err := Export(t.Context(), fullStore(t, l, ""), l, again); err != nil {
		t.Fatal(err)
	}
	first, second := read(t, file), read(t, again)
	if !bytes.Equal(first, second) {
		t.Error("the same things give two different bundles")
	}

	s := emptyStore(t)
	for range 2 { // the second time all of it is there
		got, err := Import(t.Context(), s, file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := got.Encode(); err != nil || !bytes.Equal(text, want) {
			t.Errorf("the lock that came out is not the one that went in (%v)", err)
		}
	}
	for _, text := range []string{kernelDeb, libcDeb} {
		if path, ok := s.Blob(sumOf(text)); !ok || string(read(t, path)) != text {
			t.Errorf("%q is not in the store", text)
		}
	}
	key, err := component.LockedKey(l.Components[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, ok := s.Lookup(key)
	if !ok || string(read(t, filepath.Join(dir, "files/runc"))) != runcFile || string(read(t, filepath.Join(dir, "component.json"))) != record {
		t.Error("runc is not in the store as it was exported")
	}
	for name, want := range map[string]bool{"files/runc": true, "component.json": false} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 != 0 != want {
			t.Errorf("%s: %v, mode %s: whether it is a program was lost", name, err, info.Mode())
		}
	}
	assertNoScratch(t, s)
}

func TestExportNamesAllThatIsMissing(t *testing.T) {
	t.Parallel()
	l := example()
	file := filepath.Join(t.TempDir(), "out")
	for without, want := range map[string]string{libcDeb: sumOf(libcDeb), runcFile: "component runc"} {
		_, err := Export(t.Context(), fullStore(t, l, without), l, file)
		if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("without %q: %v", without, err)
		}
	}
	if _, err := Export(t.Context(), emptyStore(t), l, file); err == nil || !strings.Contains(err.Error(), "lacks 3 things") {
		t.Errorf("of an empty store: %v", err)
	}
	if names, _ := os.ReadDir(filepath.Dir(file)); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// member is one of a bundle that a test makes.
type member struct {
	name string
	text string
	kind byte
}

// members are those of a good bundle of example.
func members(t *testing.T) []member {
	t.Helper()
	l := example()
	file := filepath.Join(t.TempDir(), "good")
	if _, err := Export(t.Context(), fullStore(t, l, ""), l, file); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var all []member
	for in := tar.NewReader(z); ; {
		head, err := in.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, member{head.Name, string(text), head.Typeflag})
	}
}

func pack(t *testing.T, all []member) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, m := range all {
		head := &tar.Header{Name: m.name, Size: int64(len(m.text)), Typeflag: m.kind, Mode: 0o644}
		if m.kind != tar.TypeReg {
			head.Size, head.Linkname = 0, m.text
		}
		if err := w.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if m.kind == tar.TypeReg {
			if _, err := w.Write([]byte(m.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// reindex lets a test change what bundle.json says.
func reindex(t *testing.T, all []member, change func(*Index)) []member {
	t.Helper()
	var index Index
	if err := json.Unmarshal([]byte(all[0].text), &index); err != nil {
		t.Fatal(err)
	}
	change(&index)
	text, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	all[0].text = string(text)
	return all
}

func TestWhatIsNoBundle(t *testing.T) {
	t.Parallel()
	good := members(t)
	if len(good) != 6 {
		t.Fatalf("a good bundle has %d members", len(good))
	}
	copied := func() []member { return append([]member{}, good...) }
	last := len(good) - 1 // runc's program
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":                  {nil, "ends before bundle.json"},
		"a text":                   {[]byte("hello, this is no bundle"), "no bundle at all"},
		"another archive":          {pack(t, []member{{"README", "x", tar.TypeReg}}), "no bundle of nodeimage"},
		"cut in the middle":        {pack(t, good)[:200], "damaged"},
		"without its last member":  {pack(t, good[:last]), "ends before " + good[last].name},
		"with one member more":     {pack(t, append(copied(), member{"x", "x", tar.TypeReg})), "comes after all"},
		"a link for a file":        {pack(t, append(copied()[:last], member{good[last].name, "/etc/passwd", tar.TypeSymlink})), "expected the file"},
		"members in another order": {pack(t, append(append(copied()[:last-1], good[last]), good[last-1])), "expected the file"},
		"another program": {pack(t, func() []member {
			all := copied()
			all[last].text = "RUNC'S PROGRAM"
			return all
		}()), "has sha256"},
		"another program, with its sum": {pack(t, func() []member {
			all := copied()
			all[last].text = "RUNC'S PROGRAM"
			return reindex(t, all, func(i *Index) { i.Files[last-1].SHA256 = sumOf("RUNC'S PROGRAM") })
		}()), "the lock says"},
		"longer than it says": {pack(t, func() []member {
			all := copied()
			all[last].text += "x"
			return all
		}()), "expected 14 at most"},
		"a path that leads out": {pack(t, reindex(t, append(copied(), member{"../../x", "x", tar.TypeReg}), func(i *Index) {
			i.Files = append(i.Files, File{"../../x", 1, sumOf("x")})
		})), "nothing that the lock names"},
		"without a package": {pack(t, reindex(t, append(append([]member{}, good[:2]...), good[3:]...), func(i *Index) {
			i.Files = append(append([]File{}, i.Files[:1]...), i.Files[2:]...)
		})), "is missing, which the lock names"},
		"one twice":          {pack(t, reindex(t, copied(), func(i *Index) { i.Files[2] = i.Files[1] })), "listed twice"},
		"sizes without end":  {pack(t, reindex(t, copied(), func(i *Index) { i.Files[1].Size = 1 << 60 })), "expected a size"},
		"a newer schema":     {pack(t, reindex(t, copied(), func(i *Index) { i.Schema = "nodeimage.dev/bundle/v9" })), "expected " + Schema},
		"of another profile": {pack(t, reindex(t, copied(), func(i *Index) { i.Profile.Name = "other" })), "is of profile other"},
		"an unknown field": {pack(t, func() []member {
			all := copied()
			all[0].text = strings.Replace(all[0].text, "{", `{"more":1,`, 1)
			return all
		}()), "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "bundle")
			if err := os.WriteFile(file, tc.data, 0o600); err != nil {
				t.Fatal(err)
			}
			s := emptyStore(t)
			_, err := Import(t.Context(), s, file)
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), tc.want) {
				t.Errorf("exit code %d, want 2 and %q: %v", exitcode.Of(err), tc.want, err)
			}
			// Nothing of it may be there, not even what was right.
			if _, ok := s.Blob(sumOf(libcDeb)); ok {
				t.Error("the store has some of it")
			}
			assertNoScratch(t, s)
		})
	}
}

// A rotten file of the store is not passed on.
func TestExportComparesWhatItReads(t *testing.T) {
	t.Parallel()
	l := example()
	s := fullStore(t, l, "")
	key, err := component.LockedKey(l.Components[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := s.Lookup(key)
	if err := os.WriteFile(filepath.Join(dir, "files/runc"), []byte(strings.ToUpper(runcFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), s, l, filepath.Join(t.TempDir(), "out")); err == nil || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("got %v", err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func assertNoScratch(t *testing.T, s *store.Store) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(s.Dir(), "scratch", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
