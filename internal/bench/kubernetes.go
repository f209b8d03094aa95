package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// anotherKubernetes makes what a new patch release of Kubernetes is to a build,
// without compiling one: the same programs with a byte more at their ends, so
// that every program, container image and digest is another one of the same
// size. It puts them and their images into the store, whose directory is cold, as
// components that are ready, and returns the profile that asks for them, or ""
// for a profile that takes its Kubernetes from elsewhere than Go modules.
func anotherKubernetes(ctx context.Context, p *profiles.Profile, cold, dir string) (string, error) {
	const name = "kubernetes"
	if p.Components[name].Source != profiles.SourceGoModule {
		return "", nil
	}
	s, err := store.Open(cold)
	if err != nil {
		return "", err
	}
	maker, err := component.New(p, s, component.Options{})
	if err != nil {
		return "", err
	}
	built, err := maker.Component(ctx, name)
	if err != nil {
		return "", err
	}
	type file struct {
		Name   string            `yaml:"name"`
		Path   string            `yaml:"path"`
		SHA256 map[string]string `yaml:"sha256"`
	}
	var files []file
	for _, f := range built.Files {
		to := filepath.Join(dir, f.Name)
		sum, err := copyWithByte(f.Path, to)
		if err != nil {
			return "", err
		}
		files = append(files, file{f.Name, to, map[string]string{p.OS.Arch: sum}})
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": p.APIVersion, "kind": "Profile", "name": "another-kubernetes", "extends": p.Name,
		"components": map[string]any{name: map[string]any{"version": built.Version, "source": "file", "files": files}},
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "another-kubernetes.yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", err
	}
	changed, err := profiles.Load(path)
	if err != nil {
		return "", err
	}
	if maker, err = component.New(changed, s, component.Options{}); err != nil {
		return "", err
	}
	return path, maker.All(ctx)
}

// copyWithByte copies a program, adds a byte, and returns the sum of what it
// wrote.
func copyWithByte(from, to string) (sum string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	hash := sha256.New()
	both := io.MultiWriter(out, hash)
	if _, err := io.Copy(both, in); err != nil {
		return "", fmt.Errorf("copying %s: %w", from, err)
	}
	if _, err := both.Write([]byte{0}); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
