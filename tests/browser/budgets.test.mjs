// What a browser has to fetch, in bytes as the server sends them: compressed, with brotli.

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { PAGES, open, serve, shown } from './harness.mjs';

const KB = 1000;
/** In bytes. The entry is all that a first page needs besides its own part. */
const BUDGETS = { entry: 25 * KB, page: 12 * KB, editor: 125 * KB, all: 230 * KB };

/** A file as it comes over the wire; `fetch` would unpack it. */
function raw(server, path, encoding) {
  return new Promise((resolve, reject) => {
    const asked = http.get(new URL(path, server.url), { headers: { 'accept-encoding': encoding } }, async (answer) => {
      const pieces = [];
      for await (const piece of answer) pieces.push(piece);
      resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(pieces) });
    });
    asked.on('error', reject);
  });
}

/** Every file that the pages can come to need, found by its name in those before it. */
async function crawl(server) {
  const files = new Map();
  const index = (await raw(server, 'query', 'identity')).body.toString();
  const entry = [...index.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map(([, path]) => path);
  const named = [...entry];
  while (named.length > 0) {
    const path = named.pop();
    if (files.has(path)) continue;
    const plain = await raw(server, path, 'identity');
    if (plain.status === 404) continue;
    const sent = await raw(server, path, 'gzip, br');
    files.set(path, { bytes: sent.body.length, headers: sent.headers, text: plain.body.toString() });
    if (!/\.(js|css)$/.test(path)) continue;
    for (const [name] of plain.body.toString().matchAll(/[\w.-]+\.(?:js|css|woff2|svg|png)\b/g)) named.push(`assets/${name}`);
  }
  return { entry, files, index: await raw(server, 'query', 'br') };
}

/** What a first visit may fetch of the console, in bytes; the query page with its editor and chart. */
const VISIT = { query: 200 * KB, other: 45 * KB };

const sum = (sizes) => sizes.reduce((all, size) => all + size, 0);

test('files of the console are within their budgets', async (t) => {
  const server = await serve(t);
  const { entry, files, index } = await crawl(server);
  const sizeOf = (wanted) => sum([...files].filter(([path]) => wanted(path)).map(([, { bytes }]) => bytes));
  const sizes = { entry: index.body.length + sizeOf((path) => entry.includes(path)) };
  for (const name of PAGES) {
    const own = new RegExp(`^assets/${name}-[\\w-]{8}\\.(js|css)$`);
    assert.ok([...files.keys()].some((path) => own.test(path) && path.endsWith('.js')), `${name} has a part of its own`);
    sizes[name] = sizeOf((path) => own.test(path));
  }
  const editor = [...files].filter(([path, { text }]) => path.endsWith('.js') && text.includes('cm-editor'));
  sizes.editor = sum(editor.map(([, { bytes }]) => bytes));
  sizes.all = index.body.length + sizeOf(() => true);
  t.diagnostic(JSON.stringify(sizes));
  for (const [path, { bytes }] of [...files].sort((a, b) => b[1].bytes - a[1].bytes)) t.diagnostic(`${bytes} ${path}`);
  for (const [what, size] of Object.entries(sizes)) {
    const most = BUDGETS[what] ?? BUDGETS.page;
    assert.ok(size <= most, `${what}: ${size} bytes, at most ${most}`);
  }
  assert.ok(editor.every(([path]) => !entry.includes(path)), 'the editor is no part of the entry');
});

test('files keep for ever under names that change with them, and come compressed', async (t) => {
  const server = await serve(t);
  const { files, index } = await crawl(server);
  assert.equal(index.headers['cache-control'], 'no-cache');
  for (const [path, { headers }] of files) {
    assert.equal(headers['content-encoding'], 'br', path);
    assert.match(headers.vary, /accept-encoding/i);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    if (path.startsWith('assets/')) {
      assert.match(path, /-[\w-]{8}\.\w+$/, 'a hash in its name');
      assert.equal(headers['cache-control'], 'public, max-age=31536000, immutable');
    } else {
      assert.equal(headers['cache-control'], 'no-cache');
    }
  }
});

test('first visit of a page fetches little of the console', async (t) => {
  const server = await serve(t, { data: 'up{job="api"} 1\n' });
  const { files, index } = await crawl(server);
  for (const name of PAGES) {
    const fetched = new Set();
    const page = await open(t, server, name, {
      before: (page) => page.on('request', (request) => fetched.add(new URL(request.url()).pathname.slice(1))),
    });
    await shown(page, name[0].toUpperCase() + name.slice(1));
    await page.waitForLoadState('networkidle');
    const size = index.body.length + sum([...fetched].map((path) => files.get(path)?.bytes ?? 0));
    t.diagnostic(`${size} bytes, ${[...fetched].filter((path) => files.has(path)).length} files: ${name}`);
    const most = VISIT[name] ?? VISIT.other;
    assert.ok(size <= most, `${name}: ${size} bytes, at most ${most}`);
  }
});
