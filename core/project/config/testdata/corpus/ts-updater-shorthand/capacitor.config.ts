const CapacitorUpdater = {
  autoUpdate: true,
};
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater },
};
