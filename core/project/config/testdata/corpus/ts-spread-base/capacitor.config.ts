import { base } from './base';

export default {
  ...base,
  appId: 'com.acme.shop',
  plugins: {
    ...base.plugins,
    CapacitorUpdater: {
      ...base.plugins.CapacitorUpdater,
      autoUpdate: true,
    },
  },
};
