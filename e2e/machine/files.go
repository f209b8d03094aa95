package machine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// notThere is what the guest's shell exits with for a file that is missing; a
// number that neither cat nor the shell uses.
const notThere = 44

// ReadFile implements Node.
func (g *Guest) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var content bytes.Buffer
	result, err := g.Run(ctx, run.Cmd{
		Argv:   []string{"sh", "-c", fmt.Sprintf(`[ -e "$1" ] || exit %d; exec cat -- "$1"`, notThere), "sh", path},
		Stdout: &content,
	})
	switch {
	case result.ExitCode == notThere:
		return nil, &fs.PathError{Op: "open", Path: g.name + ":" + path, Err: fs.ErrNotExist}
	case err != nil:
		return nil, fmt.Errorf("reading %s on the node: %w", path, err)
	}
	return content.Bytes(), nil
}

// writeScript writes to a file beside the target, since a rename is atomic
// only there, and leaves nothing behind when it fails.
const writeScript = `set -e
umask 022
mkdir -p -- "$(dirname -- "$1")"
tmp=$(mktemp -- "$1.XXXXXX")
trap 'rm -f -- "$tmp"' EXIT
cat >"$tmp"
chmod -- "$2" "$tmp"
mv -fT -- "$tmp" "$1"
trap - EXIT`

// WriteFile implements Node. The content is read to its end before anything
// is written, so that a reader that fails does not leave half a file.
func (g *Guest) WriteFile(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error {
	body, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("reading the content for %s: %w", path, err)
	}
	if mode&^fs.ModePerm != 0 {
		return fmt.Errorf("writing %s: mode %v: expected permission bits only", path, mode)
	}
	_, err = g.Run(ctx, run.Cmd{
		Argv:  []string{"sh", "-c", writeScript, "sh", path, fmt.Sprintf("%04o", mode)},
		Stdin: bytes.NewReader(body),
	})
	if run.SaidNo(err) {
		return fmt.Errorf("writing %s on the node: %w", path, err)
	}
	return err
}
