import { expect, test } from 'vitest';
import { formatDuration, formatTime, parseDuration, parseTime } from './spans';
import { DEFAULTS, type PanelState, PANELS_MAX, decodePanels, encodePanels, stepMsOf } from './url';

const decode = (query: string): PanelState[] => decodePanels(new URLSearchParams(query));
const first = (query: string): PanelState => decode(`g0.expr=up&${query}`)[0] ?? DEFAULTS;

test('durations are read and written as Prometheus does it', () => {
  const cases: [string, number, string?][] = [
    ['0', 0, '0s'], ['0w', 0, '0s'], ['0s', 0], ['324ms', 324], ['3s', 3e3], ['5m', 3e5], ['1h', 36e5], ['4d', 3456e5],
    ['4d1h', 3456e5 + 36e5], ['14d', 12096e5, '2w'], ['3w', 18144e5], ['3w2d1h', 18144e5 + 1728e5 + 36e5, '23d1h'],
    ['1y2w3d4h5m6s7ms', 33019506007, '382d4h5m6s7ms'],
  ];
  for (const [text, ms, written] of cases) {
    expect(parseDuration(text), text).toBe(ms);
    expect(formatDuration(ms), text).toBe(written ?? text);
  }
  for (const text of ['1', '1y1m1d', '-1w', '1.5d', 'd', '']) expect(parseDuration(text), text).toBeUndefined();
});

test('times are read with and without seconds, zone and fraction', () => {
  expect(formatTime(1572049380000)).toBe('2019-10-26 00:23:00');
  expect(formatTime(0)).toBe('1970-01-01 00:00:00');
  expect(formatTime(1500)).toBe('1970-01-01 00:00:01.500');
  expect(parseTime('2019-10-26 00:23')).toBe(1572049380000);
  expect(parseTime('1970-01-01 00:00')).toBe(0);
  expect(parseTime('0001-01-01T00:00:00Z')).toBe(-62135596800000);
  expect(parseTime('2024-01-15 12:30:45')).toBe(1705321845000);
  expect(parseTime('2019-11-04T09:15:35.8701-07:00')).toBe(1572884135870);
  expect(parseTime('1705321845.5')).toBe(1705321845500);
  expect(parseTime('2026-01-02 13:04:05', true)).toBe(new Date(2026, 0, 2, 13, 4, 5).getTime());
  for (const text of ['', 'now', '1e99', '99999999999999999999', '12:30']) expect(parseTime(text), text).toBeUndefined();
});

test('an address without queries has none', () => {
  expect(decode('')).toEqual([]);
  expect(decode('foo=bar')).toEqual([]);
  expect(decode('g1.expr=up')).toEqual([]);
});

test('a query without more has the defaults of Prometheus', () => {
  expect(decode('g0.expr=up')).toEqual([{ ...DEFAULTS, expr: 'up' }]);
  expect(decode('g0.expr=rate(http_requests_total%5B5m%5D)')[0]?.expr).toBe('rate(http_requests_total[5m])');
  expect(decode('g0.expr=up&g1.expr=b&g3.expr=c').map((panel) => panel.expr)).toEqual(['up', 'b']);
});

test('the old console\'s names are read', () => {
  const query =
    'g0.expr=rate(node_cpu_seconds_total%7Bmode%3D%22system%22%7D%5B1m%5D)&g0.tab=0&g0.stacked=0&g0.range_input=1h' +
    '&g0.end_input=2019-10-25%2023%3A37%3A00&g0.moment_input=2019-10-25%2023%3A37%3A00' +
    '&g1.expr=node_filesystem_avail_bytes&g1.tab=1&g1.stacked=0&g1.range_input=1h';
  expect(decode(query)).toEqual([
    { ...DEFAULTS, expr: 'rate(node_cpu_seconds_total{mode="system"}[1m])', tab: 'graph', endMs: 1572046620000 },
    { ...DEFAULTS, expr: 'node_filesystem_avail_bytes' },
  ]);
  expect(first('g0.stacked=1').display).toBe('stacked');
  expect(first('g0.step_input=15').resolution).toEqual({ type: 'custom', stepMs: 15000 });
  expect(first('g0.step_input=0').resolution).toEqual(DEFAULTS.resolution);
  expect(first('g0.step_input=15&g0.res_type=auto&g0.res_density=low').resolution).toEqual({ type: 'auto', density: 'low' });
});

