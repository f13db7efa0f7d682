// The Query page: results of all kinds, and whatever names they have.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { accessible, open, serve, shown, until } from './harness.mjs';
import { HOSTILE, TEMPERATURES, boxOf, cells, editor, link, params, result, samples, type } from './querying.mjs';

test('values that are no common numbers are told in words, and leave gaps in a graph', async (t) => {
  const data = samples(['odd{v="nan"}', 'odd{v="inf"}', 'odd{v="ninf"}', 'odd{v="zero"}'], 3, (index) => ['NaN', '+Inf', '-Inf', '-0'][index]);
  const server = await serve(t, { data });
  const page = await open(t, server, link('odd', { tab: 'table' }));
  await result(page).filter({ hasText: '4 series' }).waitFor();
  const rows = await cells(page);
  for (const text of ['NaN (not a number)', '+Inf (infinity)', '-Inf (minus infinity)', '-0']) {
    assert.ok(rows.some((row) => row.endsWith(text)), `${text} in ${rows}`);
  }
  await page.getByRole('tab', { name: 'Graph' }).click();
  await page.getByText(/samples are NaN or infinite and leave gaps/).waitFor();
  await page.getByRole('tab', { name: 'Raw' }).click();
  const raw = page.getByRole('region', { name: 'Samples' });
  await raw.getByText('8000000000000000').first().waitFor();
  await raw.getByText('7ff0000000000000').first().waitFor();
  assert.equal(await raw.getByText('7ff8000000000000').count(), 0, 'bits of a NaN that did not come');
});

test('stored samples are sorted by their values, and downloaded as they came', async (t) => {
  const server = await serve(t, { data: samples(['n'], 4, (_, step) => ['9', '1e3', 'NaN', '-20'][step]) });
  const page = await open(t, server, link('n', { tab: 'raw', range_input: '10m' }));
  const raw = page.getByRole('region', { name: 'Samples' });
  await page.getByText('4 samples of 1 series').waitFor();
  await raw.getByRole('button', { name: 'Value' }).click();
  assert.deepEqual(await raw.locator('td:nth-child(3)').allInnerTexts(), ['1000', '9', '-20', 'NaN (not a number)']);
  const [saved] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV' }).click()]);
  assert.deepEqual((await readFile(await saved.path(), 'utf8')).trim().split('\r\n').map((line) => line.split(',')[2]), ['Value', '-20', 'NaN', '1000', '9']);
});

test('native histograms are told in words, with their buckets', async (t) => {
  const server = await serve(t);
  const page = await open(t, server, link('h', { tab: 'table' }), {
    before: (page) =>
      page.route('**/api/v1/query', (route) => {
        const histogram = [1, { count: '3', sum: '4.5', buckets: [[0, '0.5', '1', '2'], [3, '-0.1', '0.1', '1']] }];
        return route.fulfill({ json: { status: 'success', data: { resultType: 'vector', result: [{ metric: { __name__: 'h' }, histogram }] } } });
      }),
  });
  await page.getByRole('button', { name: 'histogram: count 3, sum 4.5, 2 buckets' }).click();
  await page.getByRole('cell', { name: '(0.5, 1]', exact: true }).waitFor();
  await page.getByRole('cell', { name: '[-0.1, 0.1]', exact: true }).waitFor();
  await accessible(page);
  await page.route('**/api/v1/query_range', (route) => {
    const seconds = Math.floor(Date.now() / 1000);
    const histograms = [[seconds - 60, { count: '3', sum: '4.5', buckets: [[0, '0.5', '1', '2'], [0, '1', '2', '1']] }]];
    return route.fulfill({ json: { status: 'success', data: { resultType: 'matrix', result: [{ metric: { __name__: 'h' }, histograms }] } } });
  });
  await page.getByRole('tab', { name: 'Graph' }).click();
  await page.getByRole('img', { name: /Heatmap of 1 series of native histograms .* from 0.5 to 2/ }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'heatmap' }).getAttribute('aria-pressed'), 'true');
  await accessible(page);
});

