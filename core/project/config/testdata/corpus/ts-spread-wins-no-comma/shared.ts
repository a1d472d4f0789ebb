export const shared = { defaultChannel: 'production' };
