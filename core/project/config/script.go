package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"capstan/core/failure"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
	"github.com/evanw/esbuild/pkg/api"
)

// evaluateScript bundles the config with the project files that it imports and
// runs the result in the sandbox.
func (f *File) evaluateScript(ctx context.Context, env Environment) (Value, error) {
	code, err := f.bundle()
	if err != nil {
		return Value{}, err
	}
	return f.run(ctx, code, env)
}

// bundle turns the config and its imports into one CommonJS script that goja
// can run. The text of the config itself comes from f, not from disk.
func (f *File) bundle() (string, error) {
	realRoot, err := filepath.EvalSymlinks(f.Root)
	if err != nil {
		realRoot = f.Root
	}
	guard := api.Plugin{Name: "inside the project", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: `.*`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			if a.PluginData == resolving || a.Kind == api.ResolveEntryPoint {
				return api.OnResolveResult{}, nil
			}
			if native(a.Path) {
				return api.OnResolveResult{Path: a.Path, External: true}, nil
			}
			r := b.Resolve(a.Path, api.ResolveOptions{Importer: a.Importer, ResolveDir: a.ResolveDir, Kind: a.Kind, PluginData: resolving})
			if len(r.Errors) > 0 { // left to require, which names it if it is really used
				return api.OnResolveResult{Path: a.Path, External: true}, nil
			}
			return api.OnResolveResult{Path: r.Path, External: r.External, Namespace: r.Namespace}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: `.*`, Namespace: "file"}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			loader, known := loaders[strings.ToLower(filepath.Ext(a.Path))]
			if !known {
				return api.OnLoadResult{}, fmt.Errorf("%s cannot be imported by a config", filepath.Base(a.Path))
			}
			text := f.Text
			if a.Path != f.Path {
				if !inside(realRoot, a.Path) {
					return api.OnLoadResult{}, fmt.Errorf("%s is outside the project", filepath.Base(a.Path))
				}
				var err error
				if text, _, err = readBounded(a.Path); err != nil {
					return api.OnLoadResult{}, err
				}
			}
			contents := string(text)
			return api.OnLoadResult{Contents: &contents, Loader: loader, ResolveDir: filepath.Dir(a.Path)}, nil
		})
	}}
	result := api.Build(api.BuildOptions{
		EntryPoints:   []string{f.Path},
		AbsWorkingDir: f.Root,
		Bundle:        true,
		Write:         false,
		Outfile:       "config.js",
		Platform:      api.PlatformNode,
		Format:        api.FormatCommonJS,
		Target:        api.ES2017,
		Charset:       api.CharsetUTF8,
		LogLevel:      api.LogLevelSilent,
		// Capacitor transpiles with fixed options too: the project's tsconfig is for its app.
		TsconfigRaw: `{}`,
		Define: map[string]string{
			"import.meta.url":      "__config_url",
			"import.meta.dirname":  "__dirname",
			"import.meta.filename": "__filename",
		},
		Plugins: []api.Plugin{guard},
	})
	if len(result.Errors) > 0 {
		return "", f.syntaxFailure(result.Errors[0])
	}
	return string(result.OutputFiles[0].Contents), nil
}

// syntaxFailure turns esbuild's message into one line with file:line:column.
func (f *File) syntaxFailure(m api.Message) error {
	where := ""
	if m.Location != nil {
		where = fmt.Sprintf("%s:%d:%d: ", filepath.Base(m.Location.File), m.Location.Line, m.Location.Column+1)
	}
	return failure.Newf(failure.Failed, "config_syntax", "read "+f.name(), "correct the config and try again", "%s%s", where, m.Text)
}

// resolving marks a resolve call that the guard made itself.
var resolving = new(int)

// native reports whether a module is answered by the sandbox and not by a file.
func native(path string) bool {
	if strings.HasPrefix(path, "node:") {
		return true
	}
	if strings.HasPrefix(path, "@capacitor/") || strings.HasPrefix(path, "@capgo/") || strings.HasPrefix(path, "@capacitor-community/") {
		return true
	}
	name, _, _ := strings.Cut(path, "/")
	switch name {
	case "path", "fs", "url", "dotenv", "process":
		return true
	}
	return false
}

