const base = { webDir: 'dist' };
export default (() => {
  switch (process.env.FLAVOUR) {
    case 'blue':
      return { ...base, appId: 'com.acme.blue' };
    case 'green':
      return { ...base, appId: 'com.acme.green' };
    default:
      return { ...base, appId: 'com.acme.white' };
  }
})();
