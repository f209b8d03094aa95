package main

import (
	"errors"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/nodediff"
)

func newDiff() *cobra.Command {
	var opts nodediff.Options
	var all, code bool
	format := newFormat("text", "json", "markdown")
	files := newFormat(string(nodediff.Content), string(nodediff.Metadata), string(nodediff.None))
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say in what two images, manifests or locks differ",
		Long: `Say in what two nodes differ: packages, kernel, components, container images, the
configuration in effect (containerd, kubelet, kernel command line, sysctls,
modules, systemd's units, fstab), sizes and files.

A and B are each an image (qcow2 or raw), a directory or a tar that is a root
file system, the manifest of an image, a lock, or a profile (a path that ends in
.yaml). What only one of them can tell is not compared, and that is said. No
root, mount or boot is needed.

Exit codes: 0 compared; 1 they differ, with --exit-code; 2 A or B cannot be read;
75 this host was in the way.`,
		Example: `  nodeimage diff old.qcow2 new.qcow2
  nodeimage diff old.manifest.json new.qcow2 --format markdown`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			debug.SetGCPercent(30)
			opts.Files = nodediff.Depth(files.value)
			ui := console.New(cmd.ErrOrStderr())
			slow := time.AfterFunc(2*time.Second, func() { ui.Sayf("still comparing %s with %s", args[0], args[1]) })
			defer slow.Stop()
			report, err := nodediff.Compare(cmd.Context(), args[0], args[1], opts)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch format.value {
			case "json":
				err = report.WriteJSON(out)
			case "markdown":
				err = report.WriteMarkdown(out, nodediff.TextOptions{All: all})
			default:
				err = report.WriteText(out, nodediff.TextOptions{All: all})
			}
			if err == nil && code && !report.Same {
				err = exitcode.With(exitcode.Failed, errors.New("the two differ"))
			}
			return err
		},
	}
	cmd.Flags().Var(format, "format", "how to print the differences")
	cmd.Flags().Var(files, "files", "how closely files are compared")
	cmd.Flags().BoolVar(&opts.Times, "times", false, "times of files are a difference")
	cmd.Flags().BoolVar(&opts.Disk, "disk", false, "also compare the disks byte for byte")
	cmd.Flags().BoolVar(&all, "all", false, "in text and Markdown, list everything")
	cmd.Flags().BoolVar(&code, "exit-code", false, "exit with 1 if they differ")
	return cmd
}
