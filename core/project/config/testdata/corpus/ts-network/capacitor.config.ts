export default async () => ({ appId: await (await fetch('https://example.com')).text() });
