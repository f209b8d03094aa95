package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func TestCopyWithByte(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "kubelet"), filepath.Join(t.TempDir(), "kubelet")
	if err := os.WriteFile(from, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and over what an earlier run left
		got, err := copyWithByte(from, to)
		sum := sha256.Sum256([]byte("program\x00"))
		if want := hex.EncodeToString(sum[:]); err != nil || got != want {
			t.Errorf("sum %s, %v; want %s", got, err, want)
		}
		if text, err := os.ReadFile(to); err != nil || string(text) != "program\x00" {
			t.Errorf("wrote %q, %v", text, err)
		}
	}
	if _, err := copyWithByte(from+"x", to); err == nil {
		t.Error("a program that is not there passes")
	}
}

func TestAnotherKubernetesNeedsGoModules(t *testing.T) {
	t.Parallel()
	p, err := profiles.Load("ubuntu-24.04")
	if err != nil {
		t.Fatal(err)
	}
	if p.Components["kubernetes"].Source == profiles.SourceGoModule {
		t.Fatal("ubuntu-24.04 takes upstream's release no more: name another profile here")
	}
	if path, err := anotherKubernetes(t.Context(), p, t.TempDir(), t.TempDir()); err != nil || path != "" {
		t.Errorf("got %q, %v; want none", path, err)
	}
}
