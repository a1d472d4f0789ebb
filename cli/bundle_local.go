package cli

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/Masterminds/semver/v3"
	"github.com/spf13/cobra"

	"capstan/core/bundle"
	"capstan/core/device"
	"capstan/core/failure"
	"capstan/core/keys"
	"capstan/core/profile"
	"capstan/core/project"
)

func init() {
	bundleCommands = append(bundleCommands, newBundleZip, newBundleEncrypt, newBundleDecrypt, newBundleVerify, newBundleInspect, newBundleDiff)
}

// The files that the Capgo CLI leaves in a project, and that we read there too.
const (
	privateKeyFile = ".capgo_key_v2"
	publicKeyFile  = ".capgo_key_v2.pub"
)

// nearProject opens the project around dir; without one it is nil, and what it
// would have told has to come from flags.
func nearProject(ctx context.Context, dir string) (*project.Project, error) {
	p, err := project.OpenWith(ctx, dir, project.Options{NoGit: true})
	if failure.CodeOf(err) == "project_not_found" {
		return nil, nil
	}
	return p, err
}

// zip --------------------------------------------------------------------------

type zipFlags struct {
	project, path, version, name string
	packageJSON                  string
	noCodeCheck, keyV2           bool
	reason, budget               string
	options                      bundle.Options
	encrypt                      bool
	key                          privateFlags
	format                       string
}

// zipResult is the object of capstan bundle zip --json. The fields below size
// are there with --encrypt.
type zipResult struct {
	Bundle   string `json:"bundle"`
	Filename string `json:"filename"`
	Checksum string `json:"checksum"`
	Size     int64  `json:"size"`
	Files    int    `json:"files"`
	CRC32    string `json:"crc32"`
	Reason   string `json:"reason,omitempty"` // why a block was overridden

	*SealedFields
}

