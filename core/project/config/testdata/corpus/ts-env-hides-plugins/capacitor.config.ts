const plugins = { CapacitorUpdater: { autoUpdate: true } };
export default {
  appId: 'com.acme.shop',
  ...(process.env.BARE === 'yes' ? {} : { plugins }),
};
