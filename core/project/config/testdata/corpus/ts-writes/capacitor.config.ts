import fs from 'fs';
fs.writeFileSync('x', 'y');
export default { appId: 'com.acme.shop' };
