// The Query page: what can be done with a result.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { accessible, open, serve, until } from './harness.mjs';
import { HOSTILE, TEMPERATURES, boxOf, link, result, samples } from './querying.mjs';

test('exemplars are dots whose labels are text', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 40, () => 20) });
  const middle = Math.floor(Date.now() / 1000) - 300;
  const page = await open(t, server, link('temp', { tab: 'graph', range_input: '10m', show_exemplars: '1', end_input: new Date((middle + 300) * 1000).toISOString() }), {
    before: (page) =>
      page.route('**/api/v1/query_exemplars', (route) => {
        const exemplars = [{ labels: { trace_id: HOSTILE }, value: '20', timestamp: middle }];
        return route.fulfill({ json: { status: 'success', data: [{ seriesLabels: { __name__: 'temp' }, exemplars }] } });
      }),
  });
  const area = page.locator('.u-over');
  await until('the dot under the mouse', async () => {
    const box = await boxOf(area);
    await page.mouse.move(box.x + box.width / 2 + 3, box.y + box.height / 2 + 3);
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    return page.locator('.tooltip').getByText('Exemplar 20').isVisible();
  });
  await page.locator('.tooltip').getByText(`trace_id="${HOSTILE}"`).waitFor();
  // The editor has images of its own, without a source.
  assert.equal(await page.locator('main img[src]').count(), 0);
});

test('a legend shows and hides lines, one or all but one', async (t) => {
  const server = await serve(t, { data: samples([...TEMPERATURES, 'temp{room="c",floor="1"}'], 4, (index) => index) });
  const page = await open(t, server, link('temp', { tab: 'graph' }));
  const entry = (room) => page.getByRole('button', { name: `{room="${room}"}` });
  const pressed = async () => Promise.all(['a', 'b', 'c'].map((room) => entry(room).getAttribute('aria-pressed')));
  await entry('a').click();
  await until('a hidden', async () => String(await pressed()) === 'false,true,true');
  await entry('a').click();
  await entry('b').click({ modifiers: ['Shift'] });
  await until('b alone', async () => String(await pressed()) === 'false,true,false');
  await entry('b').click({ modifiers: ['Shift'] });
  await until('all', async () => String(await pressed()) === 'true,true,true');
  await page.getByRole('checkbox', { name: 'hide common labels' }).uncheck();
  await page.getByRole('button', { name: 'temp{floor="1", room="a"}' }).waitFor();
  for (const choice of ['stacked', 'y zero', 'y log']) {
    await page.getByRole('button', { name: choice }).click();
    await until(choice, async () => (await page.getByRole('button', { name: choice }).getAttribute('aria-pressed')) === 'true');
  }
  await page.getByText('A logarithmic axis has no place for zero').waitFor();
  await accessible(page);
});

test('a result is downloaded as it stands, and values are copied', async (t) => {
  const server = await serve(t, { data: samples(['temp{room="a,\\"b\\""}', 'temp{room="c"}'], 1, (index) => 20.5 + index) });
  const page = await open(t, server, link('temp', { tab: 'table' }), { context: { permissions: ['clipboard-read', 'clipboard-write'] } });
  const download = async (name) => {
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name, exact: true }).click()]);
    return readFile(await file.path(), 'utf8');
  };
  assert.equal(await download('CSV'), '__name__,room,Value\r\ntemp,"a,""b""",20.5\r\ntemp,c,21.5\r\n');
  assert.equal(JSON.parse(await download('JSON')).resultType, 'vector');
  await page.getByRole('button', { name: '21.5', exact: true }).click();
  await page.getByText('copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), '21.5');
});

test('live queries run every 5 s, but not unseen', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 20) });
  const page = await open(t, server, `${link('temp', { tab: 'table' })}&live=1`, { before: (page) => page.clock.install() });
  let asked = 0;
  page.on('request', (request) => request.url().endsWith('/api/v1/query') && (asked += 1));
  const seen = (isSeen) => page.evaluate((isSeen) => Object.defineProperty(document, 'hidden', { configurable: true, value: !isSeen }), isSeen);
  await result(page).filter({ hasText: '2 series' }).waitFor();
  const before = asked;
  await page.clock.runFor(5_100);
  await until('a run', () => asked === before + 1);
  await seen(false);
  await page.clock.runFor(30_000);
  // A request that was begun before this one would be known by now.
  await page.evaluate(async () => (await fetch('-/healthy')).text());
  assert.equal(asked, before + 1);
  await seen(true);
  await page.clock.runFor(5_100);
  await until('another run', () => asked === before + 2);
});

test('a newer run ends the one before it, and a run can be stopped', async (t) => {
  const server = await serve(t, { data: samples(TEMPERATURES, 1, () => 20) });
  const page = await open(t, server, link('temp', { tab: 'table' }));
  await result(page).filter({ hasText: '2 series' }).waitFor();
  const ended = [];
  page.on('requestfailed', (request) => ended.push(new URLSearchParams(request.postData()).get('query')));
  // Never answered.
  await page.route('**/api/v1/query', () => undefined);
  await page.getByRole('button', { name: 'a', exact: true }).click();
  await page.waitForURL((url) => url.searchParams.get('g0.expr') === 'temp{room="a"}');
  await page.getByRole('button', { name: 'b', exact: true }).click();
  await until('the first one ended', () => ended.includes('temp{room="a"}'));
  await page.getByRole('button', { name: 'Stop' }).click();
  await until('the second one ended', () => ended.includes('temp{room="b"}'));
  await page.getByRole('button', { name: 'Run' }).waitFor();
  assert.equal(await page.getByRole('alert').count(), 0);
});

test('500 series of 1,000 points are drawn once for each answer', async (t) => {
  const server = await serve(t);
  const end = Math.floor(Date.now() / 1000);
  const points = (index) => Array.from({ length: 1000 }, (_, step) => [end - 999 + step, String(index + Math.sin(step / 50))]);
  const all = Array.from({ length: 500 }, (_, index) => ({ metric: { __name__: 'm', n: String(index) }, values: points(index) }));
  const body = JSON.stringify({ status: 'success', data: { resultType: 'matrix', result: all } });
  const time = new Date(end * 1000).toISOString().slice(0, 19).replace('T', ' ');
  const more = { tab: 'graph', range_input: '999s', end_input: time, res_type: 'custom', res_step: '1', show_all: '1' };
  const page = await open(t, server, link('m', more), {
    before: async (page) => {
      await page.route('**/api/v1/query_range', (route) => route.fulfill({ contentType: 'application/json', body }));
      await page.addInitScript(() => {
        window.drawn = [];
        const stroke = CanvasRenderingContext2D.prototype.stroke;
        CanvasRenderingContext2D.prototype.stroke = function (...given) {
          // Lines of series; the grid's have no path of their own.
          if (given.length > 0) window.drawn.push(performance.now());
          return stroke.apply(this, given);
        };
      });
    },
  });
  await page.getByRole('img', { name: /Graph of 500 series/ }).waitFor();
  const drawn = async () => {
    await until('500 lines', () => page.evaluate(() => window.drawn.length >= 500));
    // Whatever would be drawn once more has been after two frames.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    return page.evaluate(() => window.drawn.splice(0).length);
  };
  assert.equal(await drawn(), 500, 'at first');
  await page.getByRole('button', { name: 'Run' }).click();
  assert.equal(await drawn(), 500, 'again');
});
