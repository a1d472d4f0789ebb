class Config {
  appId = 'com.acme.shop';
  plugins = {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  };
}
export default new Config();
