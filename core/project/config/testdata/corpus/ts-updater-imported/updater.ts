export const updater = { autoUpdate: true };
