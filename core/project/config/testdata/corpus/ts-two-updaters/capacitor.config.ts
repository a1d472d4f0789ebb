const production = { CapacitorUpdater: { defaultChannel: 'production' } };
const staging = { CapacitorUpdater: { defaultChannel: 'staging' } };
export default {
  appId: 'com.acme.shop',
  plugins: process.env.APP_ENV === 'production' ? production : staging,
};
