import { expect, test } from 'vitest';
import { dotsOf } from './exemplars';
import { axisTexts, readable, timeTexts } from './numbers';
import { cellAt, heatOf } from './heat';
import { treeOf } from './plan';
import { gridOf, highest, isolated, plotCsv, plotOf, stack } from './plot';

test('a range\'s times are its start and as many steps as fit', () => {
  expect(gridOf(0, 30_000, 15_000)).toEqual([0, 15, 30]);
  expect(gridOf(0, 29_999, 15_000)).toEqual([0, 15]);
  expect(gridOf(5, 4, 1)).toEqual([]);
});

test('samples stand at their times, and gaps where there are none', () => {
  const matrix = [
    { metric: { a: '1' }, values: [[0, '1'], [30, '3']] as const },
    { metric: { a: '2' }, values: [[0, 'NaN'], [15, '+Inf'], [30, '-2']] as const },
    { metric: { a: '3' }, histograms: [[0, { count: '1', sum: '1' }]] as const },
    { metric: { a: '4' }, values: [[0, 'NaN']] as const },
  ];
  const plot = plotOf(matrix, 0, 30_000, 15_000);
  expect(plot.lines.map((line) => line.values)).toEqual([[1, null, 3], [null, null, -2], [null, null, null]]);
  expect(plot.lines[0]).toMatchObject({ key: '{a="1"}', min: 1, max: 3, avg: 2, last: 3 });
  expect(plot.lines[2]).toMatchObject({ min: NaN, max: NaN, avg: NaN, last: NaN });
  expect([plot.undrawable, plot.histograms]).toEqual([3, 1]);
  // What a server gives beyond the range is not drawn beside it.
  expect(plotOf([{ metric: {}, values: [[99, '1']] }], 0, 30_000, 15_000).lines[0]?.values).toEqual([null, null, null]);
});

test('the lines that are drawn are those of the highest averages, in their order', () => {
  const values = ['1', '9', 'NaN', '5'].map((text, at) => ({ metric: { n: String(at) }, values: [[0, text]] as [number, string][] }));
  const { lines } = plotOf(values, 0, 0, 1000);
  expect(highest(lines, 2).map((line) => line.metric['n'])).toEqual(['1', '3']);
  expect(highest(lines, 4)).toBe(lines);
});

test('a stack adds what is there and leaves gaps', () => {
  expect(stack([[1, null, 3], [10, 20, null]])).toEqual([[1, null, 3], [11, 20, null]]);
});

test('samples between gaps are found', () => {
  expect(isolated([1, null, 2, 3, null, 4])).toEqual([0, 5]);
  expect(isolated([null, 5, null])).toEqual([1]);
  expect(isolated([])).toEqual([]);
});

test('the lines go into a table', () => {
  const plot = plotOf([{ metric: { a: 'x,"y"' }, values: [[0, '1']] }], 0, 1000, 1000);
  expect(plotCsv(plot, plot.lines)).toBe('time,"{a=""x,\\""y\\""""}"\r\n1970-01-01T00:00:00.000Z,1\r\n1970-01-01T00:00:01.000Z,\r\n');
});

test('numbers of an axis have the digits that tell them apart', () => {
  expect(axisTexts([0, 10, 20])).toEqual(['0', '10', '20']);
  expect(axisTexts([0, 0.5, 1])).toEqual(['0', '0.5', '1.0']);
  expect(axisTexts([1.00001, 1.00002])).toEqual(['1.00001', '1.00002']);
  expect(axisTexts([0, 2e9, 4e10])).toEqual(['0', '2 G', '40 G']);
  expect(axisTexts([10_000, 10_500])).toEqual(['10.0 k', '10.5 k']);
  expect(axisTexts([1e-7, null, 2e-7])).toEqual(['1.0e-7', '', '2.0e-7']);
  expect([readable(0), readable(1234.5678), readable(1e-7), readable(1e21), readable(NaN)]).toEqual(['0', '1,234.57', '1.000e-7', '1.000e+21', 'NaN']);
});

test('times of an axis have a clock of 24 hours, and the day where one begins', () => {
  expect(timeTexts([0, 43_200, 86_400], 43_200, 'utc')).toEqual(['00:00\n1970-01-01', '12:00', '00:00\n1970-01-02']);
  expect(timeTexts([0, 86_400], 86_400, 'utc')).toEqual(['1970-01-01', '1970-01-02']);
  expect(timeTexts([50_000, 50_001], 1, 'utc')).toEqual(['13:53:20\n1970-01-01', '13:53:21']);
  expect(timeTexts([0.5], 0.5, 'utc')).toEqual(['00:00:00.500\n1970-01-01']);
});

test('exemplars become dots, without those that are no numbers', () => {
  const exemplars = [{ labels: { trace_id: 'a' }, value: '1.5', timestamp: 2 }, { labels: {}, value: 'NaN', timestamp: 3 }];
  expect(dotsOf([{ seriesLabels: { __name__: 'up' }, exemplars }])).toEqual([{ seconds: 2, value: 1.5, labels: '{trace_id="a"}', series: 'up' }]);
});

test('a plan becomes a tree by its depths', () => {
  const node = (depth: number, text: string): { depth: number; text: string } => ({ depth, text });
  const shape = (branches: ReturnType<typeof treeOf>): unknown => branches.map(({ node, children }) => [node.text, shape(children)]);
  expect(shape(treeOf([node(0, '/'), node(1, 'sum'), node(2, 'a'), node(1, 'b')]))).toEqual([['/', [['sum', [['a', []]]], ['b', []]]]]);
  expect(shape(treeOf([node(2, 'a'), node(1, 'b'), node(1, 'c')]))).toEqual([['a', []], ['b', []], ['c', []]]);
  expect(treeOf([])).toEqual([]);
});

test('histograms become the cells of a heatmap', () => {
  const at = (seconds: number, count: string): [number, { count: string; sum: string; buckets: [number, string, string, string][] }] =>
    [seconds, { count, sum: '1', buckets: [[0, '1', '2', count], [0, '2', '4', '1'], [3, '-0.1', '0.1', '5']] }];
  const heat = heatOf([{ metric: { a: '1' }, histograms: [at(0, '3'), at(15, '1')] }, { metric: { a: '2' }, histograms: [at(0, '4')] }, { metric: {}, values: [[0, '1']] }], 0, 15_000);
  expect(heat).toMatchObject({ series: 2, most: 10, high: 4, isLog: true, low: 0.05 });
  expect(heat && cellAt(heat, 0, 1.5)).toEqual({ at: 0, lower: 1, upper: 2, count: 7 });
  expect(heat && cellAt(heat, 1, 9)).toBeUndefined();
  expect(heatOf([{ metric: {}, values: [[0, '1']] }], 0, 1)).toBeUndefined();
  // Bounds without an end get one, and empty histograms an axis.
  const open = heatOf([{ metric: {}, histograms: [[0, { count: '2', sum: '1', buckets: [[0, '-Inf', '1', '1'], [0, '1', '+Inf', '1']] }]] }], 0, 1);
  expect(open?.cells.map(({ lower, upper }) => [lower, upper])).toEqual([[0, 1], [1, 2]]);
  expect(heatOf([{ metric: {}, histograms: [[0, { count: '0', sum: '0' }]] }], 0, 1)).toMatchObject({ cells: [], low: 0, high: 1 });
});
