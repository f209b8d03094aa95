//go:build !linux

package target

import (
	"io"
	"runtime"
)

const (
	oTmpfile  = 0 // opening a directory for writing fails, and a named file follows
	oNonblock = 0
)

func openDir(string) (*view, io.Closer, error) {
	return nil, nil, badf("a directory as a target needs Linux, this is %s: give an image or a tar", runtime.GOOS)
}
