package upstreamtest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Program is one program of a release: a file on this machine, or content.
type Program struct {
	Path    string
	Content string
}

// Programs names programs by their base names.
type Programs map[string]Program

// FromFiles are programs that lie on this machine, by name and path.
func FromFiles(paths map[string]string) Programs {
	programs := Programs{}
	for name, p := range paths {
		programs[name] = Program{Path: p}
	}
	return programs
}

// Release adds a component's release as its upstream publishes it, with the
// lists of sums that upstream has beside it, and returns the files with the
// sums of this stand-in, as a profile pins them. The addresses are upstream's.
//
// Of kubernetes it serves only what is given, so that a stand-in for the
// control plane's programs can be had, too.
func (s *Server) Release(component, version, arch string, programs Programs) ([]profiles.ReleaseFile, error) {
	pins, err := profiles.LoadReleases()
	if err != nil {
		return nil, err
	}
	pinned, ok := pins.Components[component]
	if !ok {
		return nil, fmt.Errorf("no upstream of %q is known", component)
	}
	if component == "kubernetes" {
		pinned.Files = kubernetesFiles(pinned.Files, programs)
	}
	var files []profiles.ReleaseFile
	for _, file := range pinned.Files {
		address := profiles.Expand(file.URL, version, arch)
		var local string
		var err error
		if file.Name != "" {
			program, ok := programs[file.Name]
			if !ok {
				return nil, fmt.Errorf("release of %s: no program %s", component, file.Name)
			}
			local, err = s.onDisk(program, component+"-"+version+"-"+arch+"-"+file.Name)
		} else {
			local, err = s.archive(component, version, arch, path.Base(address), programs)
		}
		if err != nil {
			return nil, fmt.Errorf("release of %s: %w", component, err)
		}
		sum, err := s.AddFile(address, local)
		if err != nil {
			return nil, err
		}
		files = append(files, profiles.ReleaseFile{Name: file.Name, URL: file.URL, SHA256: map[string]string{arch: sum}})
		if err := s.sums(component, address, sum); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// kubernetesFiles are what dl.k8s.io serves of the given programs.
func kubernetesFiles(known []profiles.Pinned, programs Programs) []profiles.Pinned {
	base := strings.TrimSuffix(known[0].URL, known[0].Name)
	var files []profiles.Pinned
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		files = append(files, profiles.Pinned{Name: name, URL: base + name})
	}
	return files
}

// sums adds the file that upstream has its sums in.
func (s *Server) sums(component, address, sum string) error {
	line := sum + "  " + path.Base(address) + "\n"
	switch component {
	case "kubernetes":
		_, err := s.Add(address+".sha256", []byte(sum))
		return err
	case "containerd":
		_, err := s.Add(address+".sha256sum", []byte(line))
		return err
	case "cni-plugins", "crictl":
		_, err := s.Add(address+".sha256", []byte(line))
		return err
	case "etcd":
		_, err := s.Add(strings.TrimSuffix(address, path.Base(address))+"SHA256SUMS", []byte(line))
		return err
	}
	return nil // runc's list is signed, see Clearsign
}

func (s *Server) onDisk(p Program, name string) (string, error) {
	if p.Path != "" {
		return p.Path, nil
	}
	return s.keep(name, p.Content)
}

// archive packs programs where upstream's archive has them.
func (s *Server) archive(component, version, arch, name string, programs Programs) (file string, err error) {
	prefix, extra := "", []string(nil)
	switch component {
	case "containerd":
		prefix = "bin/"
	case "cni-plugins":
		prefix, extra = "./", []string{"LICENSE", "README.md"}
	case "etcd":
		prefix, extra = "etcd-v"+version+"-linux-"+arch+"/", []string{"README.md", "Documentation/README.md"}
	}
	file = filepath.Join(s.dir, name)
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Speed matters more than size: containerd's programs are large.
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	w := tar.NewWriter(z)
	at := time.Unix(1_700_000_000, 0)
	if prefix != "" {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: prefix, Mode: 0o755, ModTime: at}); err != nil {
			return "", err
		}
	}
	for _, program := range slices.Sorted(maps.Keys(programs)) {
		local, err := s.onDisk(programs[program], component+"-"+program)
		if err == nil {
			err = addFile(w, &tar.Header{Typeflag: tar.TypeReg, Name: prefix + program, Mode: 0o755, ModTime: at}, local)
		}
		if err != nil {
			return "", err
		}
	}
	for _, doc := range extra {
		text := "about " + component + "\n"
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: prefix + doc, Mode: 0o644, Size: int64(len(text)), ModTime: at}); err != nil {
			return "", err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return "", err
		}
	}
	return file, errors.Join(w.Close(), z.Close())
}

func addFile(w *tar.Writer, header *tar.Header, local string) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
