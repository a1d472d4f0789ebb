module.exports = function () {
  return {
    appId: 'com.acme.shop',
    plugins: {
      CapacitorUpdater: {
        autoUpdate: true
      }
    }
  }
}
