export const base = { appId: 'com.acme.shop' };