var loaders = map[string]api.Loader{
	".ts": api.LoaderTS, ".mts": api.LoaderTS, ".cts": api.LoaderTS, ".tsx": api.LoaderTSX,
	".js": api.LoaderJS, ".mjs": api.LoaderJS, ".cjs": api.LoaderJS, ".jsx": api.LoaderJSX,
	".json": api.LoaderJSON,
}

// inside reports whether path, with its symlinks followed, is root or below it.
func inside(realRoot, path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	rel, err := filepath.Rel(realRoot, path)
	return err == nil && filepath.IsLocal(rel)
}

// memoryLimit is how much the heap may grow while a config is evaluated.
const memoryLimit = 256 << 20

// A regular expression that backtracks without end cannot be interrupted from
// outside; goja's engine for those has a limit of its own, and says "no match"
// when it is reached. It has to lie well beyond ours: the script must never go
// on with an answer that is not true.
func init() { regexp2.DefaultMatchTimeout = 4 * timeLimit }

var (
	errTime   = errors.New("it does not end within 2 s")
	errMemory = errors.New("it needs too much memory")
)

// run executes the script and reads what it exports, within timeLimit. The
// script runs on a goroutine of its own: interrupting works between
// instructions, and one single endless built-in call must not hold up the
// caller.
func (f *File) run(caller context.Context, code string, env Environment) (Value, error) {
	ctx, cancel := context.WithTimeout(caller, timeLimit)
	defer cancel()
	type outcome struct {
		value Value
		err   error
	}
	vm := goja.New()
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- outcome{err: failure.Newf(failure.Failed, "config_failed", "evaluate "+f.name(), "", "the script broke the sandbox: %v", r)}
			}
		}()
		v, err := f.execute(vm, code, env)
		done <- outcome{v, err}
	}()

	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	interrupted := false
	for grace := (<-chan time.Time)(nil); ; {
		select {
		case o := <-done:
			var stop *goja.InterruptedError
			if errors.As(o.err, &stop) {
				return Value{}, f.stopFailure(caller, stop.Value())
			}
			return o.value, o.err
		case <-ctx.Done():
			if !interrupted {
				interrupted = true
				vm.Interrupt(errTime)
				grace = time.After(200 * time.Millisecond)
				ctx = context.WithoutCancel(ctx) // wait for the interrupt to take
			}
		case <-grace:
			return Value{}, f.stopFailure(caller, errTime)
		case <-tick.C:
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			if now.HeapAlloc > before.HeapAlloc+memoryLimit {
				vm.Interrupt(errMemory)
			}
		}
	}
}

func (f *File) stopFailure(ctx context.Context, reason any) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	err, ok := reason.(error)
	if !ok {
		err = errTime
	}
	return failure.Wrap(err, failure.Failed, "config_timeout", "evaluate "+f.name(), "a config must come to an end by itself")
}

// prelude closes the built-ins that can take very long or very much memory in
// a single call, where no interrupt reaches them.
const prelude = `(function () {
  var most = 1 << 20;
  var bound = function (owner, name, size) {
    var original = owner[name];
    Object.defineProperty(owner, name, { value: function () {
      if (size.call(this, arguments) > most) throw new RangeError(name + ' is limited in a config');
      return original.apply(this, arguments);
    }, writable: true, configurable: true });
  };
  bound(String.prototype, 'repeat', function (a) { return this.length * a[0]; });
  bound(String.prototype, 'padStart', function (a) { return +a[0]; });
  bound(String.prototype, 'padEnd', function (a) { return +a[0]; });
  ['fill', 'join', 'reverse', 'indexOf', 'lastIndexOf', 'includes', 'sort', 'concat', 'slice', 'splice'].forEach(function (name) {
    bound(Array.prototype, name, function () { return this.length; });
  });
  bound(Array, 'from', function (a) { return a[0] && a[0].length || 0; });
})();`

