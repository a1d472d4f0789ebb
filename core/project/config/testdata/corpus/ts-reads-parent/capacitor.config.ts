import fs from 'fs';
export default { appId: 'com.acme.shop', appName: fs.readFileSync('../ts-reads-outside/case.json', 'utf8') };
