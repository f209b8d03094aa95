package executor

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// maxScript bounds one script handed over as an argument; Linux takes 128 KiB
// for a single argument (MAX_ARG_STRLEN), quoting and sudo included.
const maxScript = 48 << 10

// state is what the machine says about one step.
type state struct {
	kind   string // "absent" or the file type in stat's words; a unit's state
	mode   uint32
	owner  string // uid:gid
	sha256 string // of a regular file of the wanted size
	target string // of a link
}

// probeFunctions report one line a step: number, kind, mode, owner, detail. The
// detail of a file is its sum, or what is said of one with the wanted size.
// A link's target comes last, since it may hold any character but a newline.
// Units are asked for together, which costs no more than one of them. systemd 252
// of Debian 12 stops at the first that is not there, and tells of none after it;
// then they are asked for one by one.
const probeFunctions = `set -u
f() { if [ -L "$2" ] || [ -e "$2" ]; then
  k=$(stat -c '%F|%a|%u:%g|%s' -- "$2") || exit 1; s=
  case $k in regular*"|$3") s=${4-$(sha256sum <"$2")} || exit 1; s=${s%% *};; esac
  printf '%s|%s|%s\n' "$1" "${k%|*}" "$s"; else printf '%s|absent|0|-|\n' "$1"; fi; }
d() { if [ -d "$2" ]; then printf '%s|%s|\n' "$1" "$(stat -L -c '%F|%a|%u:%g' -- "$2")"
  elif [ -L "$2" ] || [ -e "$2" ]; then printf '%s|%s|\n' "$1" "$(stat -c '%F|%a|%u:%g' -- "$2")"
  else printf '%s|absent|0|-|\n' "$1"; fi; }
l() { if [ -L "$2" ]; then printf '%s|link|0|-|%s\n' "$1" "$(readlink -- "$2")"
  elif [ -e "$2" ]; then printf '%s|%s|0|-|\n' "$1" "$(stat -c %F -- "$2")"
  else printf '%s|absent|0|-|\n' "$1"; fi; }
u() { printf '%s|%s|0|-|\n' "$1" "$(systemctl --root=/ is-enabled "$2" 2>/dev/null || :)"; }
us() { names=; i=0; for w do i=$((i + 1)); [ $((i % 2)) = 1 ] || names="$names $w"; done
  set -f; found=$(systemctl --root=/ is-enabled $names 2>/dev/null || :); set +f
  if [ $(($(printf '%s\n' "$found" | wc -l) * 2)) = $# ]; then
    printf '%s\n' "$found" | while read -r k; do printf '%s|%s|0|-|\n' "$1" "$k"; shift 2; done
  else while [ $# -gt 0 ]; do u "$1" "$2"; shift 2; done; fi; }
r() { n=$1; shift; for p do if [ -L "$p" ] || [ -e "$p" ]; then printf '%s|present|0|-|\n' "$n"; return; fi; done
  printf '%s|absent|0|-|\n' "$n"; }
`

func probeLine(number int, s plan.Step, u upload, known bool) string {
	n := strconv.Itoa(number)
	switch {
	case s.File != nil:
		words := []string{"f", n, s.File.Path, strconv.FormatInt(u.size, 10)}
		if known && u.size > smallFile {
			words = append(words, u.sha256)
		}
		return run.Quote(words)
	case s.Directory != nil:
		return run.Quote([]string{"d", n, s.Directory.Path})
	case s.Link != nil:
		return run.Quote([]string{"l", n, s.Link.Path})
	case s.Remove != nil:
		return "r " + n + " " + globs(s.Remove.Paths)
	}
	return ""
}

// globs quotes paths for the shell but leaves the glob characters of each last
// element to it.
func globs(paths []string) string {
	words := make([]string, len(paths))
	for i, p := range paths {
		dir, last := path.Split(p)
		var b strings.Builder
		b.WriteString(run.Quote([]string{dir}))
		previous := ' '
		for _, r := range last {
			if strings.ContainsRune("*?[]", r) || r == '!' && previous == '[' {
				b.WriteRune(r)
			} else {
				b.WriteString(run.Quote([]string{string(r)}))
			}
			previous = r
		}
		words[i] = b.String()
	}
	return strings.Join(words, " ")
}