func newBundleZip(c *Command) *cobra.Command {
	var f zipFlags
	cmd := &cobra.Command{
		Use:   "zip [APPID]",
		Short: "Pack the web build into a zip",
		Long: `Pack the web build into a zip: the same files give the same bytes everywhere.

Dotfiles, source maps, node_modules and system metadata are left out; --include
brings some of them back. With --encrypt the zip is sealed in the same pass and
never touches the disk in the clear.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.bundleZip(cmd.Context(), f, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.project, "project", ".", "folder of the Capacitor project")
	fl.StringVarP(&f.path, "path", "p", "", "folder of the web build (default: the project's webDir)")
	fl.StringVarP(&f.version, "bundle", "b", "", "version of the bundle (default: the project's)")
	fl.StringVarP(&f.name, "name", "n", "", "name of the file (default: APPID_VERSION.zip)")
	fl.BoolVar(&f.noCodeCheck, "no-code-check", false, "do not look for notifyAppReady and index.html")
	fl.BoolVar(&f.keyV2, "key-v2", false, "accepted for the Capgo CLI's sake: the checksum is always SHA-256")
	fl.StringVar(&f.packageJSON, "package-json", "", "package.json to take the version from")
	fl.StringVar(&f.reason, "reason", "", "why a finding that blocks is to be overridden")
	fl.StringVar(&f.budget, "size-budget", "", "how large the files may be before compression, such as 30MB")
	addPackFlags(cmd, &f.options)
	fl.BoolVar(&f.encrypt, "encrypt", false, "seal in the same pass")
	f.key.add(cmd)
	fl.StringVar(&f.format, "checksum-format", "", "v3 or v2, with --encrypt (default: by the installed plugin)")
	return cmd
}

// addPackFlags adds what decides which files go in, and how.
func addPackFlags(cmd *cobra.Command, o *bundle.Options) {
	fl := cmd.Flags()
	fl.StringArrayVar(&o.Include, "include", nil, "pattern of files to bring back that are left out by default")
	fl.StringArrayVar(&o.Exclude, "exclude", nil, "pattern of files to leave out")
	fl.BoolVar(&o.SourceMaps, "source-maps", false, "keep source maps")
	fl.IntVar(&o.Level, "level", 0, "compression from 1 (fast) to 9 (dense)")
}

func (c *Command) bundleZip(ctx context.Context, f zipFlags, args []string) error {
	p, err := nearProject(ctx, f.project)
	if err != nil {
		return err
	}
	if f.version == "" && f.packageJSON != "" {
		if f.version, err = packageVersion(f.packageJSON); err != nil {
			return err
		}
	}
	appID := ""
	if len(args) == 1 {
		appID = args[0]
	}
	if p != nil {
		appID = firstOf(appID, p.AppID)
		f.path = firstOf(f.path, p.WebDir)
		f.version = firstOf(f.version, p.Version)
	}
	switch {
	case appID == "" && f.name == "":
		return failure.New(failure.Usage, "app_missing", "pack bundle", "the app is not known", "name it: capstan bundle zip APPID")
	case f.path == "":
		return failure.New(failure.Usage, "path_missing", "pack bundle", "the folder of the web build is not known", "name it with --path")
	case f.version == "":
		return failure.New(failure.Usage, "version_missing", "pack bundle", "the version is not known", "name it with --bundle")
	}
	if _, err := semver.StrictNewVersion(f.version); err != nil {
		return failure.Newf(failure.Usage, "version_malformed", "pack bundle", "use three numbers, such as 1.4.0", "%q is not a version", f.version)
	}
	if f.budget != "" {
		if f.options.SizeBudget, err = profile.ParseSize(f.budget); err != nil {
			return err
		}
	}
	signer := sync.OnceValues(func() (crypto.Signer, error) { return c.signer(ctx, f.key, p, appID) })
	if f.encrypt && keyPlace(f.key.data, f.key.file, privateKeyFile, p) != "" {
		go signer() // nobody is asked for it, so it is read while the folder is looked at
	}
	f.options.Found = func(finding bundle.Finding) error { return c.preflight(finding, &f) }
	if !c.Quiet && !c.JSON && c.Terminal {
		f.options.Progress = c.percent("packing")
	}
	name := firstOf(f.name, cleanName(appID+"_"+f.version)+".zip")
	result := zipResult{Bundle: f.version, Filename: name, Reason: f.reason}
	err = writeWhole(name, 0o644, func(w io.Writer) error {
		if !f.encrypt {
			packed, err := bundle.Pack(ctx, f.path, w, f.options)
			result.Checksum, result.Size, result.Files, result.CRC32 = packed.ChecksumHex(), packed.Size, packed.Files, packed.CRC32
			return err
		}
		key, err := signer()
		if err != nil {
			return err
		}
		sealed, err := bundle.PackSealed(ctx, f.path, w, key, f.options)
		if err != nil {
			return err
		}
		fields, err := c.encryptFields(sealed, f.format, p)
		result.Checksum, result.Size, result.Files, result.CRC32, result.SealedFields = sealed.PlainChecksum, sealed.ObjectSize, sealed.Files, sealed.CRC32, fields
		return err
	})
	if err != nil {
		return err
	}
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n", oneLine(name))
		rows := [][2]string{{"version", f.version}, {"files", fmt.Sprint(result.Files)}, {"size", bytesText(result.Size)}, {"SHA-256", result.Checksum}}
		if result.SealedFields != nil {
			rows = append(rows, result.SealedFields.rows()...)
		}
		printRows(w, rows)
	})
}

// packageVersion reads the version of the first package.json of a list.
func packageVersion(list string) (string, error) {
	name, _, _ := strings.Cut(list, ",")
	h, _, err := openFile(name, "package_json_not_found")
	if err != nil {
		return "", err
	}
	defer h.Close()
	var p struct{ Version string }
	if err := json.NewDecoder(io.LimitReader(h, 8<<20)).Decode(&p); err != nil {
		return "", failure.Wrap(err, failure.Usage, "package_json_malformed", "read "+filepath.Base(name), "")
	}
	return p.Version, nil
}

// preflight shows what is wrong with the folder, one finding after the other,
// and stops at what blocks, unless the operator gave a reason.
func (c *Command) preflight(finding bundle.Finding, f *zipFlags) error {
	skipped := f.noCodeCheck && (finding.Code == "no_index_html" || finding.Code == "no_notify_app_ready")
	switch {
	case finding.Level == bundle.LevelOK && finding.Code == "left_out", finding.Level == bundle.LevelWarn:
		c.Notef("%s: %s", finding.Level, oneLine(finding.Text))
	case finding.Level == bundle.LevelBlock && !skipped:
		if f.reason == "" {
			return bundle.Report{Findings: []bundle.Finding{finding}}.Err()
		}
		c.Notef("overridden: %s (%s)", oneLine(finding.Text), oneLine(f.reason))
	}
	return nil
}

// percent draws one line that is written over.
func (c *Command) percent(what string) func(done, total int64) {
	last := int64(-1)
	return func(done, total int64) {
		if total == 0 {
			return
		}
		if now := done * 100 / total; now != last {
			last = now
			end := ""
			if done == total {
				end = "\n"
			}
			fmt.Fprintf(c.Err, "\r%s %3d %% of %s%s", what, now, bytesText(total), end)
		}
	}
}

// encrypt ----------------------------------------------------------------------

// privateFlags say where the private key comes from.
type privateFlags struct {
	file, data string
	any        bool
}

func (f *privateFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.file, "key", "", "file with the private key (default: "+privateKeyFile+" here or at the project's root, then the app's key in the key store)")
	fl.StringVar(&f.data, "key-data", "", "the private key itself; other users of this machine may see it, prefer CAPSTAN_PRIVATE_KEY")
	fl.BoolVar(&f.any, "any-key", false, "do not compare with the public key of the project")
}

// SealedFields are what a server has to know of a sealed bundle.
type SealedFields struct {
	IVSessionKey      string      `json:"ivSessionKey"`
	KeyID             string      `json:"keyId"`
	EncryptedChecksum string      `json:"encryptedChecksum,omitempty"`
	ChecksumFormat    bundle.Form `json:"checksumFormat"`
	ChecksumV2        string      `json:"checksumV2"`
	ChecksumV3        string      `json:"checksumV3"`
	ObjectSHA256      string      `json:"objectSha256"`
}

func (e *SealedFields) rows() [][2]string {
	return [][2]string{{"session key", e.IVSessionKey}, {"checksum (" + string(e.ChecksumFormat) + ")", e.EncryptedChecksum}, {"key", e.KeyID}}
}

// encryptResult is the object of capstan bundle encrypt --json.
type encryptResult struct {
	Filename string `json:"filename"`
	Checksum string `json:"checksum"` // signed, in the form that was chosen
	SealedFields
	PlainChecksum string `json:"plainChecksum"`
	Size          int64  `json:"size"`
}

func newBundleEncrypt(c *Command) *cobra.Command {
	var key privateFlags
	dir, format, scheme := ".", "", ""
	cmd := &cobra.Command{
		Use:   "encrypt ZIP [CHECKSUM]",
		Short: "Encrypt and sign a zip",
		Long: `Encrypt and sign a zip. It is checked first: an archive that some device reads
differently is refused. A CHECKSUM, when given, must be that of the zip.

With --format v1 the zip is encrypted for apps of the first scheme, to the public half of
the key that they carry (.capgo_key.pub). That hides it and vouches for nothing.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := isV1(scheme)
			if err != nil {
				return err
			}
			if old {
				p, err := nearProject(cmd.Context(), dir)
				if err != nil {
					return err
				}
				return c.encryptV1(cmd.Context(), key, p, args)
			}
			return c.bundleEncrypt(cmd.Context(), key, dir, format, args)
		},
	}
	formatFlag(cmd, &scheme)
	cmd.Flags().StringVar(&dir, "project", ".", "folder of the Capacitor project")
	key.add(cmd)
	cmd.Flags().StringVar(&format, "checksum-format", "", "v3 or v2 (default: by the installed plugin)")
	return cmd
}

