export default 'com.acme.shop';
