// What all pages have in common: addresses, header, keys, colours, times, and what stands in for a page.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BINARY, PAGES, accessible, open, proxy, serve, shown, until } from './harness.mjs';

const NAMES = { query: 'Query', explore: 'Explore', storage: 'Storage', verify: 'Verify', ingest: 'Ingest', status: 'Status' };
const DATA = 'up{job="api"} 1\nup{job="db"} 0\n';

const pathOf = (page) => new URL(page.url()).pathname + new URL(page.url()).search;

test('every page loads by its address and is accessible in both colours', async (t) => {
  const server = await serve(t, { data: DATA });
  for (const name of PAGES) {
    await t.test(name, async (t) => {
      const page = await open(t, server, name);
      await shown(page, NAMES[name]);
      assert.equal(await page.title(), `${NAMES[name]} · Chronolith`);
      assert.equal(await page.locator('h1').count(), 1);
      assert.equal(await page.locator('html').getAttribute('lang'), 'en');
      await page.getByRole('status').filter({ hasText: 'Ready' }).waitFor();
      await accessible(page);
    });
  }
});

test('first page is how to write until something was written, then the query page', async (t) => {
  const server = await serve(t);
  const before = await open(t, server, '');
  await shown(before, 'Ingest');
  assert.equal(pathOf(before), '/ingest');
  await server.write(DATA);
  const page = await open(t, server, '');
  await shown(page, 'Query');
  assert.equal(pathOf(page), '/query');
});

test('page that was opened out of sight asks once it is seen', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'query', {
    before: (early) => early.addInitScript(() => Object.defineProperty(document, 'hidden', { value: true, configurable: true })),
  });
  await shown(page, 'Query');
  await page.locator('.empty .loading').waitFor();
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await page.getByRole('button', { name: 'up', exact: true }).waitFor();
});

test('links, keys and the Back button change the page without loading it again', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'query');
  await shown(page, 'Query');
  const documents = [];
  page.on('request', (request) => request.resourceType() === 'document' && documents.push(request.url()));
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Storage' }).click();
  await shown(page, 'Storage');
  for (const [letter, name] of [['e', 'Explore'], ['v', 'Verify'], ['i', 'Ingest'], ['t', 'Status'], ['s', 'Storage'], ['q', 'Query']]) {
    await page.keyboard.press('g');
    await page.keyboard.press(letter);
    await shown(page, name);
    assert.equal(pathOf(page), `/${name.toLowerCase()}`);
  }
  await page.goBack();
  await shown(page, 'Storage');
  assert.deepEqual(documents, []);
  await page.reload();
  await shown(page, 'Storage');
});

test('keys are listed, and one letter does nothing while somebody types', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'status');
  await shown(page, 'Status');
  await page.keyboard.press('?');
  const keys = page.getByRole('dialog', { name: 'Keys' });
  await keys.waitFor();
  await accessible(page);
  await page.keyboard.press('Escape');
  await keys.waitFor({ state: 'hidden' });
  await page.evaluate(() => {
    const input = document.createElement('input');
    input.id = 'typed';
    document.querySelector('main').append(input);
    input.focus();
  });
  await page.keyboard.type('gsd?');
  assert.equal(await page.locator('#typed').inputValue(), 'gsd?');
  assert.equal(pathOf(page), '/status');
  await keys.waitFor({ state: 'hidden' });
});

test('link past the header leads to the page, which then has the focus', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'storage?zoom=7d');
  await shown(page, 'Storage');
  await page.keyboard.press('Tab');
  const link = page.getByRole('link', { name: 'To the page' });
  assert.ok(await link.evaluate((element) => element === document.activeElement));
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement?.id === 'page');
  await shown(page, 'Storage');
  assert.match(pathOf(page), /^\/storage\?zoom=7d$/);
});

test('colours that were chosen are there at once when the page comes again', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'status', { context: { colorScheme: 'light' } });
  await shown(page, 'Status');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'System colours' }).click();
  await page.getByRole('button', { name: 'Light' }).waitFor();
  await page.keyboard.press('d');
  await page.getByRole('button', { name: 'Dark' }).waitFor();
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload({ waitUntil: 'commit' });
  // Before any module has run.
  await page.waitForFunction(() => document.documentElement?.dataset.theme === 'dark');
  await shown(page, 'Status');
  assert.equal(await ground(), dark);
  await page.keyboard.press('d');
  await page.getByRole('button', { name: 'System colours' }).waitFor();
  await page.emulateMedia({ colorScheme: 'dark' });
  assert.equal(await ground(), dark);
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await ground(), light);
});

test('times are in UTC until a person wants those of the place', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'storage', { context: { timezoneId: 'Asia/Kolkata' } });
  await shown(page, 'Storage');
  await page.getByRole('button', { name: 'UTC' }).click();
  await page.getByRole('button', { name: 'Local' }).waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Local' }).click();
  await page.getByRole('button', { name: 'UTC' }).waitFor();
});

test('header fits a narrow window and a page that is zoomed', async (t) => {
  const server = await serve(t, { data: DATA });
  for (const name of PAGES) {
    const page = await open(t, server, name, { context: { viewport: { width: 320, height: 640 } } });
    await shown(page, NAMES[name]);
    const [inner, wide] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
    assert.ok(wide <= inner, `${name}: ${wide} px wide in a window of ${inner}`);
  }
});

