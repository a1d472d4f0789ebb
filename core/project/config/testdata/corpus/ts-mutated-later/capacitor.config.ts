import type { CapacitorConfig } from '@capacitor/cli';

let config: CapacitorConfig = {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};

if (process.env.NODE_ENV === 'development') {
  config.server = { url: 'http://10.0.0.2:5173', cleartext: true };
}

export default config;
