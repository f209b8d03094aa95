package disk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
)

// keptDefaults is what update-grub on a running node reads after the image's own
// settings, so that it keeps the arguments.
const keptDefaults = "/etc/default/grub.d/95-nodeimage.cfg"

// AddArguments gives the kernel more arguments in a root whose boot loader is
// somebody else's GRUB, which keeps all else of its configuration. update-grub
// cannot be asked: it looks at the disks of the machine that it runs on.
func AddArguments(root *rooted.Dir, args []string) error {
	if err := checkCommandLine(args); err != nil || len(args) == 0 {
		return err
	}
	const config = grubDir + "/grub.cfg"
	text, err := root.ReadFile(config)
	if err != nil {
		return fmt.Errorf("the image's boot loader is not GRUB with its configuration in %s, in which kernel.commandLine would be set: %w", config, err)
	}
	changed, missing, err := addArguments(string(text), args)
	if err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	if len(missing) == 0 {
		return nil
	}
	info, err := root.Stat(config)
	if err != nil {
		return err
	}
	if err := root.WriteFile(config, []byte(changed), info.Mode().Perm()); err != nil {
		return err
	}
	if err := root.MkdirAll("/etc/default/grub.d", 0o755); err != nil {
		return err
	}
	return root.WriteFile(keptDefaults, []byte("# Written by nodeimage, from kernel.commandLine of the profile.\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX "+strings.Join(missing, " ")+"\"\n"), 0o644)
}

// addArguments appends to each command that loads a kernel what it lacks of args,
// and returns all that some command lacked.
func addArguments(config string, args []string) (changed string, missing []string, err error) {
	var b strings.Builder
	commands := 0
	for line := range strings.Lines(config) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.Contains([]string{"linux", "linux16", "linuxefi"}, fields[0]) {
			b.WriteString(line)
			continue
		}
		commands++
		rest := strings.TrimRight(line, " \t\n")
		for _, arg := range args {
			if slices.Contains(fields, arg) {
				continue
			}
			rest += " " + arg
			if !slices.Contains(missing, arg) {
				missing = append(missing, arg)
			}
		}
		b.WriteString(rest + "\n")
	}
	if commands == 0 {
		return "", nil, fmt.Errorf("found no command that loads a kernel, expected one such as \"linux /boot/vmlinuz… root=…\": leave kernel.commandLine empty for an image that boots otherwise")
	}
	return b.String(), missing, nil
}