test('links to the graph of Prometheus lead to the same query', async (t) => {
  const server = await serve(t, { data: DATA });
  const link = 'g0.expr=up%7Bjob%3D%22api%22%7D&g0.tab=0&g0.range_input=1h&g0.end_input=2026-11-21+12%3A00%3A00';
  const page = await open(t, server, `graph?${link}`);
  await shown(page, 'Query');
  const params = new URL(page.url()).searchParams;
  assert.equal(new URL(page.url()).pathname, '/query');
  assert.equal(params.get('g0.expr'), 'up{job="api"}');
  assert.equal(params.get('g0.end_input'), '2026-11-21 12:00:00');
});

test('unknown addresses are not found, and are no page of the console', async (t) => {
  const server = await serve(t);
  for (const path of ['nothing', 'query/', 'query/x', 'assets/', 'assets/none-00000000.js', 'index.html', 'Query']) {
    const answer = await server.get(path, { redirect: 'manual' });
    assert.equal(answer.status, 404, path);
    assert.equal(await answer.text(), '404 page not found\n');
  }
});

for (const [what, strip] of [['that keeps', false], ['that strips', true]]) {
  test(`console works behind a proxy ${what} its prefix`, async (t) => {
    const prefix = '/tools/metrics';
    const server = await serve(t, { keys: strip ? {} : { 'web.route_prefix': prefix }, data: DATA });
    const front = await proxy(t, server, { prefix, strip });
    const page = await open(t, front, '');
    await shown(page, 'Query');
    assert.equal(pathOf(page), `${prefix}/query`);
    for (const name of PAGES) {
      await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: NAMES[name] }).click();
      await shown(page, NAMES[name]);
      await page.reload();
      await shown(page, NAMES[name]);
      assert.equal(pathOf(page), `${prefix}/${name}`);
    }
    await page.getByRole('status').filter({ hasText: 'Ready' }).waitFor();
    const linked = await open(t, front, 'graph?g0.expr=up');
    await shown(linked, 'Query');
    assert.equal(pathOf(linked), `${prefix}/query?g0.expr=up`);
  });
}

test('page asks for the password that the server wants, and works with it', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'chronolith-doors-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const hashed = spawnSync(BINARY, ['config', 'hash-password'], { input: 'a secret\n', encoding: 'utf8' });
  writeFileSync(join(dir, 'web.yml'), `basic_auth_users:\n  ann: ${hashed.stdout.trim()}\n`);
  const server = await serve(t, { keys: { 'web.config_file': join(dir, 'web.yml') }, ready: false });
  for (const path of ['', 'query', 'theme.js', 'favicon.svg', 'graph?g0.expr=up']) {
    const answer = await server.get(path, { redirect: 'manual' });
    assert.equal(answer.status, 401, path);
    assert.match(answer.headers.get('www-authenticate'), /^Basic /);
  }
  const httpCredentials = { username: 'ann', password: 'a secret' };
  const page = await open(t, server, 'status', { context: { httpCredentials } });
  await shown(page, 'Status');
  await page.getByRole('status').filter({ hasText: 'Ready' }).waitFor();
});

test('page that is asked for during a start shows how far it is, and comes by itself', async (t) => {
  const server = await serve(t, { data: DATA });
  let replaying = true;
  const health = {
    status: 'replaying', version: '0', uptime_seconds: 10, alarms: [], maintenance: [], last_verification: null, blocks: null,
    replay: { bytes_done: 41 * 2 ** 20, bytes_total: 100 * 2 ** 20, segment: 4, last_segment: 9 },
  };
  const page = await open(t, server, 'storage?block=x', {
    before: (page) => page.route('**/health', (route) => (replaying ? route.fulfill({ json: health }) : route.continue())),
  });
  const progress = page.getByRole('progressbar', { name: 'Replay of the log' });
  await progress.waitFor();
  assert.equal(await progress.evaluate((element) => element.value / element.max), 0.41);
  await page.getByRole('status').filter({ hasText: '41 %' }).waitFor();
  await page.getByText('41.0 MiB of 100 MiB').waitFor();
  await accessible(page);
  replaying = false;
  await shown(page, 'Storage');
  assert.equal(pathOf(page), '/storage?block=x');
});

test('header says that the server is gone, and that it is back', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'status', { expect: [/Failed to load resource: net::ERR_/] });
  await shown(page, 'Status');
  const pill = page.locator('header.top [role="status"]');
  await pill.filter({ hasText: 'Ready' }).waitFor();
  await server.stop('SIGKILL');
  await pill.filter({ hasText: 'No answer' }).waitFor();
  await accessible(page);
  await server.start();
  await server.ready();
  await pill.filter({ hasText: 'Ready' }).waitFor();
});

test('server answers pages while it replays its log', async (t) => {
  const server = await serve(t, { data: DATA });
  await server.stop('SIGKILL');
  await server.start();
  // Whether it is ready yet or not.
  const answer = await server.get('query');
  assert.equal(answer.status, 200);
  await until('the end of the replay', async () => (await server.get('-/ready')).ok);
});
