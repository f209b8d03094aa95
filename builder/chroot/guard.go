package chroot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
)

const (
	policyPath = "/usr/sbin/policy-rc.d"
	// policy answers invoke-rc.d and deb-systemd-invoke: 101 forbids starting.
	policy = "#!/bin/sh\n# nodeimage: no service starts while an image is built.\nexit 101\n"

	resolvPath = "/etc/resolv.conf"
	// resolvTarget lies on the /run of a command, where enter.sh copies this
	// host's resolver settings to; so they cannot be left in the image.
	resolvTarget = "../run/nodeimage/resolv.conf"
)

// guard puts in place what commands need only while an image is built.
func guard(root *rooted.Dir) error {
	if _, err := root.Lstat(policyPath); errors.Is(err, fs.ErrNotExist) {
		if err := root.WriteFile(policyPath, []byte(policy), 0o755); err != nil {
			return fmt.Errorf("keeping services from starting: %w", err)
		}
	} else if err != nil {
		return err
	}
	if _, err := root.Lstat(resolvPath); errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll("/etc", 0o755); err != nil {
			return err
		}
		if err := root.Symlink(resolvTarget, resolvPath); err != nil {
			return fmt.Errorf("preparing name resolution: %w", err)
		}
	} else if err != nil {
		return err
	}
	return nil
}

// unguard removes what guard made, and only that: a provisioner may have
// put something of its own in the same place.
func unguard(root *rooted.Dir) error {
	var errs []error
	content, err := root.ReadFile(policyPath)
	switch {
	case err == nil && bytes.Equal(content, []byte(policy)):
		errs = append(errs, root.Remove(policyPath))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		errs = append(errs, err)
	}
	// An error means that it is no link, and so not ours.
	if target, err := root.Readlink(resolvPath); err == nil && target == resolvTarget {
		errs = append(errs, root.Remove(resolvPath))
	}
	return errors.Join(errs...)
}
