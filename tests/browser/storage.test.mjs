// The Storage page, against a server with days of blocks, with gaps and overlaps among them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { accessible, open, serve, until } from './harness.mjs';

const ADMIN = { 'web.enable_admin_api': true };
const BINARY = process.env.CHRONOLITH_BINARY ?? fileURLToPath(new URL('../../target/debug/chronolith', import.meta.url));
const HOUR = 3_600_000;
/** Two hours of the clock, as blocks are aligned to them. */
const NOW = Math.floor(Date.now() / (2 * HOUR)) * 2 * HOUR;

const panel = (page, name) => page.getByRole('region', { name, exact: true });

/** Makes blocks of `name` from `from` to `to` hours before now, while the server is stopped. */
async function importBlocks(server, name, [from, to], duration) {
  const lines = [`# TYPE ${name} gauge`];
  for (const host of ['a', 'b']) {
    for (let at = NOW - from * HOUR; at < NOW - to * HOUR; at += 60_000) lines.push(`${name}{host="${host}"} ${at % 97} ${at / 1000}`);
  }
  const file = join(server.dir, `${name}-${from}.om`);
  await writeFile(file, `${lines.join('\n')}\n# EOF\n`);
  const words = ['db', 'import', '--data-dir', server.dataDir, '--block-duration', duration, '--input', 'openmetrics', file];
  await promisify(execFile)(BINARY, words, { env: { PATH: process.env.PATH } });
}

/** A server with blocks of five days, none for ten hours, and some that overlap. */
async function withBlocks(t) {
  const server = await serve(t, { keys: ADMIN });
  await server.stop();
  await importBlocks(server, 'load', [120, 60], '2h');
  await importBlocks(server, 'load', [50, 4], '2h');
  await importBlocks(server, 'late', [30, 24], '6h');
  await server.start();
  await server.ready();
  return server;
}

/** What `storage/blocks` would answer with many blocks. */
function manyBlocks(count) {
  const at = (hour) => new Date(NOW - hour * HOUR).toISOString();
  return Array.from({ length: count }, (_, index) => ({
    ulid: `01J${String(index).padStart(23, '0')}`, state: 'served', min_time: at(2 * (count - index)), max_time: at(2 * (count - index) - 1.9),
    level: 1 + (index % 3), from_out_of_order: false, sources: [], parents: [], series: 1, chunks: 1, samples: 100,
    disk_usage_bytes: 10 ** (3 + (index % 6)), tombstones: 0, accelerated: true, compactable: true, recorded: null, last_check: null,
  }));
}

const answering = (blocks, lost = []) => (page) =>
  page.route('**/api/v1/storage/blocks', (route) => route.fulfill({ json: { status: 'success', data: { blocks, lost } } }));

test('empty database: each part says what there is, and what is not there yet', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const page = await open(t, server, 'storage');
  await panel(page, 'Blocks').getByText('There is no block yet').waitFor();
  await panel(page, 'Log').getByText('none yet').waitFor();
  await panel(page, 'Disk').getByText('15 d').waitFor();
  await panel(page, 'Ledger').getByText('balances').waitFor();
  await panel(page, 'Compactions').getByText('Nothing was compacted').waitFor();
  await accessible(page);
});

test('timeline appears when the first data comes to an empty database, as wide as its place', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  let blocks = [];
  const page = await open(t, server, 'storage', {
    before: (early) => early.route('**/api/v1/storage/blocks', (route) => route.fulfill({ json: { status: 'success', data: { blocks, lost: [] } } })),
  });
  await panel(page, 'Blocks').getByText('There is no block yet').waitFor();
  blocks = manyBlocks(3);
  // What is seen again asks again.
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await until('three blocks', async () => (await page.locator('.timeline rect.block').count()) === 3);
  await page.setViewportSize({ width: 900, height: 900 });
  const width = (selector) => page.locator(selector).evaluate((element) => element.clientWidth);
  await until('the new width', async () => (await width('.timeline')) < 900 && (await width('.timeline svg')) === (await width('.timeline')));
});

