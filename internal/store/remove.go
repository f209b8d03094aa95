package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removeTree removes dir and all below it, but never what is mounted there:
// that is unmounted first, and when that fails nothing is removed at all.
func removeTree(dir string) error {
	if err := unmountBelow(dir); err != nil {
		return err
	}
	err := os.RemoveAll(dir)
	// A module cache has read-only directories, and the children of a killed
	// owner may need a moment to die and to stop writing.
	for try := 0; err != nil && try < 5; try++ {
		makeWritable(dir)
		if err = os.RemoveAll(dir); err != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

func makeWritable(dir string) {
	// Errors show in the removal that follows.
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
}

// unmountBelow detaches every mount at or below dir.
func unmountBelow(dir string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no /proc, as in a bare chroot: nothing could be mounted by us
	}
	if err != nil {
		return fmt.Errorf("looking for mounts below %s: %w", dir, err)
	}
	for _, point := range topMounts(text, dir) {
		for {
			// A recursive bind mount of a shared tree, such as /dev, passes
			// its unmounting on to the original: cut that tie first.
			if err := unix.Mount("", point, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
				return stillMounted(point, dir, err)
			}
			err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) {
				break // the last of several on one point
			}
			if err != nil {
				return stillMounted(point, dir, err)
			}
		}
	}
	if text, err = os.ReadFile("/proc/self/mountinfo"); err != nil {
		return err
	}
	if left := topMounts(text, dir); len(left) > 0 {
		return stillMounted(left[0], dir, unix.EBUSY)
	}
	return nil
}

func stillMounted(point, dir string, err error) error {
	return fmt.Errorf("%s is still mounted and could not be unmounted, so %s is left alone: %w: run `umount -l %s` as root and try again", point, dir, err, point)
}

// topMounts returns the mount points at or below dir that are not below
// another one of them. Detaching a mount takes all that is mounted on it.
func topMounts(mountinfo []byte, dir string) []string {
	var points []string
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount(fields[4])
		if point != dir && !strings.HasPrefix(point, dir+"/") {
			continue
		}
		points = append(points, point)
	}
	var top []string
	for _, p := range points {
		covered := false
		for _, q := range points {
			if strings.HasPrefix(p, q+"/") {
				covered = true
			}
		}
		for _, q := range top {
			covered = covered || p == q
		}
		if !covered {
			top = append(top, p)
		}
	}
	return top
}

// unescapeMount undoes the octal escapes of proc(5): \040 is a space.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
