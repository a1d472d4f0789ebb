// Copies src to dist and stamps the version of package.json into the files
// that name it. Nothing else happens, so the output depends on src and the
// version alone.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

// The accent follows the version: 137 degrees apart, neighbours never look alike.
let turn = 0;
for (const c of version) turn = (turn * 31 + c.charCodeAt(0)) % 997;
const hue = version === '1.0.0' ? 205 : (205 + (1 + (turn % 17)) * 137) % 360;

rmSync('dist', { recursive: true, force: true });
cpSync('src', 'dist', { recursive: true });
for (const name of ['index.html', 'main.js', 'style.css']) {
  const text = readFileSync(`dist/${name}`, 'utf8');
  writeFileSync(`dist/${name}`, text.replaceAll('__VERSION__', version).replaceAll('__HUE__', String(hue)));
}
