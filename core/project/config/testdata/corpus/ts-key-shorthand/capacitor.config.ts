const publicKey = 'old';
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: { publicKey } },
};
