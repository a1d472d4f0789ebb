export default {
	appId: 'com.acme.shop',
	webDir: 'www',
};
