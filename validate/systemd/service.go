package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// Service is a service unit as its checks want it. Settings that no file makes
// have systemd's default and the zero position.
type Service struct {
	Unit *Unit

	Type           Assignment // default simple
	KillMode       Assignment // default control-group
	Delegate       Assignment // default no; a boolean or a list of controllers
	Restart        Assignment // default no
	TasksMax       Assignment
	OOMScoreAdjust Assignment
	Slice          Assignment
	LimitNOFILE    Assignment // soft:hard, one number for both, or infinity

	ExecStartPre, ExecStart []Command
	Environment             []Variable
	EnvironmentFiles        []EnvironmentFile
}

// Command is one Exec line.
type Command struct {
	Path string
	Args []string // without the path, before variables are expanded
	// IgnoreFailure is the prefix "-", NoExpand ":"; Privileged "+" or "!".
	IgnoreFailure, NoExpand, Privileged bool
	Raw                                 string
	Pos                                 source.Position
}

// Variable is one environment variable with the place it is set.
type Variable struct {
	Name, Value string
	Pos         source.Position
}

// EnvironmentFile is one EnvironmentFile= line.
type EnvironmentFile struct {
	Path string
	// Optional files (prefix "-") may be missing; without the others the
	// service does not start.
	Optional bool
	Missing  bool
	Pos      source.Position
	Vars     []Variable
}

// Service loads a service unit and reads its environment files.
func (u *Units) Service(name string) (*Service, error) {
	unit, err := u.Unit(name)
	if err != nil {
		return nil, err
	}
	s := &Service{Unit: unit}
	get := func(key, def string) Assignment {
		if a, ok := unit.Settings.Last("Service", key); ok {
			return a
		}
		return Assignment{Section: "Service", Key: key, Value: def}
	}
	s.Type = get("Type", "simple")
	if s.Type.Pos.IsDefault() && len(unit.Settings.All("Service", "ExecStart")) == 0 {
		s.Type.Value = "oneshot"
	}
	s.KillMode = get("KillMode", "control-group")
	s.Delegate = get("Delegate", "no")
	s.Restart = get("Restart", "no")
	s.TasksMax = get("TasksMax", "")
	s.OOMScoreAdjust = get("OOMScoreAdjust", "")
	s.Slice = get("Slice", "system.slice")
	s.LimitNOFILE = get("LimitNOFILE", "")
	for _, a := range unit.Settings.All("Service", "ExecStartPre") {
		s.ExecStartPre = append(s.ExecStartPre, command(unit.ID, a))
	}
	for _, a := range unit.Settings.All("Service", "ExecStart") {
		s.ExecStart = append(s.ExecStart, command(unit.ID, a))
	}
	for _, a := range unit.Settings.All("Service", "Environment") {
		words, err := Split(specifiers(unit.ID, a.Value))
		if err != nil {
			unit.Problems = append(unit.Problems, Problem{"Environment: " + err.Error(), a.Pos})
			continue
		}
		for _, w := range words {
			if k, v, ok := strings.Cut(w, "="); ok && k != "" {
				s.Environment = append(s.Environment, Variable{k, v, a.Pos})
			}
		}
	}
	for _, a := range unit.Settings.All("Service", "EnvironmentFile") {
		fs, err := u.environmentFiles(unit.ID, a)
		if err != nil {
			return nil, err
		}
		s.EnvironmentFiles = append(s.EnvironmentFiles, fs...)
	}
	return s, nil
}

// Delegated reports whether systemd leaves the service's cgroup subtree alone.
func (s *Service) Delegated() bool {
	v := s.Delegate.Value
	return boolean(v, v != "") // a list of controllers delegates too
}

func (u *Units) environmentFiles(unit string, a Assignment) ([]EnvironmentFile, error) {
	p, optional := strings.CutPrefix(specifiers(unit, a.Value), "-")
	paths := []string{p}
	if strings.ContainsAny(p, "*?[") {
		var err error
		if paths, err = source.Glob(u.root, p); err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return []EnvironmentFile{{Path: p, Optional: optional, Missing: true, Pos: a.Pos}}, nil
		}
	}
	var out []EnvironmentFile
	for _, p := range paths {
		f := EnvironmentFile{Path: p, Optional: optional, Pos: a.Pos}
		data, err := source.ReadFile(u.root, p, source.MaxFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.Missing = true
		case err != nil:
			return nil, fmt.Errorf("%s: EnvironmentFile: %w", a.Pos, err)
		default:
			f.Vars = ParseEnvironment(p, data)
		}
		out = append(out, f)
	}
	return out, nil
}

// Env is the environment that the commands get from the unit, by name: the
// files win over Environment=, the later over the earlier.
func (s *Service) Env() map[string]Variable {
	env := map[string]Variable{}
	for _, v := range s.Environment {
		env[v.Name] = v
	}
	for _, f := range s.EnvironmentFiles {
		for _, v := range f.Vars {
			env[v.Name] = v
		}
	}
	return env
}

// An Arg is one word of a command line and the place that it comes from: the
// Exec line, or the variable that held it.
type Arg struct {
	Text string
	Pos  source.Position
}

// Argv expands the variables of a command. $NAME alone is split into words and
// vanishes if it is empty, ${NAME} stays one word, $$ is a dollar sign.
func (s *Service) Argv(c Command) []Arg {
	env := s.Env()
	var out []Arg
	for _, w := range c.Args {
		name, whole := wholeVariable(w)
		switch {
		case c.NoExpand:
			out = append(out, Arg{w, c.Pos})
		case whole:
			v, ok := env[name]
			if !ok {
				continue
			}
			words, err := Split(v.Value)
			if err != nil {
				words = strings.Fields(v.Value)
			}
			for _, x := range words {
				out = append(out, Arg{x, v.Pos})
			}
		default:
			text, from := expandBraces(w, env)
			if from.IsDefault() {
				from = c.Pos
			}
			out = append(out, Arg{text, from})
		}
	}
	return out
}

