const load = async (name: string) => ({ name });

export default async () => {
  const { name } = await load('Acme');
  return {
    appId: 'com.acme.shop',
    appName: name,
    webDir: 'www',
    plugins: {
      CapacitorUpdater: {
        autoUpdate: true,
      },
    },
  };
};
