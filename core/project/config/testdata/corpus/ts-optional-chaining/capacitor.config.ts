const settings = { flags: undefined as { keep?: boolean } | undefined };
export default {
  appId: 'com.acme.shop',
  loggingBehavior: settings.flags?.keep ? 'debug' : 'none',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};
