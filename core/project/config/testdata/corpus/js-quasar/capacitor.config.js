/** @type {import('@capacitor/cli').CapacitorConfig} */
module.exports = {
  appId: 'org.cordova.quasar.app',
  appName: 'Acme',
  webDir: 'www'
}
