import { EqlRegex, EqlSingle, Neq } from '@prometheus-io/lezer-promql';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

// The address that the console is served from, which the client asks relative to.
vi.mock('../../router', () => ({ BASE: new URL('http://server/prefix/') }));
const { LIMIT, NamesClient, escapeRegex, matching } = await import('./completion');

let asked: { url: URL; signal: AbortSignal | undefined }[] = [];
let answer: (url: URL) => Promise<unknown>;

beforeEach(() => {
  asked = [];
  answer = async () => ['up'];
  vi.stubGlobal('fetch', async (url: URL, init: RequestInit) => {
    asked.push({ url, signal: init.signal ?? undefined });
    const data = await answer(url);
    return new Response(JSON.stringify({ status: 'success', data }));
  });
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test('names are asked for by their beginning, and never without a limit', async () => {
  const client = new NamesClient();
  expect(await client.metricNames('a.b')).toEqual(['up']);
  await client.labelNames('up');
  await client.labelValues('a/b', 'up', [{ type: EqlSingle, name: 'job', value: 'x', matchesEmpty: () => false }]);
  await client.metricMetadata();
  expect(asked.map(({ url }) => url.pathname)).toEqual([
    '/prefix/api/v1/label/__name__/values', '/prefix/api/v1/labels', '/prefix/api/v1/label/a%2Fb/values', '/prefix/api/v1/metadata',
  ]);
  expect(asked.map(({ url }) => url.searchParams.get('limit'))).toEqual(Array(4).fill(String(LIMIT)));
  expect(asked.map(({ url }) => url.searchParams.get('match[]'))).toEqual(['{__name__=~"a\\\\.b.*"}', 'up', 'up{job="x"}', null]);
});

test('a list that was cut says so', async () => {
  const client = new NamesClient();
  answer = async () => Array.from({ length: LIMIT }, (_, index) => `m${index}`);
  await client.metricNames('m');
  expect(client.isCut).toBe(true);
  answer = async () => ['up'];
  await client.metricNames('u');
  expect(client.isCut).toBe(false);
});

test('the same is not asked twice, until it is old', async () => {
  vi.useFakeTimers();
  const client = new NamesClient();
  await client.metricNames('up');
  await client.metricNames('up');
  expect(asked).toHaveLength(1);
  vi.advanceTimersByTime(61_000);
  await client.metricNames('up');
  expect(asked).toHaveLength(2);
});

test('a newer question ends the one before it, and a failure leaves a list empty', async () => {
  const client = new NamesClient();
  let release = (): void => undefined;
  answer = () => new Promise((resolve) => (release = () => resolve([])));
  const first = client.metricNames('a');
  const second = client.metricNames('ab');
  expect(asked.map(({ signal }) => signal?.aborted)).toEqual([true, false]);
  release();
  await second;
  void first;
  answer = () => Promise.reject(new TypeError('gone'));
  expect(await client.metricNames('x')).toEqual([]);
});

test('selectors for values keep what stands in the braces', () => {
  expect(escapeRegex('a.b|(c)')).toBe('a\\.b\\|\\(c\\)');
  expect(matching('', [])).toBe('');
  expect(matching('up', [])).toBe('up');
  expect(matching('a.b', [{ type: EqlSingle, name: 'x', value: 'y' }])).toBe('{"a.b",x="y"}');
  expect(matching('', [{ type: Neq, name: 'x', value: 'y' }, { type: EqlRegex, name: 'c.d', value: 'z' }])).toBe('{x!="y","c.d"=~"z"}');
  expect(matching('up', [{ type: EqlSingle, name: 'x', value: '' }])).toBe('up');
});
