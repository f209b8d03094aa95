package validate

import "io/fs"

func worldWritableFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/tmp": directory(fs.ModeSticky | 0o777), "/etc/alternatives/awk": link("/usr/bin/mawk")}},
		{name: "a file", node: tree{"/opt/agent/agent": moded(0o777, "#!/bin/sh")}, want: []expect{{Fail, "/opt/agent/agent", 0, "", "rwxrwxrwx"}}},
		{name: "a directory", node: tree{"/opt/cache": directory(0o777)}, want: []expect{{Fail, "/opt/cache", 0, "", "rwxrwxrwx"}}},
		{name: "layers of images are not the node's", node: tree{"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/tmp": directory(0o777)}},
	}
}
