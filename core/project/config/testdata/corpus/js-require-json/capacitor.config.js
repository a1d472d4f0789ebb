const pkg = require('./package.json')

module.exports = {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      version: pkg.version
    }
  }
}