test('a result of 1,000 series is a table of what is in sight, and a graph of the first', async (t) => {
  const names = Array.from({ length: 1000 }, (_, index) => `many{n="${String(index).padStart(4, '0')}"}`);
  const server = await serve(t, { data: samples(names, 2, (index) => index) });
  const page = await open(t, server, link('many', { tab: 'table' }));
  await result(page).filter({ hasText: '1,000 series' }).waitFor();
  await page.getByRole('button', { name: '0000', exact: true }).waitFor();
  assert.ok((await page.getByRole('region', { name: 'Result' }).locator('tr').count()) < 100);
  await page.getByRole('button', { name: 'Value' }).click();
  await page.getByRole('button', { name: '999', exact: true }).waitFor();
  await page.getByRole('region', { name: 'Result' }).evaluate((box) => box.scrollTo(0, box.scrollHeight));
  await page.getByRole('button', { name: '0000', exact: true }).waitFor();
  await page.getByRole('tab', { name: 'Graph' }).click();
  await page.getByText('Showing 20 of 1,000 series').waitFor();
  const legend = page.getByRole('region', { name: 'Legend' }).locator('button.legend');
  assert.deepEqual((await legend.allTextContents()).slice(0, 2), ['{n="0999"}', '{n="0998"}']);
  await page.getByRole('button', { name: 'Show all' }).click();
  await page.waitForURL((url) => url.searchParams.get('g0.show_all') === '1');
  await page.getByRole('img', { name: /Graph of 1,000 series.*Highest 999 in many\{n="0999"\}/ }).waitFor();
});

test('a long table whose end was in sight is never empty when it is narrowed down', async (t) => {
  const names = Array.from({ length: 1000 }, (_, index) => `many{n="${String(index).padStart(4, '0')}"}`);
  const server = await serve(t, { data: samples(names, 1, (index) => index) });
  const page = await open(t, server, link('many', { tab: 'table' }));
  await page.getByRole('button', { name: '0000', exact: true }).waitFor();
  const table = page.getByRole('region', { name: 'Result' });
  await table.evaluate((box) => box.scrollTo(0, box.scrollHeight));
  await page.getByRole('button', { name: '0999', exact: true }).waitFor();
  await table.evaluate((box) => {
    const look = () => (window.wasEmpty ||= box.querySelector('tr[aria-rowindex]') === null);
    new MutationObserver(look).observe(box, { childList: true, subtree: true });
  });
  await type(page, 'many < 300');
  await page.keyboard.press('Enter');
  await result(page).filter({ hasText: '300 series' }).waitFor();
  await page.getByRole('button', { name: '0299', exact: true }).waitFor();
  assert.equal(await page.evaluate(() => window.wasEmpty), false);
});

test('a click on a label narrows the query down, with Shift it leaves that out', async (t) => {
  const server = await serve(t, { data: samples([...TEMPERATURES, 'temp{room="c",floor="2"}'], 1, () => 20) });
  const page = await open(t, server, link('sum by (room, floor) (temp)', { tab: 'table' }));
  await page.getByRole('button', { name: 'b', exact: true }).click({ modifiers: ['Shift'] });
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === 'sum by (room, floor) (temp{room!="b"})');
  await result(page).filter({ hasText: '2 series' }).waitFor();
  await page.getByRole('button', { name: 'c', exact: true }).click();
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === 'sum by (room, floor) (temp{room!="b", room="c"})');
  await result(page).filter({ hasText: '1 series' }).waitFor();
});

test('names of metrics in a result are text, as a selector takes no second one', async (t) => {
  const server = await serve(t, { data: samples(['temp{room="a"}', 'humidity{room="b"}'], 1, () => 20) });
  const page = await open(t, server, link('temp or humidity', { tab: 'table' }));
  await result(page).filter({ hasText: '2 series' }).waitFor();
  const table = page.getByRole('region', { name: 'Result' });
  await table.getByText('humidity').waitFor();
  assert.equal(await table.getByRole('button', { name: 'humidity' }).count(), 0);
  await table.getByRole('button', { name: 'b', exact: true }).click();
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === 'temp{room="b"} or humidity{room="b"}');
  await result(page).filter({ hasText: '1 series' }).waitFor();
});

test('labels with names that every object has are shown, where they are', async (t) => {
  const server = await serve(t, { data: samples(['t{constructor="c"}', 't{toString="s"}'], 1, () => 7) });
  const page = await open(t, server, link('t', { tab: 'table' }));
  await result(page).filter({ hasText: '2 series' }).waitFor();
  assert.deepEqual((await cells(page)).map((row) => row.split('\t').map((cell) => cell.trim())).sort(), [['', 's', '7'], ['c', '', '7']]);
});