// openZip opens an archive that devices would unpack. The caller closes it.
func openZip(ctx context.Context, name string) (*os.File, int64, error) {
	in, size, err := openFile(name, "zip_not_found")
	if err != nil {
		return nil, 0, err
	}
	if _, err := bundle.CheckArchive(ctx, in, size); err != nil {
		_ = in.Close()
		return nil, 0, err
	}
	return in, size, nil
}

func (c *Command) bundleEncrypt(ctx context.Context, key privateFlags, dir, format string, args []string) error {
	p, err := nearProject(ctx, dir)
	if err != nil {
		return err
	}
	appID := ""
	if p != nil {
		appID = p.AppID
	}
	in, size, err := openZip(ctx, args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	signer, err := c.signer(ctx, key, p, appID)
	if err != nil {
		return err
	}
	result := encryptResult{Filename: args[0] + "_encrypted.zip"}
	err = writeWhole(result.Filename, 0o644, func(w io.Writer) error {
		sealed, err := bundle.Seal(ctx, io.NewSectionReader(in, 0, size), w, signer, nil)
		if err != nil {
			return err
		}
		if len(args) == 2 {
			if err := sameChecksum(args[1], sealed); err != nil {
				return err
			}
		}
		fields, err := c.encryptFields(sealed, format, p)
		if err != nil {
			return err
		}
		result.Checksum, result.SealedFields = fields.EncryptedChecksum, *fields
		result.EncryptedChecksum = ""
		result.PlainChecksum, result.Size = sealed.PlainChecksum, sealed.ObjectSize
		return nil
	})
	if err != nil {
		return err
	}
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(result.Filename))
		fields := result.SealedFields
		fields.EncryptedChecksum = result.Checksum
		printRows(w, append(fields.rows(), [2]string{"size", bytesText(result.Size)}))
	})
}

