// Package live reads what only a running node knows: swap in use, loaded
// AppArmor profiles, the cgroups that containers really are in, what the CRI
// answers, and what containerd itself makes of its configuration.
//
// It changes nothing. What may not be read gives an error that is
// fs.ErrPermission, and what is not there one that is fs.ErrNotExist, so that a
// caller can say which of the two it was.
package live

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds what is read of one file of /proc or /sys, in bytes.
const maxFile = 4 << 20

// Machine is the machine that this process runs on.
type Machine struct {
	// Root is "/", or a directory with a proc and a sys in tests.
	Root string
}

// Here returns the machine that this process runs on.
func Here() *Machine { return &Machine{Root: "/"} }

func (m *Machine) path(p string) string { return filepath.Join(m.Root, p) }

func (m *Machine) read(p string) (string, error) {
	f, err := os.Open(m.path(p))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(b), err
}

// Kernel returns the release of the running kernel.
func (m *Machine) Kernel() (string, error) {
	s, err := m.read("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(s), err
}

// Sysctl returns the value that a kernel setting has now. The key is dotted.
func (m *Machine) Sysctl(key string) (string, error) {
	s, err := m.read("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	return strings.Join(strings.Fields(s), " "), err
}

// Swaps lists the devices and files that the kernel swaps to.
func (m *Machine) Swaps() ([]string, error) {
	s, err := m.read("/proc/swaps")
	if err != nil {
		return nil, err
	}
	var all []string
	sc := bufio.NewScanner(strings.NewReader(s))
	for first := true; sc.Scan(); first = false {
		if words := strings.Fields(sc.Text()); !first && len(words) > 0 {
			all = append(all, words[0])
		}
	}
	return all, sc.Err()
}

// CgroupV2 tells whether the machine has the unified hierarchy alone.
func (m *Machine) CgroupV2() (bool, error) {
	_, err := os.Stat(m.path("/sys/fs/cgroup/cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(m.path("/sys/fs/cgroup"))
		return false, err
	}
	return err == nil, err
}

// maxCgroups bounds the walk over the cgroups of a node.
const maxCgroups = 200_000

// Cgroups returns the cgroups, by their path below the root of the hierarchy,
// for which keep is true.
func (m *Machine) Cgroups(keep func(path string) bool) ([]string, error) {
	top := m.path("/sys/fs/cgroup")
	var all []string
	seen := 0
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p != top && errors.Is(err, fs.ErrNotExist) {
				return nil // ended meanwhile
			}
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if seen++; seen > maxCgroups {
			return fmt.Errorf("more than %d cgroups", maxCgroups)
		}
		if rel := "/" + strings.TrimPrefix(strings.TrimPrefix(p, top), "/"); keep(rel) {
			all = append(all, rel)
		}
		return nil
	})
	return all, err
}

// AppArmor lists the loaded profiles with their mode, by name. It needs root.
func (m *Machine) AppArmor() (map[string]string, error) {
	s, err := m.read("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(s) {
		name, mode, ok := strings.Cut(strings.TrimSpace(line), " (")
		if ok {
			all[name] = strings.TrimSuffix(mode, ")")
		}
	}
	return all, nil
}

// Process is a running program.
type Process struct {
	PID string
	// Executable is the path of the file that runs, and Replaced says that
	// this file was removed or replaced since.
	Executable string
	Replaced   bool
}

// Processes finds the processes whose program has this base name. Other users'
// programs can be seen by root only: the error is then fs.ErrPermission.
func (m *Machine) Processes(name string) ([]Process, error) {
	entries, err := os.ReadDir(m.path("/proc"))
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, e := range entries {
		if e.Name() == "" || strings.Trim(e.Name(), "0123456789") != "" {
			continue
		}
		comm, err := m.read("/proc/" + e.Name() + "/comm")
		if err != nil || strings.TrimSpace(comm) != name[:min(len(name), 15)] {
			continue // ended meanwhile, or another program
		}
		exe, err := os.Readlink(m.path("/proc/" + e.Name() + "/exe"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p := Process{PID: e.Name()}
		p.Executable, p.Replaced = strings.CutSuffix(exe, " (deleted)")
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Process) int { return bytes.Compare([]byte(a.PID), []byte(b.PID)) })
	return all, nil
}
