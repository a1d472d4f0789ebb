const base = { appId: 'com.acme.shop', webDir: 'dist' };
export default Object.assign({}, base, {
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
});
