package page

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// open opens a regular file of a cell's folder, with no way out of it.
func open(dir, folder, file string) (*os.File, int64, error) {
	if folder == "" || !filepath.IsLocal(file) {
		return nil, 0, os.ErrNotExist
	}
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(dir, folder)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = root.Close() }() // only read
	// Before opening it: opening a pipe waits for its other end.
	info, err := root.Lstat(file)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: expected a regular file", file)
	}
	f, err := root.Open(file)
	return f, info.Size(), err
}

// readFile reads a file of a cell's folder, of at most a number of bytes.
func readFile(dir, folder, file string, most int64) ([]byte, error) {
	f, size, err := open(dir, folder, file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if size > most {
		return nil, fmt.Errorf("%s: expected at most %d bytes", file, most)
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// readTail reads the end of a file.
func readTail(dir, folder, file string, most int64) ([]byte, error) {
	f, size, err := open(dir, folder, file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if _, err := f.Seek(max(size-most, 0), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// consoleFile is the path of the console that is shown, "" if there is none.
func consoleFile(files []matrix.File) string {
	for _, f := range files {
		base := path.Base(f.Path)
		if strings.Contains(base, "console") && (strings.HasSuffix(base, ".log") || strings.HasSuffix(base, ".txt")) {
			return f.Path
		}
	}
	return ""
}

// link is where a page in dir finds a file of a folder; "" if a browser could
// not, or must not, go there.
func link(folder, file string) string {
	if !filepath.IsLocal(folder) || !filepath.IsLocal(file) {
		return ""
	}
	return (&url.URL{Path: "./" + path.Join(filepath.ToSlash(folder), filepath.ToSlash(file))}).String()
}

// tracker is an address that may be a link.
func tracker(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme == "https" && u.Host != "" {
		return u.String()
	}
	return ""
}
