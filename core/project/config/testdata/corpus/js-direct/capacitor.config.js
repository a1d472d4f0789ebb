module.exports = {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true
    }
  }
}
