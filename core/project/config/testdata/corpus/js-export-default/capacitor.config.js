/** @type {import('@capacitor/cli').CapacitorConfig} */
const config = {
  appId: 'com.acme.shop',
  webDir: 'dist',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};

export default config;
