package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// componentsOnly makes a store in dir of what the user's store has of components:
// all but bases, initramfs, layers, imported images and the packages that a base was made
// of. Files are linked where the two can share them.
func componentsOnly(dir string) error {
	from, err := store.DefaultDir()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(from, "entries"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		entry := filepath.Join(from, "entries", e.Name())
		made, err := madeByBuilds(entry)
		if err != nil {
			return err
		}
		if made {
			continue
		}
		if err := linkTree(entry, filepath.Join(dir, "entries", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// madeByBuilds tells bases, initramfs, layers and imported images from components.
func madeByBuilds(entry string) (bool, error) {
	files, err := os.ReadDir(filepath.Join(entry, "data"))
	for _, f := range files {
		if f.Name() == "rootfs.tar" || f.Name() == "boot" || f.Name() == component.PreloadedTar || f.Name() == "layer.tar.zst" {
			return true, nil
		}
	}
	return false, err
}

func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case e.IsDir():
			return os.MkdirAll(at, 0o755)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, at)
		}
		return store.CopyFile(path, at)
	})
}
