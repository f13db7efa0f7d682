// The page Status: its tabs, what an alarm asks for, flags, queries.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, open, serve, shown } from './harness.mjs';

const TABS = ['Health', 'Build', 'Runtime', 'Flags', 'Config', 'Maintenance', 'Queries', 'API'];
const HOSTILE = '<img src=x onerror=alert(1)>';

test('every tab has an address, is reached by keyboard and is accessible', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const page = await open(t, server, 'status');
  await page.getByRole('tab', { name: 'Health' }).focus();
  for (const [at, name] of TABS.entries()) {
    if (at > 0) await page.keyboard.press('ArrowRight');
    await page.getByRole('tab', { name, selected: true }).waitFor();
    await page.locator('main .panel').first().waitFor();
    await page.locator('main .loading').first().waitFor({ state: 'detached' });
    await accessible(page);
  }
  assert.equal(new URL(page.url()).search, '?tab=api');
  await page.goBack();
  await page.getByRole('tab', { name: 'Queries', selected: true }).waitFor();
  await page.reload();
  await page.getByRole('tab', { name: 'Queries', selected: true }).waitFor();
});

test('health shows what the process takes, and that the clocks agree', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const page = await open(t, server, 'status');
  const process = page.getByRole('region', { name: 'Process and clock' });
  await process.getByText(/^[\d.]+ (K|M|G)iB of [\d.]+ (M|G|T)iB$/).waitFor();
  await process.getByText(/^\d+ of [\d,]+$/).waitFor();
  await process.getByText('agrees').waitFor();
  await page.getByText('There is nothing to do').waitFor();
});

test('an alarm says what to do, and a part that fails leaves the rest', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const before = async (page) => {
    await page.route('**/health', async (route) => {
      const health = await (await route.fetch()).json();
      const alarms = [{ about: 'lost', alarm: `block ${HOSTILE} cannot be read` }, { about: 'flush', alarm: 'is due for 350 s and does not run' }];
      await route.fulfill({ json: { ...health, status: 'warning', alarms } });
    });
    await page.route('**/api/v1/status/runtimeinfo', (route) => route.fulfill({ status: 500, body: 'no' }));
  };
  const page = await open(t, server, 'status', { before, expect: [/Failed to load resource/] });
  await page.getByText(`block ${HOSTILE} cannot be read`).waitFor();
  await page.getByText(/blocks are in quarantine or cannot be read/).waitFor();
  await page.getByText(/due and does not run, or keeps failing/).waitFor();
  await page.getByRole('region', { name: 'Disk' }).waitFor();
  await page.getByRole('region', { name: 'Process and clock' }).getByRole('alert').waitFor();
  await accessible(page);
});

test('flags are searched, and those that were changed say by whom', async (t) => {
  const server = await serve(t, { keys: { 'wal.durability': 'none' } });
  const page = await open(t, server, 'status?tab=flags');
  const rows = page.getByRole('region', { name: 'Every flag' }).locator('tbody tr');
  await rows.first().waitFor();
  const all = await rows.count();
  assert.ok(all > 40, `${all} flags`);
  await page.getByRole('searchbox', { name: 'Search' }).fill('wal durab');
  // Others say in their help what they are for with it.
  await page.getByText(new RegExp(`^[1-5] of ${all}$`)).waitFor();
  const durability = await rows.first().locator('td').allTextContents();
  assert.deepEqual(durability.slice(0, 4), ['--wal.durability', 'none', 'fsync', 'environment CHRONOLITH_WAL_DURABILITY']);
  await page.getByRole('searchbox', { name: 'Search' }).fill('');
  await page.getByRole('checkbox', { name: 'Changed from the default' }).check();
  await page.getByText(new RegExp(`^[1-9] of ${all}$`)).waitFor();
  assert.ok((await rows.allTextContents()).every((row) => row.includes('environment CHRONOLITH_')));
  await page.reload();
  await page.getByText(new RegExp(`^[1-9] of ${all}$`)).waitFor();
  await page.getByRole('searchbox', { name: 'Search' }).fill('nothing like it');
  await page.getByText('Nothing matches.').waitFor();
  await accessible(page);
});

test('configuration is copied as it is shown', async (t) => {
  const server = await serve(t);
  const page = await open(t, server, 'status?tab=config', { context: { permissions: ['clipboard-read', 'clipboard-write'] } });
  await page.getByRole('button', { name: 'Copy', exact: true }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const { yaml } = await server.data('api/v1/status/config');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), yaml);
});

test('a slow query is listed as text, and leads to where it can be asked again', async (t) => {
  const server = await serve(t, { data: 'up 1\n' });
  const query = `count(up{job!="${HOSTILE}"})`;
  await server.data(`api/v1/query?${new URLSearchParams({ query })}`);
  const page = await open(t, server, 'status?tab=queries');
  const slow = page.getByRole('region', { name: 'Slow queries' });
  await slow.getByRole('link', { name: query }).click();
  await shown(page, 'Query');
  assert.equal(new URL(page.url()).searchParams.get('g0.expr'), query);
});
