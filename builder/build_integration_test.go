//go:build integration

package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// small is debian-13 with hardly more than boots.
const small = `apiVersion: nodeimage.dev/v1alpha1
kind: Profile
name: small
extends: debian-13
archive:
  keyring: %s
  sources:
    - uri: %s
      suites: [trixie]
      components: [main]
packages:
  include:
    network: []
    storage: [e2fsprogs]
    security: []
    cloud: []
    ssh: []
    time: []
    container: []
    admin: []
disk:
  size: 4GiB
  formats: [qcow2, raw]
`

const (
	debian  = "http://deb.debian.org/debian"
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	// childVariable makes TestChildBuild build in the directory it names; the
	// processes of the build inherit it, and are known by it.
	childVariable = "BUILDER_TEST_DIR"
	// warmVariable may name a cache of an earlier build, whose base is taken
	// instead of making one.
	warmVariable = "BUILDER_TEST_WARM_CACHE"
)

// TestMain removes what tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if sharedBase.dir != "" {
		_ = os.RemoveAll(sharedBase.dir)
	}
	os.Exit(code)
}

// sharedBase is a store that has the base of the small profile.
var sharedBase struct {
	once sync.Once
	dir  string
	err  error
}

// warmCache is a store with the base of the small profile, made once: most
// tests do not care where theirs comes from, and bootstrapping takes most of a
// build.
func warmCache(t *testing.T) string {
	t.Helper()
	if cache := os.Getenv(warmVariable); cache != "" {
		return cache
	}
	sharedBase.once.Do(func() {
		sharedBase.err = func() error {
			dir, err := os.MkdirTemp("", "nodeimage-base-")
			if err != nil {
				return err
			}
			sharedBase.dir = dir
			file := filepath.Join(dir, "small.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, small, keyring, debian), 0o644); err != nil {
				return err
			}
			p, err := profiles.Load(file)
			if err != nil {
				return err
			}
			s, err := store.Open(dir)
			if err != nil {
				return err
			}
			_, err = bootstrap.Maker{Host: run.Host{}, Store: s}.Make(context.Background(), p)
			return err
		}()
	})
	if sharedBase.err != nil {
		t.Fatalf("making the base that tests share: %v", sharedBase.err)
	}
	return sharedBase.dir
}

// warm gives a workspace the base of the store that tests share.
func warm(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-al", filepath.Join(warmCache(t), "entries"), filepath.Join(dir, "cache")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// workspace has a profile, a cache and an output directory.
func workspace(t *testing.T, uri, keyring string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"small.yaml": fmt.Sprintf(small, keyring, uri)})
	return dir
}

// hook is a provisioner that works for a while in the image.
type hook struct{}

func (hook) Run(ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, _ any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	if err := comm.Upload(manifest.FragmentDir+"/test.json", strings.NewReader(`{"components":[{"name":"test","version":"1","source":"file","sum":"sha256:0"}]}`), nil); err != nil {
		return err
	}
	cmd := &packersdk.RemoteCmd{Command: "mount -t tmpfs t /mnt; (setsid sleep 3600 >/dev/null 2>&1 &) ; echo Working; sleep 3; echo done"}
	if err := cmd.RunWithUi(ctx, comm, ui); err != nil {
		return err
	}
	if code := cmd.ExitStatus(); code != 0 {
		return fmt.Errorf("the command exited with %d", code)
	}
	return nil
}

func buildIn(ctx context.Context, dir string, ui packersdk.Ui) (packersdk.Artifact, error) {
	return buildWith(ctx, dir, ui, hook{}, nil)
}

func buildWith(ctx context.Context, dir string, ui packersdk.Ui, h packersdk.Hook, adjust func(*stepCheckHost)) (packersdk.Artifact, error) {
	var b Builder
	if _, _, err := b.Prepare(map[string]any{
		"profile": filepath.Join(dir, "small.yaml"), "output_directory": filepath.Join(dir, "out"), "cache_directory": filepath.Join(dir, "cache"),
	}); err != nil {
		return nil, err
	}
	bd := &build{config: &b.config, ui: ui, host: run.Host{}}
	steps := bd.steps()
	if adjust != nil {
		adjust(steps[0].(*stepCheckHost))
	}
	return bd.run(ctx, h, steps)
}

