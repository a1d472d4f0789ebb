import type { CapacitorConfig } from '@capacitor/cli';

export default (): CapacitorConfig => ({
  appId: 'com.acme.shop',
  webDir: 'www',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
});
