const name = 'CapacitorUpdater';
export default {
  appId: 'com.acme.shop',
  plugins: {
    [name]: {
      autoUpdate: true,
    },
  },
};