test('hostile names stay text in table, legend, tooltip and completion', async (t) => {
  const series = [`{"${HOSTILE}",path="${HOSTILE}"}`, `evil{path="${HOSTILE}",tag="<script>alert(2)</script>"}`];
  const server = await serve(t, { data: samples(series, 40, (index) => index) });
  const page = await open(t, server, link('{path!=""}', { tab: 'table', range_input: '10m' }));
  page.on('dialog', () => assert.fail('a script of the data ran'));
  await page.getByRole('region', { name: 'Result' }).getByText(HOSTILE, { exact: true }).waitFor();
  await page.getByRole('tab', { name: 'Graph' }).click();
  const area = page.locator('.u-over');
  await area.waitFor();
  await page.getByRole('region', { name: 'Legend' }).getByText('<script>alert(2)</script>').waitFor();
  const box = await boxOf(area);
  await page.mouse.move(box.x + box.width * 0.7, box.y + 20);
  await page.mouse.move(box.x + box.width * 0.7 + 1, box.y + 16);
  await page.locator('.tooltip').getByText(HOSTILE).first().waitFor();
  await type(page, 'evil{path="<im"}');
  for (let key = 0; key < 2; key += 1) await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('Control+Space');
  await page.getByRole('option', { name: HOSTILE }).waitFor();
  await page.keyboard.press('Escape');
  await page.goto(new URL('query', server.url).href);
  await page.getByRole('button', { name: HOSTILE, exact: true }).click();
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === `{"${HOSTILE}"}`);
  // The editor has images of its own, without a source.
  assert.equal(await page.locator('main img[src]').count(), 0);
});

test('completion asks for names by their beginning and with a limit, and not before two letters', async (t) => {
  const server = await serve(t, { data: samples(['http_requests_total{handler="/a"}', 'http_errors_total{handler="/a"}'], 1, () => 1) });
  const page = await open(t, server, link('', { tab: 'table' }));
  const asked = [];
  page.on('request', (request) => request.url().includes('match') && asked.push(new URL(request.url()).searchParams));
  await page.locator('.editor .cm-content').waitFor();
  await editor(page).click();
  await page.keyboard.type('h');
  await page.keyboard.type('ttp_');
  await page.getByRole('option', { name: 'http_requests_total' }).waitFor();
  const chosen = () => page.getByRole('option', { selected: true }).innerText();
  const first = await chosen();
  // A list takes no keys at once, so that none is taken that was meant for the text.
  await until('another choice', async () => {
    await page.keyboard.press('ArrowDown');
    return (await chosen()) !== first;
  });
  assert.ok(asked.length > 0 && asked.every((one) => one.get('limit') === '1000'), String(asked));
  assert.ok(asked.every((one) => /^\{__name__=~"http?.*\.\*"\}$/.test(one.get('match[]'))), String(asked));
  await page.keyboard.press('Tab');
  await page.keyboard.press('Control+Enter');
  assert.equal((await editor(page).innerText()).trim(), 'http_', 'Tab left the editor and took nothing');
});

test('an empty database says how to fill it', async (t) => {
  const server = await serve(t);
  const page = await open(t, server, 'query');
  await page.getByText('Nothing is stored yet').waitFor();
  await accessible(page);
  await page.getByText('Nothing is stored yet').getByRole('link', { name: 'Ingest' }).click();
  await shown(page, 'Ingest');
});

test('raw samples and the plan of a query are shown, and fit a narrow window', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 5, (index) => 20.5 + index) });
  const page = await open(t, server, link('avg(temp)', { tab: 'raw', range_input: '10m' }), { context: { viewport: { width: 320, height: 640 } } });
  await page.getByText('10 samples of 2 series').waitFor();
  await page.getByText('4034800000000000').first().waitFor();
  await accessible(page);
  await page.getByRole('tab', { name: 'Explain' }).click();
  await page.getByText('instant selector temp: 2 series').waitFor();
  await page.getByRole('checkbox', { name: 'measure each part' }).check();
  await page.getByText('Samples at once').waitFor();
  await accessible(page);
  for (const tab of ['Graph', 'Table', 'Raw', 'Explain']) {
    await page.getByRole('tab', { name: tab }).click();
    const [inner, wide] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
    assert.ok(wide <= inner, `${tab}: ${wide} px wide in a window of ${inner}`);
  }
});
