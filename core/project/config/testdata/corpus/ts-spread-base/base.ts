export const base = { webDir: 'dist' as string, plugins: { CapacitorUpdater: { resetWhenUpdate: false }, Keyboard: {} } };
