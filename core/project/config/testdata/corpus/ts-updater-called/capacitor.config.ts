const updater = (channel: string) => ({
  defaultChannel: channel,
});
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: updater('production') },
};