test('timeline shows the gap and the overlaps, the keys go through the blocks, Enter pins one and v verifies it', async (t) => {
  const server = await withBlocks(t);
  const { blocks } = await server.data('api/v1/storage/blocks');
  const page = await open(t, server, 'storage');
  await panel(page, 'Blocks').getByText(/, [1-9]\d* overlap, 1 gap\. No block from .* for 10 h/).waitFor();
  assert.ok((await page.locator('.timeline .hatched').count()) > 0, 'overlaps are hatched');
  assert.equal(await page.locator('.timeline rect.block').count(), blocks.length);
  await accessible(page);
  const timeline = page.getByRole('group', { name: /Timeline of blocks/ });
  await timeline.focus();
  await page.keyboard.press('End');
  const newest = blocks.toSorted((a, b) => a.min_time.localeCompare(b.min_time)).at(-1).ulid;
  await panel(page, `Block ${newest}`).waitFor();
  assert.ok(!page.url().includes(newest), 'it is only looked at');
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowLeft');
  const oldest = blocks[0].ulid;
  await panel(page, `Block ${oldest}`).waitFor();
  await page.keyboard.press('Enter');
  assert.ok(page.url().endsWith(`block=${oldest}`), page.url());
  await page.keyboard.press('v');
  await panel(page, `Block ${oldest}`).getByText('✓ good').waitFor();
  await page.reload();
  await panel(page, `Block ${oldest}`).getByText('✓ good').waitFor();
  await page.getByRole('button', { name: 'Close the block' }).click();
  assert.ok(!page.url().includes('block='));
  // Of those that overlap only.
  await page.getByRole('checkbox', { name: /overlaps only/ }).check();
  await until('fewer blocks', async () => (await page.locator('.timeline rect.block').count()) < blocks.length);
  assert.ok(page.url().includes('overlaps=1'));
});

test('table has the same blocks as the timeline and leads to each', async (t) => {
  const server = await withBlocks(t);
  const { blocks } = await server.data('api/v1/storage/blocks');
  const page = await open(t, server, 'storage');
  await page.getByRole('tab', { name: 'Table' }).click();
  const rows = panel(page, 'Table of blocks').getByRole('link');
  await until('a row each', async () => (await rows.count()) === blocks.length);
  await rows.first().click();
  await panel(page, `Block ${await rows.first().textContent()}`).getByText('Bytes per sample').waitFor();
  await accessible(page);
});

test('thousands of blocks are drawn on a canvas that can be clicked and gone through all the same', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const many = manyBlocks(2_500);
  const page = await open(t, server, 'storage?zoom=all&colour=size', { before: answering(many) });
  const canvas = page.locator('.timeline canvas');
  await canvas.waitFor();
  assert.equal(await page.locator('.timeline rect.block').count(), 0);
  const painted = () =>
    canvas.evaluate((element) => new Set(new Uint32Array(element.getContext('2d').getImageData(0, 0, element.width, 60).data.buffer)).size);
  await until('colours on the canvas', async () => (await painted()) > 4);
  await canvas.click({ position: { x: 400, y: 10 } });
  await until('a block in the address', () => page.url().includes('block=01J'));
  await page.getByRole('group', { name: /Timeline of blocks/ }).press('Home');
  await panel(page, `Block ${many[0].ulid}`).waitFor();
  await accessible(page);
});

test('link to a block leads there from a block that was chosen in the timeline', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const [first, ...rest] = manyBlocks(20);
  const chosen = { ...first, parents: [rest[4].ulid] };
  const page = await open(t, server, 'storage?zoom=all', { before: answering([chosen, ...rest]) });
  await page.locator('.timeline g', { has: page.locator('title', { hasText: chosen.ulid }) }).last().click();
  await panel(page, `Block ${chosen.ulid}`).getByRole('link', { name: rest[4].ulid }).click();
  await panel(page, `Block ${rest[4].ulid}`).waitFor();
  assert.equal(await panel(page, `Block ${chosen.ulid}`).count(), 0);
});

test('summary counts what overlaps in the time that is drawn', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const many = manyBlocks(100);
  // Eight days ago, beyond the seven that are drawn.
  const twice = { ...many[2], ulid: '01JTWICE00000000000000000A' };
  const page = await open(t, server, 'storage', { before: answering([...many, twice]) });
  await panel(page, 'Blocks').getByText(/, 0 overlap, /).waitFor();
  await page.getByRole('combobox', { name: 'Show' }).selectOption('all');
  await panel(page, 'Blocks').getByText(/, 2 overlap, /).waitFor();
});

