import type { CapacitorConfig } from '@capacitor/cli';

const otaPublicKey = process.env.OTA_PUBLIC_KEY;

const config: CapacitorConfig = {
  appId: 'com.acme.mail',
  webDir: 'dist',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: false,
      ...(otaPublicKey ? { publicKey: otaPublicKey } : {}),
    },
  },
};

export default config;
