// The Query page: what is typed, what comes back, and the address that says both.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, open, serve, shown, until } from './harness.mjs';
import { TEMPERATURES, boxOf, cells, editor, failed, link, params, result, samples, type } from './querying.mjs';

test('a query is typed and run, and its address brings it again', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 3, (index) => 20 + index) });
  const page = await open(t, server, link('', { tab: 'table' }));
  await shown(page, 'Query');
  // Letter by letter, as fast as it goes, over what stood there.
  await type(page, 'sum(up)');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('temp * 2');
  await page.keyboard.press('Control+Enter');
  await result(page).filter({ hasText: '2 series' }).waitFor();
  assert.match(await result(page).innerText(), /2 samples read · .* in the server .*here/);
  const rows = await cells(page);
  assert.deepEqual(rows.map((row) => row.split(/\s+/)), [['a', '40'], ['b', '42']]);
  assert.equal(params(page).get('g0.expr'), 'temp * 2');
  await accessible(page);
  await page.reload();
  await result(page).filter({ hasText: '2 series' }).waitFor();
  // The Back button undoes a run.
  await type(page, 'temp');
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === 'temp');
  await page.goBack();
  await until('the query before', async () => (await editor(page).innerText()) === 'temp * 2');
});

test('several queries stand on one page, and each can be doubled and removed', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 1) });
  const page = await open(t, server, `${link('temp')}&g1.expr=1&g1.tab=1`);
  await page.getByRole('region', { name: 'Query 2' }).getByText('scalar', { exact: true }).first().waitFor();
  await page.getByRole('region', { name: 'Query 1' }).getByRole('button', { name: 'Duplicate' }).click();
  await page.waitForURL((url) => url.searchParams.get('g2.expr') === '1');
  assert.deepEqual(['g0.expr', 'g1.expr', 'g2.expr'].map((name) => params(page).get(name)), ['temp', 'temp', '1']);
  await page.getByRole('button', { name: 'Remove query 1' }).click();
  await page.waitForURL((url) => !url.searchParams.has('g2.expr'));
  await page.getByRole('button', { name: 'Add query' }).click();
  await page.waitForURL((url) => url.searchParams.has('g2.expr'));
  assert.deepEqual(['g0.expr', 'g1.expr', 'g2.expr'].map((name) => params(page).get(name)), ['temp', '1', '']);
});

test('links of Prometheus, its old console and Grafana are understood', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 3, () => 20) });
  const end = new Date(Math.floor(Date.now() / 1000) * 1000).toISOString().slice(0, 19).replace('T', ' ');
  const old = new URLSearchParams({ 'g0.expr': 'temp', 'g0.range_input': '2h', 'g0.end_input': end, 'g0.step_input': '60', 'g0.tab': '0', 'g0.stacked': '1' });
  const page = await open(t, server, `graph?${old}`);
  await page.locator('.u-over').waitFor();
  await page.getByRole('img', { name: /Graph of 2 series/ }).waitFor();
  assert.equal(await page.getByRole('textbox', { name: 'Range' }).inputValue(), '2h');
  assert.equal(await page.getByRole('textbox', { name: /^End/ }).inputValue(), end);
  assert.equal(await page.getByRole('textbox', { name: 'Step' }).inputValue(), '1m');
  assert.equal(await page.getByRole('button', { name: 'stacked' }).getAttribute('aria-pressed'), 'true');
});

