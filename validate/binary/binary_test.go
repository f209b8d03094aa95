package binary

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// stampedForTest stands in for a version that a linker stamps: a string
// variable that is written at link time and read at run time.
var stampedForTest = "v9.87.654-test+1"

func self(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestReadsItself(t *testing.T) {
	t.Parallel()
	i, err := Read(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if i.GoVersion != runtime.Version() || i.Arch != runtime.GOARCH || !strings.HasSuffix(i.Package, "validate/binary.test") {
		t.Errorf("%+v", i)
	}
}

func TestStringVariables(t *testing.T) {
	t.Parallel()
	f, err := elf.NewFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	hs, err := stringVariables(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hs {
		if h.text == stampedForTest {
			return
		}
	}
	t.Errorf("the variable with %q was not found among %d", stampedForTest, len(hs))
}

// The variables are those of real stripped programs: Debian's, and others
// built from their Go modules.
func TestChoosingTheVersion(t *testing.T) {
	t.Parallel()
	list := func(at uint64, texts ...string) []header {
		var out []header
		for i, s := range texts {
			out = append(out, header{at + uint64(i)*16, s})
		}
		return out
	}
	debian12 := list(0x316a340, "github.com/containerd/containerd", "1.6.20~ds1-1+deb12u3", "1.6.20~ds1")
	debian12 = append(debian12, list(0x3172110, "0.1.0", "0.2.0")...)
	trixie := list(0x36b4e70, "github.com/containerd/containerd", "1.7.24~ds1", "1.7.24~ds1-6+deb13u1")
	for want, got := range map[string]string{
		"1.6.20~ds1": besidePackage(debian12),
		"1.7.24~ds1": besidePackage(trixie),
		"v2.3.7":     besidePackage(append(list(0x100, "9.9.9"), list(0x2884e80, "github.com/containerd/containerd/v2", "v2.3.7")...)),
		"1.1.15+ds1": shortest(list(1, "1.1.15+ds1", "1.1.15+ds1-2+b4", "1.0.0"), func(v string) bool { return !strings.HasPrefix(v, "1.0.") }),
		"v1.37.2":    mostFrequent(list(1, "3.7.0", "v1.0.0", "v1.37.2", "v1.37.2"), func(v string) bool { return strings.HasPrefix(v, "v1.") }),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if v := besidePackage(list(1, "1.7.24", "1.0.0")); v != "" {
		t.Errorf("a version without containerd's import path: %q", v)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		info Info
		want string
	}{
		{Info{ModuleVersion: "v2.3.7", Stamped: "v2.3.6"}, "2.3.7"},
		{Info{Stamped: "1.7.24~ds1"}, "1.7.24~ds1"},
		{Info{}, ""},
	} {
		if got := tt.info.Version(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.info, got, tt.want)
		}
	}
}

func TestNotGo(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"script": []byte("#!/bin/sh\n"), "empty": nil, "truncated": []byte("\x7fELF\x02\x01\x01"), "C": program(map[string]string{".rodata": "x"}),
	} {
		_, err := ReadFile(fstest.MapFS{"usr/bin/x": {Data: data}}, "/usr/bin/x")
		if !errors.Is(err, ErrNotGo) || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "/usr/bin/x") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	const (
		head = "profile {{.Name}} {\n  # Host (privileged) processes may send signals to container processes.\n  signal (receive) peer=unconfined,\n"
		runc = "  signal (receive) peer=runc,\n"
		crun = "  signal (receive) peer=crun,\n"
	)
	for _, tt := range []struct {
		name, text string
		want       Template
	}{
		{"1.7.15", head, Template{Found: true, ABI: NotPinned}},
		{"1.7.18", head + runc + crun, Template{true, true, true, NotPinned}},
		{"2.2.2", "abi <abi/3.0>,\n" + head + runc + crun, Template{true, true, true, PinFixed}},
		{"2.3.7", "{{if .Abi}}abi <{{.Abi}}>,\n" + head + runc + crun, Template{true, true, true, PinIfPresent}},
		{"across windows", strings.Repeat("x", windowSize-40) + head + runc, Template{true, true, false, NotPinned}},
		{"another program", "nothing", Template{ABI: NotPinned}},
	} {
		got, err := ReadTemplate(bytes.NewReader(program(map[string]string{".rodata": tt.text})))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if _, err := ReadTemplate(strings.NewReader("text")); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no ELF file: %v", err)
	}
}

// program makes a small 64-bit ELF file with these sections.
func program(sections map[string]string) []byte {
	names, body := "\x00.shstrtab\x00", []byte{}
	type sec struct {
		name, typ uint32
		off, size uint64
	}
	const header = 64
	var secs []sec
	for n, d := range sections {
		secs = append(secs, sec{uint32(len(names)), 1, header + uint64(len(body)), uint64(len(d))})
		names += n + "\x00"
		body = append(body, d...)
	}
	secs = append(secs, sec{1, 3, header + uint64(len(body)), uint64(len(names))})
	body = append(body, names...)
	var b bytes.Buffer
	le := binary.LittleEndian
	b.Write([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	for _, v := range []any{uint16(2), uint16(62), uint32(1), uint64(0), uint64(0), uint64(header + len(body)), uint32(0),
		uint16(header), uint16(56), uint16(0), uint16(64), uint16(len(secs) + 1), uint16(len(secs))} {
		binary.Write(&b, le, v)
	}
	b.Write(body)
	b.Write(make([]byte, 64))
	for i, s := range secs {
		for _, v := range []uint64{uint64(s.name) | uint64(s.typ)<<32, 2, uint64(0x1000 * (i + 1)), s.off, s.size, 0, 1, 0} {
			binary.Write(&b, le, v)
		}
	}
	return b.Bytes()
}

func FuzzRead(f *testing.F) {
	f.Add(program(map[string]string{".rodata": "1.2.3", ".data": "\x00\x10\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00", ".go.buildinfo": "\xff Go buildinf:\x08\x02" + strings.Repeat("\x00", 32)}))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		if i, err := Read(r); err == nil {
			_ = i.Version()
		}
		_, _ = ReadTemplate(r)
		if file, err := elf.NewFile(r); err == nil {
			hs, _ := stringVariables(file)
			for _, h := range hs {
				if len(h.text) > maxString {
					t.Fatalf("%d bytes", len(h.text))
				}
			}
			for _, pkg := range []string{"github.com/containerd/containerd/cmd/containerd", "github.com/opencontainers/runc", "k8s.io/kubernetes/cmd/kubelet"} {
				_, _ = stamped(file, pkg)
			}
		}
	})
}
