package component

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/foreign"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// imageFormat changes when the same components give another image.
const imageFormat = "image/1"

// imageTar and imageRecord are what an image is in the store.
const (
	imageTar    = "image.tar"
	imageRecord = "image.json"
)

// Images implements Resolver. The list is compared with what the kubeadm that
// goes into the node image prints, since that one will ask for them.
func (m *Maker) Images(ctx context.Context) ([]Image, error) {
	names, err := profiles.KubeadmImages(m.profile)
	if err != nil {
		return nil, err
	}
	if err := m.askKubeadm(ctx, names); err != nil {
		return nil, err
	}
	images := make([]Image, 0, len(names))
	for _, name := range names {
		image, err := m.image(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		images = append(images, image)
	}
	return images, nil
}

// askKubeadm fails unless kubeadm's own list is names.
func (m *Maker) askKubeadm(ctx context.Context, names []string) error {
	kubernetes, err := m.Component(ctx, "kubernetes")
	if err != nil {
		return err
	}
	kubeadm, ok := kubernetes.File("kubeadm")
	if !ok {
		return fmt.Errorf("component kubernetes has no kubeadm")
	}
	wants, err := m.kubeadmImages(ctx, kubeadm, kubernetes.Version)
	if m.profile.OS.Arch != hostArch() && foreign.NotRun(err) {
		return nil // the table of versions has to do
	}
	if err != nil {
		return err
	}
	got, expected := slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(wants))
	if !slices.Equal(got, expected) {
		return exitcode.BadInput(fmt.Errorf("profile %s: kubeadm %s asks for the images %s, and the profile's components give %s: set `components.<name>.image` to what kubeadm asks for",
			m.profile.Name, kubernetes.Version, strings.Join(expected, ", "), strings.Join(got, ", ")))
	}
	return nil
}

// kubeadmList is what a kubeadm's answer is in the store.
const kubeadmList = "images"

// kubeadmImages asks a kubeadm for its images, once: it always says the same, and
// starting it takes a good part of finding out that nothing has changed.
func (m *Maker) kubeadmImages(ctx context.Context, kubeadm File, version string) ([]string, error) {
	argv := []string{"config", "images", "list", "--kubernetes-version=v" + version, "--image-repository=" + m.profile.Kubernetes.ImageRepository}
	key, err := store.Key("kubeadm", kubeadm.SHA256, argv)
	if err != nil {
		return nil, err
	}
	dir, err := m.store.Do(ctx, key, func(ctx context.Context, dir string) error {
		ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer after %s", probeTimeout))
		defer cancel()
		result, err := m.runner.Run(ctx, run.Cmd{Argv: append([]string{"env", "-i", "HOME=/nonexistent", kubeadm.Path}, argv...), Dir: "/"})
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, kubeadmList), []byte(result.Stdout), 0o644)
	})
	if err != nil {
		return nil, fmt.Errorf("asking kubeadm for its images: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(dir, kubeadmList))
	return strings.Fields(string(list)), err
}

// image makes one image, or pulls it.
func (m *Maker) image(ctx context.Context, name string) (Image, error) {
	if m.profile.Components[programOf(name)].Source == profiles.SourceRegistry {
		built, err := m.Component(ctx, programOf(name))
		if err != nil {
			return Image{}, err
		}
		packed, ok := built.File(imageTar)
		if !ok {
			return Image{}, fmt.Errorf("component %s has no %s", built.Name, imageTar)
		}
		return readImage(name, packed.Path, filepath.Join(filepath.Dir(filepath.Dir(packed.Path)), imageRecord))
	}
	spec, inputs, err := m.imageSpec(ctx, name)
	if err != nil {
		return Image{}, err
	}
	parts := []any{imageFormat, name, m.profile.OS.Arch, spec.Entrypoint, spec.Env, spec.User, spec.WorkingDir, spec.Ports}
	for _, in := range inputs {
		for _, f := range in.Files {
			parts = append(parts, in.Name, f.Name, f.SHA256)
		}
	}
	key, err := store.Key(parts...)
	if err != nil {
		return Image{}, err
	}
	dir, err := m.store.Do(ctx, key, func(ctx context.Context, dir string) error {
		start := time.Now()
		entries, err := m.imageEntries(ctx, filepath.Join(dir, ".work"), spec, inputs)
		if err != nil {
			return err
		}
		spec.Entries = entries
		written, err := oci.Write(ctx, spec, filepath.Join(dir, imageTar))
		if err != nil {
			return err
		}
		text, err := json.Marshal(written)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, imageRecord), text, 0o644); err != nil {
			return err
		}
		m.logf("%s: assembled in %s, %d MB", name, time.Since(start).Round(100*time.Millisecond), written.Size/1e6)
		return os.RemoveAll(filepath.Join(dir, ".work"))
	})
	if err != nil {
		return Image{}, err
	}
	return readImage(name, filepath.Join(dir, imageTar), filepath.Join(dir, imageRecord))
}

func readImage(name, packed, record string) (Image, error) {
	text, err := os.ReadFile(record)
	if err != nil {
		return Image{}, err
	}
	var written oci.Written
	if err := json.Unmarshal(text, &written); err != nil {
		return Image{}, fmt.Errorf("reading %s: %w", record, err)
	}
	return Image{Name: name, Digest: written.Digest, Size: written.Size, Path: packed}, nil
}

// imageSpec returns an image's configuration, and the components that its
// files come from; the first is the one that it is named after.
func (m *Maker) imageSpec(ctx context.Context, name string) (oci.Spec, []Built, error) {
	program := programOf(name)
	layout, ok := layouts(m.profile)[program]
	if !ok {
		return oci.Spec{}, nil, exitcode.BadInput(fmt.Errorf("kubeadm asks for an image %q, which this release of nodeimage does not know how to assemble", program))
	}
	spec := layout.spec
	spec.Name = name
	spec.Arch = m.profile.OS.Arch
	var inputs []Built
	for _, c := range layout.components {
		built, err := m.Component(ctx, c)
		if err != nil {
			return oci.Spec{}, nil, err
		}
		inputs = append(inputs, built)
	}
	var files []File
	for _, p := range layout.programs {
		f, ok := inputs[0].File(path.Base(p))
		if !ok {
			return oci.Spec{}, nil, fmt.Errorf("component %s has no file %s", inputs[0].Name, path.Base(p))
		}
		files = append(files, f)
	}
	// Only these belong to the image: another one's program that changed
	// must not make it anew.
	inputs[0].Files = files
	return spec, inputs, nil
}

func (m *Maker) imageEntries(ctx context.Context, work string, spec oci.Spec, inputs []Built) ([]oci.Entry, error) {
	layout := layouts(m.profile)[programOf(spec.Name)]
	var entries []oci.Entry
	for i, p := range layout.programs {
		entries = append(entries, oci.Entry{Path: p, Kind: oci.File, Mode: 0o755, Source: inputs[0].Files[i].Path, XAttrs: layout.xattrs})
	}
	entries = append(entries, layout.extra...)
	for _, in := range inputs[1:] {
		unpacked, err := m.unpackDebs(ctx, work, in)
		if err != nil {
			return nil, err
		}
		// The layout's own files win over those of a package.
		have := map[string]bool{}
		for _, e := range entries {
			have[e.Path] = true
		}
		entries = append(entries, slices.DeleteFunc(unpacked, func(e oci.Entry) bool { return have[e.Path] })...)
	}
	return entries, nil
}

// programOf returns the last element of an image's name, without the tag.
func programOf(name string) string {
	program, _, _ := strings.Cut(path.Base(name), ":")
	return program
}
