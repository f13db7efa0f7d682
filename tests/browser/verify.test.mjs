// The Verify page: proofs, what they cover and what they find, against a server whose files are damaged and mended.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { accessible, open, serve, shown, until } from './harness.mjs';

const ADMIN = { 'web.enable_admin_api': true };

/** Samples of some series, one each minute, the newest of a minute ago. */
function samples(series, minutes) {
  const newest = Date.now() - 60_000;
  const lines = [];
  for (let minute = minutes - 1; minute >= 0; minute -= 1) {
    for (let one = 0; one < series; one += 1) lines.push(`load{host="h${one}"} ${(minute * 7 + one) % 31} ${newest - minute * 60_000}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Turns one byte of a file around; what is given puts the good bytes back. */
async function flip(path, at) {
  const good = await readFile(path);
  const bad = Buffer.from(good);
  bad[at] ^= 0x40;
  await writeFile(path, bad);
  return () => writeFile(path, good);
}

const panel = (page, name) => page.getByRole('region', { name, exact: true });
const start = (page, scope) => async () => {
  await page.getByRole('radio', { name: scope }).check();
  await page.getByRole('button', { name: 'Start' }).click();
};

test('empty database: nothing was verified, Start has the focus, and a first proof is good', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const page = await open(t, server, 'verify');
  await page.getByText('Nothing was verified since the start').waitFor();
  await page.getByText('There is no block yet').waitFor();
  await until('focus on Start', () => page.evaluate(() => document.activeElement?.textContent === 'Start'));
  assert.ok(await page.getByText(`chronolith verify --data-dir ${server.dataDir}`).isVisible());
  await accessible(page);
  await page.keyboard.press('Enter');
  await page.getByText('Nothing is wrong in what was read').waitFor();
  await panel(page, 'Coverage').getByText('1 proven').waitFor();
  await accessible(page);
});

test('proof that one tab started is seen in another and after a reload, and what it finds stays until the next', async (t) => {
  const server = await serve(t, { keys: ADMIN, data: samples(3, 10) });
  // A segment that does not answer: reading it waits until the other end of the pipe is opened.
  const [segment, aside] = [join(server.dataDir, 'wal/00000000'), join(server.dir, 'aside')];
  await rename(segment, aside);
  execFileSync('mkfifo', [segment]);
  const first = await open(t, server, 'verify', { expect: [/409/] });
  await start(first, 'Quick: the log')();
  await panel(first, 'Proof under way').waitFor();
  const second = await open(t, server, 'verify');
  await panel(second, 'Proof under way').getByRole('progressbar', { name: 'Log: bytes read' }).waitFor();
  assert.ok(await second.getByRole('button', { name: 'Start' }).isDisabled());
  await first.reload();
  await panel(first, 'Proof under way').getByRole('progressbar').waitFor();
  await accessible(first);
  // The pipe ends without a byte, so the log has nothing of what the head has.
  await writeFile(segment, '');
  for (const page of [first, second]) {
    await panel(page, 'Last proof').locator('.badge', { hasText: '1 open mismatch in 1 place' }).waitFor();
    await panel(page, 'Mismatches').getByText('the log gives 0 samples').waitFor();
  }
  await rename(aside, segment);
  await first.reload();
  await panel(first, 'Mismatches').getByText('the log gives 0 samples').waitFor();
  await start(first, 'Quick: the log')();
  await first.getByText('Nothing is wrong in what was read').waitFor();
  await second.getByText('Nothing is wrong in what was read').waitFor();
  await panel(first, 'Mismatches').getByText('1 closed since the start').click();
  await panel(first, 'Mismatches').getByText('a later proof did not find it again').waitFor();
});

test('flipped byte of a block is a mismatch, over a restart too, until the good bytes are back and were read', async (t) => {
  const server = await serve(t, { keys: ADMIN, data: samples(20, 50) });
  await server.data('api/v1/admin/storage/flush', { method: 'POST' });
  const { blocks } = await server.data('api/v1/storage/blocks');
  const { ulid } = blocks[0];
  const mend = await flip(join(server.dataDir, ulid, 'chunks/000001'), 40);
  const page = await open(t, server, 'verify', { expect: [/ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/] });
  await page.getByText('Nothing was verified since the start').waitFor();
  await start(page, 'Blocks')();
  const found = panel(page, 'Mismatches');
  await found.getByRole('link', { name: `block ${ulid}` }).waitFor();
  await found.getByText('checksum of the chunk does not match').waitFor();
  await page.getByRole('link', { name: `block ${ulid}: mismatch` }).waitFor();
  await accessible(page);
  await server.restart();
  await page.reload();
  await found.getByText('checksum of the chunk does not match').waitFor();
  // A proof of something else closes nothing.
  await start(page, 'Quick: the log')();
  await panel(page, 'History').getByText(/^\d+ files?$/).waitFor();
  await found.getByText('checksum of the chunk does not match').waitFor();
  await mend();
  await start(page, 'Blocks')();
  await found.getByText(/closed since the start/).waitFor();
  await page.getByText('Nothing is wrong in what was read').waitFor();
  await page.getByRole('link', { name: `block ${ulid}: good` }).waitFor();
});

test('flipped byte of the log is a mismatch of its segment, and closes once it is mended', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  // Several groups: damage in the newest could be a write that was not finished.
  for (let group = 5; group > 0; group -= 1) {
    await server.write(Array.from({ length: 200 }, (_, one) => `load{host="h${one}"} ${group} ${Date.now() - group * 1000}`).join('\n') + '\n');
  }
  const segments = (await readdir(join(server.dataDir, 'wal'))).filter((name) => /^\d+$/.test(name)).sort();
  const mend = await flip(join(server.dataDir, 'wal', segments[0]), 300);
  const page = await open(t, server, 'verify');
  await start(page, 'Everything')();
  const found = panel(page, 'Mismatches');
  await found.locator('.badge', { hasText: `segment ${segments[0]}` }).waitFor();
  await panel(page, 'Coverage').getByTitle(new RegExp(`segment ${segments[0]}.*mismatch`)).waitFor();
  await mend();
  await start(page, 'Quick: the log')();
  await found.getByText(/None is open/).waitFor();
  await page.getByText('Nothing is wrong in what was read').waitFor();
});

test('server without the admin API says how to turn it on, and a credential without the right is told so', async (t) => {
  const server = await serve(t, {});
  const off = await open(t, server, 'verify');
  await off.getByText('Start it with --web.enable-admin-api').waitFor();
  assert.ok(await off.getByRole('button', { name: 'Start' }).isDisabled());
  await accessible(off);
  const admin = await serve(t, { keys: ADMIN });
  const page = await open(t, admin, 'verify', {
    expect: [/403/],
    before: (early) =>
      early.route('**/api/v1/admin/storage/verify', (route) =>
        route.fulfill({ status: 403, contentType: 'text/plain', body: 'Forbidden: this credential lacks the right to do that\n' }),
      ),
  });
  await start(page, 'Blocks')();
  await page.getByRole('alert').getByText('Your credential lacks the right to do that').waitFor();
});

test('what could not be asked for is told, and is neither empty nor good', async (t) => {
  const server = await serve(t, { keys: ADMIN, data: samples(3, 10) });
  await server.data('api/v1/admin/storage/verify', { method: 'POST' });
  const fails = (path) => (early) => early.route(path, (route) => route.fulfill({ status: 503, json: { status: 'error', errorType: 'unavailable', error: 'too busy' } }));
  const withoutBlocks = await open(t, server, 'verify', { expect: [/503/], before: fails('**/api/v1/storage/blocks') });
  await panel(withoutBlocks, 'Last proof').locator('.badge.none', { hasText: 'whether all blocks are served is not known yet' }).waitFor();
  await panel(withoutBlocks, 'Mismatches').getByText('No proof left one open').waitFor();
  await panel(withoutBlocks, 'Coverage').getByRole('alert').getByText('too busy').waitFor();
  assert.match(await withoutBlocks.getByRole('radio', { name: /Blocks/ }).locator('..').innerText(), /^\s*Blocks\s*$/);
  const withoutLog = await open(t, server, 'verify', { expect: [/503/], before: fails('**/api/v1/storage/wal') });
  await panel(withoutLog, 'Coverage').getByRole('alert').getByText('too busy').waitFor();
  assert.equal(await withoutLog.getByText('no file yet').count(), 0);
  assert.match(await withoutLog.getByRole('radio', { name: /Quick/ }).locator('..').innerText(), /^\s*Quick: the log\s*$/);
  await panel(withoutLog, 'Last proof').locator('.badge.good', { hasText: 'Nothing is wrong in what was read' }).waitFor();
  await accessible(withoutLog);
});

test('hostile words in findings are words, and long ones need no second scroll bar on a narrow page', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const what = `series {__name__="<img src=x onerror=alert(1)>",job="${'é"\\\u202e'.repeat(120)}"} chunk 3`;
  const seen = '2026-11-21T18:00:00.000Z';
  const page = await open(t, server, 'verify', {
    context: { viewport: { width: 320, height: 700 } },
    before: (early) =>
      early.route('**/api/v1/status/verify', async (route) => {
        const answer = await route.fetch();
        const body = await answer.json();
        body.data.open_findings = [
          { object: { kind: 'block', name: '01J0000000000000000000000A' }, findings: [{ what, first_seen: seen, last_seen: seen }], more: 3 },
        ];
        await route.fulfill({ response: answer, json: body });
      }),
  });
  await panel(page, 'Mismatches').getByText('<img src=x onerror=alert(1)>').waitFor();
  await page.getByText('4 open mismatches in 1 block').waitFor();
  assert.equal(await page.locator('main img').count(), 0);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than its window');
  await accessible(page);
});

test('check of blocks shows how far it is, where it is and what it found, and can be ended', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const since = new Date(Date.now() - 10_000).toISOString();
  const run = { by: 'request', since, ulid: '01J0000000000000000000000A', blocks_done: 3, blocks_total: 9, damaged: 1, stopping: false };
  let stopping = false;
  const page = await open(t, server, 'verify', {
    before: async (early) => {
      await early.route('**/api/v1/status/verify', async (route) => {
        const answer = await route.fetch();
        const body = await answer.json();
        body.data.blocks_under_way = [{ ...run, bytes_done: 100 << 20, bytes_total: 300 << 20, stopping }];
        await route.fulfill({ response: answer, json: body });
      });
      early.on('request', (request) => (stopping ||= request.url().endsWith('/admin/storage/verify/stop')));
    },
  });
  const under = panel(page, 'Proof under way');
  await under.getByText(/^3 of 9, 100 MiB of 300 MiB · .*MiB\/s · .* left$/).waitFor();
  await under.getByRole('link', { name: run.ulid }).waitFor();
  await under.getByText('1 damaged so far').waitFor();
  await under.getByRole('status').getByText('Blocks are being read, 3 of 9.').waitFor({ state: 'attached' });
  await accessible(page);
  await under.getByRole('button', { name: 'Stop behind this block' }).click();
  await under.getByText('ends behind this block').waitFor();
  assert.equal(await under.getByRole('button', { name: 'Stop behind this block' }).count(), 0);
});

test('report is a JSON document with what the server said', async (t) => {
  const server = await serve(t, { keys: ADMIN, data: samples(1, 3) });
  await server.data('api/v1/admin/storage/verify', { method: 'POST' });
  const page = await open(t, server, 'verify');
  await shown(page, 'Verify');
  await panel(page, 'Coverage').getByText('1 proven').waitFor();
  const [saved] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download report' }).click()]);
  const report = JSON.parse(await readFile(await saved.path(), 'utf8'));
  assert.equal(report.proofs.log[0].good, true);
  assert.equal(report.log_segments.length, 1);
  assert.match(saved.suggestedFilename(), /^chronolith-verify-.*\.json$/);
});
