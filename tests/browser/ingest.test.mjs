// The page Ingest: the first sample, what is refused, and configuration that is right where it is copied.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { accessible, open, proxy, serve, shown, until } from './harness.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>';
const FAILED = /Failed to load resource/;
const refuse = (server, body) => server.get('api/v1/import/prometheus', { method: 'POST', body });

test('a server without data awaits the first sample, and shows it when it comes', async (t) => {
  const server = await serve(t);
  const page = await open(t, server, 'ingest');
  const first = page.getByRole('region', { name: 'First sample' });
  await first.getByText('Waiting for the first sample').waitFor();
  await page.getByText('No write request came since the server started.').waitFor();
  await page.getByText('Nothing was refused since the server started.').waitFor();
  await page.getByText('Nobody has sent anything since the server started.').waitFor();
  await accessible(page);

  await server.write(`up{job="${HOSTILE}"} 1\n`);
  await first.getByText(`up{job="${HOSTILE}"}`, { exact: true }).waitFor();
  await first.getByText(/^(now|\d+ (s|min) ago)$/).waitFor();
  await page.getByRole('region', { name: 'Protocols' }).getByRole('row', { name: /^Text/ }).waitFor();
  await accessible(page);
  await first.getByRole('link', { name: 'Query it' }).click();
  await shown(page, 'Query');
  assert.equal(new URL(page.url()).searchParams.get('g0.expr'), `up{job="${HOSTILE}"}`);
});

test('protocols are sorted by the share that was accepted', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const rejected = { text: 0, 'remote-write': 10, 'otlp-http': 900 };
  const page = await open(t, server, 'ingest', {
    before: (early) =>
      early.route('**/api/v1/storage/ingest', async (route) => {
        const answer = await route.fetch();
        const body = await answer.json();
        for (const one of body.data.protocols) {
          if (!(one.protocol in rejected)) continue;
          one.requests.ok = 1;
          one.samples = { added: 1000 - rejected[one.protocol], duplicate: 0, rejected: rejected[one.protocol] };
        }
        await route.fulfill({ response: answer, json: body });
      }),
  });
  const table = page.getByRole('region', { name: 'Protocols' }).last();
  await table.getByRole('button', { name: 'Accepted' }).click();
  await until('the greatest share first', async () =>
    (await table.locator('td:nth-child(10)').allInnerTexts()).join() === '100 %,99.00 %,10.00 %');
});

test('what is refused appears by its reason, and in words where that is chosen', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const page = await open(t, server, 'ingest');
  await page.getByText('Nothing was refused since the server started.').waitFor();
  assert.equal((await refuse(server, `x{a="${HOSTILE}",a="2"} 3\n`)).status, 400);
  assert.equal((await refuse(server, 'up 1 1\n')).status, 400);
  const reason = page.getByRole('button', { name: 'malformed_line' });
  await reason.waitFor();
  await reason.focus();
  await page.keyboard.press('Enter');
  const journal = page.getByRole('region', { name: 'Newest rejects' });
  await journal.getByText(`a label stands there twice: x{a="${HOSTILE}",a="2"} 3`).waitFor();
  assert.equal(await journal.locator('tbody tr').count(), 1, 'those of another reason are left out');
  await accessible(page);
  await page.keyboard.press('Enter');
  await page.getByText('The newest 2', { exact: true }).click();
  await journal.getByRole('row', { name: /too_old/ }).waitFor();
  assert.equal(await journal.locator('tbody tr').count(), 2);
});

test('a writer shows the metrics that most of its series are of', async (t) => {
  const lines = Array.from({ length: 30 }, (_, at) => `http_requests_total{path="/${at}"} 1\n`).join('');
  const server = await serve(t, { data: `up 1\n${lines}` });
  const page = await open(t, server, 'ingest');
  await page.getByRole('region', { name: 'All writers' }).getByRole('button', { name: /127\.0\.0\.1/ }).click();
  const metrics = page.getByRole('region', { name: 'Metrics of the writer' });
  await metrics.getByRole('row', { name: /^http_requests_total 30 http_requests_total\{path="\/\d+"\}$/ }).waitFor();
  await accessible(page);
  await metrics.getByRole('link', { name: 'http_requests_total' }).click();
  await shown(page, 'Explore');
  assert.equal(new URL(page.url()).searchParams.get('match'), 'http_requests_total');
});

test('configuration that is copied behind a prefix reaches the server', async (t) => {
  const server = await serve(t);
  const front = await proxy(t, server, { prefix: '/metrics/db', strip: true });
  const page = await open(t, front, 'ingest', { context: { permissions: ['clipboard-read', 'clipboard-write'] } });
  const connect = page.getByRole('region', { name: 'Connect' });
  const copied = {};
  await connect.getByRole('tab').first().waitFor();
  for (const name of await connect.getByRole('tab').allTextContents()) {
    await connect.getByRole('tab', { name, exact: true }).click();
    await connect.getByRole('button', { name: 'Copy', exact: true }).click();
    await connect.getByRole('button', { name: 'Copied' }).waitFor();
    copied[name] = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(copied[name].includes(`${front.url}api/v1/`), `${name}: ${copied[name]}`);
  }
  assert.equal(Object.keys(copied).length, 6);
  await accessible(page);
  await promisify(execFile)('sh', ['-c', copied.curl]);
  assert.deepEqual(await server.data('api/v1/label/__name__/values'), ['first_metric']);
  await page.getByRole('region', { name: 'First sample' }).getByText('first_metric{job="curl"}', { exact: true }).waitFor();
});

test('senders are chosen by keyboard', async (t) => {
  const server = await serve(t);
  const page = await open(t, server, 'ingest');
  const connect = page.getByRole('region', { name: 'Connect' });
  await connect.getByRole('tab', { name: 'Prometheus', exact: true }).focus();
  await page.keyboard.press('ArrowRight');
  await connect.getByText('protobuf_message: io.prometheus.write.v2.Request').waitFor();
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  await connect.getByText('--data-binary').waitFor();
});

test('a panel that fails leaves the others', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const before = async (page) => {
    await page.route('**/api/v1/storage/writers*', (route) => route.fulfill({ status: 404, body: '404 page not found\n' }));
    const body = JSON.stringify({ status: 'error', errorType: 'internal', error: HOSTILE });
    await page.route('**/api/v1/storage/rejects*', (route) => route.fulfill({ status: 500, body }));
    await page.route('**/api/v1/status/config', (route) => route.abort());
  };
  const page = await open(t, server, 'ingest', { before, expect: [FAILED] });
  await page.getByRole('region', { name: 'Writers' }).getByText('not available in this build of the server').waitFor();
  await page.getByRole('region', { name: 'Rejects by reason' }).getByText(HOSTILE).first().waitFor();
  await page.getByRole('region', { name: 'Protocols' }).getByRole('row', { name: /^Text/ }).waitFor();
  await page.getByRole('region', { name: 'Connect' }).getByText(`${server.url}api/v1/write`).waitFor();
  await accessible(page);
});
