import type { CapacitorConfig } from "@capacitor/cli"

const config: CapacitorConfig = {
    appId: "com.acme.shop",
    webDir: "dist",
    plugins: {
        CapacitorUpdater: {
            autoUpdate: true
        }
    }
}

export default config
