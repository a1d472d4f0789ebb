package examples

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// assets makes the sample app's pictures, texts and figures: a few hundred
// files, as a real app has them, from formulas, so that the repository does not
// carry them. Keys are slash paths below src.
func assets() map[string][]byte {
	files := map[string][]byte{"harbours.js": harboursScript()}
	for _, h := range harbours() {
		files["data/harbours/"+h.ID+".json"] = indented(h)
	}
	for _, l := range languages {
		texts := map[string]string{}
		for i, key := range textKeys {
			texts[key] = l.texts[i]
		}
		files["i18n/"+l.code+".json"] = indented(texts)
	}
	for name, design := range signalFlags {
		files["icons/flags/"+name+".svg"] = []byte(flag(name, design))
	}
	for heading := 0; heading < 360; heading += 45 {
		for knots := 0; knots <= 100; knots += 5 {
			files[fmt.Sprintf("icons/wind/%03d-%03d.svg", heading, knots)] = []byte(windBarb(heading, knots))
		}
	}
	for age := range 28 {
		files[fmt.Sprintf("icons/moon/%02d.svg", age)] = []byte(moon(age))
	}
	return files
}

// harbourData is one harbour as the app reads it. Heights are in metres above
// chart datum, lag in hours.
type harbourData struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Lat    float64 `json:"lat"`
	Lon    float64 `json:"lon"`
	Mean   float64 `json:"mean"`
	M2     float64 `json:"m2"`
	S2     float64 `json:"s2"`
	Lag    float64 `json:"lag"`
	Seed   int     `json:"seed"`
	Berths []bool  `json:"berths"` // true is free
}

var places = []struct {
	name     string
	lat, lon float64
	m2       float64 // rough size of the lunar tide there
}{
	{"Lisboa", 38.70, -9.15, 0.98}, {"A Coruña", 43.37, -8.40, 1.18}, {"Cádiz", 36.53, -6.29, 0.98}, {"Bilbao", 43.35, -3.03, 1.32},
	{"Vigo", 42.24, -8.72, 1.10}, {"Santander", 43.46, -3.80, 1.33}, {"Barcelona", 41.38, 2.18, 0.05}, {"Palma", 39.56, 2.63, 0.03},
	{"La Rochelle", 46.15, -1.16, 1.75}, {"Brest", 48.38, -4.49, 2.05}, {"Saint-Malo", 48.64, -2.02, 3.75}, {"Le Havre", 49.49, 0.11, 2.60},
	{"Calais", 50.97, 1.85, 2.45}, {"Plymouth", 50.36, -4.14, 1.70}, {"Bristol", 51.45, -2.60, 4.20}, {"Liverpool", 53.40, -2.99, 3.10},
	{"Dover", 51.12, 1.32, 2.25}, {"Leith", 55.98, -3.17, 1.80}, {"Aberdeen", 57.14, -2.08, 1.31}, {"Galway", 53.27, -9.05, 1.55},
	{"Cork", 51.85, -8.29, 1.40}, {"Dublin", 53.35, -6.22, 1.33}, {"Oostende", 51.23, 2.92, 1.80}, {"Rotterdam", 51.95, 4.14, 0.79},
	{"Den Helder", 52.96, 4.76, 0.66}, {"Hamburg", 53.54, 9.97, 1.60}, {"Cuxhaven", 53.87, 8.72, 1.35}, {"Esbjerg", 55.47, 8.43, 0.66},
	{"Kiel", 54.33, 10.14, 0.04}, {"Göteborg", 57.70, 11.95, 0.08}, {"Oslo", 59.90, 10.74, 0.14}, {"Bergen", 60.40, 5.32, 0.44},
	{"Trondheim", 63.44, 10.40, 0.80}, {"Tromsø", 69.65, 18.96, 0.87}, {"Reykjavík", 64.15, -21.94, 1.31}, {"Tórshavn", 62.01, -6.77, 0.10},
	{"Halifax", 44.65, -63.57, 0.63}, {"Saint John", 45.27, -66.06, 3.05}, {"Boston", 42.35, -71.05, 1.36}, {"New York", 40.70, -74.01, 0.66},
	{"Charleston", 32.78, -79.92, 0.77}, {"Key West", 24.55, -81.81, 0.17}, {"Seattle", 47.60, -122.34, 1.07}, {"San Francisco", 37.81, -122.47, 0.58},
	{"Vancouver", 49.29, -123.11, 0.92}, {"Anchorage", 61.24, -149.89, 3.55}, {"Honolulu", 21.31, -157.87, 0.17}, {"Valparaíso", -33.03, -71.63, 0.43},
	{"Buenos Aires", -34.60, -58.37, 0.28}, {"Ushuaia", -54.80, -68.30, 0.52}, {"Cape Town", -33.90, 18.43, 0.49}, {"Durban", -29.87, 31.03, 0.55},
	{"Mombasa", -4.06, 39.67, 1.06}, {"Mumbai", 18.94, 72.84, 1.23}, {"Singapore", 1.26, 103.85, 0.79}, {"Hong Kong", 22.29, 114.17, 0.39},
	{"Yokohama", 35.45, 139.65, 0.48}, {"Incheon", 37.46, 126.62, 2.87}, {"Darwin", -12.46, 130.84, 1.93}, {"Sydney", -33.86, 151.21, 0.50},
	{"Fremantle", -32.05, 115.74, 0.05}, {"Auckland", -36.84, 174.77, 1.14}, {"Wellington", -41.28, 174.78, 0.49}, {"Bluff", -46.60, 168.35, 0.85},
}

