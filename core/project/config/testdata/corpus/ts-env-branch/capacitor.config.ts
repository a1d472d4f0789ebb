import type { CapacitorConfig } from '@capacitor/cli';
import pkg from './package.json';

// Production talks to the real server { never to staging }.
const production = process.env.APP_ENV === 'production';

const config: CapacitorConfig = {
  appId: production ? 'com.acme.app' : 'com.acme.app.staging',
  appName: production ? 'Acme' : 'Acme Staging',
  webDir: 'dist',
  plugins: {
    CapacitorUpdater: {
      version: pkg.version,
      defaultChannel: production ? 'production' : 'staging',
    },
  },
};

export default config;
