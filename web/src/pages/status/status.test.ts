import { expect, test } from 'vitest';
import routes from '../../../../src/api/route.rs?raw';
import { ENDPOINTS, linkOf } from './endpoints';
import { clockAhead, filtered } from './settings';

const setting = (key: string, value: string, origin = 'default'): Parameters<typeof filtered>[0][number] => ({
  key, value, default: '', origin, help: `What ${key} does.`,
});

test('settings are found by all words of a search, by key, flag, value and help', () => {
  const settings = [setting('wal.durability', 'fsync'), setting('web.max_connections', '512', 'flag --web.max-connections')];
  const keys = (search: string, onlyChanged = false): string[] => filtered(settings, search, onlyChanged).map(({ key }) => key);
  expect(keys('')).toHaveLength(2);
  expect(keys(' FSYNC  wal')).toEqual(['wal.durability']);
  expect(keys('max-conn')).toEqual(['web.max_connections']);
  expect(keys('wal 512')).toEqual([]);
  expect(keys('', true)).toEqual(['web.max_connections']);
});

test('a clock is ahead or behind by no less than the request explains', () => {
  const server = '2026-01-01T00:00:00.000Z';
  const ms = Date.parse(server);
  expect(clockAhead(server, ms - 50, ms + 50)).toBe(0);
  expect(clockAhead(server, ms + 2_000, ms + 2_100)).toBe(2);
  expect(clockAhead(server, ms - 5_000, ms - 4_500)).toBe(-4.5);
});

test('the list of endpoints is that of the server', () => {
  const served = [...routes.matchAll(/^ {4}\("\/([^"]+)", Route::(\w+)\)/gm)].map(([, path = '', route = '']) => ({ path, route }));
  expect(served.length).toBeGreaterThan(40);
  const paths = served.map(({ path }) => path);
  const listed = ENDPOINTS.flatMap(([, endpoints]) => endpoints.map(({ path }) => path));
  // What takes no GET, pages, and what clients speak by protocols of their own.
  const left = /^(api\/v1\/(admin|write|read|import|otlp)|v1\/metrics|opentelemetry|-\/reload|graph|query|explore|storage|verify|ingest|status|favicon)/;
  expect(paths.filter((path) => !left.test(path) && !listed.includes(path))).toEqual([]);
  expect(listed.filter((path) => !paths.includes(path) && path !== 'api/v1/label/job/values')).toEqual([]);
  expect(linkOf({ path: 'a', shows: '', example: 'query=up{a="b"}' })).toBe('a?query=up%7Ba%3D%22b%22%7D');
});
