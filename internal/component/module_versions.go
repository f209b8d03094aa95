package component

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// ModuleVersions asks where the sources of components come from which versions a
// Go module has. It asks as a build does: through the go command, with the
// user's GOPROXY and what belongs to it. It is safe for concurrent use.
type ModuleVersions struct {
	// Runner runs the go command. Nil is this host.
	Runner run.Runner

	toolsMu  sync.Mutex
	tools    *toolchain
	patience time.Duration // 0 stands for versionsTimeout
}

// versionsTimeout bounds the wait for one list. A proxy answers in less than a
// second; one that drops packets would hold up a check for minutes.
const versionsTimeout = 30 * time.Second

// List returns the versions of a module, pre-releases included, in ascending
// order. Those that its authors took back are left out.
func (l *ModuleVersions) List(ctx context.Context, path string) ([]string, error) {
	// The go command would take others for options and patterns.
	if err := module.CheckPath(path); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("listing the releases of %q: expected a Go module's path: %w", path, err))
	}
	t, err := l.toolchain(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the releases of %s: %w", path, err)
	}
	patience := cmp.Or(l.patience, versionsTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer after %s", patience))
	defer cancel()
	argv := t.command(build{}, os.TempDir(), []string{"go", "list", "-m", "-versions", "-json", path})
	result, err := l.runner().Run(ctx, run.Cmd{Argv: argv, Dir: "/"})
	if err != nil {
		return nil, fmt.Errorf("listing the releases of %s: %w: expected the list of a Go module proxy: check the network and GOPROXY", path, goSays(ctx, err))
	}
	var found struct{ Versions []string }
	if err := json.Unmarshal([]byte(result.Stdout), &found); err != nil {
		return nil, fmt.Errorf("listing the releases of %s: reading the answer of go list: %w", path, err)
	}
	return found.Versions, nil
}

func (l *ModuleVersions) runner() run.Runner {
	if l.Runner == nil {
		return run.Host{}
	}
	return l.Runner
}

func (l *ModuleVersions) toolchain(ctx context.Context) (*toolchain, error) {
	l.toolsMu.Lock()
	defer l.toolsMu.Unlock()
	if l.tools != nil {
		return l.tools, nil
	}
	t, err := askGo(ctx, l.runner())
	if err != nil {
		return nil, err
	}
	l.tools = t
	return t, nil
}

// goSays is what the go command printed when it failed, in one line. Its
// arguments are a whole environment, with proxies that may have a password.
func goSays(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var failed *run.Error
	if !errors.As(err, &failed) {
		return err
	}
	const most = 400
	text := strings.Join(strings.Fields(failed.Result.Stderr), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	if text == "" {
		return failed.Err
	}
	return errors.New(text)
}

// ModulesOf returns the Go modules whose tags are the releases of a component,
// whatever source it has. A major version may have a path of its own; the newest
// is first. None means that no module is known.
func ModulesOf(name string) []string {
	switch name {
	case "control-plane", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy":
		name = "kubernetes"
	case "containerd":
		return []string{defaultModule(name), "github.com/containerd/containerd"}
	case "crictl":
		return []string{"sigs.k8s.io/cri-tools"}
	}
	if module := defaultModule(name); module != "" {
		return []string{module}
	}
	return nil
}
