import { updater } from './updater';
export default {
  appId: 'com.acme.shop',
  plugins: { CapacitorUpdater: updater },
};
