const updater = {
  autoUpdate: true,
};

export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: updater },
};
