package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// ContainerdConfig is the part of `containerd config dump` that decides how
// containers are run.
type ContainerdConfig struct {
	Version        int
	DefaultHandler string
	Handlers       []RuntimeHandler // sorted by name
	SandboxImage   string
	CNIBinDirs     []string
	Disabled       []string // disabled_plugins
}

// RuntimeHandler is one CRI runtime handler.
type RuntimeHandler struct {
	Name, Type string
	// SystemdCgroup is the option's value as it stands: a bool when it is
	// right, a string when somebody quoted it, nil when it is absent.
	SystemdCgroup any
}

func (h RuntimeHandler) String() string {
	switch v := h.SystemdCgroup.(type) {
	case nil:
		return fmt.Sprintf("containerd handler %q (%s): SystemdCgroup is absent", h.Name, h.Type)
	case string:
		return fmt.Sprintf("containerd handler %q (%s): SystemdCgroup is %q", h.Name, h.Type, v)
	default:
		return fmt.Sprintf("containerd handler %q (%s): SystemdCgroup = %v", h.Name, h.Type, v)
	}
}

// UsesSystemd tells whether runc will be run with the systemd driver.
func (h RuntimeHandler) UsesSystemd() bool { v, ok := h.SystemdCgroup.(bool); return ok && v }

// The CRI plugins' names: one plugin in config version 2, two from version 3.
const (
	criPluginV2       = "io.containerd.grpc.v1.cri"
	criRuntimePlugin  = "io.containerd.cri.v1.runtime"
	criImagesPlugin   = "io.containerd.cri.v1.images"
	runcShim          = "io.containerd.runc.v2"
	criSocket         = "/run/containerd/containerd.sock"
	containerdUnit    = "containerd.service"
	containerdCommand = "containerd"
)

// DumpContainerdConfig asks the installed binary for its effective
// configuration, with the very --config that its service passes.
func DumpContainerdConfig(ctx context.Context, node run.Runner) (ContainerdConfig, string, error) {
	unit, err := UnitProperties(ctx, node, containerdUnit, "ExecStart")
	if err != nil {
		return ContainerdConfig{}, "", err
	}
	argv := append(ContainerdArgv(unit["ExecStart"]), "config", "dump")
	text, err := Output(ctx, node, argv...)
	if err != nil {
		return ContainerdConfig{}, "", fmt.Errorf("dumping containerd's configuration: %w", err)
	}
	config, err := ParseContainerdConfig([]byte(text))
	return config, text, err
}

// ContainerdArgv reads the command and its --config from systemd's rendering
// of ExecStart ("{ path=… ; argv[]=… ; … }").
func ContainerdArgv(execStart string) []string {
	_, rest, ok := strings.Cut(execStart, "argv[]=")
	if !ok {
		return []string{containerdCommand}
	}
	line, _, _ := strings.Cut(rest, " ;")
	words := strings.Fields(line)
	argv := words[:1:1]
	for i, w := range words {
		switch {
		case (w == "--config" || w == "-c") && i+1 < len(words):
			argv = append(argv, w, words[i+1])
		case strings.HasPrefix(w, "--config=") || strings.HasPrefix(w, "-c="):
			argv = append(argv, w)
		}
	}
	return argv
}

// ParseContainerdConfig reads the TOML that `containerd config dump` prints,
// of any config version from 2 on.
func ParseContainerdConfig(text []byte) (ContainerdConfig, error) {
	var raw struct {
		Version  int                       `toml:"version"`
		Disabled []string                  `toml:"disabled_plugins"`
		Plugins  map[string]map[string]any `toml:"plugins"`
	}
	if err := toml.Unmarshal(text, &raw); err != nil {
		return ContainerdConfig{}, fmt.Errorf("reading containerd's effective configuration: %w", err)
	}
	c := ContainerdConfig{Version: raw.Version, Disabled: raw.Disabled}
	cri := raw.Plugins[criRuntimePlugin]
	if cri == nil {
		cri = raw.Plugins[criPluginV2]
	}
	if cri == nil {
		return c, fmt.Errorf("containerd's effective configuration (version %d) has no section for the CRI plugin: expected plugins.%q or plugins.%q", raw.Version, criRuntimePlugin, criPluginV2)
	}
	containerd := table(cri, "containerd")
	c.DefaultHandler, _ = containerd["default_runtime_name"].(string)
	for name, value := range table(containerd, "runtimes") {
		handler, ok := value.(map[string]any)
		if !ok {
			return c, fmt.Errorf("containerd's effective configuration: runtimes.%s is %T, expected a table", name, value)
		}
		h := RuntimeHandler{Name: name, SystemdCgroup: table(handler, "options")["SystemdCgroup"]}
		h.Type, _ = handler["runtime_type"].(string)
		c.Handlers = append(c.Handlers, h)
	}
	slices.SortFunc(c.Handlers, func(a, b RuntimeHandler) int { return strings.Compare(a.Name, b.Name) })

	c.SandboxImage, _ = cri["sandbox_image"].(string)
	if sandbox, ok := table(raw.Plugins[criImagesPlugin], "pinned_images")["sandbox"].(string); ok {
		c.SandboxImage = sandbox
	}
	cni := table(cri, "cni")
	if dir, ok := cni["bin_dir"].(string); ok && dir != "" {
		c.CNIBinDirs = append(c.CNIBinDirs, dir)
	}
	if dirs, ok := cni["bin_dirs"].([]any); ok {
		for _, d := range dirs {
			if dir, ok := d.(string); ok && !slices.Contains(c.CNIBinDirs, dir) {
				c.CNIBinDirs = append(c.CNIBinDirs, dir)
			}
		}
	}
	return c, nil
}

func table(parent map[string]any, key string) map[string]any {
	t, _ := parent[key].(map[string]any)
	return t
}

// Problems returns everything in the configuration that keeps the cgroup
// driver from being systemd, or the CRI from answering.
func (c ContainerdConfig) Problems() []string {
	var problems []string
	for _, d := range c.Disabled {
		if strings.Contains(d, "cri") {
			problems = append(problems, fmt.Sprintf("containerd disabled_plugins has %s", d))
		}
	}
	if len(c.Handlers) == 0 {
		problems = append(problems, "containerd has no runtime handler")
	}
	defaultFound := false
	for _, h := range c.Handlers {
		defaultFound = defaultFound || h.Name == c.DefaultHandler
		if h.Type == "" {
			problems = append(problems, fmt.Sprintf("containerd handler %q has no runtime_type: pods that use it cannot start", h.Name))
		}
		// A handler without a type is judged too: 1.x decodes its options
		// for no runtime at all.
		if (h.Type == runcShim || h.Type == "") && !h.UsesSystemd() {
			problems = append(problems, h.String())
		}
	}
	if !defaultFound {
		problems = append(problems, fmt.Sprintf("containerd's default handler %q is not defined", c.DefaultHandler))
	}
	return problems
}
