const plugins = {
  SplashScreen: { launchShowDuration: 0 },
};
export default { appId: 'com.acme.shop', plugins };