test('zooming into a graph changes the address, and Back and a double click lead out', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 200, (index, step) => 20 + index + Math.sin(step / 10)) });
  const page = await open(t, server, link('temp', { tab: 'graph', range_input: '1h' }));
  const area = page.locator('.u-over');
  await area.waitFor();
  await accessible(page);
  const range = () => page.getByRole('textbox', { name: 'Range' }).inputValue();
  const drag = async (from, to) => {
    const box = await boxOf(area);
    await page.mouse.move(box.x + box.width * from, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * to, box.y + 60, { steps: 4 });
    await page.mouse.up();
  };
  await drag(0.5, 0.75);
  await page.waitForURL((url) => url.searchParams.has('g0.end_input'));
  await until('a quarter of the range', async () => /^1[45]m/.test(await range()));
  const zoomed = params(page).get('g0.end_input');
  await page.keyboard.down('Alt');
  await drag(0.5, 0.75);
  await page.keyboard.up('Alt');
  await page.waitForURL((url) => url.searchParams.get('g0.end_input') !== zoomed);
  assert.ok(params(page).get('g0.end_input') < zoomed, 'what is dragged to the right comes from before');
  await page.goBack();
  await page.waitForURL((url) => url.searchParams.get('g0.end_input') === zoomed);
  await page.goBack();
  await until('the whole range', async () => (await range()) === '1h');
  await drag(0.2, 0.4);
  await until('a zoom', async () => (await range()) !== '1h');
  // The chart is drawn anew for each range.
  await page.getByRole('button', { name: 'Zoom out' }).waitFor();
  await area.dblclick({ position: { x: 100, y: 100 } });
  await until('the whole range', async () => (await range()) === '1h');
});

test('keys shift and scale the time, and lead to table and raw samples', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 10, () => 20) });
  const page = await open(t, server, link('temp', { tab: 'graph', end_input: '2026-11-21 12:00:00', range_input: '1h' }));
  await result(page).filter({ hasText: '0 series' }).waitFor();
  const at = async (key, name, value) => {
    await page.keyboard.press(key);
    await page.waitForURL((url) => url.searchParams.get(name) === value);
  };
  await at('[', 'g0.end_input', '2026-11-21 11:30:00');
  await at(']', 'g0.end_input', '2026-11-21 12:00:00');
  await at('+', 'g0.range_input', '30m');
  await at('-', 'g0.range_input', '1h');
  // Of a second too, by less than one.
  await page.getByRole('textbox', { name: 'Range' }).fill('1s');
  await page.getByRole('textbox', { name: 'Range' }).press('Enter');
  await page.waitForURL((url) => url.searchParams.get('g0.range_input') === '1s');
  await page.getByRole('textbox', { name: 'Range' }).blur();
  await at(']', 'g0.end_input', '2026-11-21 12:00:00.500');
  await at('[', 'g0.end_input', '2026-11-21 12:00:00');
  await at('t', 'g0.tab', 'table');
  await at('r', 'g0.tab', 'raw');
  await at('l', 'live', '1');
  await page.keyboard.press('/');
  await until('the editor', () => page.evaluate(() => document.activeElement?.matches('[data-query]')));
  // A letter is text there, and Tab leaves.
  await page.keyboard.press('t');
  assert.equal(params(page).get('g0.tab'), 'raw');
  await page.keyboard.press('Tab');
  await until('the button', () => page.evaluate(() => document.activeElement?.classList.contains('run')));
});

test('a wrong query is underlined where it is wrong, and told with code and type', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 20) });
  const page = await open(t, server, link('sum(rate(temp))', { tab: 'table' }), { expect: [failed(400)] });
  await page.getByRole('alert').filter({ hasText: '400 bad_data' }).filter({ hasText: 'expected type range vector' }).waitFor();
  await page.locator('.cm-lintRange-error').waitFor();
  assert.equal(await page.locator('.cm-lintRange-error').innerText(), 'temp');
  await accessible(page);
  await type(page, 'sum(temp)');
  await page.keyboard.press('Enter');
  await result(page).filter({ hasText: '1 series' }).waitFor();
  assert.equal(await page.getByRole('alert').count(), 0);
  assert.equal(await page.locator('.cm-lintRange-error').count(), 0);
});

