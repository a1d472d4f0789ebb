/// <reference types="@capacitor/keyboard" />
import { CapacitorConfig } from '@capacitor/cli';
import { KeyboardResize, KeyboardStyle } from '@capacitor/keyboard';

enum Flavour { Dev = 'dev', Prod = 'prod' }

const config: CapacitorConfig = {
  appId: `com.acme.${Flavour.Prod}`,
  plugins: {
    Keyboard: { resize: KeyboardResize.Body, style: KeyboardStyle.Dark },
    CapacitorUpdater: {
      autoUpdate: true,
    },
  },
};

export default config;
