export default async () => ({
  appId: 'com.acme.shop',
  webDir: 'www',
  plugins: {
    CapacitorUpdater: { autoUpdate: true },
  },
});
