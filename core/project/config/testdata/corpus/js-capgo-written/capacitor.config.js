const config = {
  "appId": "com.acme.shop",
  "plugins": {
    "CapacitorUpdater": {
      "publicKey": "old"
    }
  }
}
module.exports = config