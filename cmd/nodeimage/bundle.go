package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/lockbundle"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/pipeline"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func newBundle() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Move all that a lock names to where there is no network",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBundleExport(), newBundleImport())
	return cmd
}

// bundled is what both verbs print.
type bundled struct {
	File  string `json:"file"`
	Lock  string `json:"lock,omitempty"` // where import put the lock
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"` // of what is in it, uncompressed
}

func newBundleExport() *cobra.Command {
	var file string
	opts := pipeline.Options{}
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "export PROFILE",
		Short: "Write all that the profile's lock names into one file",
		Long: `Write every package and every component that the profile's lock names into one
file, with the lock. What the store lacks is fetched or made first. After
'nodeimage bundle import' of that file, 'nodeimage build --offline' with the same
lock needs no network.`,
		Example: "  nodeimage bundle export debian-13 --lock debian-13.lock.yaml",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Profile = args[0]
			opts.UI = console.New(cmd.ErrOrStderr())
			l, s, err := pipeline.Gather(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if file == "" {
				file = l.Profile.Name + lockbundle.Suffix
			}
			defer saySlow(cmd, "still writing "+file)()
			index, err := lockbundle.Export(cmd.Context(), s, l, file)
			if err != nil {
				return err
			}
			done := bundled{File: file, Files: len(index.Files)}
			for _, f := range index.Files {
				done.Bytes += f.Size
			}
			return printBundled(cmd, format.value, done)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the bundle's file (default PROFILE"+lockbundle.Suffix+")")
	cmd.Flags().StringVar(&opts.LockFile, "lock", "", "the lock (default: the one beside the profile)")
	cmd.Flags().StringVar(&opts.CacheDir, "cache", "", "directory of the store (default $NODEIMAGE_CACHE or the user's cache directory)")
	cmd.Flags().StringArrayVar(&opts.Mirrors, "mirror", nil, "HOST=URL to ask instead of an upstream host; may be given again")
	cmd.Flags().BoolVar(&opts.Offline, "offline", false, "fetch and make nothing: all of it must be in the store")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

func newBundleImport() *cobra.Command {
	var dir, output string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Put a bundle into the store",
		Long: `Read a bundle, compare all of it with its sums and with its lock, and then put it
into the store. The lock is written to DIR/PROFILE.lock.yaml.

A bundle proves nothing about its lock: build with the lock from your own version
control if others could have changed the bundle. What such a lock does not name
is not taken from it.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStoreIn(dir)
			if err != nil {
				return err
			}
			defer saySlow(cmd, "still reading "+args[0])()
			l, err := lockbundle.Import(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			done := bundled{File: args[0], Lock: filepath.Join(output, l.Profile.Name+lock.Suffix)}
			for _, f := range lockbundle.Contents(l) {
				done.Files, done.Bytes = done.Files+1, done.Bytes+f.Size
			}
			if err := writeLockOnce(l, done.Lock); err != nil {
				return err
			}
			return printBundled(cmd, format.value, done)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", ".", "directory for the lock")
	cmd.Flags().StringVar(&dir, "cache", "", "directory of the store (default $NODEIMAGE_CACHE or the user's cache directory)")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

// writeLockOnce leaves a lock that is there alone, and refuses another one.
func writeLockOnce(l *lock.Lock, file string) error {
	text, err := l.Encode()
	if err != nil {
		return err
	}
	have, err := os.ReadFile(file)
	switch {
	case err == nil && bytes.Equal(have, text):
		return nil
	case err == nil:
		return exitcode.BadInput(fmt.Errorf("%s is another lock than the bundle's, and was left as it is; the store has all of the bundle: name another directory with --output to have its lock", file))
	case !errors.Is(err, fs.ErrNotExist):
		return exitcode.BadInput(err)
	}
	if err := l.Write(file); err != nil {
		return exitcode.BadInput(err)
	}
	return nil
}

func printBundled(cmd *cobra.Command, format string, done bundled) error {
	if format == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %d files, %d MiB\n", done.File, done.Files, done.Bytes>>20)
	if err == nil && done.Lock != "" {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), done.Lock)
	}
	return err
}