test('an answer of Format that comes late leaves what was typed since, and its fault goes with its text', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 20) });
  const page = await open(t, server, link('temp', { tab: 'table' }), { expect: [failed(400)] });
  await result(page).filter({ hasText: '2 series' }).waitFor();
  const format = () => page.getByRole('button', { name: 'Format' }).click();
  let answer;
  await page.route('**/api/v1/format_query', (route) => (answer = () => route.fallback()));
  await type(page, 'sum(temp)/2');
  await format();
  await until('the question', () => answer);
  await type(page, 'sum(temp) by (room)');
  const [answered] = await Promise.all([page.waitForResponse('**/api/v1/format_query'), answer()]);
  await answered.finished();
  await page.unroute('**/api/v1/format_query');
  await format();
  await until('the newer text', async () => (await editor(page).innerText()) === 'sum by (room) (temp)');
  // A fault that is mended is no longer marked, and one of a text that is gone is no longer told.
  await page.keyboard.press('Control+Enter');
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === 'sum by (room) (temp)');
  await result(page).filter({ hasText: '2 series' }).waitFor();
  await type(page, 'sum(rate(temp))');
  await format();
  await page.locator('.cm-lintRange-error').waitFor();
  await editor(page).press('End');
  await page.keyboard.type(' ');
  await page.locator('.cm-lintRange-error').waitFor({ state: 'detached' });
  await page.getByRole('alert').filter({ hasText: 'expected type range vector' }).waitFor();
  await page.goBack();
  await until('the query before', async () => (await editor(page).innerText()) === 'temp');
  await page.getByRole('alert').waitFor({ state: 'detached' });
});

test('queries that cannot be evaluated or take too long are told apart', async (t) => {
  const server = await serve(t, { data: samples(['a{x="1"}', 'a{x="2"}', 'b{y="1"}', 'b{y="2"}'], 1, () => 1), keys: { 'query.max_samples': 100_000 } });
  const page = await open(t, server, link('a + on() b', { tab: 'table' }), { expect: [failed(422), failed(503)] });
  await page.getByRole('alert').filter({ hasText: '422 execution' }).waitFor();
  await page.route('**/api/v1/query', (route) => route.fulfill({ status: 503, json: { status: 'error', errorType: 'timeout', error: 'query timed out in expression evaluation' } }));
  await page.getByRole('button', { name: 'Run' }).click();
  await page.getByRole('alert').filter({ hasText: '503 timeout: query timed out' }).waitFor();
  await page.getByText('a shorter range or a larger step asks for less').waitFor();
  await page.unroute('**/api/v1/query');
  await type(page, 'count(a)');
  await page.keyboard.press('Enter');
  await result(page).filter({ hasText: '1 series' }).waitFor();
});

test('a result of the query before is told as such once the newer one is stopped or fails', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 20) });
  const page = await open(t, server, link('temp', { tab: 'table' }), { expect: [failed(503)] });
  await result(page).filter({ hasText: '2 series' }).waitFor();
  await page.route('**/api/v1/query', () => undefined);
  await type(page, 'count(temp)');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Stop' }).click();
  await result(page).filter({ hasText: 'of the query before' }).waitFor();
  assert.equal(await page.locator('.before').getByRole('region', { name: 'Result' }).count(), 1);
  await page.unroute('**/api/v1/query');
  await page.getByRole('button', { name: 'Run' }).click();
  await result(page).filter({ hasText: '1 series' }).waitFor();
  assert.ok(!(await result(page).innerText()).includes('before'));
  await page.route('**/api/v1/query', (route) => route.fulfill({ status: 503, json: { status: 'error', errorType: 'timeout', error: 'query timed out' } }));
  await type(page, 'temp');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'query timed out' }).waitFor();
  await result(page).filter({ hasText: 'of the query before' }).waitFor();
  await accessible(page);
});

test('a server that dies in the middle of a query is told, and the next run works', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 20) });
  const page = await open(t, server, link('temp', { tab: 'table' }), { expect: [/Failed to load resource/] });
  await result(page).filter({ hasText: '2 series' }).waitFor();
  // Held back until the server is gone.
  let asked;
  const held = new Promise((resolve) => (asked = resolve));
  let release;
  const gone = new Promise((resolve) => (release = resolve));
  await page.route('**/api/v1/query', async (route) => {
    asked();
    await gone;
    await route.fallback();
  });
  await page.getByRole('button', { name: 'Run' }).click();
  await held;
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  await server.stop('SIGKILL');
  release();
  await page.getByRole('alert').filter({ hasText: 'the server does not answer' }).waitFor();
  // What was there stays in sight.
  assert.equal((await cells(page)).length, 2);
  await page.unroute('**/api/v1/query');
  await server.start();
  await server.ready();
  await page.getByRole('button', { name: 'Run' }).click();
  await page.getByRole('alert').filter({ hasText: 'the server does not answer' }).waitFor({ state: 'detached' });
});
