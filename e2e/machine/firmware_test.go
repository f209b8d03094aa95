package machine

import (
	"os"
	"path/filepath"
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
		if f, err := findFirmware(t.TempDir(), AMD64, BIOS); err != nil || f != (firmwareFiles{}) {
			t.Errorf("got %+v, %v", f, err)
		}
	})
	type candidate struct {
		arch     Arch
		firmware Firmware
		firmwareFiles
	}
	var candidates []candidate
	for _, arch := range Arches() {
		for _, c := range arch.hardware().uefi {
			candidates = append(candidates, candidate{arch, UEFI, c})
		}
		for _, c := range arch.hardware().secureBoot {
			candidates = append(candidates, candidate{arch, SecureBoot, c})
		}
	}
	for _, c := range candidates {
		t.Run(strings.ReplaceAll(c.code[1:], "/", "_"), func(t *testing.T) {
			t.Parallel()
			root := install(t, c.code, c.vars)
			f, err := findFirmware(root, c.arch, c.firmware)
			if err != nil {
				t.Fatal(err)
			}
			if f != (firmwareFiles{filepath.Join(root, c.code), filepath.Join(root, c.vars), c.format, c.smm}) {
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
		if f, err := findFirmware(root, AMD64, UEFI); err != nil || filepath.Base(f.code) != "OVMF_CODE_4M.fd" {
			t.Errorf("got %+v, %v", f, err)
		}
	})
	t.Run("firmware without keys is none for Secure Boot", func(t *testing.T) {
		t.Parallel()
		root := install(t, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
		_, err := findFirmware(root, AMD64, SecureBoot)
		if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "leave secureboot out") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("code without variables is no firmware", func(t *testing.T) {
		t.Parallel()
		root := install(t, "/usr/share/OVMF/OVMF_CODE_4M.fd")
		_, err := findFirmware(root, AMD64, UEFI)
		if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "install the package ovmf") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another architecture's is no firmware", func(t *testing.T) {
		t.Parallel()
		root := install(t, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd")
		if f, err := findFirmware(root, ARM64, UEFI); err != nil || filepath.Base(f.code) != "AAVMF_CODE.fd" {
			t.Errorf("got %+v, %v", f, err)
		}
		_, err := findFirmware(root, ARM64, SecureBoot)
		if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "no UEFI firmware for arm64 with Secure Boot") || !strings.Contains(err.Error(), "install the package qemu-efi-aarch64") {
			t.Errorf("got %v", err)
		}
	})
}
