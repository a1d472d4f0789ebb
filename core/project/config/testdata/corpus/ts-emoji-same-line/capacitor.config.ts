export default { appName: '🛍️', appId: 'com.acme.shop', plugins: { CapacitorUpdater: { autoUpdate: true } } };
