import { readFileSync } from 'node:fs';
import { resolve } from 'path';
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: { publicKey: readFileSync(resolve(__dirname, 'key.pub'), 'utf8') } },
};
