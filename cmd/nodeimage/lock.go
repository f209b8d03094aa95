package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/outdated"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/pipeline"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func newLock() *cobra.Command {
	opts := pipeline.Options{}
	var file string
	var update, check bool
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "lock PROFILE [NAME...]",
		Short: "Write down everything that a profile's image is made from",
		Long: `Resolve a profile into its lock: every package with its sum and where it is
from, the signed Release files, the kernel, every component and container image.
A build with the lock installs exactly that.

The lock of my-node.yaml is my-node.lock.yaml beside it, which builds of that
profile then use; that of a built-in profile is written into the current
directory, and is used with --lock.

--update moves a lock to what there is now. With NAMEs, only those components and
packages move, and the system that this gives is tried before it is written.
--check only says what would move, which components have known holes, and which
have newer releases upstream. The exit code is 1 if anything would move, or if a
hole is not rated low; a newer release alone does not change it. Needs root.`,
		Example: "  nodeimage lock my-node.yaml --update runc libc6",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Profile, opts.OutputDir = args[0], "."
			names := args[1:]
			if len(names) > 0 && !update {
				return exitcode.BadInput(fmt.Errorf("%s: names go with --update: expected one profile", strings.Join(names, " ")))
			}
			opts.UI = console.New(cmd.ErrOrStderr())
			if file == "" {
				file = lock.Beside(opts.Profile)
			}
			old, err := oldLock(file, update, check)
			if err != nil {
				return err
			}
			var now *lock.Lock
			if len(names) > 0 {
				now, err = pipeline.MoveLock(cmd.Context(), opts, old, names)
			} else {
				now, err = pipeline.Lock(cmd.Context(), opts)
			}
			if err != nil {
				return err
			}
			report := lockReport{File: file, Changes: now.Compare(old), compared: update || check}
			// Of what is locked, or will be.
			judged := now
			if check {
				judged = old
			}
			if report.Holes, err = holesOf(judged); err != nil {
				return err
			}
			if !check {
				if err := now.Write(file); err != nil {
					return err
				}
				return report.write(cmd.OutOrStdout(), format.value)
			}
			opts.UI.Say("asking the Go module proxy for newer releases of the components")
			if report.Components, err = outdated.Of(cmd.Context(), judged.Components, new(component.ModuleVersions).List); err != nil {
				return err
			}
			if err := report.write(cmd.OutOrStdout(), format.value); err != nil {
				return err
			}
			return report.judge(opts.Profile)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the lock's file (default: beside the profile)")
	cmd.Flags().BoolVar(&update, "update", false, "move a lock that is there to what there is now, and say what moved")
	cmd.Flags().BoolVar(&check, "check", false, "say what an update would move; write nothing")
	cmd.Flags().StringVar(&opts.CacheDir, "cache", "", "directory of the store (default $NODEIMAGE_CACHE or the user's cache directory)")
	cmd.Flags().StringArrayVar(&opts.Mirrors, "mirror", nil, "HOST=URL to ask instead of an upstream host; may be given again")
	cmd.Flags().Var(format, "format", "how to print what changed")
	return cmd
}

// oldLock returns the lock that is there, or an empty one where there must be
// none: it is not replaced without being asked to.
func oldLock(file string, update, check bool) (*lock.Lock, error) {
	old, err := lock.Load(file)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case update && check:
		return nil, exitcode.BadInput(errors.New("--update and --check exclude each other"))
	case (update || check) && err != nil:
		return nil, err
	case update || check:
		return old, nil
	case !missing:
		return nil, exitcode.BadInput(fmt.Errorf("%s is there already: move it with --update, or compare it with --check", file))
	}
	return &lock.Lock{}, nil
}
