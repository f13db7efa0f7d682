// The page Explore: what the series are of, how a table is narrowed, and what nobody asks for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, open, serve, shown } from './harness.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>';

/** Thirty metrics; of `m00` there are forty series, one of them with a hostile value. */
const DATA = [
  ...Array.from({ length: 30 }, (_, at) => `m${String(at).padStart(2, '0')}{job="a"} 1\n`),
  ...Array.from({ length: 38 }, (_, at) => `m00{job="b",pod="pod-${at}"} 1\n`),
  `m00{job="b",pod="${HOSTILE}"} 1\n`,
].join('');

const params = (page) => Object.fromEntries(new URL(page.url()).searchParams);
const region = (page, name) => page.getByRole('region', { name, exact: true });
const total = (page, name) => page.locator('.totals > div', { hasText: name }).locator('strong');

test('tables show the largest and how many there are', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'explore');
  const metrics = region(page, 'Metrics');
  await metrics.getByText('20 of 30').waitFor();
  assert.equal(await total(page, 'series').first().textContent(), '69');
  assert.equal(await total(page, 'metric names').textContent(), '30');
  const cells = await metrics.locator('tbody tr').first().locator('td').allTextContents();
  assert.deepEqual(cells.slice(0, 5).map((text) => text.trim()), ['m00', '40', '58 %', '0', 'never']);
  await region(page, 'Labels').getByRole('row', { name: /^pod 39 39/ }).waitFor();
  await region(page, 'Writers by series').getByRole('row', { name: /69 100 % m00/ }).waitFor();
  await page.getByRole('img', { name: /^Series created in each of the last 24 hours/ }).waitFor();
  await accessible(page);
  await metrics.getByRole('button', { name: 'Show 50' }).click();
  await metrics.getByText('30', { exact: true }).first().waitFor();
  assert.equal(await metrics.locator('tbody tr').count(), 30);
  assert.deepEqual(params(page), { limit: '50' });
});

test('a click on a name narrows the page, and the Back button widens it again', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'explore?limit=50');
  await region(page, 'Labels').getByRole('button', { name: 'pod', exact: true }).click();
  const values = region(page, 'Values of pod');
  await values.getByRole('button', { name: HOSTILE }).click();
  await total(page, 'series').first().filter({ hasText: /^1$/ }).waitFor();
  assert.equal(params(page).match, `{pod="${HOSTILE}"}`);
  assert.equal(await page.getByRole('textbox', { name: 'Selector' }).inputValue(), `{pod="${HOSTILE}"}`);
  await accessible(page);
  await page.goBack();
  await total(page, 'series').first().filter({ hasText: /^69$/ }).waitFor();
  assert.deepEqual(params(page), { limit: '50', focus: 'pod' });
  await region(page, 'Metrics').getByRole('link', { name: 'Count m00 on the page Query' }).click();
  await shown(page, 'Query');
  assert.equal(params(page)['g0.expr'], 'count by (pod) (m00)');
});

test('a selector is typed and run by keyboard, and a wrong one is told', async (t) => {
  const server = await serve(t, { data: DATA });
  const page = await open(t, server, 'explore', { expect: [/Failed to load resource/] });
  const selector = page.getByRole('textbox', { name: 'Selector' });
  await selector.fill('{job="b"}');
  await page.keyboard.press('Enter');
  await total(page, 'series').first().filter({ hasText: /^39$/ }).waitFor();
  await selector.fill('{job=');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').getByText(/invalid parameter "match\[\]"/).waitFor();
  await region(page, 'Writers by series').getByRole('row', { name: /m00/ }).waitFor();
  await accessible(page);
  await page.getByRole('button', { name: 'Clear' }).click();
  await total(page, 'series').first().filter({ hasText: /^69$/ }).waitFor();
});

test('metrics that no query named are found', async (t) => {
  const server = await serve(t, { data: DATA });
  await server.data('api/v1/query?query=m00%2Bm01');
  const page = await open(t, server, 'explore');
  const metrics = region(page, 'Metrics');
  await metrics.getByRole('row', { name: /^m00 40 58 % 1 (now|\d+ s ago)/ }).waitFor();
  await metrics.getByRole('checkbox', { name: 'Never queried' }).check();
  await metrics.getByText('20 of 28').waitFor();
  assert.equal(await metrics.getByRole('button', { name: /^m0[01]$/ }).count(), 0);
  assert.deepEqual(params(page), { unqueried: '1' });
});

test('an empty server says where series come from', async (t) => {
  const server = await serve(t);
  const page = await open(t, server, 'explore');
  await page.getByText('The head holds no series.').waitFor();
  await accessible(page);
  await page.getByRole('main').getByRole('link', { name: 'Ingest' }).click();
  await shown(page, 'Ingest');
});

test('a server that cannot count still shows its writers', async (t) => {
  const server = await serve(t, { data: DATA });
  const before = (page) => page.route('**/api/v1/storage/cardinality*', (route) => route.fulfill({ status: 404, body: '404 page not found\n' }));
  const page = await open(t, server, 'explore', { before, expect: [/Failed to load resource/] });
  await region(page, 'Series of the head').getByText('not available in this build of the server').waitFor();
  await region(page, 'Writers by series').getByRole('row', { name: /m00/ }).waitFor();
  await accessible(page);
});
