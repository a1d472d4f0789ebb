// Harbour __VERSION__. Plain JavaScript: Capacitor injects window.Capacitor
// on a device; in a browser the page works without it.
(function () {
  'use strict';

  var harbours = window.HARBOURS;
  var words = {};
  var current = harbours[0];
  var byId = document.getElementById.bind(document);
  var twoDigits = function (n) { return (n < 10 ? '0' : '') + n; };
  var clock = function (minutes) { return twoDigits(Math.floor(minutes / 60) % 24) + ':' + twoDigits(Math.round(minutes) % 60); };
  var text = function (key, fallback) { return words[key] || fallback; };

  // A page opened from disk may not fetch: the figures in harbours.js do then.
  function load(path, fallback) {
    return fetch(path).then(function (answer) {
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.json();
    }).catch(function () { return fallback; });
  }

  // Two tidal constituents, the lunar M2 (12.42 h) and the solar S2 (12 h).
  function height(h, minutes) {
    var hours = minutes / 60;
    return h.mean + h.m2 * Math.cos(2 * Math.PI * (hours - h.lag) / 12.42) + h.s2 * Math.cos(2 * Math.PI * (hours - h.lag) / 12);
  }

  function drawTide(h) {
    var low = h.mean - h.m2 - h.s2 - 0.2, high = h.mean + h.m2 + h.s2 + 0.2;
    var x = function (m) { return 40 + m / 1440 * 670; };
    var y = function (v) { return 205 - (v - low) / (high - low) * 180; };
    var path = '', extremes = [], parts = [];
    for (var m = 0; m <= 2880; m += 10) { // the second day is for the next high and low water
      if (m <= 1440) path += (m ? 'L' : 'M') + x(m).toFixed(1) + ' ' + y(height(h, m)).toFixed(1);
      var before = height(h, m - 10), here = height(h, m), after = height(h, m + 10);
      if (m > 0 && ((here >= before && here > after) || (here <= before && here < after))) extremes.push({ m: m, v: here, high: here > h.mean });
    }
    for (var hour = 0; hour <= 24; hour += 4) {
      parts.push('<line class="grid" x1="' + x(hour * 60) + '" x2="' + x(hour * 60) + '" y1="20" y2="208"/>');
      parts.push('<text text-anchor="' + (hour === 24 ? 'end' : 'middle') + '" x="' + x(hour * 60) + '" y="230">' + twoDigits(hour % 24) + ':00</text>');
    }
    parts.push('<path class="water" d="' + path + 'L710 208L40 208Z"/><path class="curve" d="' + path + '"/>');
    extremes.filter(function (e) { return e.m < 1440; }).forEach(function (e) {
      parts.push('<circle cx="' + x(e.m) + '" cy="' + y(e.v) + '" r="6"/><text x="' + (x(e.m) - 16) + '" y="' + (y(e.v) - 12) + '">' + e.v.toFixed(1) + ' m</text>');
    });
    var date = new Date(), now = date.getHours() * 60 + date.getMinutes();
    parts.push('<line class="now" x1="' + x(now) + '" x2="' + x(now) + '" y1="14" y2="208"/>');
    byId('tide').innerHTML = parts.join('');
    var next = extremes.filter(function (e) { return e.m > now; });
    var nextOf = function (isHigh) {
      var e = next.filter(function (n) { return n.high === isHigh; })[0];
      return e ? clock(e.m) + ' · ' + e.v.toFixed(1) + ' m' : '–';
    };
    byId('facts').innerHTML = [
      [text('nextHigh', 'Next high water'), nextOf(true)],
      [text('nextLow', 'Next low water'), nextOf(false)],
      [text('range', 'Range'), (2 * (h.m2 + h.s2)).toFixed(1) + ' m'],
      [text('position', 'Position'), h.lat.toFixed(2) + ', ' + h.lon.toFixed(2)]
    ].map(function (f) { return '<div><span>' + f[0] + '</span><strong>' + f[1] + '</strong></div>'; }).join('');
  }

  function drawWeather(h) {
    var day = Math.floor(Date.now() / 86400000);
    var knots = (h.seed * 7 + day * 5) % 21 * 5, heading = (h.seed + day) % 8 * 45;
    byId('barb').src = 'icons/wind/' + twoDigits(heading).padStart(3, '0') + '-' + String(knots).padStart(3, '0') + '.svg';
    byId('knots').textContent = knots + ' kn';
    byId('beaufort').textContent = heading + '° · Bft ' + Math.min(12, Math.round(Math.pow(knots / 1.625, 2 / 3)));
    // New moon of 6 January 2000, 18:14 UTC; synodic month 29.530588 days.
    var age = ((Date.now() / 86400000 - 10962.7597) / 29.530588 % 1 + 1) % 1;
    byId('phase').src = 'icons/moon/' + twoDigits(Math.round(age * 28) % 28) + '.svg';
    byId('phaseName').textContent = Math.round((1 - Math.cos(2 * Math.PI * age)) * 50) + ' %';
  }

  function drawBerths(berths) {
    byId('berths').innerHTML = berths.map(function (free, i) {
      return '<i class="' + (free ? 'free' : '') + '">' + (i + 1) + '</i>';
    }).join('');
  }

  function drawFlags() {
    var out = '';
    byId('message').value.toLowerCase().split('').forEach(function (c) {
      out += /[a-z0-9]/.test(c) ? '<img alt="' + c + '" src="icons/flags/' + c + '.svg">' : '<b></b>';
    });
    byId('flags').innerHTML = out;
  }

  function show(h) {
    current = h;
    byId('place').textContent = h.name;
    drawTide(h);
    drawWeather(h);
    load('data/harbours/' + h.id + '.json', h).then(function (detail) { drawBerths(detail.berths || h.berths); });
  }

  function speak(language) {
    return load('i18n/' + language + '.json', {}).then(function (loaded) {
      words = loaded;
      document.documentElement.lang = language;
      document.querySelectorAll('[data-text]').forEach(function (e) {
        e.textContent = words[e.dataset.text] || e.textContent;
      });
      drawTide(current);
    });
  }

  byId('harbour').innerHTML = harbours.map(function (h) { return '<option value="' + h.id + '">' + h.name + '</option>'; }).join('');
  byId('harbour').onchange = function () {
    show(harbours.filter(function (h) { return h.id === byId('harbour').value; })[0]);
  };
  byId('language').innerHTML = window.LANGUAGES.map(function (l) { return '<option value="' + l[0] + '">' + l[1] + '</option>'; }).join('');
  byId('language').onchange = function () { speak(byId('language').value); };
  byId('message').oninput = drawFlags;
  show(current);
  drawFlags();
  speak('en');

  // The plugin waits for this call; without it, it rolls back to the bundle before.
  var updater = window.Capacitor && window.Capacitor.Plugins && window.Capacitor.Plugins.CapacitorUpdater;
  if (updater) {
    updater.notifyAppReady().then(function (ready) {
      if (ready && ready.bundle) byId('bundle').textContent = ready.bundle.version;
    });
  }
})();
