import * as dotenv from 'dotenv';
dotenv.config();

export default {
  appId: process.env.APP_ID,
  plugins: {
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};
