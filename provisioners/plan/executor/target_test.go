package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// scripted is a machine that answers known commands only.
type scripted struct {
	t       *testing.T
	answers map[string]answer
}

type answer struct {
	out  string
	code int
	err  error // of Start
}

func (s scripted) Start(_ context.Context, cmd *packersdk.RemoteCmd) error {
	a, ok := s.answers[cmd.Command]
	if !ok {
		s.t.Errorf("unexpected command: %s", cmd.Command)
		cmd.SetExited(99)
		return nil
	}
	if a.err != nil {
		return a.err
	}
	if _, err := io.WriteString(cmd.Stdout, a.out); err != nil {
		return err
	}
	cmd.SetExited(a.code)
	return nil
}

func (scripted) Upload(string, io.Reader, *os.FileInfo) error { return errUnexpected }
func (scripted) UploadDir(string, string, []string) error     { return errUnexpected }
func (scripted) Download(string, io.Writer) error             { return errUnexpected }
func (scripted) DownloadDir(string, string, []string) error   { return errUnexpected }

const asRoot = `sh -c 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; umask 022; exec env LC_ALL=C.UTF-8 echo '\''it'\''\'\'''\''s'\'''`

func TestNewAndSudo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answers map[string]answer
		newErr  string
		newCode int
	}{
		{"root", map[string]answer{"id -u": {out: "0\n"}, asRoot: {out: "hi"}}, "", 0},
		{"sudo", map[string]answer{"id -u": {out: "1000\n"}, "sudo -n true": {}, "sudo -n -- " + asRoot: {out: "hi"}}, "", 0},
		{"no sudo", map[string]answer{"id -u": {out: "1000\n"}, "sudo -n true": {code: 1}}, "needs sudo without a password", exitcode.Usage},
		{"lost before sudo", map[string]answer{"id -u": {out: "1000\n"}, "sudo -n true": {code: packersdk.CmdDisconnect}}, "connection to the machine was lost", exitcode.Infrastructure},
		{"no machine", map[string]answer{"id -u": {err: errors.New("refused")}}, "refused", exitcode.Infrastructure},
		{"lost machine", map[string]answer{"id -u": {code: packersdk.CmdDisconnect}}, "connection to the machine was lost", exitcode.Infrastructure},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			target, err := New(t.Context(), scripted{t, test.answers})
			if test.newErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.newErr) || exitcode.Of(err) != test.newCode {
					t.Errorf("New = %v (code %d), want %q (code %d)", err, exitcode.Of(err), test.newErr, test.newCode)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			res, err := target.Run(t.Context(), run.Cmd{Argv: []string{"echo", "it's"}})
			if err != nil || res.Stdout != "hi" {
				t.Errorf("Run = %q, %v", res.Stdout, err)
			}
		})
	}
}

func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	var kept tail
	for range 5 {
		if _, err := kept.Write([]byte(strings.Repeat("x", run.MaxOutput))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kept.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if got := kept.String(); len(got) != run.MaxOutput || !strings.HasSuffix(got, "xend") {
		t.Errorf("kept %d bytes, want the last %d", len(got), run.MaxOutput)
	}
}