func harbours() []harbourData {
	list := make([]harbourData, len(places))
	for i, p := range places {
		seed := i*37 + 11
		h := harbourData{
			ID: slug(p.name), Name: p.name, Lat: p.lat, Lon: p.lon, Seed: seed,
			M2: p.m2, S2: hundredths(p.m2 * 0.34), Mean: hundredths(p.m2*1.45 + 0.2), Lag: hundredths(float64(seed%124) / 10),
			Berths: make([]bool, 40+seed%41),
		}
		for b, state := 0, uint32(seed); b < len(h.Berths); b++ {
			state = state*1664525 + 1013904223 // Numerical Recipes' generator: any will do, it must stay the same
			h.Berths[b] = state>>28 < 6
		}
		list[i] = h
	}
	return list
}

func hundredths(v float64) float64 { return math.Round(v*100) / 100 }

var plainLetters = strings.NewReplacer("ñ", "n", "á", "a", "í", "i", "ö", "o", "ø", "o", "ó", "o", " ", "-")

// slug gives the ASCII file name of a place.
func slug(name string) string { return plainLetters.Replace(strings.ToLower(name)) }

// harboursScript is loaded by a script tag, which works from disk as well,
// where a page may not fetch.
func harboursScript() []byte {
	var names [][2]string
	for _, l := range languages {
		names = append(names, [2]string{l.code, l.name})
	}
	return []byte("window.LANGUAGES = " + strings.TrimSpace(string(indented(names))) + ";\nwindow.HARBOURS = " + strings.TrimSpace(string(indented(harbours()))) + ";\n")
}

func indented(v any) []byte {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic(err) // only plain values come here
	}
	return append(text, '\n')
}

var textKeys = []string{"tagline", "wind", "moon", "berths", "free", "taken", "signals", "running", "disclaimer", "nextHigh", "nextLow", "range", "position"}

var languages = []struct {
	code, name string
	texts      []string
}{
	{"en", "English", []string{"Tides, wind and free berths", "Wind", "Moon", "Berths", "free", "taken", "International code of signals", "Running bundle", "Computed figures: not for navigation", "Next high water", "Next low water", "Range", "Position"}},
	{"es", "Español", []string{"Mareas, viento y amarres libres", "Viento", "Luna", "Amarres", "libre", "ocupado", "Código internacional de señales", "Paquete en uso", "Cifras calculadas: no aptas para navegar", "Próxima pleamar", "Próxima bajamar", "Amplitud", "Posición"}},
	{"fr", "Français", []string{"Marées, vent et places libres", "Vent", "Lune", "Places", "libre", "occupée", "Code international des signaux", "Version en service", "Valeurs calculées : ne pas utiliser pour naviguer", "Prochaine pleine mer", "Prochaine basse mer", "Marnage", "Position"}},
	{"de", "Deutsch", []string{"Gezeiten, Wind und freie Liegeplätze", "Wind", "Mond", "Liegeplätze", "frei", "belegt", "Internationales Signalbuch", "Laufendes Bundle", "Berechnete Werte: nicht zur Navigation", "Nächstes Hochwasser", "Nächstes Niedrigwasser", "Tidenhub", "Position"}},
	{"pt", "Português", []string{"Marés, vento e lugares livres", "Vento", "Lua", "Lugares", "livre", "ocupado", "Código internacional de sinais", "Pacote em uso", "Valores calculados: não servem para navegar", "Próxima preia-mar", "Próxima baixa-mar", "Amplitude", "Posição"}},
	{"nl", "Nederlands", []string{"Getij, wind en vrije ligplaatsen", "Wind", "Maan", "Ligplaatsen", "vrij", "bezet", "Internationaal seinboek", "Actieve bundel", "Berekende waarden: niet voor navigatie", "Volgend hoogwater", "Volgend laagwater", "Verval", "Positie"}},
	{"it", "Italiano", []string{"Maree, vento e ormeggi liberi", "Vento", "Luna", "Ormeggi", "libero", "occupato", "Codice internazionale dei segnali", "Pacchetto in uso", "Valori calcolati: non per la navigazione", "Prossima alta marea", "Prossima bassa marea", "Escursione", "Posizione"}},
	{"sv", "Svenska", []string{"Tidvatten, vind och lediga platser", "Vind", "Måne", "Platser", "ledig", "upptagen", "Internationella signalboken", "Aktivt paket", "Beräknade värden: inte för navigation", "Nästa högvatten", "Nästa lågvatten", "Tidvattensskillnad", "Position"}},
}
