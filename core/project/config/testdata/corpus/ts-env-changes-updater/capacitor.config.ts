const updater = process.env.APP_ENV === 'debug'
  ? { autoUpdate: false }
  : { autoUpdate: true };
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: updater },
};
