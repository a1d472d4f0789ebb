const config: any = {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};
if (process.env.CHANNEL === 'beta') config.plugins.CapacitorUpdater.defaultChannel = 'beta';
export default config;
