// Package reportfile writes one report in several forms side by side.
package reportfile

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Save writes each file of forms, by its name in dir, whole or not at all. An
// error of a form itself is returned as it is; one of writing is an
// infrastructure failure.
func Save(dir string, forms map[string]func(io.Writer) error) error {
	for name, write := range forms {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if err := renameio.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return exitcode.Transient(fmt.Errorf("writing the report: %w", err))
		}
	}
	return nil
}
