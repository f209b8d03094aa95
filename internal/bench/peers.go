package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// peer is another tool that makes a disk of the same packages, without boot
// loader, Kubernetes or container images: less than what is measured of ours.
type peer struct {
	name string
	// recipe returns the files that it needs, by name, and its command line.
	// It runs in the directory that holds them.
	recipe func(p *profiles.Profile) (files map[string]string, argv []string)
}

func peers() []peer {
	return []peer{
		{"vmdb2", vmdb2}, {"debos", debos}, {"mkosi", mkosi},
	}
}

// mirror is the first source of the profile: peers take one.
func mirror(p *profiles.Profile) string { return p.Archive.Sources[0].URI }

// document renders a recipe as JSON, which is YAML.
func document(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // strings and maps of them
	}
	return string(b) + "\n"
}

type object = map[string]any

func vmdb2(p *profiles.Profile) (map[string]string, []string) {
	const out = "{{ output }}"
	return map[string]string{"recipe.vmdb": document(object{"steps": []object{
		{"mkimg": out, "size": "4G"},
		{"mklabel": "gpt", "device": out},
		{"mkpart": "primary", "device": out, "start": "0%", "end": "100%", "tag": "root"},
		{"kpartx": out},
		{"mkfs": "ext4", "partition": "root"},
		{"mount": "root"},
		{"debootstrap": p.OS.Codename, "mirror": mirror(p), "target": "root", "variant": "minbase"},
		{"apt": "install", "packages": p.PackageList(), "tag": "root", "recommends": false},
	}})}, []string{"vmdb2", "--output", "disk.raw", "--log", "vmdb2.log", "recipe.vmdb"}
}

func debos(p *profiles.Profile) (map[string]string, []string) {
	return map[string]string{"recipe.yaml": document(object{"architecture": p.OS.Arch, "actions": []object{
		{"action": "debootstrap", "suite": p.OS.Codename, "components": []string{"main"}, "mirror": mirror(p), "variant": "minbase"},
		{"action": "apt", "recommends": false, "packages": p.PackageList()},
		{"action": "image-partition", "imagename": "disk.raw", "imagesize": "4GB", "partitiontype": "gpt",
			"mountpoints": []object{{"mountpoint": "/", "partition": "root"}},
			"partitions":  []object{{"name": "root", "fs": "ext4", "start": "0%", "end": "100%"}}},
		{"action": "filesystem-deploy"},
	}})}, []string{"debos", "--disable-fakemachine", "--artifactdir=.", "recipe.yaml"}
}

func mkosi(p *profiles.Profile) (map[string]string, []string) {
	return nil, []string{"mkosi", "--distribution=debian", "--release=" + p.OS.Codename, "--mirror=" + mirror(p),
		"--format=gpt_ext4", "--root-size=4G", "--package=" + strings.Join(p.PackageList(), ","), "--output=disk.raw", "build"}
}

// comparePeers runs each peer in a directory of its own below dir. One that
// fails gets a line that says how, and does not end the benchmark.
func comparePeers(ctx context.Context, all []peer, p *profiles.Profile, dir string, limit time.Duration) ([]benchlog.Measurement, error) {
	var table []benchlog.Measurement
	for _, one := range all {
		m := benchlog.Measurement{Name: "peer: " + one.name + ", the same packages"}
		fmt.Fprintln(os.Stderr, "measuring:", m.Name)
		work := filepath.Join(dir, one.name)
		files, argv := one.recipe(p)
		if err := os.Mkdir(work, 0o755); err != nil {
			return nil, err
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(work, name), []byte(content), 0o644); err != nil {
				return nil, err
			}
		}
		if err := runPeer(ctx, &m, work, argv, limit); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(work); err != nil {
			return nil, fmt.Errorf("what %s left behind: %w", one.name, err)
		}
		table = append(table, m)
	}
	return table, nil
}

// runPeer runs one peer in namespaces of its own: it mounts, and what it mounts
// and starts is gone with it.
func runPeer(ctx context.Context, m *benchlog.Measurement, work string, argv []string, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	result, err := run.Host{}.Run(limited, run.Cmd{Argv: run.Isolated(argv...), Dir: work})
	m.Seconds = time.Since(start).Seconds()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		m.Error = fmt.Sprintf("not done after %s", limit)
	case err != nil:
		m.Error = lastWords(result.Stdout, result.Stderr, err)
	default:
		if fi, statErr := os.Stat(filepath.Join(work, "disk.raw")); statErr != nil || fi.Size() == 0 {
			m.Error = "it said that all is well and left no disk"
		}
	}
	return nil
}

// lastWords is the line of a failed tool that says most: the last one that
// speaks of an error, else the last one.
func lastWords(stdout, stderr string, err error) string {
	last, found := "", false
	for _, out := range []string{stdout, stderr} {
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			low := strings.ToLower(line)
			speaks := strings.Contains(low, "error") || strings.Contains(low, "fail") || strings.Contains(low, "not found") || strings.Contains(low, "no such")
			if speaks || !found {
				last, found = line, found || speaks
			}
		}
	}
	var failed *run.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if last == "" {
		return err.Error()
	}
	if r := []rune(last); len(r) > 200 {
		last = string(r[:200]) + "…"
	}
	return fmt.Sprintf("%v: %s", err, last)
}
