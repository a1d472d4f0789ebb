package text

// Finding gives a finding's text in a language. What the program looks at
// speaks English; languages that have words for a code use them, without the
// figures that the English text may hold. Anything else stays as it is.
func Finding(lang, code, english string) string {
	if lang == "es" {
		if known := spanishFindings[code]; known != "" {
			return known
		}
	}
	return Clean(english)
}

// Hint is Finding for what to do about it.
func Hint(lang, code, english string) string {
	if lang == "es" {
		if known := spanishHints[code]; known != "" {
			return known
		}
	}
	return Clean(english)
}

var spanishFindings = map[string]string{
	"app_id":                        "el id de la app está bien",
	"app_id_missing":                "la configuración no tiene appId",
	"app_id_placeholder":            "el appId es el de una plantilla",
	"auto_update_off":               "autoUpdate está desactivado: la app debe pedir las actualizaciones",
	"bundle_empty":                  "la carpeta está vacía",
	"cleartext_android":             "la app Android permite http sin cifrar",
	"cleartext_config":              "server.cleartext está activado: se permite http sin cifrar",
	"cleartext_ios":                 "la app iOS permite http sin cifrar",
	"config":                        "la configuración se lee bien",
	"config_export":                 "la configuración no exporta el objeto",
	"config_not_strict_json":        "la configuración no es JSON estricto",
	"config_shadowed":               "hay otra configuración que tapa a esta",
	"config_unreadable":             "la configuración no se puede leer",
	"key_pair_differs":              "la clave privada no es pareja de la publicKey de la configuración",
	"mixed_content":                 "allowMixedContent está activado: páginas https pueden cargar http",
	"native_app_id_differs":         "el proyecto nativo tiene otro id de app",
	"native_missing":                "no hay carpeta android ni ios",
	"native_sync":                   "los proyectos nativos llevan los valores de la configuración",
	"native_version_not_semver":     "la versión nativa no es semver",
	"native_version_unknown":        "no se conoce la versión nativa",
	"never_synced_android":          "el proyecto Android no tiene copia de la configuración",
	"never_synced_ios":              "el proyecto iOS no tiene copia de la configuración",
	"no_backup":                     "la clave de firma no tiene copia",
	"no_index_html":                 "no hay index.html en la carpeta",
	"no_notify_app_ready":           "ningún código llama a notifyAppReady",
	"not_synced_android":            "el proyecto Android lleva valores antiguos",
	"not_synced_ios":                "el proyecto iOS lleva valores antiguos",
	"plugin":                        "el plugin está instalado",
	"plugin_cannot_verify":          "el plugin no puede verificar los bundles",
	"plugin_major_differs":          "el plugin y Capacitor son de versiones mayores distintas",
	"plugin_missing":                "el plugin no es una dependencia del proyecto",
	"plugin_not_enforcing":          "el plugin no exige la firma; la exige desde 8.51.23",
	"plugin_not_installed":          "el plugin está declarado, pero no instalado",
	"plugin_old_checksum":           "el plugin necesita la forma antigua del checksum",
	"private_key_file":              "el archivo de la clave privada es privado y no está en git",
	"private_key_in_config":         "la configuración contiene la clave privada",
	"private_key_not_ignored":       "la clave privada no está en .gitignore",
	"private_key_readable":          "otros usuarios pueden leer la clave privada",
	"private_key_tracked":           "la clave privada está en git: la tiene quien tenga el repositorio",
	"public_key":                    "publicKey es una clave RSA de 2048 bits",
	"public_key_malformed":          "publicKey no es una clave válida",
	"public_key_missing":            "la configuración no tiene publicKey",
	"public_key_not_synced_android": "el proyecto Android no lleva la clave pública",
	"public_key_not_synced_ios":     "el proyecto iOS no lleva la clave pública",
	"server_url_set":                "server.url está puesto: el plugin no actualiza",
	"settings":                      "ningún ajuste del plugin abre una puerta",
	"source_maps":                   "los mapas de código fuente se quedan fuera",
	"transport":                     "no se permite http sin cifrar",
	"urls_differ":                   "updateUrl, statsUrl y channelUrl están en servidores distintos",
	"version":                       "la versión es semver",
	"version_below_native":          "la versión es menor que la nativa",
	"version_missing":               "package.json no tiene versión",
	"version_not_semver":            "la versión no es semver estricto",
	"web_dir":                       "la carpeta del build existe",
	"web_dir_missing":               "la carpeta del build no existe",
}

var spanishHints = map[string]string{
	"native_missing":                "ejecuta: npx cap add android, npx cap add ios",
	"never_synced_android":          "ejecuta: npx cap sync",
	"never_synced_ios":              "ejecuta: npx cap sync",
	"no_index_html":                 "elige la carpeta que escribe el build, a menudo dist o www",
	"not_synced_android":            "ejecuta: npx cap sync",
	"not_synced_ios":                "ejecuta: npx cap sync",
	"plugin_not_installed":          "ejecuta: npm install",
	"private_key_not_ignored":       "añádela a .gitignore",
	"public_key_missing":            "Enter la escribe en la configuración",
	"public_key_not_synced_android": "ejecuta: npx cap sync",
	"public_key_not_synced_ios":     "ejecuta: npx cap sync",
	"server_url_set":                "quita server.url de la configuración de entrega",
	"source_maps":                   "no sirven en un dispositivo",
	"web_dir_missing":               "construye la app, o corrige webDir",
}
