package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const sectorSize = 512 // in which Linux counts, whatever the disk has

// written is how many bytes this machine has written to the disk that dir is on,
// since it was started; 0 for a file system without a disk of its own.
func written(dir string) int64 {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return 0
	}
	return sectorsWritten(string(stat)) * sectorSize
}

// sectorsWritten reads the seventh number of a block device's stat, see the
// kernel's Documentation/block/stat.rst.
func sectorsWritten(stat string) int64 {
	fields := strings.Fields(stat)
	if len(fields) < 7 {
		return 0
	}
	n, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