test('each parameter is read', () => {
  expect(first('g0.show_tree=1').showTree).toBe(true);
  expect(['graph', 'table', 'explain', 'raw', 'pie'].map((tab) => first(`g0.tab=${tab}`).tab)).toEqual(['graph', 'table', 'explain', 'raw', 'table']);
  expect(['lines', 'stacked', 'heatmap', 'x'].map((mode) => first(`g0.display_mode=${mode}`).display)).toEqual(['lines', 'stacked', 'heatmap', 'lines']);
  expect(['10.5', '', 'x', '0'].map((min) => first(`g0.y_axis_min=${min}`).yMin)).toEqual([10.5, undefined, undefined, 0]);
  expect(first('g0.show_exemplars=1').showExemplars).toBe(true);
  expect([first('g0.range_input=2h').rangeMs, first('g0.range_input=h').rangeMs, first('g0.range_input=0').rangeMs]).toEqual([7200000, 3600000, 3600000]);
  expect(first('g0.end_input=2024-01-15%2012%3A30%3A45').endMs).toBe(1705321845000);
  expect(first('g0.moment_input=2024-01-15%2012%3A30%3A45').endMs).toBe(1705321845000);
  expect(first('g0.end_input=junk').endMs).toBeUndefined();
  expect(first('g0.res_type=auto&g0.res_density=high').resolution).toEqual({ type: 'auto', density: 'high' });
  expect(first('g0.res_type=fixed&g0.res_step=30').resolution).toEqual({ type: 'fixed', stepMs: 30000 });
  expect(first('g0.res_type=custom&g0.res_step=0.5').resolution).toEqual({ type: 'custom', stepMs: 500 });
  expect(first('g0.res_type=custom&g0.res_step=-1').resolution).toEqual(DEFAULTS.resolution);
  expect([first('g0.show_all=1').showAll, first('g0.y_log=1').isLog]).toEqual([true, true]);
});

test('what is written is what Prometheus writes', () => {
  const params = encodePanels([{ ...DEFAULTS, expr: 'up', endMs: 1705321845000, rangeMs: 7200000, yMin: 10.5 }]);
  expect(params.toString()).toBe(
    'g0.expr=up&g0.show_tree=0&g0.tab=table&g0.end_input=2024-01-15+12%3A30%3A45&g0.moment_input=2024-01-15+12%3A30%3A45' +
      '&g0.range_input=2h&g0.res_type=auto&g0.res_density=medium&g0.display_mode=lines&g0.y_axis_min=10.5&g0.show_exemplars=0',
  );
  expect(encodePanels([{ ...DEFAULTS, resolution: { type: 'fixed', stepMs: 30000 } }]).get('g0.res_step')).toBe('30');
});

test('what is written is read again', () => {
  const panels: PanelState[] = [
    { ...DEFAULTS, expr: 'a{b="c&d=+%"}\n  or "\u{1F600}"', tab: 'graph', endMs: -1500, display: 'stacked', yMin: 0, isLog: true },
    { ...DEFAULTS, expr: '', tab: 'raw', resolution: { type: 'custom', stepMs: 1 }, showAll: true, showExemplars: true, showTree: true },
  ];
  expect(decode(encodePanels(panels).toString())).toEqual(panels);
});

test('a link with very many queries is cut', () => {
  const many = Array.from({ length: 1000 }, (_, index) => `g${index}.expr=up`).join('&');
  expect(decode(many)).toHaveLength(PANELS_MAX);
});

test('the step follows the range as in Prometheus', () => {
  expect([stepMsOf(DEFAULTS.resolution, 3_600_000), stepMsOf({ type: 'auto', density: 'high' }, 100)]).toEqual([14400, 1]);
  expect(stepMsOf({ type: 'fixed', stepMs: 15000 }, 3_600_000)).toBe(15000);
});
