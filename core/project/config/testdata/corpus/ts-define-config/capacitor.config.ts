function defineConfig<T extends object>(c: T): T { return c }

export default defineConfig({
  appId: 'com.acme.shop',
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
})
