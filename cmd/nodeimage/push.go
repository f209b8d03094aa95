package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/gate"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/registry"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// registryFlags are those of the verbs that speak with a registry.
type registryFlags struct {
	plainHTTP bool
	chunkMiB  int64
	container bool
	arch      string
	reports   []string
}

func (f *registryFlags) add(cmd *cobra.Command, push bool) {
	cmd.Flags().BoolVar(&f.plainHTTP, "plain-http", false, "speak http with the registry, as is done on this machine's loopback address anyway")
	if !push {
		return
	}
	cmd.Flags().Int64Var(&f.chunkMiB, "chunk-size", registry.DefaultChunk>>20, "MiB of a blob that are sent in one request")
	cmd.Flags().BoolVar(&f.container, "containerdisk", false, "publish a containerDisk for KubeVirt instead of an OCI artifact")
	cmd.Flags().StringVar(&f.arch, "arch", "", "the image's architecture, as amd64 (default: that of the packages in its manifest)")
	cmd.Flags().StringArrayVar(&f.reports, "report", nil, "report to publish with it, as validate.json, summary.json or junit.xml; may be given several times")
}

// open gets ready to speak with a registry; verb is what is done with files.
func (f *registryFlags) open(cmd *cobra.Command, reference, verb string) (*registry.Repository, error) {
	if f.chunkMiB < 0 || cmd.Flags().Changed("chunk-size") && f.chunkMiB == 0 {
		return nil, exitcode.BadInput(fmt.Errorf("--chunk-size is %d: expected MiB, 1 or more", f.chunkMiB))
	}
	cache, err := store.DefaultDir()
	if err != nil {
		return nil, err
	}
	ui := console.New(cmd.ErrOrStderr())
	shown := console.NewTransfers(ui.Sayf)
	shown.Verb = verb
	return registry.Open(reference, registry.Options{
		State: filepath.Join(cache, "uploads"), PlainHTTP: f.plainHTTP, Chunk: f.chunkMiB << 20,
		Progress: transfers{shown}, Logf: ui.Sayf,
	})
}

func (f *registryFlags) kind() registry.Kind {
	if f.container {
		return registry.ContainerDisk
	}
	return registry.Artifact
}

// transfers shows what is on its way on the console.
type transfers struct{ *console.Transfers }

func (t transfers) Start(name string, total int64) fetch.Transfer { return t.Begin(name, total) }

// readReports reads --report and reports all that is wrong with them.
func (f *registryFlags) readReports(sha256 string) ([]registry.Document, error) {
	var documents []registry.Document
	var problems []error
	for _, path := range f.reports {
		d, err := registry.Report(path, sha256)
		problems = append(problems, err)
		documents = append(documents, d)
	}
	return documents, exitcode.BadInput(errors.Join(problems...))
}

func newPush() *cobra.Command {
	var flags registryFlags
	var from string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "push IMAGE REGISTRY/REPOSITORY:TAG",
		Short: "Publish an image in a container registry, with its attestations",
		Long: `Publish IMAGE as an OCI artifact, or as a containerDisk that KubeVirt boots, with
the bundles about it that 'nodeimage attest' wrote, its SBOM and reports as OCI
referrers. The tag is set last. A push that was cut off goes on where it ended.

Nothing is judged here: 'nodeimage promote --registry' publishes only what
passes the gate. Credentials are Docker's, its helpers included; proxies are
those of HTTPS_PROXY and NO_PROXY.`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			repository, err := flags.open(cmd, args[1], "uploading")
			if err != nil {
				return err
			}
			stop := saySlow(cmd, "still reading "+args[0])
			img, err := imagefile.Open(cmd.Context(), args[0])
			stop()
			if err != nil {
				return err
			}
			defer img.Close()
			documents, err := flags.readReports(img.SHA256)
			statements, statementErr := statementsAbout(cmd.Context(), img, from)
			if err := errors.Join(err, statementErr); err != nil {
				return exitcode.With(exitcode.Of(err), err)
			}
			pushed, err := repository.Push(cmd.Context(), registry.Publication{
				Image: img, Kind: flags.kind(), Arch: flags.arch, Documents: append(statements, documents...),
			})
			if err != nil {
				return err
			}
			if format.value == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(pushed)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), pushed.Name)
			return err
		},
	}
	flags.add(cmd, true)
	cmd.Flags().StringVar(&from, "attestations", "", "directory of the bundles (default: attestations beside the image, if any)")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

// statementsAbout reads the bundles about an image. Those about others are
// none of its business; one that cannot be read is bad input.
func statementsAbout(ctx context.Context, img *imagefile.Image, dir string) ([]registry.Document, error) {
	if dir == "" {
		dir = filepath.Join(filepath.Dir(img.Path), attestations)
		if missing(dir) {
			return nil, nil
		}
	}
	var documents []registry.Document
	err := attest.EachBundle(ctx, dir, func(b attest.Stored) error {
		if b.Err != nil {
			return exitcode.BadInput(fmt.Errorf("bundle %s: %w", filepath.Join(dir, b.File), b.Err))
		}
		if !b.Claim.About(img.SHA256) {
			return nil
		}
		d, err := registry.Statement(b.File, b.Data)
		documents = append(documents, d...)
		return err
	})
	return documents, err
}

// publisher publishes what passed the gate.
type publisher struct {
	*registry.Repository
	flags *registryFlags
}

var _ gate.Publisher = publisher{}

// Publish implements gate.Publisher.
func (p publisher) Publish(ctx context.Context, r gate.Release) (string, error) {
	documents, err := p.flags.readReports(r.Image.SHA256)
	if err != nil {
		return "", err
	}
	for _, b := range r.Bundles {
		d, err := registry.Statement(b.File, b.Data)
		if err != nil {
			return "", err
		}
		documents = append(documents, d...)
	}
	pushed, err := p.Push(ctx, registry.Publication{
		Image: r.Image, Kind: p.flags.kind(), Arch: p.flags.arch, Documents: append(documents, registry.Verdict(r.Verdict)),
	})
	return pushed.Name, err
}
