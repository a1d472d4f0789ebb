import { CapacitorConfig } from '@capacitor/cli';

const config: CapacitorConfig = {
  appId: 'com.acme.shop',
  appName: 'Acme Shop',
  webDir: 'dist',
  plugins: {
    SplashScreen: {
      launchShowDuration: 0,
    },
    CapacitorUpdater: {
      autoUpdate: true,
      updateUrl: 'https://updates.acme.dev/updates',
    },
  },
};

export default config;
