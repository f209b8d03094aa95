package binary

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Stripped programs have no symbol that says where the linker put the version.
// But a version is a string variable, and a string variable is a pointer and
// a length in .data: few of them point at something that looks like a version,
// and what stands next to it decides which one is the program's own.

const (
	// maxData bounds .data and the relocations; Go's largest programs have
	// 1 MiB of the one and 10 MiB of the other.
	maxData = 64 << 20
	// maxHeaders bounds how many strings are looked at.
	maxHeaders = 1 << 20
	minString  = len("v1.0.0")
	maxString  = 64
)

var versionPattern = regexp.MustCompile(`^v?\d{1,3}\.\d{1,4}\.\d{1,4}(?:[-+~][0-9A-Za-z.+~-]+)?$`)

// header is a string variable that was found.
type header struct {
	at   uint64 // address of the variable
	text string
}

// stamped finds the version of the program with that main package.
func stamped(f *elf.File, pkg string) (string, error) {
	if f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return "", nil // no machine that a node image is made for
	}
	headers, err := stringVariables(f)
	if err != nil {
		return "", err
	}
	switch {
	case strings.HasSuffix(pkg, "/cmd/containerd"):
		return besidePackage(headers), nil
	case strings.HasPrefix(pkg, "k8s.io/kubernetes/"):
		// component-base and client-go carry the same one.
		return mostFrequent(headers, func(v string) bool { return strings.HasPrefix(v, "v1.") }), nil
	case strings.HasPrefix(pkg, "github.com/containernetworking/plugins/"):
		// Versions of the CNI specification stand beside it, without a v.
		if v := mostFrequent(headers, func(v string) bool { return strings.HasPrefix(v, "v") }); v != "" {
			return v, nil
		}
		return mostFrequent(headers, func(v string) bool { return !cniSpec(v) }), nil
	case pkg == "github.com/opencontainers/runc":
		// The version, and with it the packager's revision; the first is
		// the shorter. 1.0.0 is the version of the OCI specification.
		return shortest(headers, func(v string) bool { return !strings.HasPrefix(v, "1.0.") }), nil
	}
	return "", nil
}

func cniSpec(v string) bool {
	switch v {
	case "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0":
		return true
	}
	return false
}

// besidePackage finds containerd's version in the variables of its package
// "version": the import path, then the version and the revision in any order.
// A revision that looks like a version is Debian's, and longer.
func besidePackage(headers []header) string {
	for _, h := range headers {
		if h.text != "github.com/containerd/containerd" && h.text != "github.com/containerd/containerd/v2" {
			continue
		}
		best := ""
		for _, o := range headers {
			near := o.at > h.at && o.at-h.at <= 48
			if near && versionPattern.MatchString(o.text) && (best == "" || len(o.text) < len(best)) {
				best = o.text
			}
		}
		if best != "" {
			return best
		}
	}
	return ""
}

func mostFrequent(headers []header, ok func(string) bool) string {
	count := map[string]int{}
	best := ""
	for _, h := range headers {
		if !versionPattern.MatchString(h.text) || !ok(h.text) {
			continue
		}
		if count[h.text]++; best == "" || count[h.text] > count[best] {
			best = h.text
		}
	}
	return best
}

func shortest(headers []header, ok func(string) bool) string {
	best := ""
	for _, h := range headers {
		if versionPattern.MatchString(h.text) && ok(h.text) && (best == "" || len(h.text) < len(best)) {
			best = h.text
		}
	}
	return best
}

