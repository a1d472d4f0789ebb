const production = process.env.APP_ENV === 'production';
export default {
  appId: 'com.acme.app',
  plugins: {
    CapacitorUpdater: {
      defaultChannel: production ? 'production' : 'staging',
    },
  },
};
