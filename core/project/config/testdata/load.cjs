// Loads Capacitor configs with the real @capacitor/cli. Reads a JSON list of
// folders on stdin; prints a JSON list of {config} or {error}, in order.
const path = require('node:path');
const { loadConfig } = require(path.join(process.argv[2], 'node_modules/@capacitor/cli/dist/config.js'));

const leave = process.exit;
process.exit = (status) => { throw new Error(`exit ${status}`); };
const limit = (promise) => {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('never settles')), 2000); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

(async () => {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  const results = [];
  for (const folder of JSON.parse(text)) {
    process.chdir(folder);
    try {
      const { app } = await limit(loadConfig());
      results.push({ config: await limit(Promise.resolve(app.extConfig)) });
    } catch (error) {
      results.push({ error: String(error) });
    }
  }
  process.stdout.write(JSON.stringify(results), () => leave(0));
})();
