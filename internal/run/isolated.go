package run

// Isolated wraps argv so that it runs in private mount and PID namespaces.
// Whatever it mounts or starts is gone when it ends, also when this process is
// killed with SIGKILL: the kernel ends unshare, which takes the namespace's
// first process with it, which takes the rest. It needs root and unshare(1) of
// util-linux 2.32 or newer.
//
// The second unshare makes no namespace. It is the namespace's first process,
// because the kernel withholds SIGTERM from a first process that has no handler
// and argv would then only ever end by SIGKILL.
func Isolated(argv ...string) []string {
	return append([]string{
		"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"unshare", "--fork", "--",
	}, argv...)
}
