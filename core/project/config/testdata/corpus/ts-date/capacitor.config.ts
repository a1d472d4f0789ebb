export default {
  appId: 'com.acme.shop',
  appName: `built ${new Date().toISOString()}`,
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};
