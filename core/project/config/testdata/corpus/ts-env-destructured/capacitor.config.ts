const { APP_ENV = 'staging', CHANNEL } = process.env;
export default {
  appId: `com.acme.${APP_ENV}`,
  plugins: {
    CapacitorUpdater: {
      defaultChannel: CHANNEL ?? 'beta',
    },
  },
};