// sameChecksum holds the checksum that a script passed along against the zip.
func sameChecksum(given string, s bundle.Sealed) error {
	_, form, err := bundle.RecoverChecksum(nil, strings.ToLower(given))
	if err != nil || form != bundle.FormSHA256 && form != bundle.FormCRC32 {
		return failure.New(failure.Usage, "checksum_malformed", "encrypt bundle", "the checksum is not that of a zip: 64 or 8 hex digits", "leave it out: it is computed")
	}
	if !strings.EqualFold(given, s.Checksum(form)) {
		return failure.New(failure.Verification, "checksum_mismatch", "encrypt bundle", "the checksum belongs to another zip", "pack again, or leave it out: it is computed")
	}
	return nil
}

// encryptFields chooses the form of the one checksum that is printed.
func (c *Command) encryptFields(s bundle.Sealed, format string, p *project.Project) (*SealedFields, error) {
	form := bundle.Form(strings.ToLower(format))
	switch {
	case form == bundle.FormV2 || form == bundle.FormV3:
	case format != "":
		return nil, failure.Newf(failure.Usage, "format_unknown", "encrypt bundle", "choose v3 or v2", "there is no checksum format %q", format)
	case p != nil && bundle.FormFor(p.PluginVersion) != bundle.FormNone:
		form = bundle.FormFor(p.PluginVersion)
	default:
		form = bundle.FormV3
		c.Notef("the installed plugin is not known: the checksum is for 7.30 and later, and all of 8; --checksum-format v2 is for older ones")
	}
	return &SealedFields{
		IVSessionKey: s.SessionKey, KeyID: s.KeyID, EncryptedChecksum: s.Checksum(form), ChecksumFormat: form,
		ChecksumV2: s.ChecksumV2, ChecksumV3: s.ChecksumV3, ObjectSHA256: s.ObjectSHA256,
	}, nil
}

// signer finds the private key: --key, --key-data, the Capgo CLI's file in the
// current folder or at the project's root, then the app's key in the key store. It must belong to the
// public key in the project, or devices would refuse the bundle.
func (c *Command) signer(ctx context.Context, f privateFlags, p *project.Project, appID string) (crypto.Signer, error) {
	signer, err := c.findSigner(ctx, f, p, appID)
	if err != nil || f.any || p == nil || p.PublicKey == "" {
		return signer, err
	}
	pub, ok := signer.Public().(*rsa.PublicKey)
	if ok && strings.TrimSpace(p.PublicKey) == strings.TrimSpace(string(keys.EncodePublic(pub))) {
		return signer, nil // the same text: nothing to read
	}
	inApp, err := keys.ParsePublic([]byte(p.PublicKey))
	if err != nil {
		return nil, err
	}
	if !ok || !inApp.Equal(pub) {
		return nil, failure.Newf(failure.Conflict, "key_mismatch", "encrypt bundle",
			"use the app's key, or --any-key if the bundle is for another app",
			"the private key %s does not belong to the app's public key %s", keys.KeyID(pub), keys.KeyID(inApp))
	}
	return signer, nil
}

// keyPlace is where the text of a key is: data itself, the file that is named, or
// the file that the Capgo CLI leaves in the folder or at the root of the project p
// (nil when there is none). It is "" when there is none of them.
func keyPlace(data, file, standard string, p *project.Project) string {
	if file != "" || data != "" {
		return firstOf(file, data)
	}
	places := []string{standard}
	if p != nil {
		places = append(places, filepath.Join(p.Root, standard))
	}
	for _, place := range places {
		if _, err := os.Stat(place); err == nil {
			return place
		}
	}
	return ""
}

// keyText reads the key at keyPlace; it is nil when there is none.
func keyText(data, file, standard string, p *project.Project) ([]byte, error) {
	if file == "" && data != "" {
		return []byte(data), nil
	}
	if place := keyPlace(data, file, standard, p); place != "" {
		return readKeyFile(place)
	}
	return nil, nil
}

