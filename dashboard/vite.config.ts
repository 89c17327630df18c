import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

// Everything lies beside the page: it asks no other host for anything, and a strict Content-Security-Policy holds.
export default defineConfig({
  plugins: [preact()],
  build: { outDir: "dist", assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022" },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8000", ws: true } } },
});
