package chroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Upload implements packersdk.Communicator. The file gets the mode of info, or
// 0644 without one, and is owned by root. A path that is a directory, or ends
// in a slash, gets the file under info's name. Links in the image are followed
// inside the image. Note that /run, /dev, /proc and /sys of a running command
// are not those of the image.
func (c *Communicator) Upload(dst string, r io.Reader, info *os.FileInfo) error {
	_, done, err := c.begin(context.Background())
	if err != nil {
		return err
	}
	defer done()
	mode := fs.FileMode(0o644)
	if info != nil && *info != nil {
		mode = (*info).Mode()
	}
	into := strings.HasSuffix(dst, "/")
	if st, err := c.root.Stat(dst); err == nil && st.IsDir() {
		into = true
	}
	if into {
		if info == nil || *info == nil || (*info).Name() == "" {
			return fmt.Errorf("uploading to %s: it is a directory; name the file", dst)
		}
		dst = path.Join(dst, path.Base((*info).Name()))
	}
	if err := c.write(dst, r, mode); err != nil {
		return fmt.Errorf("uploading to %s: %w", dst, err)
	}
	return nil
}

func (c *Communicator) write(dst string, r io.Reader, mode fs.FileMode) (err error) {
	f, err := c.root.Create(dst, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, r)
	return err
}

// UploadDir implements packersdk.Communicator. Modes and symbolic links are
// kept. exclude holds paths or patterns (path.Match) relative to src; with a
// directory all below it is left out.
func (c *Communicator) UploadDir(dst, src string, exclude []string) error {
	_, done, err := c.begin(context.Background())
	if err != nil {
		return err
	}
	defer done()
	dst = destination(dst, src)
	if info, err := os.Stat(src); err != nil {
		return fmt.Errorf("uploading the directory %s: %w", src, err)
	} else if !info.IsDir() {
		return fmt.Errorf("uploading the directory %s: it is not a directory", src)
	}
	// The slash makes WalkDir enter a src that is a link.
	err = filepath.WalkDir(src+"/", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		if excluded(rel, exclude) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		return c.uploadEntry(path.Join(dst, filepath.ToSlash(rel)), name)
	})
	if err != nil {
		return fmt.Errorf("uploading the directory %s: %w", src, err)
	}
	return nil
}

func (c *Communicator) uploadEntry(dst, src string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := c.root.MkdirAll(dst, 0o755); err != nil {
			return err
		}
		if path.Clean("/"+dst) == "/" {
			return nil // the image's root keeps its mode
		}
		return c.root.Chmod(dst, info.Mode())
	case fs.ModeSymlink:
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return c.root.Symlink(target, dst)
	case 0:
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		defer f.Close()
		return c.write(dst, f, info.Mode())
	}
	return fmt.Errorf("%s is neither file, directory nor symbolic link (%s)", src, info.Mode())
}

// Download implements packersdk.Communicator for regular files.
func (c *Communicator) Download(src string, w io.Writer) error {
	_, done, err := c.begin(context.Background())
	if err != nil {
		return err
	}
	defer done()
	f, err := c.root.OpenRegular(src)
	if err != nil {
		return fmt.Errorf("downloading %s: %w", src, err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("downloading %s: %w", src, err)
	}
	return nil
}

// DownloadDir implements packersdk.Communicator, by the same rules as UploadDir.
func (c *Communicator) DownloadDir(src, dst string, exclude []string) (err error) {
	_, done, err := c.begin(context.Background())
	if err != nil {
		return err
	}
	defer done()
	defer func() {
		if err != nil {
			err = fmt.Errorf("downloading the directory %s: %w", src, err)
		}
	}()
	if info, err := c.root.Stat(src); err != nil {
		return err
	} else if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	dst = destination(dst, src)
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	// Links of the image must not redirect what is written on this host.
	out, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	return c.downloadTree(src, out, ".", exclude)
}

// downloadTree copies the image's directory src to rel below out.
func (c *Communicator) downloadTree(src string, out *os.Root, rel string, exclude []string) error {
	entries, err := c.root.ReadDir(src)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		from, to := path.Join(src, entry.Name()), path.Join(rel, entry.Name())
		if excluded(to, exclude) {
			continue
		}
		info, err := c.root.Lstat(from)
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			// Writable for us until it is filled.
			if err := out.MkdirAll(to, 0o700); err != nil {
				return err
			}
			if err := c.downloadTree(from, out, to, exclude); err != nil {
				return err
			}
			if err := out.Chmod(to, permissions(info)); err != nil {
				return err
			}
		case fs.ModeSymlink:
			target, err := c.root.Readlink(from)
			if err != nil {
				return err
			}
			if err := replace(out, to); err != nil {
				return err
			}
			if err := out.Symlink(target, to); err != nil {
				return err
			}
		case 0:
			if err := c.downloadFile(from, out, to, permissions(info)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither file, directory nor symbolic link (%s)", from, info.Mode())
		}
	}
	return nil
}

func (c *Communicator) downloadFile(src string, out *os.Root, dst string, mode fs.FileMode) (err error) {
	in, err := c.root.OpenRegular(src)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := replace(out, dst); err != nil {
		return err
	}
	f, err := out.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	return f.Chmod(mode)
}

// permissions are what is kept on this host: set-user-ID files of an image
// are of no use here and could be misused.
func permissions(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() }

func replace(out *os.Root, name string) error {
	if err := out.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// destination applies rsync's rule: without a trailing slash the directory src
// itself is made in dst, with one its contents go there.
func destination(dst, src string) string {
	if strings.HasSuffix(src, "/") {
		return dst
	}
	return path.Join(dst, path.Base(filepath.ToSlash(src)))
}

func excluded(rel string, patterns []string) bool {
	for _, pattern := range patterns {
		pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, "./"), "/")
		if pattern == rel {
			return true
		}
		if ok, err := path.Match(pattern, rel); err == nil && ok {
			return true
		}
	}
	return false
}
