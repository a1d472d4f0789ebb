import type { CapacitorConfig } from '@capacitor/cli';

const config = {
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
} satisfies CapacitorConfig;

export default config;
