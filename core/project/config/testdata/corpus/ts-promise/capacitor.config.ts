export default Promise.resolve({
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
});
