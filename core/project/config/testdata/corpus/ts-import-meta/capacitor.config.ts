import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
const here = dirname(fileURLToPath(import.meta.url));
export default {
  appId: 'com.acme.shop',
  appName: here.length > 0 ? 'Acme' : 'none',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};