// wholeVariable recognizes a word that is nothing but $NAME.
func wholeVariable(w string) (string, bool) {
	name, ok := strings.CutPrefix(w, "$")
	if !ok || name == "" || strings.ContainsAny(name, "${}") {
		return "", false
	}
	for _, c := range name {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "", false
		}
	}
	return name, true
}

func expandBraces(w string, env map[string]Variable) (string, source.Position) {
	var (
		b    strings.Builder
		from source.Position
	)
	for i := 0; i < len(w); i++ {
		if w[i] != '$' || i+1 == len(w) {
			b.WriteByte(w[i])
			continue
		}
		if w[i+1] == '$' {
			b.WriteByte('$')
			i++
			continue
		}
		if w[i+1] == '{' {
			if end := strings.IndexByte(w[i:], '}'); end > 0 {
				v := env[w[i+2:i+end]]
				b.WriteString(v.Value)
				if !v.Pos.IsDefault() {
					from = v.Pos
				}
				i += end
				continue
			}
		}
		b.WriteByte('$')
	}
	return b.String(), from
}

func command(unit string, a Assignment) Command {
	c := Command{Raw: a.Value, Pos: a.Pos}
	rest := a.Value
	argv0 := false
	for rest != "" && strings.ContainsRune("@-:+!|", rune(rest[0])) {
		switch rest[0] {
		case '@':
			argv0 = true
		case '-':
			c.IgnoreFailure = true
		case ':':
			c.NoExpand = true
		case '+', '!':
			c.Privileged = true
		}
		rest = rest[1:]
	}
	words, err := Split(rest)
	if err != nil {
		words = strings.Fields(rest)
	}
	for i, w := range words {
		words[i] = specifiers(unit, w)
	}
	if len(words) > 0 {
		c.Path, c.Args = words[0], words[1:]
	}
	if argv0 && len(c.Args) > 0 {
		c.Args = c.Args[1:]
	}
	return c
}

// specifiers expands the %-specifiers whose value the image fixes; the others,
// like the host name's, stay as they are.
func specifiers(unit, s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	stem := unit
	if i := strings.LastIndexByte(unit, '.'); i > 0 {
		stem = unit[:i]
	}
	prefix, instance, _ := strings.Cut(stem, "@")
	return strings.NewReplacer("%%", "%", "%n", unit, "%N", stem, "%p", prefix, "%i", instance, "%I", instance,
		"%t", "/run", "%S", "/var/lib", "%C", "/var/cache", "%L", "/var/log", "%E", "/etc", "%h", "/root", "%u", "root").Replace(s)
}

// ParseEnvironment reads a file as EnvironmentFile= does: shell-like
// assignments with quotes, no expansion, and backslashes that join lines.
func ParseEnvironment(file string, data []byte) []Variable {
	var (
		out   []Variable
		value strings.Builder
		line  = 1
		text  = strings.TrimPrefix(string(data), "\ufeff")
	)
	for i := 0; i < len(text); {
		c := text[i]
		if c == '\n' {
			line++
			i++
			continue
		}
		if c == ' ' || c == '\t' || c == '\r' {
			i++
			continue
		}
		if c == '#' || c == ';' {
			for i < len(text) && text[i] != '\n' {
				if text[i] == '\\' && i+1 < len(text) && text[i+1] == '\n' {
					line++
					i++
				}
				i++
			}
			continue
		}
		start := line
		eq := strings.IndexAny(text[i:], "=\n")
		if eq < 0 || text[i+eq] == '\n' {
			if eq < 0 {
				break
			}
			i += eq
			continue
		}
		key := strings.TrimSpace(text[i : i+eq])
		i += eq + 1
		value.Reset()
		i, line = environmentValue(text, i, line, &value)
		if validVariable(key) {
			out = append(out, Variable{key, value.String(), source.Position{File: file, Line: start}})
		}
	}
	return out
}

// environmentValue reads one value from text[i:] up to the end of its line and
// returns where it ended. Quotes count at the start of the value and right
// behind another quoted part; inside of a bare word they are text.
func environmentValue(text string, i, line int, value *strings.Builder) (int, int) {
	bare := false
	keep := 0 // length up to the last character that is no trailing blank
	for i < len(text) && text[i] != '\n' {
		c := text[i]
		i++
		switch {
		case c == '\\':
			bare = true
			if i < len(text) {
				if text[i] == '\n' {
					line++
				} else {
					value.WriteByte(text[i])
				}
				i++
			}
			keep = value.Len()
		case !bare && (c == '\'' || c == '"'):
			i, line = quoted(text, i, line, c, value)
			keep = value.Len()
		case c == ' ' || c == '\t' || c == '\r':
			if bare {
				value.WriteByte(c)
			}
		default:
			bare = true
			value.WriteByte(c)
			keep = value.Len()
		}
	}
	s := value.String()[:keep]
	value.Reset()
	value.WriteString(s)
	return i, line
}

// quoted reads up to the closing quote q, which may be on a later line.
func quoted(text string, i, line int, q byte, value *strings.Builder) (int, int) {
	for ; i < len(text) && text[i] != q; i++ {
		if q == '"' && text[i] == '\\' && i+1 < len(text) {
			i++
			if text[i] == '\n' {
				line++
				continue
			}
			if !strings.ContainsRune("\"\\`$", rune(text[i])) {
				value.WriteByte('\\')
			}
		}
		if text[i] == '\n' {
			line++
		}
		value.WriteByte(text[i])
	}
	return min(i+1, len(text)), line
}

func validVariable(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