func TestBuild(t *testing.T) {
	dir := workspace(t, debian, keyring)
	var said bytes.Buffer
	begin := time.Now()
	artifact, err := buildIn(t.Context(), dir, console.New(io.MultiWriter(&said, testWriter{t})))
	if err != nil {
		t.Fatal(err)
	}
	cold := time.Since(begin)
	out := filepath.Join(dir, "out")
	files := []string{out + "/small.qcow2", out + "/small.raw", out + "/small.manifest.json"}
	if diff := cmp.Diff(files, artifact.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	m := checkOutputs(t, dir)
	if len(m.Components) != 1 || len(m.Packages) < 50 || m.Sizes.RootFS < 100<<20 {
		t.Errorf("manifest: %d components, %d packages, root of %d bytes", len(m.Components), len(m.Packages), m.Sizes.RootFS)
	}
	for _, p := range m.Packages {
		if len(p.SHA256) != 64 {
			t.Errorf("package %s has sha256 %q", p.Name, p.SHA256)
		}
	}
	if artifact.Id() != m.Images[0].SHA256 {
		t.Errorf("the artifact is %s, the image %s", artifact.Id(), m.Images[0].SHA256)
	}
	checkImage(t, filepath.Join(out, "small.raw"))
	assertNothingLeft(t, dir)

	// Again: the base comes from the cache, and the old files are replaced.
	before := inode(t, files[0])
	begin = time.Now()
	if _, err := buildIn(t.Context(), dir, console.New(&said)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "unchanged, from the cache") {
		t.Error("the base was bootstrapped again")
	}
	if n := strings.Count(said.String(), initramfsTaken); n != 1 {
		t.Errorf("the initramfs was taken from the store %d times in two builds, want once", n)
	}
	if inode(t, files[0]) == before {
		t.Error("the old image was written over in place")
	}
	if diff := cmp.Diff(m, checkOutputs(t, dir)); diff != "" {
		t.Errorf("the same inputs gave other bytes (-first +second):\n%s", diff)
	}
	warmed := time.Since(begin)
	begin = time.Now()
	sameElsewhere(t, dir, m)
	t.Logf("cold %.1f s, base cached %.1f s, elsewhere %.1f s", cold.Seconds(), warmed.Seconds(), time.Since(begin).Seconds())
}

// sameElsewhere builds what is in dir once more, with the base of its store, as
// another host might: everything differs that must not count. The images must
// have the digests of m.
func sameElsewhere(t *testing.T, dir string, m manifest.Manifest) {
	t.Helper()
	other := workspace(t, debian, keyring)
	// Another file system, in which a directory lists its files in another order.
	if memory, err := os.MkdirTemp("/dev/shm", "nodeimage-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(memory) })
		if err := os.Symlink(memory, filepath.Join(other, "cache")); err != nil {
			t.Fatal(err)
		}
	}
	copyEntries(t, dir, other)
	cmd := child(other, hostile...)
	cmd.Env = append(cmd.Env, hostileEnv...)
	code, said := finish(t, cmd)
	if code != "0" || !strings.Contains(said, "unchanged, from the cache") || strings.Contains(said, initramfsTaken) {
		t.Fatalf("exit code %s, or the base was bootstrapped again, or the initramfs was not made:\n%s", code, said)
	}
	if diff := cmp.Diff(m, readManifest(t, other)); diff != "" {
		t.Errorf("the same inputs gave other bytes elsewhere (-here +elsewhere):\n%s\nKeep both and compare them: cmp -l, nodeimage diff.", diff)
	}
}

// initramfsTaken is what a build says that makes no initramfs.
const initramfsTaken = "is made of has changed: taking it from the cache"

// copyEntries copies what is in the store of one workspace into another's, but
// for the initramfs: that it is the same when it is made there is to be seen.
func copyEntries(t *testing.T, from, to string) {
	t.Helper()
	const script = `mkdir -p "$2/cache" && cp -a "$1/cache/entries" "$2/cache/"
for made in "$2"/cache/entries/*/data/boot/initrd.img-*; do
	[ ! -e "$made" ] || rm -rf "${made%/data/*}"
done`
	if out, err := exec.Command("sh", "-ec", script, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// hostile runs a command on another host, as far as that can be had: with
// another name, one processor and a user's own umask.
var hostile = []string{"unshare", "--uts", "sh", "-c", `hostname elsewhere; umask 077; exec taskset -c 0 "$@"`, "sh"}

// hostileEnv is the environment of another user in another country.
var hostileEnv = []string{
	"TZ=Pacific/Kiritimati", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "LANGUAGE=tr:de", "HOME=/nonexistent", "USER=someone", "LOGNAME=someone",
	"SOURCE_DATE_EPOCH=1", "PYTHONHASHSEED=7", "PERL_HASH_SEED=7", "PERL_PERTURB_KEYS=1", "TAR_OPTIONS=--mtime=@5", "PYTHONDONTWRITEBYTECODE=1", "MTOOLSRC=/dev/null", "MKE2FS_DEVICE_SECTSIZE=4096",
	"NODEIMAGE_SCRATCH=disk", // the other build works in memory where there is enough
}

func readManifest(t *testing.T, dir string) manifest.Manifest {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "out", "small.manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// checkOutputs compares the output directory with the manifest in it.
func checkOutputs(t *testing.T, dir string) manifest.Manifest {
	t.Helper()
	out := filepath.Join(dir, "out")
	if diff := cmp.Diff([]string{"small.manifest.json", "small.qcow2", "small.raw"}, names(t, out)); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	m := readManifest(t, dir)
	for _, image := range m.Images {
		f, err := os.Open(filepath.Join(out, image.File))
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		n, err := io.Copy(hash, f)
		f.Close()
		if err != nil || n != image.Size || hex.EncodeToString(hash.Sum(nil)) != image.SHA256 {
			t.Errorf("%s is not what the manifest says: %d bytes, %v", image.File, n, err)
		}
	}
	return m
}

// checkImage looks into the raw image with other tools than made it.
func checkImage(t *testing.T, raw string) {
	t.Helper()
	table, err := exec.Command("sfdisk", "--json", raw).Output()
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		PartitionTable struct {
			Partitions []struct{ Start, Size int64 }
		}
	}
	if err := json.Unmarshal(table, &parsed); err != nil || len(parsed.PartitionTable.Partitions) != 3 {
		t.Fatalf("%v: %s", err, table)
	}
	root := fmt.Sprintf("%s?offset=%d", raw, parsed.PartitionTable.Partitions[2].Start*512)
	debugfs := func(request string) string {
		out, err := exec.Command("debugfs", "-R", request, root).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for request, want := range map[string]string{
		"show_super_stats -h":                        "Filesystem state:         clean",
		"cat /boot/grub/grub.cfg":                    "linux /vmlinuz root=UUID=",
		"cat /etc/fstab":                             "x-systemd.growfs",
		"stat /initrd.img":                           "Fast link dest: \"boot/initrd.img-",
		"ls /boot/grub/i386-pc":                      "core.img",
		"ea_get /usr/bin/newuidmap x":                "",
		"cat " + manifest.FragmentDir + "/test.json": `"name":"test"`,
	} {
		if got := debugfs(request); !strings.Contains(got, want) {
			t.Errorf("debugfs %s: got %q, want %q in it", request, got, want)
		}
	}
	if features := debugfs("features"); strings.Contains(features, "orphan_file") || strings.Contains(features, "metadata_csum_seed") || strings.Contains(features, "needs_recovery") {
		t.Errorf("features that GRUB 2.06 cannot read, or a dirty journal: %s", features)
	}
	// What only the build may see.
	for _, name := range []string{"/etc/resolv.conf", "/etc/hostname", "/usr/sbin/policy-rc.d", "/vmlinuz.old", "/run/nodeimage", "/mnt/x"} {
		if got := debugfs("stat " + name); got != "" {
			t.Errorf("%s is in the image: %s", name, got)
		}
	}
	esp := fmt.Sprintf("%s@@%d", raw, parsed.PartitionTable.Partitions[1].Start*512)
	listing := exec.Command("mdir", "-i", esp, "-/", "-b", "::/")
	listing.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	got, err := listing.Output()
	want := []string{"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/BOOT/grubx64.efi", "::/EFI/BOOT/mmx64.efi", "::/EFI/debian/grub.cfg"}
	var found []string
	for _, line := range strings.Fields(string(got)) {
		if !strings.HasSuffix(line, "/") {
			found = append(found, line)
		}
	}
	slices.Sort(found)
	if diff := cmp.Diff(want, found); err != nil || diff != "" {
		t.Errorf("%v, ESP (-want +got):\n%s", err, diff)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}
