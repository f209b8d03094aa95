package main

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// secret stands in a file of the host that links in targets point at.
const secret = "root-hash-of-the-host"

// A target may come from anywhere. Whatever it holds, validate ends soon, with
// little memory and an exit code that the contract knows, and it prints nothing
// of the host. Not parallel, since what is allocated is counted.
func TestValidateHostileTargets(t *testing.T) {
	host := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(host, []byte(secret+" = \n["), 0o600); err != nil {
		t.Fatal(err)
	}
	// Where each kind of reader would open what the link points at.
	links := []string{"etc/containerd/config.toml", "etc/fstab", "etc/shadow", "etc/sysctl.d/99.conf", "etc/modules-load.d/99.conf",
		"var/lib/kubelet/config.yaml", "etc/default/kubelet", "usr/bin/containerd", "var/lib/dpkg/status", "etc/apparmor.d/runc",
		"usr/lib/systemd/system/containerd.service", "boot/grub/grub.cfg"}
	for _, test := range []struct {
		name string
		path string
		code int
		text string // in the error or the report
	}{
		{"links to a file of the host", linked(t, host, links), exitcode.OK, "PASS"},
		{"links to a file of the host, in a tar", linkedTar(t, host, links), exitcode.OK, "PASS"},
		{"a sparse file of 1 TiB", sparseTree(t), exitcode.Usage, "/etc/fstab: 1099511627776 bytes, want at most"},
		{"a sparse disk of 1 TiB", sparse(t, filepath.Join(t.TempDir(), "disk.raw")), exitcode.Usage, "is nothing that this reads"},
		{"directories in a loop", looped(t), exitcode.Usage, "too many levels of symbolic links"},
		{"a file for a directory", rootTree(t, map[string]string{"home": ""}), exitcode.Usage, "not a directory"},
		{"a truncated qcow2", written(t, qcow2(t, nil)[:3<<16]), exitcode.Usage, "truncated"},
		{"a bomb in a qcow2", written(t, qcow2(t, bomb(t))), exitcode.Usage, "is nothing that this reads"},
		{"a truncated tar", truncatedTar(t), exitcode.Usage, "tar: truncated"},
		{"a pipe", pipe(t), exitcode.Usage, "named pipe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			out, err := runVerb(t, newValidate(), "--skipped", test.path)
			runtime.ReadMemStats(&after)
			if err != nil {
				out += err.Error()
			}
			if exitcode.Of(err) != test.code || !strings.Contains(out, test.text) {
				t.Errorf("exit code %d, want %d and %q in:\n%s", exitcode.Of(err), test.code, test.text, out)
			}
			if strings.Contains(out, secret) {
				t.Errorf("a file of the host is printed:\n%s", out)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("%d MiB were allocated, want at most 64", used>>20)
			}
		})
	}
}

func linked(t *testing.T, host string, links []string) string {
	dir := rootTree(t, nil)
	for _, l := range links {
		p := filepath.Join(dir, l)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(host, p); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func linkedTar(t *testing.T, host string, links []string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h *tar.Header, content string) {
		t.Helper()
		h.Mode, h.Size = 0o644, int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	put(&tar.Header{Name: "etc/sysctl.d/90.conf"}, "net.ipv4.ip_forward = 1\n")
	put(&tar.Header{Name: "etc/modules-load.d/90.conf"}, "overlay\nbr_netfilter\n")
	for _, l := range links {
		// Through the top as well as by the absolute path.
		put(&tar.Header{Typeflag: tar.TypeSymlink, Name: l, Linkname: strings.Repeat("../", 9) + host[1:]}, "")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return written(t, b.Bytes())
}

func written(t *testing.T, content []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(p, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func sparse(t *testing.T, p string) string {
	t.Helper()
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	return p
}

func sparseTree(t *testing.T) string {
	dir := rootTree(t, nil)
	sparse(t, filepath.Join(dir, "etc/fstab"))
	return dir
}

// looped has directories in which everything is there again and again.
func looped(t *testing.T) string {
	dir := rootTree(t, nil)
	for p, to := range map[string]string{"etc/etc": ".", "etc/sysctl.d/loop.conf": "loop.conf", "etc/systemd": "/etc", "usr/share": "../usr", "home": "/home/.."} {
		if err := os.Symlink(to, filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func truncatedTar(t *testing.T) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "etc/fstab", Size: 1 << 40, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	return written(t, b.Bytes())
}

// bomb is 256 MiB of zeros in 256 KiB.
func bomb(t *testing.T) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 256 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// qcow2 is a version 2 image of 1 MiB, whose first cluster is stored
// compressed if there is something to store, and otherwise as it is.
func qcow2(t *testing.T, packed []byte) []byte {
	t.Helper()
	const cluster = 1 << 16
	be := binary.BigEndian
	b := make([]byte, 4*cluster)
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 2)        // version
	be.PutUint32(b[20:], 16)      // cluster bits
	be.PutUint64(b[24:], 1<<20)   // size
	be.PutUint32(b[36:], 1)       // entries of the L1 table
	be.PutUint64(b[40:], cluster) // where that is
	be.PutUint64(b[48:], cluster) // the refcount table, which nobody reads
	be.PutUint32(b[56:], 1)       // clusters of it
	be.PutUint64(b[cluster:], 2*cluster|1<<63)
	if packed == nil {
		be.PutUint64(b[2*cluster:], 3*cluster|1<<63)
		return b
	}
	const most = 60000 // what one entry can name
	packed = packed[:min(len(packed), most)]
	be.PutUint64(b[2*cluster:], 3*cluster|uint64(len(packed)/512)<<54|1<<62)
	copy(b[3*cluster:], packed)
	return b
}

func pipe(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}
