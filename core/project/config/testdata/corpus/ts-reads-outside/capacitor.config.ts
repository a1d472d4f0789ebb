import fs from 'fs';
export default { appId: 'com.acme.shop', appName: fs.readFileSync('/etc/hostname', 'utf8') };
