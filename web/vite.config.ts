import { env } from 'node:process';
import { defineConfig } from 'vite';

/** The server that `npm run dev` asks. */
const server = env['CHRONOLITH_URL'] ?? 'http://127.0.0.1:9095';

export default defineConfig({
  // Every asset is found from the page's own directory, so that the console works below any prefix.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // What is bundled has to be named where it is passed on.
    license: { fileName: 'licenses.txt' },
  },
  server: {
    proxy: { '/api': server, '/health': server, '/-': server },
  },
});