// probe asks for the state of the numbered steps. With known, the uploads were
// verified on the machine and then renamed: large ones are not read once more.
func (t *Target) probe(ctx context.Context, steps map[int]plan.Step, order []int, uploads map[int]upload, known bool) (map[int]state, error) {
	var lines []string
	units := []string{"us"}
	for _, n := range order {
		if u := steps[n].Unit; u != nil {
			units = append(units, strconv.Itoa(n), u.Name)
			continue
		}
		lines = append(lines, probeLine(n, steps[n], uploads[n], known))
	}
	if len(units) > 1 {
		lines = append(lines, run.Quote(units))
	}
	states := map[int]state{}
	for _, script := range scripts(probeFunctions, lines) {
		res, err := t.rootShell(ctx, script, run.Cmd{Argv: []string{"sh", "-c", "<state of the plan's steps>"}})
		if err != nil {
			return nil, fmt.Errorf("asking the machine for its state: %w", err)
		}
		for line := range strings.Lines(res.Stdout) {
			n, st, err := parseState(strings.TrimSuffix(line, "\n"))
			if err != nil {
				return nil, err
			}
			states[n] = st
		}
	}
	for _, n := range order {
		if _, ok := states[n]; !ok {
			return nil, fmt.Errorf("the machine said nothing about step %d (%s)", n+1, steps[n].What())
		}
	}
	return states, nil
}

func parseState(line string) (int, state, error) {
	fields := strings.SplitN(line, "|", 5)
	if len(fields) != 5 {
		return 0, state{}, fmt.Errorf("reading the machine's state: unexpected line %q", line)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0, state{}, fmt.Errorf("reading the machine's state: unexpected line %q: %w", line, err)
	}
	mode, err := strconv.ParseUint(fields[2], 8, 32)
	if err != nil {
		return 0, state{}, fmt.Errorf("reading the machine's state: unexpected mode in %q: %w", line, err)
	}
	return n, state{kind: fields[1], mode: uint32(mode), owner: fields[3], sha256: fields[4], target: fields[4]}, nil
}

// satisfied tells whether a step is already as the plan wants it. It returns
// an error where carrying it out would destroy something of another kind.
func (t *Target) satisfied(s plan.Step, st state, sha256 string) (bool, error) {
	switch {
	case s.File != nil:
		if st.kind == "directory" {
			return false, fmt.Errorf("%s is a directory, want a file", s.File.Path)
		}
		return strings.HasPrefix(st.kind, "regular") && st.mode == uint32(s.File.Mode) && st.owner == t.owner && st.sha256 == sha256, nil
	case s.Directory != nil:
		if st.kind != "absent" && st.kind != "directory" {
			return false, fmt.Errorf("%s is a %s, want a directory", s.Directory.Path, st.kind)
		}
		return st.kind == "directory" && st.mode == uint32(s.Directory.Mode) && st.owner == t.owner, nil
	case s.Link != nil:
		if st.kind == "directory" {
			return false, fmt.Errorf("%s is a directory, want a link", s.Link.Path)
		}
		return st.kind == "link" && st.target == s.Link.Target, nil
	case s.Unit != nil:
		return unitSatisfied(s.Unit.State, st.kind), nil
	case s.Remove != nil:
		return st.kind == "absent", nil
	}
	return false, nil
}

// unitSatisfied compares with the words of `systemctl is-enabled`. A unit that
// is not there, or that nothing but another unit can start, counts as disabled.
func unitSatisfied(want plan.UnitState, got string) bool {
	switch want {
	case plan.UnitEnabled:
		return got == "enabled" || got == "alias"
	case plan.UnitMasked:
		return got == "masked"
	}
	switch got {
	case "disabled", "masked", "static", "indirect", "linked", "not-found", "":
		return true
	}
	return false
}

// scripts splits lines over as few scripts as fit, each with the functions.
func scripts(functions string, lines []string) []string {
	var out []string
	var b strings.Builder
	for _, line := range lines {
		if b.Len() > 0 && len(functions)+b.Len()+len(line) > maxScript {
			out = append(out, functions+b.String())
			b.Reset()
		}
		b.WriteString(line + "\n")
	}
	if b.Len() > 0 {
		out = append(out, functions+b.String())
	}
	return out
}
