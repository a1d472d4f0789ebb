const body = 'MIIB';
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: { publicKey: `-----BEGIN ${body}` } },
};
