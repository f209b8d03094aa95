package console

import (
	"bytes"
	"regexp"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

func TestLines(t *testing.T) {
	var out bytes.Buffer
	ui := New(&out)
	ui.Say("one\ntwo\n")
	ui.Errorf("three %d", 3)
	want := regexp.MustCompile(`^ +0\.\ds  one\n {10}two\n +0\.\ds  three 3\n$`)
	if !want.Match(out.Bytes()) {
		t.Errorf("got %q, want a match of %s", out.String(), want)
	}
}

func TestSecretsAreFiltered(t *testing.T) {
	packersdk.LogSecretFilter.Set("hunter2")
	var out bytes.Buffer
	New(&out).Say("password hunter2")
	if bytes.Contains(out.Bytes(), []byte("hunter2")) {
		t.Errorf("secret printed: %q", out.String())
	}
}

func TestAskIsRefused(t *testing.T) {
	if _, err := New(&bytes.Buffer{}).Ask("name?"); err == nil {
		t.Error("Ask returned no error, want one")
	}
}
