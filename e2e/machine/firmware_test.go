package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestFindFirmware(t *testing.T) {
	t.Parallel()
	install := func(t *testing.T, paths ...string) string {
		root := t.TempDir()
		for _, path := range paths {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(filepath.Base(path)), 0o444); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	t.Run("BIOS needs none", func(t *testing.T) {
		t.Parallel()
		if f, err := findFirmware(t.TempDir(), BIOS); err != nil || f != (firmwareFiles{}) {
			t.Errorf("got %+v, %v", f, err)
		}
	})
	for _, c := range slices.Concat(ovmfCandidates[:], secureCandidates[:]) {
		firmware := UEFI
		if c.secure {
			firmware = SecureBoot
		}
		t.Run(strings.ReplaceAll(c.code[1:], "/", "_"), func(t *testing.T) {
			t.Parallel()
			root := install(t, c.code, c.vars)
			f, err := findFirmware(root, firmware)
			if err != nil {
				t.Fatal(err)
			}
			if f != (firmwareFiles{filepath.Join(root, c.code), filepath.Join(root, c.vars), c.format, c.secure}) {
				t.Errorf("got %+v", f)
			}
			dir := t.TempDir()
			own, err := f.copyVars(dir)
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(own.vars)
			if err != nil || string(content) != filepath.Base(c.vars) || filepath.Dir(own.vars) != dir || own.code != f.code {
				t.Errorf("copy %+v, %q, %v", own, content, err)
			}
			if file, err := os.OpenFile(own.vars, os.O_WRONLY, 0); err != nil {
				t.Errorf("the copy must be writable: %v", err)
			} else if err := file.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("the 4 MB build is preferred", func(t *testing.T) {
		t.Parallel()
		root := install(t, "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
		if f, err := findFirmware(root, UEFI); err != nil || filepath.Base(f.code) != "OVMF_CODE_4M.fd" {
			t.Errorf("got %+v, %v", f, err)
		}
	})
	t.Run("firmware without keys is none for Secure Boot", func(t *testing.T) {
		t.Parallel()
		root := install(t, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
		_, err := findFirmware(root, SecureBoot)
		if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "leave secureboot out") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("code without variables is no firmware", func(t *testing.T) {
		t.Parallel()
		root := install(t, "/usr/share/OVMF/OVMF_CODE_4M.fd")
		_, err := findFirmware(root, UEFI)
		if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "install the package ovmf") {
			t.Errorf("got %v", err)
		}
	})
}
