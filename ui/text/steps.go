package text

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Step gives one line of what a simulated device did in a language. The device
// speaks English, "download: 312 bytes"; a language that has words for the step
// and for the sentence uses them, and anything else stays as it is.
func Step(lang, line string) string {
	line = Clean(line)
	if lang != "es" {
		return sizes(lang, line)
	}
	name, detail, found := strings.Cut(line, ": ")
	if known := spanishSteps[name]; known != "" {
		name = known
	}
	if !found {
		return name
	}
	// A refusal names its step once more.
	if op, rest, again := strings.Cut(detail, ": "); again && strings.HasPrefix(line, op+": ") {
		detail = rest
	}
	return name + ": " + Sentence(lang, detail)
}

// Sentence gives a sentence of a simulated device or of the server's decision
// in a language.
func Sentence(lang, english string) string {
	english = Clean(english)
	if lang != "es" {
		return sizes(lang, plainSource.Replace(english))
	}
	for _, s := range spanishDetails() {
		if s.english.MatchString(english) {
			return sizes(lang, s.english.ReplaceAllString(english, s.spanish))
		}
	}
	return english
}

// plainSource says in words where a device's channel comes from, which the
// server names by the field that says so.
var plainSource = strings.NewReplacer(
	`", by override`, `", forced by an operator`,
	`", by self set`, `", chosen by the app`,
	`", by default channel`, `", named in the app's config`,
	`", by public`, `", the default one`,
)

// Note is what stands beside an entry of the audit, in a language: the server's
// own remarks are known, an operator's words stay as they are.
func Note(lang, note string) string {
	note = Clean(note)
	if lang != "es" {
		return note
	}
	for _, s := range spanishNotes() {
		if s.english.MatchString(note) {
			return s.english.ReplaceAllString(note, s.spanish)
		}
	}
	return note
}

// spanishNotes are the remarks of server/store and server/schedule.
var spanishNotes = sync.OnceValue(func() []sentence {
	notes := []sentence{
		say("auto-pause: %d of %d devices failed", "pausa automática: fallaron $1 de $2 dispositivos"),
		say("%d of %d devices failed", "fallaron $1 de $2 dispositivos"),
		say("%s became public", "$1 pasó a ser el predeterminado"),
	}
	for _, reason := range []sentence{
		say("the next share is %s %", "la parte siguiente es el $1 %"),
		say("every share was passed", "se pasaron todas las partes"),
		say("the last share is reached", "se alcanzó la última parte"),
		say("the plan is done", "el plan está hecho"),
		say("the rollout is paused", "el despliegue está en pausa"),
	} {
		english := strings.TrimPrefix(reason.english.String(), "^")
		planned := strings.NewReplacer("$1", "$2").Replace(reason.spanish)
		notes = append(notes, reason, sentence{regexp.MustCompile("^planned by (.+): " + english), "programado por $1: " + planned})
	}
	return notes
})

