import { shared } from './shared';

export default {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
      ...shared,
    },
  },
};