test('check by key that fails is told in sight, until another block is chosen', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  // The server has none of them.
  const page = await open(t, server, 'storage', { expect: [/404/], before: answering(manyBlocks(3)) });
  const timeline = page.getByRole('group', { name: /Timeline of blocks/ });
  await timeline.press('End');
  await timeline.press('v');
  await panel(page, 'Blocks').getByRole('alert').waitFor();
  await accessible(page);
  await timeline.press('ArrowLeft');
  await panel(page, 'Blocks').getByRole('alert').waitFor({ state: 'detached' });
});

test('name that was copied is said of its block only', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const page = await open(t, server, 'storage', { before: answering(manyBlocks(3)) });
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('group', { name: /Timeline of blocks/ }).press('End');
  await page.getByRole('button', { name: 'Copy name' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  await page.getByRole('group', { name: /Timeline of blocks/ }).press('ArrowLeft');
  await page.getByRole('button', { name: 'Copy name' }).waitFor();
});

test('flush is done once it is confirmed, and its block appears', async (t) => {
  const server = await serve(t, { keys: ADMIN, data: 'up{job="a"} 1\n' });
  const page = await open(t, server, 'storage');
  await page.getByRole('button', { name: 'Flush …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('proves them against the log').waitFor();
  await accessible(page);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  assert.deepEqual((await server.data('api/v1/storage/blocks')).blocks, []);
  await page.getByRole('button', { name: 'Flush …' }).click();
  await dialog.getByRole('button', { name: 'Flush', exact: true }).click();
  await page.getByText('Flush was begun').waitFor();
  const [block] = await until('a block', async () => {
    const { blocks } = await server.data('api/v1/storage/blocks');
    return blocks.length > 0 && blocks;
  });
  await panel(page, 'Maintenance').getByText(block.ulid).waitFor();
  await page.reload();
  await panel(page, 'Blocks').getByText('1 block,').waitFor();
});

test('ledger that does not balance is told by what differs, here and of a proof', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  await server.data('api/v1/admin/storage/verify', { method: 'POST' });
  // One too many is below zero, in 64 bits without a sign.
  for (const [samples, words] of [['0', /digests differ/], ['3', /^3 samples are nowhere/], ['18446744073709551615', /^There are more samples/]]) {
    const imbalance = `{"samples":${samples},"digest":"00000000000000000000000000000001"}`;
    const answer = (name) => async (route) => {
      const text = await (await route.fetch()).text();
      await route.fulfill({ contentType: 'application/json', body: text.replace(new RegExp(`"${name}":\\{[^}]*\\}`), `"${name}":${imbalance}`) });
    };
    const page = await open(t, server, 'storage', { before: (early) => early.route('**/api/v1/storage/status', answer('imbalance')) });
    await panel(page, 'Ledger').getByText(words).waitFor();
    const verify = await open(t, server, 'verify', { before: (early) => early.route('**/api/v1/status/verify', answer('ledger_imbalance')) });
    await panel(verify, 'Last proof').getByText('does not balance').waitFor();
  }
});

test('block that cannot be opened is named with what to do about it', async (t) => {
  const server = await serve(t, { keys: ADMIN, data: 'up{job="a"} 1\n' });
  await server.data('api/v1/admin/storage/flush', { method: 'POST' });
  const { ulid } = (await server.data('api/v1/storage/blocks')).blocks[0];
  await server.stop();
  await writeFile(join(server.dataDir, ulid, 'index'), 'rot');
  await server.start();
  await server.ready();
  const page = await open(t, server, `storage?block=${ulid}`);
  await panel(page, 'Blocks that are not served').getByText(`remove quarantine/block-${ulid}`).waitFor();
  await panel(page, `Block ${ulid}`).getByText('It is not served').waitFor();
  await accessible(page);
  const verify = await open(t, server, 'verify');
  await panel(verify, 'Mismatches').locator('.badge', { hasText: 'not served' }).waitFor();
});

test('narrow page needs no second scroll bar, whatever the names in it', async (t) => {
  const server = await serve(t, { keys: ADMIN });
  const hostile = { ulid: '01J0000000000000000000000B', state: 'quarantined', min_time: null, max_time: null, found: null, covered_by_others: false };
  const lost = [{ ...hostile, reason: `<img src=x onerror=alert(1)>${'x'.repeat(300)}` }];
  const page = await open(t, server, 'storage', { context: { viewport: { width: 320, height: 700 } }, before: answering(manyBlocks(30), lost) });
  await page.getByText('<img src=x onerror=alert(1)>').waitFor();
  assert.equal(await page.locator('main img').count(), 0);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than its window');
  await accessible(page);
});
