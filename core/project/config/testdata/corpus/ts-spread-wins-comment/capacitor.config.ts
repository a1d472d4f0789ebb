import { shared } from './shared'

export default {
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      ...shared // from the other app
    }
  }
}
