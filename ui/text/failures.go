package text

import "sync"

// Failure gives an error's text in a language. Core speaks English; a language
// that has words for the sentence uses them, else those for the code, which are
// general. Anything else stays as it is.
func Failure(lang, code, english string) string {
	english = Clean(english)
	if lang != "es" {
		return english
	}
	for _, s := range spanishFailed() {
		if s.english.MatchString(english) {
			return s.english.ReplaceAllString(english, s.spanish)
		}
	}
	if known := spanishFailures[code]; known.text != "" {
		return known.text
	}
	return english
}

// FailureHint is Failure for what to do about it.
func FailureHint(lang, code, english string) string {
	if lang == "es" && english != "" {
		if known := spanishFailures[code]; known.hint != "" {
			return known.hint
		}
	}
	return Clean(english)
}

// spanishFailed are the sentences whose names matter.
var spanishFailed = sync.OnceValue(func() []sentence {
	return []sentence{
		say("%s did not answer: connection refused", "$1 no respondió: conexión rechazada"),
		say("%s did not answer: no answer in time", "$1 no respondió a tiempo"),
		say("%s did not answer: %s", "$1 no respondió: $2"),
		say("%s did not answer", "$1 no respondió"),
		say("the name %s does not resolve", "el nombre $1 no se encuentra"),
		say("the server %s (%s) cannot do this", "el servidor $1 ($2) no puede hacerlo"),
		say("there is no profile %s", "no hay perfil $1"),
		say("%s does not exist", "$1 no existe"),
		say("%s is not a folder", "$1 no es una carpeta"),
		say("%s exists", "$1 ya existe"),
		say("%s refuses it", "$1 lo rechaza"),
	}
})

// spoken is an error in words, and what to do about it.
type spoken struct{ text, hint string }

// spanishFailures are the errors that an operator of the console can meet.
var spanishFailures = map[string]spoken{
	"answer_malformed":        {"la respuesta no es la que se esperaba", "compruebe la dirección del servidor, y que no haya un proxy o una página de entrada delante"},
	"bundle_no_url":           {"el paquete no tiene dirección de descarga", "regístrelo otra vez con su dirección"},
	"certificate_refused":     {"el certificado del servidor no vale", "revise el certificado del servidor y el reloj de esta máquina"},
	"outcome_unknown":         {"la conexión se cortó antes de la respuesta", "mire cómo quedó el servidor antes de repetir"},
	"channel_moved":           {"alguien cambió el canal mientras tanto", "mire qué cambió y repita"},
	"checksum_mismatch":       {"el contenido no es el que se firmó", "publíquelo otra vez con otra versión"},
	"disk_full":               {"el disco está lleno", "libere espacio y continúe la publicación"},
	"file_exists":             {"el archivo ya existe", "elija otro nombre: los archivos con claves nunca se sobrescriben"},
	"folder_missing":          {"la carpeta no existe", "elija otra carpeta"},
	"folder_unwritable":       {"no se puede escribir en la carpeta", "revise sus permisos"},
	"forbidden":               {"este token no puede hacerlo", "pida un token con más alcance"},
	"host_unknown":            {"el nombre del servidor no se encuentra", "compruebe la dirección del servidor en el perfil"},
	"key_exists":              {"la clave ya existe", "las claves nunca se sobrescriben"},
	"key_malformed":           {"eso no es una clave que sirva", "se espera un archivo PEM con una clave RSA de 2048 bits"},
	"key_mismatch":            {"la clave no es la que consta", "elija la clave que consta, o ejecute capstan doctor"},
	"key_missing":             {"no hay clave", "cree una, o importe la de la app"},
	"key_not_found":           {"la clave no está en este almacén", "impórtela o restáurela de una copia"},
	"key_weak":                {"la clave es demasiado débil", "se espera RSA de 2048 bits"},
	"keyring_absent":          {"no hay llavero del sistema que funcione", "elija un archivo cifrado, o inicie un servicio de llavero"},
	"keyring_locked":          {"el llavero del sistema está bloqueado", "desbloquéelo e inténtelo otra vez; nada cambió"},
	"keyring_timeout":         {"el llavero del sistema no respondió", "responda a su ventana e inténtelo otra vez, o elija un archivo cifrado"},
	"not_authorised":          {"el servidor no acepta el token", "ponga un token válido en CAPSTAN_TOKEN, o entre otra vez"},
	"passphrase_missing":      {"hace falta una frase de paso", "escríbala cuando se pida"},
	"passphrase_wrong":        {"la frase de paso no abre el archivo", "nada cambió; inténtelo otra vez"},
	"public_channel_override": {"un dispositivo no se fuerza a un canal predeterminado", "libere el dispositivo"},
	"redirected":              {"el servidor redirige a otra dirección", "ponga la dirección final en el perfil; el token nunca se envía tras una redirección"},
	"release_running":         {"otra publicación está en marcha", "espere a que termine"},
	"remote_timeout":          {"el servidor tardó demasiado", "revise la red y repita"},
	"remote_unreachable":      {"el servidor no respondió", "revise la red y repita"},
	"server_missing":          {"no hay servidor de actualizaciones en el perfil", "inicie uno con capstan serve y luego ejecute capstan profile init"},
	"storage_credentials":     {"faltan las credenciales del almacén", "póngalas en el entorno o en el almacén de claves"},
	"storage_forbidden":       {"el almacén no acepta las credenciales", "revise las credenciales y la política del depósito"},
	"storage_missing":         {"no hay almacén en el perfil", "cree un perfil con uno"},
	"storage_unavailable":     {"el almacén no está disponible", "repita dentro de un momento"},
	"unsupported":             {"este servidor no puede hacerlo", "un servidor capstan sí puede"},
	"url_insecure":            {"http enviaría el token sin cifrar", "use https, o permita http en el perfil en una red cerrada"},
	"version_exists":          {"esa versión ya existe", "suba la versión en package.json, o escriba otra"},
}
