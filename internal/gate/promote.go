package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// VerdictFile is the name of the verdict beside a promoted image.
const VerdictFile = "gate-verdict.json"

// attestationsDir is where the bundles that a verdict rests on are put.
const attestationsDir = "attestations"

// Promotion is what Promote made.
type Promotion struct {
	Verdict
	// Path is the folder of the copy, the tag's file or the name in a registry;
	// empty if the image did not pass.
	Path string `json:"path,omitempty"`
	// Already says that this very image had been promoted there before.
	Already bool `json:"already,omitempty"`
}

// Target is where an image goes: a folder for releases, a tag beside the
// image, or a publisher. Exactly one is given.
type Target struct {
	Dir       string
	Tag       string
	Publisher Publisher
}

// Publisher publishes images, in a registry say.
type Publisher interface {
	// Publish makes a release known by a name, once all of it is there, and
	// returns the name.
	Publish(ctx context.Context, r Release) (name string, err error)
}

// Release is an image that passed.
type Release struct {
	// Image is the open file that was judged. Its bytes may have changed
	// since: a publisher holds them to the image's SHA256.
	Image   *imagefile.Image
	Bundles []attest.Stored // that the verdict rests on; only File and Data are set
	Verdict []byte          // as JSON
}

// tagFile names one image for good, by digest.
type tagFile struct {
	Schema string `json:"schema"`
	Tag    string `json:"tag"`
	Verdict
}

// TagSchema is the version of a tag's document.
const TagSchema = "nodeimage.dev/tag/v1"

var tagName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Promote judges an image, and only if it passes copies or tags it.
//
// A copy is a new folder <image>-<first digits of its digest> below
// Target.Dir with the image, its manifest, the bundles that the verdict rests
// on and the verdict. It appears whole, by rename, after the copied image was
// read back and had the digest that was judged. A tag is NAME.tag.json beside
// the image. A publisher is called only for an image that passes. One that
// does not is no error here; the verdict says so.
func Promote(ctx context.Context, o Options, to Target) (p Promotion, err error) {
	given := 0
	for _, is := range []bool{to.Dir != "", to.Tag != "", to.Publisher != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return p, exitcode.BadInput(errors.New("expected one of a folder (--to), a tag (--tag) and a registry (--registry)"))
	}
	if to.Tag != "" && !tagName.MatchString(to.Tag) {
		return p, exitcode.BadInput(fmt.Errorf("tag %q: expected at most 128 letters, digits, dots, hyphens and underscores", to.Tag))
	}
	img, err := imagefile.Open(ctx, o.Image)
	if err != nil {
		return p, err
	}
	defer img.Close()
	if p.Verdict, err = judge(ctx, o, img); err != nil || !p.Passed {
		return p, err
	}
	if to.Tag != "" {
		p.Path, err = tag(img, to.Tag, p.Verdict)
		return p, err
	}
	if to.Publisher != nil {
		p.Path, err = publish(ctx, img, to.Publisher, p.Verdict)
		return p, err
	}
	return copyInto(ctx, img, to.Dir, p)
}

func publish(ctx context.Context, img *imagefile.Image, to Publisher, v Verdict) (string, error) {
	r := Release{Image: img}
	for _, e := range v.Evidence {
		r.Bundles = append(r.Bundles, attest.Stored{File: e.File, Data: e.data})
	}
	var err error
	if r.Verdict, err = json.MarshalIndent(v.forOthers(), "", "  "); err != nil {
		return "", fmt.Errorf("publishing the verdict: %w", err)
	}
	return to.Publish(ctx, r)
}

// forOthers is the verdict as it is kept with the image: where the image was
// when it was judged is that machine's business.
func (v Verdict) forOthers() Verdict {
	v.Image = filepath.Base(v.Image)
	return v
}

func tag(img *imagefile.Image, name string, v Verdict) (string, error) {
	data, err := json.MarshalIndent(tagFile{TagSchema, name, v.forOthers()}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the tag: %w", err)
	}
	path := filepath.Join(filepath.Dir(img.Path), name+".tag.json")
	if err := renameio.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return "", exitcode.Transient(fmt.Errorf("writing the tag: %w", err))
	}
	return path, nil
}

// copyInto makes the folder of a promoted image.
func copyInto(ctx context.Context, img *imagefile.Image, dir string, p Promotion) (_ Promotion, err error) {
	text, _, err := img.Manifest()
	if err != nil {
		return Promotion{Verdict: p.Verdict}, exitcode.BadInput(err)
	}
	name := filepath.Base(img.Path)
	final := filepath.Join(dir, strings.TrimSuffix(name, filepath.Ext(name))+"-"+img.SHA256[:12])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, exitcode.BadInput(fmt.Errorf("making the folder for releases: %w", err))
	}
	if done, err := promoted(ctx, final, name, img.SHA256); err != nil || done {
		if err == nil {
			p.Path, p.Already = final, true
		}
		return p, err
	}
	// Beside its place, so that the rename stays in one file system.
	work, err := os.MkdirTemp(dir, ".nodeimage-promote-")
	if err != nil {
		return p, exitcode.Transient(fmt.Errorf("copying the image: %w", err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	if err := fill(ctx, work, name, img, text, p.Verdict); err != nil {
		return p, exitcode.Transient(fmt.Errorf("copying the image: %w", err))
	}
	if err := os.Rename(work, final); err != nil {
		return p, exitcode.Transient(fmt.Errorf("copying the image: %w", err))
	}
	if err := syncDir(dir); err != nil {
		return p, exitcode.Transient(fmt.Errorf("copying the image: %w", err))
	}
	p.Path = final
	return p, nil
}

// promoted tells whether the folder is there already and holds this image. A
// folder of that name with anything else is not overwritten.
func promoted(ctx context.Context, dir, name, want string) (bool, error) {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	got, err := digestOf(ctx, filepath.Join(dir, name))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil || got != want {
		return false, exitcode.BadInput(fmt.Errorf("%s is there already and does not hold the image sha256:%s: remove it first", dir, want))
	}
	return true, nil
}

// fill writes everything into a folder that nobody knows of yet.
func fill(ctx context.Context, work, name string, img *imagefile.Image, text []byte, v Verdict) error {
	path := filepath.Join(work, name)
	if err := create(path, func(w io.Writer) error { return imagefile.Stream(ctx, w, img) }); err != nil {
		return err
	}
	// What was judged is what was read from the descriptor at first. Someone
	// may have written to the file since, and a disk may lie.
	got, err := digestOf(ctx, path)
	if err != nil {
		return err
	}
	if got != img.SHA256 {
		return fmt.Errorf("the copy has sha256:%s and the judged image sha256:%s: the image was changed meanwhile, or the copy is damaged", got, img.SHA256)
	}
	if text != nil {
		if err := createFile(manifest.PathOf(path), text); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(work, attestationsDir), 0o755); err != nil {
		return err
	}
	for _, e := range v.Evidence {
		if err := createFile(filepath.Join(work, attestationsDir, e.File), e.data); err != nil {
			return err
		}
	}
	if err := syncDir(filepath.Join(work, attestationsDir)); err != nil {
		return err
	}
	data, err := json.MarshalIndent(v.forOthers(), "", "  ")
	if err != nil {
		return err
	}
	if err := createFile(filepath.Join(work, VerdictFile), append(data, '\n')); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	return syncDir(work)
}

func createFile(path string, data []byte) error {
	return create(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// create writes a new file through to the disk.
func create(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// digestOf reads a file anew. A link is not followed: what was put there is
// a plain file.
func digestOf(ctx context.Context, path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is a %s: expected a regular file", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	return imagefile.Digest(ctx, f)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
