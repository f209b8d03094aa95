package component

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// compileC builds the recipe's C program from its file in the module. The file
// is read from the module's zip, whose sum is taken here: of the unpacked
// directory only a scan of every file would tell whether it was touched.
func (w workspace) compileC(ctx context.Context) error {
	result, err := w.run(ctx, build{}, "go", "mod", "download", "-json", w.rel.Module+"@"+w.rel.ModuleVersion)
	if err != nil {
		return w.explain(err)
	}
	var info struct{ Zip string }
	if err := json.Unmarshal([]byte(result.Stdout), &info); err != nil {
		return fmt.Errorf("reading the answer of go mod download: %w", err)
	}
	sum, err := dirhash.HashZip(info.Zip, dirhash.Hash1)
	if err != nil {
		return err
	}
	if sum != w.rel.Sum {
		return sumMismatch(w.name, w.rel, w.rel.Sum, sum, info.Zip)
	}
	source := filepath.Join(w.tmp, filepath.Base(w.recipe.C.Source))
	if err := unzipFile(info.Zip, w.rel.Module+"@"+w.rel.ModuleVersion+"/"+w.recipe.C.Source, source); err != nil {
		return err
	}
	argv := append([]string{w.tools.cc()}, w.recipe.C.Flags...)
	argv = append(argv, "-o", filepath.Join(w.out, w.recipe.C.Name), filepath.Base(source))
	_, err = w.maker.runner.Run(ctx, run.Cmd{Argv: w.tools.command(build{}, w.tmp, argv), Dir: w.tmp})
	return err
}

func unzipFile(archive, name, target string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	in, err := z.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	defer in.Close()
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