func (c *Command) findSigner(ctx context.Context, f privateFlags, p *project.Project, appID string) (crypto.Signer, error) {
	text, err := keyText(f.data, f.file, privateKeyFile, p)
	if err != nil {
		return nil, err
	}
	if len(text) > 0 {
		key, err := keys.ParsePrivate(text)
		if err != nil {
			return nil, err
		}
		return keys.NewSigner(key), nil
	}
	if appID == "" {
		return nil, failure.New(failure.NotFound, "key_not_found", "encrypt bundle", "there is no private key", "name it with --key, or run capstan key create in the project")
	}
	ring, err := c.ring()
	if err != nil {
		return nil, err
	}
	return ring.Signer(ctx, appID)
}

func (c *Command) ring() (*keys.Ring, error) { return c.openRing(environmentKeySource()) }

func readKeyFile(name string) ([]byte, error) {
	const most = 64 << 10
	h, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Newf(failure.NotFound, "key_not_found", "read key", "", "%s does not exist", name)
	}
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "key_unreadable", "read key", "")
	}
	defer h.Close()
	text, err := io.ReadAll(io.LimitReader(h, most))
	if err != nil {
		return nil, failure.Wrap(err, failure.Failed, "key_unreadable", "read key", "")
	}
	return text, nil
}

// decrypt ----------------------------------------------------------------------

type publicFlags struct{ file, data string }

func (f *publicFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "key", "", "file with the public key (default: "+publicKeyFile+" here, then the project's)")
	cmd.Flags().StringVar(&f.data, "key-data", "", "the public key itself")
}

// read gives the public key and its PEM; both are nil when there is none.
func (f *publicFlags) read(ctx context.Context, dir string) (*rsa.PublicKey, []byte, error) {
	text, err := keyText(f.data, f.file, publicKeyFile, nil)
	if err != nil {
		return nil, nil, err
	}
	if len(text) == 0 {
		p, err := nearProject(ctx, dir)
		if err != nil {
			return nil, nil, err
		}
		if p == nil || p.PublicKey == "" {
			return nil, nil, nil
		}
		text = []byte(p.PublicKey)
	}
	pub, err := keys.ParsePublic(text)
	if err != nil {
		return nil, nil, err
	}
	return pub, keys.EncodePublic(pub), nil
}

// decryptResult is the object of capstan bundle decrypt --json.
type decryptResult struct {
	Filename string `json:"filename"`
	Checksum string `json:"checksum"` // SHA-256 of the plain zip
	Verified bool   `json:"verified"` // against --checksum
	Size     int64  `json:"size"`
}

func newBundleDecrypt(c *Command) *cobra.Command {
	var key publicFlags
	checksum, dir, scheme := "", ".", ""
	cmd := &cobra.Command{
		Use:   "decrypt ZIP IVSESSIONKEY",
		Short: "Decrypt a sealed bundle, and verify it",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := isV1(scheme)
			if err != nil {
				return err
			}
			if old {
				p, err := nearProject(cmd.Context(), dir)
				if err != nil {
					return err
				}
				return c.decryptV1(cmd.Context(), key, p, checksum, args)
			}
			return c.bundleDecrypt(cmd.Context(), key, dir, checksum, args)
		},
	}
	formatFlag(cmd, &scheme)
	key.add(cmd)
	cmd.Flags().StringVar(&dir, "project", ".", "folder of the Capacitor project")
	cmd.Flags().StringVar(&checksum, "checksum", "", "checksum that the bundle must have, signed or plain")
	return cmd
}

