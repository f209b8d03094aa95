//go:build integration

package component

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/preload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// onNode runs a script where /run and /var/lib are those of a node that has
// containerd and nothing else.
func onNode(ctx context.Context, programs, stage string, stdin io.Reader, script string, args ...string) (string, error) {
	argv := append([]string{"env", "PATH=" + programs + ":/usr/sbin:/usr/bin:/sbin:/bin", "NODEIMAGE_STAGE=" + stage,
		"sh", "-ec", "for dir in /run /var/lib; do mount -n -t tmpfs node $dir; done; " + script, "sh"}, args...)
	result, err := run.Host{}.Run(ctx, run.Cmd{Argv: run.Isolated(argv...), Stdin: stdin})
	return result.Stdout, err
}

// listing is every file of containerd's store but for what is in its databases,
// which name the time of all they know, and for what it calls itself.
const listing = `
cd /var/lib/containerd && rm -f ./*/uuid && find . -printf '%P %y %m %U:%G %l\n' | LC_ALL=C sort | sed 's/^ /./' && find . -type f ! -name '*.db' -exec sha256sum {} + | LC_ALL=C sort -k 2`

// What was imported ahead is what an import on the node gives, and containerd
// takes it for its own.
func TestPreloadedIsWhatAnImportGives(t *testing.T) {
	t.Parallel()
	m := userMaker(t)
	packer, images, key, err := m.preload(t.Context())
	if err != nil || key == "" {
		t.Fatalf("this host cannot import ahead: key %q, %v", key, err)
	}
	packer.Size = memory.Room()
	programs := packer.Programs
	var wants []string
	for _, image := range images {
		wants = append(wants, image.Name+"="+image.Digest)
	}
	made := t.TempDir()
	if err := m.pack(t.Context(), packer, images, made); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(made); err != nil || len(left) != 1 {
		t.Errorf("the directory has %v, %v; want the tar alone", left, err)
	}

	stage := t.TempDir()
	for i, image := range images {
		if err := os.Symlink(image.Tar, filepath.Join(stage, string(rune('1'+i))+".tar")); err != nil {
			t.Fatal(err)
		}
	}
	want, err := onNode(t.Context(), programs, stage, nil, `"$@"`+listing, preload.Import(wants)...)
	if err != nil {
		t.Fatal(err)
	}
	unpack := func(script string) (string, error) {
		t.Helper()
		f, err := os.Open(filepath.Join(made, PreloadedTar))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		content, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		return onNode(t.Context(), programs, "", content, run.Quote(preload.Unpack())+"\n"+script, preload.Check(wants)...)
	}
	got, err := unpack(listing)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(want, "\n") < 100 || !strings.Contains(want, "/fs/") {
		t.Errorf("an import leaves little:\n%s", want)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("what is in the store (-imported +unpacked):\n%s", diff)
	}
	if _, err := unpack(`"$@"`); err != nil {
		t.Errorf("containerd does not take it: %v", err)
	}
	if _, err := unpack(`rm "$(find /var/lib/containerd/*content*/blobs -type f | head -n 1)"; "$@"`); err == nil {
		t.Error("containerd takes a store that lacks a blob")
	}

	// An image that is none leaves neither a mount nor a directory.
	images[0].Tar = "/etc/hostname"
	if err := m.pack(t.Context(), packer, images[:1], t.TempDir()); err == nil || !strings.Contains(err.Error(), "importing "+images[0].Name+" failed") {
		t.Errorf("a tar that is none: %v", err)
	}
	table, err := os.ReadFile("/proc/self/mounts")
	if left, _ := filepath.Glob("/run/nodeimage-preload*"); err != nil || len(left) > 0 || strings.Contains(string(table), "preload ") {
		t.Errorf("left on this host: %v, %v\n%s", left, err, table)
	}
}
