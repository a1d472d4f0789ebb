const example = { plugins: { CapacitorUpdater: { autoUpdate: false } } };
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: { autoUpdate: true } },
};
