// Package preload gets container images into containerd's store before any node
// runs: whole, unpacked and pinned, by containerd itself. It imports them where
// the store is to be, or ahead of that, into a store that is packed and only
// has to be unpacked there.
package preload

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Root is containerd's root directory on a node.
const Root = "/var/lib/containerd"

//go:embed preload.sh
var script string

// Check is a command that succeeds on a node whose store has all those images,
// each given as NAME=sha256:DIGEST, whole, unpacked and pinned.
func Check(images []string) []string { return command("check", images) }

// Import is a command that brings them there, and checks. It needs the programs
// containerd and ctr in PATH, and the tars in the directory $NODEIMAGE_STAGE: the
// first image's is 1.tar, and so on.
func Import(images []string) []string { return command("import", images) }

// Unpack is a command that makes a node's store of what Pack wrote, which it
// reads from its standard input. There must be no store yet.
func Unpack() []string { return command("unpack", nil) }

func command(mode string, images []string) []string {
	return append([]string{"sh", "-c", script, "preload", mode}, images...)
}

// Image is one that Pack imports.
type Image struct {
	Name   string
	Digest string // sha256:…, of its manifest
	Tar    string // the OCI image layout on this host
}

// Packer packs stores.
type Packer struct {
	Host run.Runner
	// Programs is the directory of this host that has containerd and ctr, and
	// no other programs that they could take for a system's.
	Programs string
	// Size is how much memory the store may take, in bytes.
	Size int64
	// Stage is an empty directory, which gets links to the tars.
	Stage string
}

// Version changes when the same images give another store.
func (Packer) Version() string { return script }

// Pack imports the images into a store in memory and writes what is in it to w,
// as a tar. It needs root, or to be root of a user namespace; nothing is left on
// this host, however it ends.
func (p Packer) Pack(ctx context.Context, images []Image, w io.Writer) error {
	var wants []string
	hidden := []string{p.Programs, p.Stage}
	for i, image := range images {
		if err := os.Symlink(image.Tar, filepath.Join(p.Stage, strconv.Itoa(i+1)+".tar")); err != nil {
			return err
		}
		wants = append(wants, image.Name+"="+image.Digest)
		hidden = append(hidden, image.Tar)
	}
	at, err := mountPoint(hidden)
	if err != nil {
		return err
	}
	env := append([]string{"env", "-i"}, "LC_ALL=C.UTF-8", "HOME=/nonexistent",
		"PATH="+p.Programs+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"NODEIMAGE_STAGE="+p.Stage, "NODEIMAGE_MOUNT="+at, "NODEIMAGE_SIZE="+strconv.FormatInt(p.Size, 10))
	_, err = p.Host.Run(ctx, run.Cmd{
		Argv:   run.Isolated(append(env, command("pack", wants)...)...),
		Dir:    "/",
		Stdout: w,
	})
	var failed *run.Error
	if errors.As(err, &failed) {
		// The script is long, and its output no text.
		failed.Result.Stdout = ""
		return &run.Error{Where: failed.Where, Argv: append([]string{"preload", "pack"}, wants...), Result: failed.Result, Err: failed.Err}
	}
	return err
}

// mountPoints are directories that each system has and few programs need. The
// path of a socket below must stay short.
var mountPoints = []string{"/run", "/mnt", "/srv"}

// mountPoint returns one that hides none of those paths when it is covered.
func mountPoint(paths []string) (string, error) {
	for _, at := range mountPoints {
		info, err := os.Lstat(at)
		if err == nil && info.IsDir() && !hides(at, paths) {
			return at, nil
		}
	}
	return "", fmt.Errorf("no directory to mount memory on: each of %s is missing, or holds what is needed", strings.Join(mountPoints, ", "))
}

func hides(at string, paths []string) bool {
	for _, path := range paths {
		if strings.HasPrefix(path, at+"/") {
			return true
		}
	}
	return false
}
