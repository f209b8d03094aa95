package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/bisect"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func newBisect() *cobra.Command {
	var opts bisect.Options
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "bisect GOOD BAD --test CMD",
		Short: "Find which differences of two locks turn a test's verdict",
		Long: `Find the one difference between GOOD and BAD, or the smallest set of differences
that act together, which turns the verdict of a test.

GOOD and BAD are two locks or two profiles. CMD is run by a shell with the path
of a candidate, a lock or a profile of its own, as its last argument (and in
NODEIMAGE_CANDIDATE). Its exit code is the verdict: 0 good, 1 bad, 75 could not
tell, which is tried again and then left out. A candidate that a build would
refuse is not tried.

What only changes together is taken over together: packages of one source, the
kernel, a component and the image made of it. In the end the result is tested by
itself and again; a test that flakes, or that goes back from bad to good with
more changes, is reported as that. With --log a bisection that was interrupted
goes on where it was.

Exit codes: 0 found; 2 bad input, a test that does not tell GOOD from BAD, or
another exit code of CMD; 75 no answer.`,
		Example: `  nodeimage bisect old.yaml new.yaml --log bisect.log --test ./build-and-boot.sh`,
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Test == "" || opts.Tries < 1 || opts.Retries < 0 || opts.Timeout < 0 {
				return exitcode.BadInput(errors.New("want --test CMD, --tries of at least 1, and neither --retries nor --timeout below 0"))
			}
			docs, check, err := readPair(args[0], args[1])
			if err != nil {
				return err
			}
			opts.Check = check
			ui := console.New(cmd.ErrOrStderr())
			opts.Runner, opts.Say, opts.Output = run.Host{}, ui.Say, cmd.ErrOrStderr()
			result, err := bisect.Run(cmd.Context(), docs, filepath.Base(args[0]), opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				return result.WriteJSON(cmd.OutOrStdout())
			}
			return result.WriteText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&opts.Test, "test", "", "command for the shell that judges a candidate (needed)")
	cmd.Flags().StringVar(&opts.Log, "log", "", "file that each run is noted in, to go on from")
	cmd.Flags().IntVar(&opts.Tries, "tries", 100, "runs of the test at most")
	cmd.Flags().IntVar(&opts.Retries, "retries", 2, "how often a run that could not tell is repeated")
	cmd.Flags().DurationVar(&opts.Timeout, "timeout", 0*time.Second, "longest time for one run; 0 for any")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

// readPair reads both documents. Profiles are taken with all that they extend,
// so that a candidate stands by itself. check says why a document of their kind
// cannot be built from.
func readPair(good, bad string) (docs *bisect.Documents, check func(path string) error, err error) {
	var data [2][]byte
	var problems []error
	for i, path := range []string{good, bad} {
		data[i], check, err = readDocument(path)
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, nil, err
	}
	docs, err = bisect.Read(data[0], data[1])
	return docs, check, err
}

func readDocument(path string) (data []byte, check func(path string) error, err error) {
	if data, err = profiles.ReadBounded(path); err != nil {
		return nil, nil, exitcode.BadInput(err)
	}
	switch kind := bisect.Kind(data); kind {
	case lock.Kind:
		check = func(path string) error { _, err := lock.Load(path); return err }
		return data, check, check(path)
	case "Profile":
		check = func(path string) error { _, err := profiles.Load(path); return err }
		p, err := profiles.Load(path)
		if err != nil {
			return nil, nil, err
		}
		data, err = p.YAML()
		return data, check, err
	default:
		return nil, nil, exitcode.BadInput(fmt.Errorf("%s: found kind: %q, want a Lock or a Profile", path, kind))
	}
}