func (c *Command) bundleDecrypt(ctx context.Context, key publicFlags, dir, checksum string, args []string) error {
	pub, _, err := key.read(ctx, dir)
	if err != nil {
		return err
	}
	if pub == nil {
		return failure.New(failure.NotFound, "key_not_found", "decrypt bundle", "there is no public key", "name it with --key")
	}
	in, size, err := openFile(args[0], "zip_not_found")
	if err != nil {
		return err
	}
	defer in.Close()
	result := decryptResult{Filename: args[0] + "_decrypted.zip"}
	// Without the right checksum nothing decrypted is left behind.
	err = writeWhole(result.Filename, 0o644, func(w io.Writer) error {
		sum, n, err := bundle.Decrypt(ctx, io.NewSectionReader(in, 0, size), w, args[1], pub)
		if err != nil {
			return err
		}
		result.Checksum, result.Size = hex.EncodeToString(sum[:]), n
		if checksum == "" {
			return nil
		}
		want, form, err := bundle.RecoverChecksum(pub, checksum)
		if err != nil {
			return err
		}
		if form == bundle.FormCRC32 {
			return failure.New(failure.Usage, "checksum_malformed", "decrypt bundle", "a CRC-32 proves nothing", "pass the signed checksum or the SHA-256")
		}
		if want != sum {
			return failure.New(failure.Verification, "checksum_mismatch", "decrypt bundle", "the bundle is not the one that was signed", "the object or the checksum belongs to another bundle")
		}
		result.Verified = true
		return nil
	})
	if err != nil {
		return err
	}
	return c.Result(result, func(w io.Writer) {
		fmt.Fprintln(w, oneLine(result.Filename))
		verified := "no checksum was given"
		if result.Verified {
			verified = "the checksum matches"
		}
		printRows(w, [][2]string{{"SHA-256", result.Checksum}, {"size", bytesText(result.Size)}, {"verified", verified}})
	})
}

// verify -----------------------------------------------------------------------

// fieldVersions stand for every generation of the plugin that behaves differently.
var fieldVersions = []string{"6.3.0", "6.14.26", "6.51.16", "7.9.2", "7.27.8", "7.42.9", "7.51.21", "8.4.2", "8.40.7", "8.47.8", "8.51.14", "8.51.23"}

// verifyResult is the object of capstan bundle verify --json.
type verifyResult struct {
	Verified bool             `json:"verified"`
	Steps    []device.Step    `json:"steps"`
	Verdicts []device.Verdict `json:"verdicts"`
}

