import { preset } from 'acme-capacitor-preset';
export default preset({ appId: 'com.acme.shop' });
