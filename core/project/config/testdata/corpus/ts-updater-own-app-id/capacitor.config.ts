export default {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      appId: 'com.acme.shop.updates',
    },
  },
};