func (f *File) execute(vm *goja.Runtime, code string, env Environment) (Value, error) {
	vm.SetMaxCallStackSize(2000)
	vm.SetTimeSource(func() time.Time { return f.read })
	vm.SetRandSource(func() float64 { return 0.5 })
	if _, err := vm.RunString(prelude); err != nil {
		return Value{}, f.thrown(err)
	}
	s := &sandbox{file: f, vm: vm, env: map[string]string{}, seen: map[string]bool{}, dir: filepath.Dir(f.Path)}
	for name, value := range env {
		s.env[name] = value
	}
	s.install()
	program, err := goja.Compile(f.name(), "(function (exports, require, module, __filename, __dirname, __config_url) {"+code+"\n})", false)
	if err != nil {
		return Value{}, failure.Wrap(err, failure.Failed, "config_refused", "evaluate "+f.name(), "it uses syntax that the sandbox does not know")
	}
	wrapped, err := vm.RunProgram(program)
	if err != nil {
		return Value{}, f.thrown(err)
	}
	call, _ := goja.AssertFunction(wrapped)
	module, exports := vm.NewObject(), vm.NewObject()
	_ = module.Set("exports", exports)
	here := (&url.URL{Scheme: "file", Path: filepath.ToSlash(f.Path)}).String()
	if _, err := call(goja.Undefined(), exports, vm.ToValue(s.require), module, vm.ToValue(f.Path), vm.ToValue(s.dir), vm.ToValue(here)); err != nil {
		return Value{}, s.explain(err)
	}
	text, err := s.export(module.Get("exports"))
	if err != nil {
		return Value{}, s.explain(err)
	}
	object, err := decodeObject([]byte(text))
	if err != nil {
		return Value{}, failure.New(failure.Failed, "config_not_object", "evaluate "+f.name(), "the default export is not an object", "export the config object as default")
	}
	return Value{Object: object, Env: sortedKeys(s.seen), Warnings: s.warnings}, nil
}

// thrown is the failure for an exception that the script did not catch.
func (f *File) thrown(err error) error {
	var interrupted *goja.InterruptedError
	if errors.As(err, &interrupted) {
		return err
	}
	var exception *goja.Exception
	if errors.As(err, &exception) {
		err = errors.New(exception.Value().String())
	}
	return failure.Wrap(err, failure.Failed, "config_failed", "evaluate "+f.name(), "the config threw this error when it was evaluated")
}

// sandbox is all that a script can reach.
type sandbox struct {
	file    *File
	vm      *goja.Runtime
	env     map[string]string
	seen    map[string]bool
	dir     string
	refused error // first thing that the script wanted and did not get

	warnings []string
}

func (s *sandbox) install() {
	vm := s.vm
	process := vm.NewObject()
	_ = process.Set("env", vm.NewDynamicObject((*environment)(s)))
	_ = process.Set("cwd", func() string { return s.dir })
	_ = process.Set("platform", "linux")
	_ = process.Set("argv", []string{"node", "capacitor"})
	_ = process.Set("versions", map[string]string{"node": "22.0.0"})
	_ = process.Set("version", "v22.0.0")
	_ = vm.Set("process", process)
	_ = vm.Set("global", vm.GlobalObject())
	console := vm.NewObject()
	for _, name := range []string{"log", "info", "warn", "error", "debug"} {
		_ = console.Set(name, func() {})
	}
	_ = vm.Set("console", console)
}

// export reads the default export: an object, or a promise of one that needs no
// waiting. It gives the object as JSON. A function that makes the object and a
// default export of a .js file are read too, with a warning: Capacitor 8 does not.
func (s *sandbox) export(exported goja.Value) (string, error) {
	if o, ok := exported.(*goja.Object); ok {
		if d := o.Get("default"); d != nil && !goja.IsUndefined(d) && (s.file.Language == TypeScript || o.Get("appId") == nil) {
			if exported = d; s.file.Language == JavaScript {
				s.warnings = append(s.warnings, s.file.name()+" has a default export, and for .js files Capacitor reads module.exports alone: it takes the config for empty")
			}
		}
	}
	if call, ok := goja.AssertFunction(exported); ok {
		s.warnings = append(s.warnings, s.file.name()+" exports a function, which Capacitor does not call: it takes the config for empty")
		var err error
		if exported, err = call(goja.Undefined()); err != nil {
			return "", err
		}
	}
	if promise, ok := exported.Export().(*goja.Promise); ok {
		// Jobs that are ready have run when a call returns.
		switch promise.State() {
		case goja.PromiseStateRejected:
			return "", errors.New(promise.Result().String())
		case goja.PromiseStatePending:
			return "", failure.New(failure.Failed, "config_refused", "evaluate "+s.file.name(), "the exported promise waits for something that the sandbox does not give", "")
		}
		exported = promise.Result()
	}
	stringify, _ := goja.AssertFunction(s.vm.Get("JSON").ToObject(s.vm).Get("stringify"))
	text, err := stringify(goja.Undefined(), exported)
	if err != nil {
		return "", err
	}
	return text.String(), nil
}

