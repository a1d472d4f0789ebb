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

module.exports = config;
