import fs from 'fs';
export default { appId: 'com.acme.shop', appName: fs.readFileSync('.capgo_key_v2', 'utf8') };
