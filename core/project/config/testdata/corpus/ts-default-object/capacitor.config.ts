export default {
  appId: 'com.acme.shop',
  webDir: 'www',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true
    }
  }
}
