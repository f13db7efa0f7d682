// How soon a page shows something, and how many bytes that takes, in a browser that has seen nothing of it before: by hand,
// on a quiet machine.
//
//   node first-paint.mjs ours=http://127.0.0.1:9095/query other=http://127.0.0.1:8428/vmui/
//   node first-paint.mjs other=dir:/path/to/build        # files that no server has, compressed as the best would be
//
// Each is opened five times, and the median is shown: as it is, then with a processor four times as slow, 10 Mbit/s, and
// 40 ms to the server and back.

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { extname, join, normalize } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { chromium } from 'playwright-core';

const ROUNDS = 5;
const SLOW = { latency: 40, downloadThroughput: 10e6 / 8, uploadThroughput: 10e6 / 8 };
const SLOW_CPU = 4;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };

/** Serves the files of a directory. What is asked of an API is not there. */
async function serveFiles(dir) {
  const known = new Map();
  const server = http.createServer(async (request, answer) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const path = normalize(decodeURIComponent(pathname.endsWith('/') ? `${pathname}index.html` : pathname));
    const plain = await readFile(join(dir, path)).catch(() => undefined);
    if (plain === undefined) return answer.writeHead(404).end();
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11 };
    if (!known.has(path)) known.set(path, brotliCompressSync(plain, { params }));
    const headers = { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream', 'content-encoding': 'br' };
    return answer.writeHead(200, headers).end(known.get(path));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}/`;
}

async function measure(browser, url, isSlow) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send('Network.enable');
  if (isSlow) {
    await devtools.send('Network.emulateNetworkConditions', { offline: false, ...SLOW });
    await devtools.send('Emulation.setCPUThrottlingRate', { rate: SLOW_CPU });
  }
  let bytes = 0;
  let requests = 0;
  devtools.on('Network.loadingFinished', (event) => {
    bytes += event.encodedDataLength;
    requests += 1;
  });
  await page.goto(url, { waitUntil: 'load' });
  const paint = await page.evaluate(
    () =>
      new Promise((resolve) => {
        new PerformanceObserver((list) => {
          const first = list.getEntriesByName('first-contentful-paint')[0];
          if (first) resolve(first.startTime);
        }).observe({ type: 'paint', buffered: true });
      }),
  );
  await page.waitForLoadState('networkidle').catch(() => undefined);
  await context.close();
  return { paint, bytes, requests };
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

const pages = process.argv.slice(2).map((argument) => argument.split(/=(.*)/s).slice(0, 2));
if (pages.length === 0 || pages.some(([, url]) => !url)) {
  console.error('usage: first-paint.mjs NAME=URL|NAME=dir:PATH...');
  process.exit(2);
}
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const rows = [];
for (const [name, given] of pages) {
  const url = given.startsWith('dir:') ? await serveFiles(given.slice(4)) : given;
  const row = { page: name };
  for (const isSlow of [false, true]) {
    const found = [];
    for (let round = 0; round < ROUNDS; round += 1) found.push(await measure(browser, url, isSlow));
    row[isSlow ? 'slow: first paint, ms' : 'first paint, ms'] = Math.round(median(found.map(({ paint }) => paint)));
    row.bytes = median(found.map(({ bytes }) => bytes));
    row.requests = median(found.map(({ requests }) => requests));
  }
  rows.push(row);
}
await browser.close();
console.table(rows);