// explain prefers what the sandbox refused over the exception that followed.
func (s *sandbox) explain(err error) error {
	var interrupted *goja.InterruptedError
	if errors.As(err, &interrupted) {
		return err
	}
	if s.refused != nil {
		return s.refused
	}
	if _, known := failure.Find(err); known {
		return err
	}
	return s.file.thrown(err)
}

// refuse records and throws.
func (s *sandbox) refuse(format string, args ...any) {
	err := failure.Newf(failure.Failed, "config_refused", "evaluate "+s.file.name(), "capstan evaluates configs without Node and gives them no network, processes or writing", format, args...)
	if s.refused == nil {
		s.refused = err
	}
	panic(s.vm.NewGoError(err))
}

// environment is process.env; it remembers every name that was looked at.
type environment sandbox

func (e *environment) Get(key string) goja.Value {
	e.seen[key] = true
	if value, ok := e.env[key]; ok {
		return e.vm.ToValue(value)
	}
	return nil
}
func (e *environment) Set(key string, value goja.Value) bool {
	e.env[key] = value.String()
	return true
}
func (e *environment) Has(key string) bool {
	e.seen[key] = true
	_, ok := e.env[key]
	return ok
}
func (e *environment) Delete(key string) bool {
	delete(e.env, key)
	return true
}

// Keys is empty: a config that copies the whole environment must not carry it
// into a value that is shown or compared.
func (e *environment) Keys() []string { return nil }

func (s *sandbox) require(name string) goja.Value {
	name = strings.TrimPrefix(name, "node:")
	switch {
	case name == "path" || name == "path/posix":
		return s.pathModule()
	case name == "fs":
		return s.fsModule()
	case name == "url":
		return s.urlModule()
	case name == "process":
		return s.vm.Get("process")
	case name == "dotenv" || strings.HasPrefix(name, "dotenv/config"):
		return s.dotenvModule(name)
	case native(name):
		return s.enums(2)
	}
	s.refuse("the config needs the module %q", name)
	return nil
}

// enums stands for a Capacitor package: a config takes only enum members from
// one, such as KeyboardResize.Body, and each gives its own name.
func (s *sandbox) enums(depth int) goja.Value {
	return s.vm.ToValue(s.vm.NewProxy(s.vm.NewObject(), &goja.ProxyTrapConfig{
		Get: func(_ *goja.Object, property string, _ goja.Value) goja.Value {
			switch {
			case property == "__esModule":
				return s.vm.ToValue(true)
			case property == "toJSON" || property == "then":
				return goja.Undefined()
			case depth > 1:
				return s.enums(depth - 1)
			}
			return s.vm.ToValue(property)
		},
		Has: func(*goja.Object, string) bool { return true },
	}))
}

func (s *sandbox) module(functions map[string]any) goja.Value {
	o := s.vm.NewObject()
	for name, function := range functions {
		_ = o.Set(name, function)
	}
	_ = o.Set("default", o)
	return o
}

func (s *sandbox) pathModule() goja.Value {
	resolve := func(parts ...string) string {
		out := filepath.ToSlash(s.dir)
		for _, part := range parts {
			if strings.HasPrefix(part, "/") {
				out = part
			} else {
				out += "/" + part
			}
		}
		return filepath.ToSlash(filepath.Clean(out))
	}
	m := s.module(map[string]any{
		"resolve":    resolve,
		"join":       func(parts ...string) string { return filepath.ToSlash(filepath.Join(parts...)) },
		"dirname":    func(p string) string { return filepath.ToSlash(filepath.Dir(p)) },
		"basename":   func(p, suffix string) string { return strings.TrimSuffix(filepath.Base(p), suffix) },
		"extname":    filepath.Ext,
		"normalize":  func(p string) string { return filepath.ToSlash(filepath.Clean(p)) },
		"isAbsolute": filepath.IsAbs,
		"relative": func(from, to string) string {
			rel, err := filepath.Rel(resolve(from), resolve(to))
			if err != nil {
				s.refuse("no path from %q to %q", from, to)
			}
			return filepath.ToSlash(rel)
		},
		"sep": "/", "delimiter": ":",
	})
	_ = m.ToObject(s.vm).Set("posix", m)
	return m
}