func newBundleVerify(c *Command) *cobra.Command {
	var key publicFlags
	var object device.Object
	var versions, platforms []string
	checksum, dir := "", "."
	cmd := &cobra.Command{
		Use:   "verify FILE|URL",
		Short: "Do what a device does with a bundle, and say why it would refuse it",
		Long: `Do what a device does with a bundle: download, decrypt, compare the checksum,
unpack. Without --plugin-version the answer is a table of all generations of the
plugin; the bundle is verified when every generation that it can be offered to
takes it. A bundle without --session-key is a plain one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, pem, err := key.read(cmd.Context(), dir)
			if err != nil {
				return err
			}
			if object.SessionKey == "" && key == (publicFlags{}) {
				pem = nil // a plain bundle is for an app without a key
			}
			return c.bundleVerify(cmd.Context(), object, args[0], checksum, pem, versions, platforms)
		},
	}
	key.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&dir, "project", ".", "folder of the Capacitor project")
	fl.StringVar(&object.SessionKey, "session-key", "", "the ivSessionKey of the bundle")
	fl.StringVar(&object.SessionKey, "iv-session-key", "", "the same, by the Capgo CLI's name")
	fl.StringVar(&checksum, "checksum", "", "the checksum, signed or plain")
	fl.StringSliceVar(&versions, "plugin-version", nil, "plugin version to stand for (default: all generations)")
	fl.StringSliceVar(&platforms, "platform", []string{device.Android, device.IOS}, "android or ios")
	_ = cmd.MarkFlagRequired("checksum")
	return cmd
}

func (c *Command) bundleVerify(ctx context.Context, o device.Object, from, checksum string, pem []byte, versions, platforms []string) error {
	for _, p := range platforms {
		if p != device.Android && p != device.IOS {
			return failure.Newf(failure.Usage, "platform_unknown", "verify bundle", "choose android or ios", "there is no platform %q", p)
		}
	}
	named := len(versions) > 0
	if !named {
		versions = fieldVersions
	}
	var pub *rsa.PublicKey
	if pem != nil {
		var err error
		if pub, err = keys.ParsePublic(pem); err != nil {
			return err
		}
	}
	_, form, err := bundle.RecoverChecksum(pub, checksum)
	if err != nil {
		if pub == nil && failure.CodeOf(err) == "key_unsuitable" {
			return failure.New(failure.NotFound, "key_not_found", "verify bundle", "there is no public key", "name it with --key")
		}
		return err
	}
	switch form {
	case bundle.FormV2:
		o.ChecksumV2 = checksum
	case bundle.FormV3:
		o.ChecksumV3 = checksum
	case bundle.FormSHA256:
		o.PlainChecksum = checksum
	case bundle.FormCRC32:
		o.CRC32 = checksum
	default:
		return failure.New(failure.Usage, "checksum_malformed", "verify bundle", "the checksum is in a form that servers do not give out", "pass the hex form")
	}
	o.URL = from
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		url, stop, err := serveFile(from)
		if err != nil {
			return err
		}
		defer stop()
		o.URL = url
	}
	result := verifyResult{Steps: []device.Step{}, Verdicts: []device.Verdict{}}
	verdicts, refusal := device.Prove(ctx, o, pem, versions, platforms, func(s device.Step) { result.Steps = append(result.Steps, s) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result.Verdicts = append(result.Verdicts, verdicts...)
	result.Verified = refusal == nil && slices.ContainsFunc(verdicts, func(v device.Verdict) bool { return v.Installed })
	if named && refusal == nil {
		for _, v := range verdicts {
			if !v.Installed {
				result.Verified = false
				refusal = failure.Newf(failure.Verification, v.Code, "verify bundle", "", "plugin %s on %s: %s", v.PluginVersion, v.Platform, v.Reason)
			}
		}
	}
	if err := c.Result(result, func(w io.Writer) { printVerdicts(w, result, named) }); err != nil {
		return err
	}
	if refusal == nil && !result.Verified {
		refusal = failure.New(failure.Verification, "not_offered", "verify bundle", "no plugin can be given this bundle with this checksum alone", "")
	}
	return refusal
}

func printVerdicts(w io.Writer, r verifyResult, steps bool) {
	if steps || len(r.Verdicts) == 0 {
		for _, s := range r.Steps {
			mark := "ok"
			if !s.OK {
				mark = "refused"
			}
			fmt.Fprintf(w, "%-8s %-10s %s\n", mark, s.Name, oneLine(s.Detail))
		}
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range r.Verdicts {
		verdict := "installs"
		switch {
		case !v.Offered:
			verdict = "not offered"
		case !v.Installed:
			verdict = "refuses"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", v.Platform, v.PluginVersion, v.Form, verdict, oneLine(v.Reason))
	}
	t.Flush()
}

// serveFile offers one local file on the loopback interface, as storage would.
func serveFile(name string) (url string, stop func(), err error) {
	h, _, err := openFile(name, "zip_not_found")
	if err != nil {
		return "", nil, err
	}
	info, err := h.Stat()
	if err != nil {
		h.Close()
		return "", nil, failure.Wrap(err, failure.Failed, "read_failed", "read bundle", "")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Close()
		return "", nil, failure.Wrap(err, failure.Failed, "listen_failed", "verify bundle", "")
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		http.ServeContent(w, r, "", info.ModTime(), io.NewSectionReader(h, 0, info.Size()))
	})}
	go server.Serve(listener)
	return "http://" + listener.Addr().String() + "/bundle.zip", func() { server.Close(); h.Close() }, nil
}

// inspect and diff -------------------------------------------------------------

func newBundleInspect(c *Command) *cobra.Command {
	var o bundle.Options
	cmd := &cobra.Command{
		Use:   "inspect FILE|DIR",
		Short: "Show what is in a zip or in a build folder",
		Long: `Show what is in a zip or in a build folder: files by type, where the page is, which
native plugins the code asks for and which servers it names. A zip that some
device reads differently is refused with the reason.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.bundleInspect(cmd.Context(), args[0], o) },
	}
	addPackFlags(cmd, &o)
	return cmd
}

// bundleInspect is also what capstan bundle show does with a local file.
func (c *Command) bundleInspect(ctx context.Context, name string, o bundle.Options) error {
	v, err := bundle.Inspect(ctx, name, o)
	if err != nil {
		return err
	}
	return c.Result(v, func(w io.Writer) {
		index, ready := v.Index, "no"
		if index == "" {
			index = "none"
		}
		if v.Ready {
			ready = "yes"
		}
		rows := [][2]string{{"files", fmt.Sprint(len(v.Files))}, {"unpacked", bytesText(v.RawSize)}}
		if v.Size > 0 {
			rows = append(rows, [2]string{"zip", fmt.Sprintf("%s, %d %% of the files", bytesText(v.Size), v.Size*100/max(v.RawSize, 1))})
		}
		rows = append(rows, [2]string{"page", index}, [2]string{"notifyAppReady", ready},
			[2]string{"native plugins", listText(v.NativeCalls)}, [2]string{"servers", listText(v.Origins)})
		printRows(w, rows)
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "TYPE\tFILES\tSIZE\tPACKED\t")
		for _, s := range v.Types {
			packed := "-"
			if s.Packed > 0 {
				packed = bytesText(s.Packed)
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t\n", oneLine(firstOf(s.Type, "(none)")), s.Files, bytesText(s.Bytes), packed)
		}
		t.Flush()
	})
}

