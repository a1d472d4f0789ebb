if (!process.env.APP_ID) throw new Error('APP_ID is not set');
export default { appId: process.env.APP_ID };
