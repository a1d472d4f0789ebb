import { execSync } from 'child_process';
export default { appId: 'com.acme.shop', appName: execSync('git describe').toString() };