func newBundleDiff(c *Command) *cobra.Command {
	var o bundle.Options
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two zips or build folders",
		Long: `Compare two zips or build folders: which files are added, removed and changed,
which servers and native plugins the second names that the first does not, and
what devices that have the first download.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := bundle.Inspect(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			b, err := bundle.Inspect(cmd.Context(), args[1], o)
			if err != nil {
				return err
			}
			d := bundle.Diff(a, b)
			if d.FullDownload == 0 && len(b.Files) > 0 { // a folder: what it comes to is known once it is packed
				packed, err := bundle.Pack(cmd.Context(), args[1], io.Discard, o)
				if err != nil {
					return err
				}
				d.FullDownload = packed.Size
			}
			return c.Result(d, func(w io.Writer) { printDifference(w, d) })
		},
	}
	addPackFlags(cmd, &o)
	return cmd
}

func printDifference(w io.Writer, d bundle.Difference) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, f := range d.Removed {
		fmt.Fprintf(t, "-\t%s\t%s\n", oneLine(f.Name), bytesText(f.Size))
	}
	for _, f := range d.Added {
		fmt.Fprintf(t, "+\t%s\t%s\n", oneLine(f.Name), bytesText(f.Size))
	}
	for _, f := range d.Changed {
		fmt.Fprintf(t, "~\t%s\t%s, was %s\n", oneLine(f.Name), bytesText(f.After), bytesText(f.Before))
	}
	t.Flush()
	rows := [][2]string{
		{"files", fmt.Sprintf("%d added, %d removed, %d changed, %d equal", len(d.Added), len(d.Removed), len(d.Changed), d.Same)},
		{"new servers", listText(d.NewOrigins)}, {"new native plugins", listText(d.NewNativeCalls)},
	}
	printRows(w, append(rows, [2]string{"download", bytesText(d.FullDownload)}, [2]string{"as delta", "about " + bytesText(d.DeltaDownload)}))
}

func listText(items []string) string {
	const most = 12
	switch {
	case len(items) == 0:
		return "none"
	case len(items) > most:
		return strings.Join(items[:most], ", ") + fmt.Sprintf(" and %d more", len(items)-most)
	}
	return strings.Join(items, ", ")
}

// files ------------------------------------------------------------------------

func openFile(name, code string) (*os.File, int64, error) {
	h, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, failure.Newf(failure.NotFound, code, "read bundle", "", "%s does not exist", name)
	}
	if err != nil {
		return nil, 0, failure.Wrap(err, failure.Failed, "read_failed", "read bundle", "")
	}
	info, err := h.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = failure.Newf(failure.Usage, "read_failed", "read bundle", "", "%s is not a file", name)
	}
	if err != nil {
		h.Close()
		return nil, 0, err
	}
	return h, info.Size(), nil
}

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(name string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	h, err := os.CreateTemp(filepath.Dir(name), ".capstan-*")
	if err != nil {
		return failure.Wrap(err, failure.Failed, "write_failed", "write "+filepath.Base(name), "choose a folder that you may write to")
	}
	defer func() {
		h.Close()
		if err != nil {
			os.Remove(h.Name())
		}
	}()
	if err := write(h); err != nil {
		if _, known := failure.Find(err); known || errors.Is(err, context.Canceled) {
			return err
		}
		return failure.Wrap(err, failure.Failed, "write_failed", "write "+filepath.Base(name), "is the disk full?")
	}
	err = h.Chmod(mode)
	if err == nil {
		err = h.Close()
	}
	if err == nil {
		err = os.Rename(h.Name(), name)
	}
	return failure.Wrap(err, failure.Failed, "write_failed", "write "+filepath.Base(name), "is the disk full?")
}

// cleanName keeps a made-up file name to one element.
func cleanName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r < 0x20 {
			return '_'
		}
		return r
	}, s)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func bytesText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

func printRows(w io.Writer, rows [][2]string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\n", r[0], oneLine(r[1]))
	}
	t.Flush()
}
