export default new Promise(done => setTimeout(() => done({ appId: 'com.acme.shop' }), 10));
