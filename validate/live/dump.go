package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// dumpTimeout bounds `containerd config dump`, which takes some tens of
// milliseconds.
const dumpTimeout = 10 * time.Second

// Dump is the output of `containerd config dump`.
type Dump map[string]any

// ConfigDump runs the installed containerd to say what it makes of its
// configuration. The daemon is not touched. The error carries containerd's own
// words if it refuses.
func (m *Machine) ConfigDump(ctx context.Context, containerd, config string) (Dump, error) {
	ctx, cancel := context.WithTimeout(ctx, dumpTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.path(containerd), "--config", m.path(config), "config", "dump")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	// A child that is left behind must not keep the pipes open.
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{b: &out}, &limited{b: &errs}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s config dump: %w: %s", containerd, err, bytes.TrimSpace(errs.Bytes()))
	}
	var d Dump
	if err := toml.Unmarshal(out.Bytes(), &d); err != nil {
		return nil, fmt.Errorf("reading the output of %s config dump: %w", containerd, err)
	}
	return d, nil
}

// Drivers returns the cgroup driver of each runc handler of the dump.
func (d Dump) Drivers() map[string]string {
	drivers := map[string]string{}
	for _, plugin := range []string{"io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"} {
		runtimes := table(d, "plugins", plugin, "containerd", "runtimes")
		for name, v := range runtimes {
			handler, _ := v.(map[string]any)
			if handler["runtime_type"] != "io.containerd.runc.v2" {
				continue
			}
			drivers[name] = "cgroupfs"
			if table(handler, "options")["SystemdCgroup"] == true {
				drivers[name] = "systemd"
			}
		}
	}
	return drivers
}

func table(t map[string]any, path ...string) map[string]any {
	for _, key := range path {
		t, _ = t[key].(map[string]any)
	}
	return t
}

// limited keeps the start of what is written to it, up to maxFile bytes.
type limited struct{ b *bytes.Buffer }

var errTooMuch = errors.New("too much output")

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > maxFile {
		return 0, errTooMuch
	}
	return l.b.Write(p)
}