// stringVariables lists the variables that might matter here: those whose
// text looks like a version or is containerd's import path.
func stringVariables(f *elf.File) ([]header, error) {
	relocated, err := relocations(f)
	if err != nil {
		return nil, err
	}
	type candidate struct{ at, ptr, size uint64 }
	var cs []candidate
	for _, name := range []string{".data", ".data.rel.ro"} {
		s := section(f, name)
		if s == nil {
			continue
		}
		if s.Size > maxData {
			return nil, exitcode.BadInput(fmt.Errorf("section %s of %d bytes, want at most %d", name, s.Size, maxData))
		}
		data, err := s.Data()
		if err != nil {
			return nil, exitcode.BadInput(fmt.Errorf("section %s: %w", name, err))
		}
		for o := 0; o+16 <= len(data) && len(cs) < maxHeaders; o += 8 {
			c := candidate{s.Addr + uint64(o), binary.LittleEndian.Uint64(data[o:]), binary.LittleEndian.Uint64(data[o+8:])}
			if p, ok := relocated[c.at]; ok {
				c.ptr = p
			}
			if c.size >= uint64(minString) && c.size <= maxString && c.ptr != 0 {
				cs = append(cs, c)
			}
		}
	}
	// In the order of the texts, so that the program is read once and forward.
	sort.Slice(cs, func(i, j int) bool { return cs[i].ptr < cs[j].ptr })
	var out []header
	w := window{file: f}
	for _, c := range cs {
		b := w.at(c.ptr, c.size)
		if b == nil {
			continue
		}
		text := strings.TrimSuffix(string(b), "\n") // an embedded VERSION file ends so
		if versionPattern.MatchString(text) || strings.HasPrefix(text, "github.com/containerd/containerd") {
			out = append(out, header{c.at, text})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].at < out[j].at })
	return out, nil
}

// section returns a section as a program has it in memory, nil if the file has
// none. What is loaded is never compressed; debug/elf has no ReadAt for it then.
func section(f *elf.File, name string) *elf.Section {
	s := f.Section(name)
	if s == nil || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil
	}
	return s
}

// relocations maps addresses to the pointers that the dynamic loader would
// put there: position-independent programs hold none in the file.
func relocations(f *elf.File) (map[uint64]uint64, error) {
	relative := map[elf.Machine]uint32{
		elf.EM_X86_64: uint32(elf.R_X86_64_RELATIVE), elf.EM_AARCH64: uint32(elf.R_AARCH64_RELATIVE), elf.EM_RISCV: uint32(elf.R_RISCV_RELATIVE),
	}
	want, ok := relative[f.Machine]
	out := map[uint64]uint64{}
	s := section(f, ".rela.dyn")
	if !ok || s == nil {
		return out, nil
	}
	if s.Size > maxData {
		return nil, exitcode.BadInput(fmt.Errorf("section %s of %d bytes, want at most %d", s.Name, s.Size, maxData))
	}
	data, err := s.Data()
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("section %s: %w", s.Name, err))
	}
	lo, hi := dataRange(f)
	for ; len(data) >= 24; data = data[24:] {
		at, info := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
		if uint32(info) == want && at >= lo && at < hi {
			out[at] = binary.LittleEndian.Uint64(data[16:])
		}
	}
	return out, nil
}

// dataRange spans the sections that are searched.
func dataRange(f *elf.File) (lo, hi uint64) {
	lo = ^uint64(0)
	for _, name := range []string{".data", ".data.rel.ro"} {
		if s := f.Section(name); s != nil {
			lo, hi = min(lo, s.Addr), max(hi, s.Addr+s.Size)
		}
	}
	return lo, hi
}

// window reads a program by address, a piece at a time.
type window struct {
	file *elf.File
	base uint64
	buf  []byte
}

const windowSize = 256 << 10

// at returns the bytes at an address, nil if the file has none there. They
// are valid until the next call.
func (w *window) at(addr, size uint64) []byte {
	if addr >= w.base && addr-w.base+size <= uint64(len(w.buf)) {
		return w.buf[addr-w.base:][:size]
	}
	for _, s := range w.file.Sections {
		if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_ALLOC == 0 || s.Flags&elf.SHF_COMPRESSED != 0 || addr < s.Addr || addr-s.Addr >= s.Size || s.Size-(addr-s.Addr) < size {
			continue
		}
		n := min(windowSize, s.Size-(addr-s.Addr))
		buf := make([]byte, n)
		m, err := s.ReadAt(buf, int64(addr-s.Addr))
		if err != nil && err != io.EOF || uint64(m) < size {
			return nil
		}
		w.base, w.buf = addr, buf[:m]
		return w.buf[:size]
	}
	return nil
}
