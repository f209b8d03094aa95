// Package child runs the suite in a process of its own: e2e.Run can be called
// once a process, and a process that dies takes nobody with it.
package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// endLimit is what a process gets to end its machines after an interrupt.
const endLimit = 30 * time.Second

// Suite runs the suite once, as e2e.Run does.
type Suite func(context.Context, e2e.Options) (e2e.Result, error)

// Process is a Suite that runs `program e2e`, a process for each call.
// profile is the name or path to hand on, empty for none.
func Process(program, profile string) Suite {
	return func(ctx context.Context, o e2e.Options) (e2e.Result, error) {
		if err := os.MkdirAll(o.OutputDir, 0o755); err != nil {
			return e2e.Result{}, exitcode.BadInput(err)
		}
		summary := filepath.Join(o.OutputDir, e2e.SummaryFile)
		if err := os.Remove(summary); err != nil && !errors.Is(err, os.ErrNotExist) {
			return e2e.Result{}, exitcode.BadInput(err)
		}
		cmd := exec.CommandContext(ctx, program, Args(o, profile)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if o.Progress != nil {
			cmd.Stderr = io.MultiWriter(&said, o.Progress)
		}
		// An interrupt lets it end its machines.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = endLimit
		// So does this process's death; the signal comes when the thread ends
		// that started the other, so that is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		runErr := cmd.Run()
		if ctx.Err() != nil {
			return e2e.Result{}, exitcode.Transient(ctx.Err())
		}
		code := cmd.ProcessState.ExitCode()
		if runErr != nil && code != exitcode.Failed {
			return e2e.Result{}, exitcode.With(max(code, exitcode.Usage), fmt.Errorf("running the suite: %w: %s", runErr, lastLine(said.String())))
		}
		data, err := os.ReadFile(summary)
		if err != nil {
			return e2e.Result{}, exitcode.Transient(fmt.Errorf("the suite left no result: %w", err))
		}
		var result e2e.Result
		if err := json.Unmarshal(data, &result); err != nil {
			return e2e.Result{}, exitcode.Transient(fmt.Errorf("reading %s: %w", summary, err))
		}
		if result.Verdict == e2e.None {
			return result, exitcode.Transient(fmt.Errorf("the suite has no verdict: %s", result.Reason))
		}
		return result, nil
	}
}

// Args is the command line of the suite for these options.
func Args(o e2e.Options, profile string) []string {
	args := []string{"e2e", o.Image, "--output", o.OutputDir, "--format", "json"}
	if profile != "" {
		args = append(args, "--profile", profile)
	}
	if o.LabelFilter != "" {
		args = append(args, "--label-filter", o.LabelFilter)
	}
	for _, s := range o.Specs {
		args = append(args, "--spec", s)
	}
	for _, f := range o.Firmware {
		args = append(args, "--firmware", string(f))
	}
	for name, d := range map[string]time.Duration{"--soak": o.Soak, "--slack": o.Slack} {
		if d != 0 {
			args = append(args, name, d.String())
		}
	}
	for name, n := range map[string]int{"--cpus": o.CPUs, "--memory": o.MemoryMiB} {
		if n != 0 {
			args = append(args, name, strconv.Itoa(n))
		}
	}
	if o.Arch != "" {
		args = append(args, "--arch", string(o.Arch))
	}
	if o.Accel != "" {
		args = append(args, "--accel", string(o.Accel))
	}
	if o.Witness {
		args = append(args, "--witness")
	}
	if o.WitnessUntil != "" {
		args = append(args, "--witness-until", o.WitnessUntil)
	}
	if o.FailFast {
		args = append(args, "--fail-fast")
	}
	return args
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
