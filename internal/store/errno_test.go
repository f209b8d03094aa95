package store

import "golang.org/x/sys/unix"

const (
	errNoSpace  = unix.ENOSPC
	errQuota    = unix.EDQUOT
	errReadOnly = unix.EROFS
)

func mkfifo(path string) error { return unix.Mkfifo(path, 0o644) }