// locate gives the absolute path of a file that a script wants to read, and
// refuses one outside the project.
func (s *sandbox) locate(path string) string {
	if u, err := url.Parse(path); err == nil && u.Scheme == "file" {
		path = filepath.FromSlash(u.Path)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	root, err := filepath.EvalSymlinks(s.file.Root)
	if err != nil {
		root = s.file.Root
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path // missing: then the place as it is written counts
		root = s.file.Root
	}
	// A private key is nobody's configuration, however it is reached.
	if name := filepath.Base(real); !inside(root, real) || strings.HasPrefix(name, ".capgo_key") && !strings.HasSuffix(name, ".pub") {
		s.refuse("the config wants to read %s, which it may not", filepath.Base(path))
	}
	return path
}

func (s *sandbox) read(path string) (string, error) {
	text, _, err := readBounded(path)
	return string(text), err
}

func (s *sandbox) fsModule() goja.Value {
	m := s.module(map[string]any{
		"existsSync": func(path string) bool {
			_, err := os.Stat(s.locate(path))
			return err == nil
		},
		"readFileSync": func(path string, _ goja.Value) goja.Value {
			text, err := s.read(s.locate(path))
			if err != nil {
				code := "EIO"
				if errors.Is(err, fs.ErrNotExist) {
					code = "ENOENT"
				}
				o := s.vm.NewGoError(fmt.Errorf("%s: %s", code, filepath.Base(path)))
				_ = o.Set("code", code)
				panic(o)
			}
			return s.vm.ToValue(text)
		},
	})
	o := m.ToObject(s.vm)
	for _, name := range []string{"writeFileSync", "appendFileSync", "unlinkSync", "rmSync", "mkdirSync", "createReadStream", "readdirSync", "readFile", "writeFile", "promises"} {
		_ = o.Set(name, func() { s.refuse("the config calls fs.%s", name) })
	}
	return m
}

func (s *sandbox) urlModule() goja.Value {
	toPath := func(v goja.Value) string {
		u, err := url.Parse(v.String())
		if err != nil {
			s.refuse("the config makes a path of something that is not a URL")
		}
		return u.Path
	}
	return s.module(map[string]any{
		"fileURLToPath": toPath,
		"pathToFileURL": func(p string) string { return (&url.URL{Scheme: "file", Path: p}).String() },
	})
}

// dotenvModule does what dotenv's config() does, with files inside the project.
func (s *sandbox) dotenvModule(name string) goja.Value {
	load := func(options *goja.Object) goja.Value {
		path := ".env"
		if options != nil {
			if p := options.Get("path"); p != nil && !goja.IsUndefined(p) {
				path = p.String()
			}
		}
		parsed := s.vm.NewObject()
		text, err := s.read(s.locate(path))
		for _, line := range strings.Split(text, "\n") {
			key, value, ok := parseDotenv(line)
			if !ok {
				continue
			}
			_ = parsed.Set(key, value)
			if _, set := s.env[key]; !set {
				s.env[key] = value
			}
		}
		result := s.vm.NewObject()
		_ = result.Set("parsed", parsed)
		if err != nil {
			_ = result.Set("error", s.vm.NewGoError(errors.New("no such file: "+filepath.Base(path))))
		}
		return result
	}
	if name != "dotenv" {
		load(nil)
	}
	return s.module(map[string]any{"config": load})
}

// parseDotenv reads one line of a .env file: KEY=value, with optional export,
// quotes and a trailing comment.
func parseDotenv(line string) (key, value string, ok bool) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	key, value, ok = strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" {
		return "", "", false
	}
	if len(value) > 1 && strings.ContainsRune("\"'`", rune(value[0])) {
		if end := strings.IndexByte(value[1:], value[0]); end >= 0 {
			quoted := value[1 : end+1]
			if value[0] == '"' {
				quoted = strings.ReplaceAll(quoted, `\n`, "\n")
			}
			return key, quoted, true
		}
	}
	if i := strings.Index(value, " #"); i >= 0 {
		value = strings.TrimSpace(value[:i])
	}
	return key, value, true
}
