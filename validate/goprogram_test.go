package validate

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	ours "github.com/nodeimage/packer-plugin-nodeimage/validate/binary"
)

// goProgram is the least ELF file that Go's build information is read from: a
// program of that main module, with these build settings.
func goProgram(module, version string, settings ...string) string {
	info := "path\t" + module + "\nmod\t" + module + "\t" + version + "\th1:none=\n"
	for _, s := range settings {
		info += "build\t" + s + "\n"
	}
	// The information stands between two marks of 16 bytes.
	mod := strings.Repeat("\x00", 16) + info + strings.Repeat("\x00", 16)
	var data bytes.Buffer
	data.WriteString("\xff Go buildinf:")
	data.Write([]byte{8, 2}) // pointer size; strings are in line
	data.Write(make([]byte, 16))
	for _, s := range []string{"go1.26.8", mod} {
		data.Write(binary.AppendUvarint(nil, uint64(len(s))))
		data.WriteString(s)
	}
	names := "\x00.go.buildinfo\x00.shstrtab\x00"
	const headers, base = 64 + 56, 0x400000
	at := uint64(128)
	namesAt := at + uint64(data.Len())
	sectionsAt := (namesAt + uint64(len(names)) + 7) &^ 7
	var f bytes.Buffer
	put := func(v any) { _ = binary.Write(&f, binary.LittleEndian, v) }
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64,
		Phoff: 64, Phentsize: 56, Phnum: 1, Shoff: sectionsAt, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	})
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: 0, Vaddr: base, Filesz: namesAt, Memsz: namesAt})
	f.Write(make([]byte, int(at)-headers))
	f.Write(data.Bytes())
	f.WriteString(names)
	f.Write(make([]byte, int(sectionsAt)-f.Len()))
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_WRITE), Addr: base + at, Off: at, Size: uint64(data.Len()), Addralign: 16})
	put(elf.Section64{Name: 15, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))})
	return f.String()
}

func TestGoProgram(t *testing.T) {
	t.Parallel()
	info, err := ours.Read(strings.NewReader(goProgram("github.com/opencontainers/runc", "v1.5.2", "-tags=seccomp")))
	must(t, err)
	if info.Version() != "1.5.2" || !info.HasTag("seccomp") || info.Package != "github.com/opencontainers/runc" {
		t.Errorf("the made-up program reads as %+v", info)
	}
}

// What a program says about itself counts, not what a manifest says.
func TestProgramBeforeManifest(t *testing.T) {
	t.Parallel()
	n := fixture{node: tree{"/usr/local/sbin/runc": exe(goProgram("github.com/opencontainers/runc", "v1.1.11"))}}.open(t)
	copies, err := n.runcs()
	must(t, err)
	if len(copies) != 1 || copies[0].Version != "1.1.11" || copies[0].Path != "/usr/local/sbin/runc" {
		t.Errorf("got %+v, want runc 1.1.11", copies)
	}
}

// Debian's containerd 2.1.9 says 2.1.9+unknown, and has Debian's defaults.
func TestPackageSaysWhoseBuild(t *testing.T) {
	t.Parallel()
	for pkg, want := range map[string]string{"2.1.9+ds1-5": "/usr/lib/cni /opt/cni/bin", "2.1.8+ds1-1": "/opt/cni/bin", "": "/opt/cni/bin"} {
		node := tree{
			"/usr/local/bin/containerd":   exe(goProgram("github.com/containerd/containerd/v2", "v2.1.9+unknown")),
			"/etc/containerd/config.toml": file("version = 2\n"),
		}
		if pkg != "" {
			node["/var/lib/dpkg/status"] = lines("Package: containerd", "Status: install ok installed", "Architecture: amd64", "Version: "+pkg)
			node["/var/lib/dpkg/info/containerd.list"] = lines("/.", "/usr/local/bin/containerd")
		}
		c, err := fixture{node: node}.open(t).containerd()
		must(t, err)
		if got := strings.Join(c.CNIBinDirs.Value, " "); got != want {
			t.Errorf("package %q: CNI plugins are looked for in %s, want %s", pkg, got, want)
		}
	}
}
