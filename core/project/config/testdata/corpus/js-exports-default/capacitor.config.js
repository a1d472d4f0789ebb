Object.defineProperty(exports, '__esModule', { value: true });
exports.default = {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true
    }
  }
};
