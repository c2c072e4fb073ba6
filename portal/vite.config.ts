import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` shows the portal with its changes at once, of a server of yours: its address is
// TURNOUT_URL, its API token TURNOUT_TOKEN. A build is served at /studio.
declare const process: { env: Record<string, string | undefined> };
const server = process.env.TURNOUT_URL ?? "http://127.0.0.1:8080";
const headers = process.env.TURNOUT_TOKEN ? { Authorization: `Bearer ${process.env.TURNOUT_TOKEN}` } : undefined;
const served = ["/subscriptions", "/turnout", "/history", "/mlflow", "/logs", "/login", "/inference"];

export default defineConfig({
    base: "/studio/",
    plugins: [react()],
    build: { assetsDir: "static", target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 900, sourcemap: false },
    server: {
        proxy: {
            ...Object.fromEntries(served.map((path) => [path, { target: server, headers }])),
            "^/studio/jobs/[^/]+/[^/]+/(document|lines|search|series|artifact|output|log)": { target: server, headers },
        },
    },
});
