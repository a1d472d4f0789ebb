const id = await Promise.resolve('com.acme.shop');
export default { appId: id };
