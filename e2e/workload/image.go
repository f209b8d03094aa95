// Package workload makes the container image and the pods that the suite runs.
//
// Nothing is pulled: the image is put together from files of the node itself
// (perl-base's interpreter, the modules that the script loads, their shared
// libraries), so it fits any architecture and any Debian or Ubuntu release.
package workload

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Script is the workload; it also runs on the node itself, through perl.
//
//go:embed workload.pl
var Script string

// ImageName is the test image's name in containerd.
const ImageName = "localhost/nodeimage-e2e-workload:v1"

const (
	interpreter = "/usr/bin/perl"
	scriptPath  = "/workload.pl"
)

// Install makes the test image from the node's own files and imports it into
// the namespace that the kubelet uses.
func Install(ctx context.Context, node run.Runner) error {
	arch, err := output(ctx, node, nil, "dpkg", "--print-architecture")
	if err != nil {
		return fmt.Errorf("making the test image: %w", err)
	}
	files, err := output(ctx, node, strings.NewReader(Script), "perl", "-", "files")
	if err != nil {
		return fmt.Errorf("making the test image: %w", err)
	}
	paths := append(strings.Fields(files), "/bin/sleep")
	binaries := slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return strings.HasSuffix(p, ".pm") })
	linked, err := output(ctx, node, nil, append([]string{"ldd"}, binaries...)...)
	if err != nil {
		return fmt.Errorf("making the test image: %w", err)
	}
	libraries, err := parseLdd(linked)
	if err != nil {
		return fmt.Errorf("making the test image: %w", err)
	}
	paths = append(paths, libraries...)
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for i, p := range paths {
		paths[i] = strings.TrimPrefix(p, "/")
	}
	var rootfs bytes.Buffer
	// --dereference: what is a link on the node (libc.so.6, /lib) becomes a
	// plain file under the very name that the loader asks for.
	_, err = node.Run(ctx, run.Cmd{
		Argv:   append([]string{"tar", "-C", "/", "--create", "--dereference", "--hard-dereference", "--"}, paths...),
		Stdout: &rootfs,
	})
	if err != nil {
		return fmt.Errorf("fetching the test image's files: %w", err)
	}
	entries, err := parseFiles(&rootfs)
	if err != nil {
		return err
	}
	// The archive is small; a file is only what the packer writes to.
	scratch, err := os.MkdirTemp("", "nodeimage-e2e-")
	if err != nil {
		return fmt.Errorf("packing the test image: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // nothing depends on it any more
	target := filepath.Join(scratch, "workload.tar")
	if _, err := oci.Write(ctx, Spec(strings.TrimSpace(arch), entries), target); err != nil {
		return err
	}
	archive, err := os.Open(target)
	if err != nil {
		return fmt.Errorf("packing the test image: %w", err)
	}
	defer func() { _ = archive.Close() }() // only read
	if _, err := node.Run(ctx, run.Cmd{Argv: []string{"ctr", "--namespace", "k8s.io", "images", "import", "-"}, Stdin: archive}); err != nil {
		return fmt.Errorf("importing the test image: %w", err)
	}
	return nil
}

// Spec describes the test image: files of the node and the workload script.
func Spec(arch string, files []oci.Entry) oci.Spec {
	script := oci.Entry{Path: scriptPath, Kind: oci.File, Mode: 0o755, Content: Script}
	return oci.Spec{
		Name: ImageName, Arch: arch, Entries: append(files, script),
		Entrypoint: []string{interpreter, scriptPath},
		Env:        []string{"PATH=/usr/bin:/bin"},
	}
}

func output(ctx context.Context, node run.Runner, stdin io.Reader, argv ...string) (string, error) {
	res, err := node.Run(ctx, run.Cmd{Argv: argv, Stdin: stdin})
	return res.Stdout, err
}

// parseLdd returns the paths of the libraries that ldd lists.
func parseLdd(text string) ([]string, error) {
	var libraries []string
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		name, target, arrow := strings.Cut(l, " => ")
		switch {
		case strings.HasSuffix(l, ":"), strings.HasPrefix(l, "linux-vdso"), strings.HasPrefix(l, "linux-gate"), l == "", l == "statically linked":
			continue
		case arrow && strings.HasPrefix(target, "not found"):
			return nil, fmt.Errorf("the node lacks the library %s", name)
		case !arrow:
			target = l // the loader itself: "/lib64/ld-linux-x86-64.so.2 (0x…)"
		}
		library, _, _ := strings.Cut(target, " (")
		if !path.IsAbs(library) {
			return nil, fmt.Errorf("reading ldd's line %q: expected a path", l)
		}
		libraries = append(libraries, library)
	}
	slices.Sort(libraries)
	return slices.Compact(libraries), nil
}

// parseFiles reads a tar of regular files. Owners, times and everything but
// the execute bits are dropped.
func parseFiles(rootfs io.Reader) ([]oci.Entry, error) {
	var entries []oci.Entry
	seen := map[string]bool{}
	for r := tar.NewReader(rootfs); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the test image's files: %w", err)
		}
		name := path.Clean(h.Name)
		switch {
		case path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../"):
			return nil, fmt.Errorf("reading the test image's files: %q leaves the image", h.Name)
		case h.Typeflag == tar.TypeDir || seen[name]:
			continue
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("reading the test image's files: %q has type %q, expected a regular file", h.Name, h.Typeflag)
		}
		seen[name] = true
		var content strings.Builder
		if _, err := io.Copy(&content, r); err != nil {
			return nil, fmt.Errorf("reading %s for the test image: %w", name, err)
		}
		mode := int64(0o644)
		if h.Mode&0o111 != 0 {
			mode = 0o755
		}
		entries = append(entries, oci.Entry{Path: "/" + name, Kind: oci.File, Mode: mode, Content: content.String()})
	}
	if len(entries) == 0 {
		return nil, errors.New("reading the test image's files: there are none")
	}
	return entries, nil
}
