export default {
  appId: process.env.APP_ID ?? 'com.acme.shop',
  appName: process.env.APP_NAME || 'Acme',
  server: process.env.LIVE ? { url: process.env.LIVE } : undefined,
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};