var manyBytes = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\b\d{4,18} bytes\b`) })

// sizes writes large numbers of bytes for people.
func sizes(lang, line string) string {
	return manyBytes().ReplaceAllStringFunc(line, func(s string) string {
		n, _ := strconv.ParseInt(strings.TrimSuffix(s, " bytes"), 10, 64)
		return Of(lang).Bytes(n)
	})
}

// spanishSteps are the names that core/device gives its steps.
var spanishSteps = map[string]string{
	"request":  "consulta",
	"answer":   "respuesta",
	"download": "descarga",
	"decrypt":  "descifrado",
	"checksum": "checksum",
	"unpack":   "extracción",
	"set":      "activación",
	"key":      "clave",
	"delta":    "delta",
	"ios":      "iOS",
	"disk":     "disco",
	"manifest": "manifiesto",
}

type sentence struct {
	english *regexp.Regexp
	spanish string
}

func say(english, spanish string) sentence {
	pattern := regexp.QuoteMeta(english)
	pattern = strings.ReplaceAll(pattern, "%d", `(\d+)`)
	pattern = strings.ReplaceAll(pattern, "%s", `(.+)`)
	return sentence{regexp.MustCompile("^" + pattern + "$"), spanish}
}

// spanishDetails are the sentences of core/device and server/decide, the more
// particular first; made when they are first needed.
var spanishDetails = sync.OnceValue(func() []sentence {
	return []sentence{
		say("%d bytes", "$1 bytes"),
		say("%d bytes, as on record; broken downloads can go on", "$1 bytes, como consta; una descarga cortada puede seguir"),
		say("%d bytes, as on record; the host answers no ranges, a broken download starts again", "$1 bytes, como consta; sin rangos, una descarga cortada empieza de nuevo"),
		say("iOS gives a download 25 s, which is short for %d MB; raise responseTimeout in the app's config", "iOS da 25 s a una descarga, poco para $1 MB; suba responseTimeout en la configuración de la app"),
		say("%d files, %d bytes", "$1 archivos, $2 bytes"),
		say("%d files, the same as in the zip", "$1 archivos, los mismos que en el zip"),
		say("%d files fetched, %d bytes, as on record", "$1 archivos descargados, $2 bytes, como consta"),
		say("%d files, %d of them fetched", "$1 archivos, $2 descargados"),
		say("%d files", "$1 archivos"),
		say("AES-%d, %d bytes", "AES-$1, $2 bytes"),
		say("none given, nothing compared", "no hay, nada que comparar"),
		say("the app starts with %s", "la app arranca con $1"),
		say("session key and checksum are signed by the app's key", "la clave de sesión y el checksum están firmados con la clave de la app"),
		say("the app's private key opens the session key; nothing is signed", "la clave privada de la app abre la clave de sesión; nada está firmado"),
		say("iOS refuses http unless the app's settings allow it; use https", "iOS rechaza http si la app no lo permite; use https"),
		say("%d files installed, checksum form %s", "$1 archivos instalados, checksum $2"),
		say("%d files installed one by one, hash form %s", "$1 archivos instalados uno a uno, hash $2"),
		say("behaves like a version that was tried already", "se comporta como una versión ya probada"),
		say("this plugin reads none of the bundle's checksum forms", "este plugin no lee ninguna forma del checksum"),
		say("this plugin does not read the first scheme", "este plugin no lee el primer esquema"),
		say("the server offers %s", "el servidor ofrece $1"),
		say("the zip has %d files with content, the list %d", "el zip tiene $1 archivos con contenido, la lista $2"),
		say("%s is not in the zip", "$1 no está en el zip"),
		say("%s is another file in the zip", "$1 es otro archivo en el zip"),
		say("a signed hash of %s belongs to another file", "un hash firmado de $1 es de otro archivo"),
		say("the download of %s is not the object on record", "la descarga de $1 no es el objeto que consta"),
		say("the download is not the object on record", "la descarga no es el objeto que consta"),
		say("the download has %d bytes, the object on record %d", "la descarga tiene $1 bytes; el objeto que consta, $2"),
		say("the url cannot be used", "la dirección no sirve"),
		say("the download_url cannot be used", "la download_url no sirve"),
		say("the server sent another part than the one asked for", "el servidor envió otra parte que la pedida"),
		say("a private key in the app's config refuses every bundle", "una clave privada en la configuración de la app rechaza todo paquete"),
		say("the app has a public key and the answer no checksum", "la app tiene clave pública y la respuesta no trae checksum"),
		say("the app has a public key, and the bundle is not signed", "la app tiene clave pública y el paquete no está firmado"),
		say("the checksum cannot be opened: %s", "el checksum no se puede abrir: $1"),
		say("the checksum is empty", "el checksum está vacío"),
		say("the session key cannot be opened: %s", "la clave de sesión no se puede abrir: $1"),
		say("wrong key or damaged download: %s", "otra clave, o una descarga dañada: $1"),
		say("nothing is left after decryption", "no queda nada tras descifrar"),
		say("the bundle's %s is not the one announced", "el $1 del paquete no es el anunciado"),
		say("the bundle has no visible file", "el paquete no tiene archivos visibles"),
		say("the server asked for a pause, the device does not ask before it is over", "el servidor pidió una pausa; el dispositivo no pregunta hasta que acabe"),
		say("the folder %s cannot be made", "la carpeta $1 no se puede crear"),
		say("the file %s cannot be written", "el archivo $1 no se puede escribir"),
		say("the name %s has a backslash", "el nombre $1 tiene una barra invertida"),
		say("the name %s is absolute", "el nombre $1 es absoluto"),
		say("the name %s is the bundle itself", "el nombre $1 es el paquete mismo"),
		say("the link %s leads out of the bundle", "el enlace $1 lleva fuera del paquete"),
		say("the bundle is empty", "el paquete está vacío"),
		say("the bundle is encrypted, and the app has no public key", "el paquete está cifrado y la app no tiene clave pública"),
		say("the bundle has no index.html at its root", "el paquete no tiene index.html en su raíz"),
		say("a signed checksum belongs to another bundle", "un checksum firmado es de otro paquete"),
		say("iOS opens the answer's checksum for a manifest too, and cannot: %s", "iOS abre el checksum de la respuesta también para un manifiesto, y no puede: $1"),
		say("an entry of the manifest has no name or no file_hash", "una entrada del manifiesto no tiene nombre o file_hash"),
		say("the hash of %s cannot be opened: %s", "el hash de $1 no se puede abrir: $2"),
		say("the name %s leads out of the bundle", "el nombre $1 lleva fuera del paquete"),
		say("the name %s stands twice in the manifest", "el nombre $1 está dos veces en el manifiesto"),
		say("the folder of %s cannot be made", "la carpeta de $1 no se puede crear"),
		say("%s is not brotli: %s", "$1 no es brotli: $2"),
		say("%s unpacks to more than the device has room for", "$1 ocupa más de lo que cabe en el dispositivo"),
		say("this plugin compares an MD5 sum with the SHA-256 and refuses every file", "este plugin compara un MD5 con el SHA-256 y rechaza todo archivo"),
		say("%s has another hash than the manifest says", "$1 tiene otro hash que el del manifiesto"),
		say("the answer has no checksum", "la respuesta no trae checksum"),
		say("the bundle has no checksum", "el paquete no tiene checksum"),
		say("the bundle's SHA-256 is not the one announced", "el SHA-256 del paquete no es el anunciado"),
		say("the app has a public key and the answer no session key", "la app tiene clave pública y la respuesta no trae clave de sesión"),

		// What the stages of a release end with.
		say("%s files in %s, checksum %s; sealed once more for key %s", "$1 archivos en $2, checksum $3; sellado también para la clave $4"),
		say("%s files in %s, checksum %s", "$1 archivos en $2, checksum $3"),
		say("%s to %s://%s", "$1 a $2://$3"),
		say("%d of %d kinds of device install it from %s", "$1 de $2 tipos de dispositivo lo instalan desde $3"),
		say("bundle %s of %s", "paquete $1 de $2"),
		say("%s: nothing → %s", "$1: nada → $2"),
		say("checked before", "ya revisado"),
		say("sealed before", "ya sellado"),
		say("uploaded before", "ya subido"),
		say("proven before", "ya probado"),
		say("registered before", "ya registrado"),
		say("promoted before", "ya promovido"),
		say("no channel was named", "sin canal"),
		say("%s files, %s", "$1 archivos, $2"),

		// Of server/decide, check by check.
		say("the app %s is registered", "la app $1 está registrada"),
		say("no app %s is registered here", "aquí no hay ninguna app $1"),
		say("the native version %s is no semantic version", "la versión nativa $1 no es semver"),
		say("native %s is a semantic version", "la nativa $1 es semver"),
		say("the plugin version %s is no semantic version", "la versión del plugin $1 no es semver"),
		say("plugin %s is of the fourth generation", "el plugin $1 es de la cuarta generación"),
		say("plugin %s is supported", "el plugin $1 sirve"),
		say("the request lacks app_id, device_id, version_name or platform", "a la consulta le falta app_id, device_id, version_name o platform"),
		say("the device says who it is and what it runs", "el dispositivo dice quién es y qué ejecuta"),
		say("no channel %s is open to %s devices; there is no fallback to the public channel", "ningún canal $1 está abierto a $2; no se recurre al canal público"),
		say("no public channel with a bundle exists for %s", "no hay canal público con paquete para $1"),
		say("channel %s, by override", "canal $1, forzado por un operador"),
		say("channel %s, by self set", "canal $1, elegido por la app"),
		say("channel %s, by default channel", "canal $1, indicado en la configuración de la app"),
		say("channel %s, by public", "canal $1, el predeterminado"),
		say("%s has a bundle of its own, which no rollout changes", "$1 tiene un paquete propio, que ningún despliegue cambia"),
		say("the rollout does not hold this device", "el despliegue no incluye este dispositivo"),
		say("the rollout of %s holds this device (%s)", "el despliegue de $1 incluye este dispositivo ($2)"),
		say("bundle %s has no content", "el paquete $1 no tiene contenido"),
		say("the channel's bundle is %s", "el paquete del canal es $1"),
		say("the bundle is sealed for %s keys; this device gets the one for its key %s", "el paquete está sellado para $1 claves; este dispositivo recibe el de la suya, $2"),
		say("the device holds key %s, the bundle is sealed with %s", "el dispositivo tiene la clave $1; el paquete está sellado con $2"),
		say("the device's key does not contradict the bundle's", "la clave del dispositivo no contradice la del paquete"),
		say("the device already runs the store build", "el dispositivo ya ejecuta la versión de la tienda"),
		say("the device already runs %s", "el dispositivo ya ejecuta $1"),
		say("the device runs %s, not %s", "el dispositivo ejecuta $1, no $2"),
		say("the channel serves %s", "el canal sirve a $1"),
		say("the channel is switched off for %s", "el canal está cerrado a $1"),
		say("%s has no version to weigh", "$1 no tiene versión que comparar"),
		say("the channel limits no versions", "el canal no limita versiones"),
		say("policy %s: bundle %s is too far from native %s", "política $1: el paquete $2 está demasiado lejos de la nativa $3"),
		say("policy %s allows bundle %s on native %s", "la política $1 permite el paquete $2 con la nativa $3"),
		say("policy version_number needs a minimum native version on bundle %s, and it has %s", "la política version_number pide un mínimo nativo en el paquete $1, y tiene $2"),
		say("native %s is below the bundle's minimum %s", "la nativa $1 es menor que el mínimo del paquete, $2"),
		say("native %s reaches the bundle's minimum %s", "la nativa $1 alcanza el mínimo del paquete, $2"),
		say("bundles below the native version are allowed", "se permiten paquetes por debajo de la versión nativa"),
		say("bundle %s is below native %s", "el paquete $1 es menor que la nativa $2"),
		say("bundle %s is not below native %s", "el paquete $1 no es menor que la nativa $2"),
		say("the channel takes no production builds", "el canal no admite apps de tienda"),
		say("the channel takes no development builds", "el canal no admite apps de desarrollo"),
		say("the channel takes this kind of build", "el canal admite este tipo de app"),
		say("the channel takes no real devices", "el canal no admite dispositivos reales"),
		say("the channel takes no emulators", "el canal no admite emuladores"),
		say("the channel takes this kind of device", "el canal admite este tipo de dispositivo"),
		say("the channel does not point at the store build", "el canal no apunta a la versión de la tienda"),
		say("plugin %s cannot return to the store build", "el plugin $1 no puede volver a la versión de la tienda"),
		say("the device is sent back to the store build", "el dispositivo vuelve a la versión de la tienda"),
		say("the app has no public key on record", "no consta clave pública de la app"),
		say("bundle %s is signed", "el paquete $1 está firmado"),
		say("bundle %s has no http address: %s", "el paquete $1 no tiene dirección http: $2"),
		say("bundle %s is delta files only, and plugin %s cannot take those", "el paquete $1 es solo delta, y el plugin $2 no lo admite"),
		say("bundle %s is offered", "se ofrece el paquete $1"),
		say("the checksum goes out as registered", "el checksum sale como consta"),
		say("plugin %s reads no signed bundle", "el plugin $1 no lee paquetes firmados"),
		say("bundle %s lacks the form of signed checksum that plugin %s reads", "al paquete $1 le falta la forma de checksum firmado que lee el plugin $2"),
		say("the signed checksum goes out in the form of plugin %s", "el checksum firmado sale en la forma del plugin $1"),
	}
})
