module.exports = { appId: 'com.acme.shop', webDir: 'www' }
