// Pictures of every page, light and dark, for docs/images: `npm run screenshots`. What they show is made here: three days of a
// small web shop, of which the last hour came over the network, with a few samples that are refused.

import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open, serve, shown, until } from './harness.mjs';

const OUT = fileURLToPath(new URL('../../docs/images', import.meta.url));
const BINARY = process.env.CHRONOLITH_BINARY ?? fileURLToPath(new URL('../../target/debug/chronolith', import.meta.url));
const STEP_S = 60;
const HOUR_S = 3600;

const HANDLERS = ['/cart', '/checkout', '/login', '/product', '/search'];
const INSTANCES = ['shop-0:8080', 'shop-1:8080', 'shop-2:8080'];
const LE = [0.01, 0.05, 0.1, 0.5, 1, '+Inf'];

/** Requests a second of a handler at a moment: days have a noon, and searches are more than checkouts. */
function load(handler, instance, seconds) {
  const day = 1 + 0.6 * Math.sin((2 * Math.PI * (seconds % 86_400)) / 86_400 - Math.PI / 2);
  const ripple = 1 + 0.15 * Math.sin(seconds / 400 + handler * 2 + instance) + 0.05 * Math.sin(seconds / 97 + handler);
  return (40 / (handler + 1.5)) * day * ripple;
}

/** The samples of a step in OpenMetrics, by metric family, with counters that go on from `counters`. */
function step(seconds, counters, families) {
  INSTANCES.forEach((instance, i) => {
    HANDLERS.forEach((handler, h) => {
      const rate = load(h, i, seconds);
      const labels = `handler="${handler}",instance="${instance}",job="shop"`;
      for (const [code, share] of [['200', 0.97], ['404', 0.02], ['500', h === 1 ? 0.03 : 0.01]]) {
        const key = `${labels},code="${code}"`;
        counters.set(key, (counters.get(key) ?? 0) + rate * share * STEP_S);
        families.requests.push(`http_requests_total{${key}} ${counters.get(key).toFixed(0)} ${seconds}`);
      }
      LE.forEach((le, at) => {
        const key = `${labels},le="${le}"`;
        counters.set(key, (counters.get(key) ?? 0) + (rate * STEP_S * (at + 1)) / LE.length);
        families.buckets.push(`http_request_duration_seconds_bucket{${key}} ${counters.get(key).toFixed(0)} ${seconds}`);
      });
    });
    families.memory.push(`process_resident_memory_bytes{instance="${instance}",job="shop"} ${Math.round(2e8 + 3e7 * Math.sin(seconds / 5000 + i))} ${seconds}`);
    families.up.push(`up{instance="${instance}",job="shop"} 1 ${seconds}`);
  });
}

function steps(from, to, counters) {
  const families = { requests: [], buckets: [], memory: [], up: [] };
  for (let seconds = from; seconds < to; seconds += STEP_S) step(seconds, counters, families);
  return families;
}

/** The lines in the order that a family asks for: series by series. */
function text(lines) {
  return [...lines].sort((a, b) => (a.slice(0, a.lastIndexOf(' ')) < b.slice(0, b.lastIndexOf(' ')) ? -1 : 1));
}

test('pictures of every page', { timeout: 600_000 }, async (t) => {
  const now = Math.floor(Date.now() / 1000 / STEP_S) * STEP_S;
  const counters = new Map();
  const old = steps(now - 72 * HOUR_S, now - HOUR_S, counters);
  const recent = steps(now - HOUR_S, now, counters);

  const server = await serve(t, { keys: { 'web.enable_admin_api': true, 'retention.size': '2GiB' } });
  await server.stop();
  const file = join(server.dir, 'old.om');
  const declared = (name, type, lines) => [`# TYPE ${name} ${type}`, ...text(lines)];
  await writeFile(
    file,
    [
      ...declared('http_requests', 'counter', old.requests),
      ...declared('process_resident_memory_bytes', 'gauge', old.memory),
      ...declared('up', 'gauge', old.up),
      '# EOF\n',
    ].join('\n'),
  );
  await promisify(execFile)(BINARY, ['db', 'import', '--data-dir', server.dataDir, file], { maxBuffer: 1 << 24 });
  await server.start();
  await server.ready();
  const lines = [recent.requests, recent.buckets, recent.memory, recent.up].flat();
  const ms = (line) => `${line}000`;
  for (let at = 0; at < lines.length; at += 5000) await server.write(`${lines.slice(at, at + 5000).map(ms).join('\n')}\n`);
  const refused = ['up{job="shop",job="shop"} 1', `up{instance="shop-0:8080",job="shop"} 1 ${(now - 40 * HOUR_S) * 1000}`];
  await server.get('api/v1/import/prometheus', { method: 'POST', body: `${refused.join('\n')}\n` });
  await server.get('api/v1/admin/storage/compact', { method: 'POST' });
  await server.get('api/v1/admin/storage/verify', { method: 'POST' });
  await until('a proof', async () => (await server.data('api/v1/status/verify')).log.length > 0);

  await mkdir(OUT, { recursive: true });
  const expr = 'sum by (handler) (rate(http_requests_total[5m]))';
  const query = new URLSearchParams({ 'g0.expr': expr, 'g0.tab': 'graph', 'g0.range_input': '1d' });
  const pages = {
    query: `query?${query}`,
    explore: 'explore?focus=handler',
    storage: 'storage?zoom=all',
    verify: 'verify',
    ingest: 'ingest',
    status: 'status',
  };
  for (const [name, path] of Object.entries(pages)) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await open(t, server, path, { context: { colorScheme, viewport: { width: 1280, height: 860 } } });
      await shown(page, name[0].toUpperCase() + name.slice(1));
      await page.waitForLoadState('networkidle');
      if (name === 'query') await page.locator('canvas').first().waitFor();
      await page.screenshot({ path: join(OUT, `${name}-${colorScheme}.png`) });
    }
  }
});
