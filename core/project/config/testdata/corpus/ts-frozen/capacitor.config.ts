export default Object.freeze({
  appId: 'com.acme.shop',
  plugins: Object.freeze({
    CapacitorUpdater: Object.freeze({
      autoUpdate: true,
    }),
  }),
});
