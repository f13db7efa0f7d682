import { expect, test } from 'vitest';
import { LANES_MAX, type Span, at, domain, draw, gaps, overlapping, pack, ticks } from './timeline';

const HOUR = 3_600_000;
const span = (id: string, from: number, to: number, level = 1): Span => ({ id, from: from * HOUR, to: to * HOUR, level });
const names = (lanes: readonly (readonly Span[])[]): string[] => lanes.map((lane) => lane.map((one) => one.id).join(''));

test('blocks that follow one another share a lane, one that overlaps gets the next, and each level has its own', () => {
  const packed = pack([span('b', 2, 3), span('a', 0, 1), span('x', 0.5, 2.5), span('c', 4, 5), span('L', 0, 5, 3)]);
  expect(packed.map(({ level, lanes }) => [level, names(lanes)])).toEqual([[1, ['abc', 'x']], [3, ['L']]]);
  // They share a sample's time where one ends as the next begins.
  expect(names(pack([span('a', 0, 1), span('b', 1, 2)])[0]?.lanes ?? [])).toEqual(['a', 'b']);
});

test('lanes are bounded however many blocks lie over one another', () => {
  const many = Array.from({ length: 500 }, (_, index) => span(`b${index}`, 0, 10));
  const [level] = pack(many);
  expect(level?.lanes.length).toBe(LANES_MAX);
  expect(level?.lanes.flat().length).toBe(500);
});

test('blocks overlap over levels, also those that one long block covers', () => {
  const found = overlapping([span('long', 0, 10, 3), span('a', 1, 2), span('b', 3, 4), span('after', 11, 12), span('touch', 12, 13, 2)]);
  expect([...found].sort()).toEqual(['a', 'after', 'b', 'long', 'touch']);
  expect(overlapping([span('a', 0, 1), span('b', 1.001, 2)]).size).toBe(0);
  expect(overlapping([]).size).toBe(0);
});

test('a gap is a time that nothing covers and that is longer than a pause between samples', () => {
  expect(gaps([span('a', 0, 2), span('b', 2.01, 4), span('c', 7, 8), span('long', 0, 5)])).toEqual([{ from: 5 * HOUR, to: 7 * HOUR }]);
  expect(gaps([])).toEqual([]);
  expect(gaps([span('a', 0, 2)])).toEqual([]);
});

test('time that is drawn ends with the newest sample', () => {
  const spans = [span('a', 0, 2), span('b', 24 * 60, 24 * 60 + 2)];
  const last = (24 * 60 + 2) * HOUR;
  expect(domain('7d', spans)).toEqual({ from: last - 7 * 24 * HOUR, to: last });
  expect(domain('all', spans)).toEqual({ from: 0, to: last });
  expect(domain('all', [])).toBeUndefined();
  const point = domain('all', [span('a', 1, 1)]);
  expect(point && point.to > point.from).toBe(true);
});

test('ticks are round in the zone that is shown and never too many', () => {
  const day = ticks({ from: 0.5 * HOUR, to: 24 * HOUR }, 8, 0);
  expect([day.step, day.at[0], day.at.length]).toEqual([3 * HOUR, 3 * HOUR, 8]);
  expect(ticks({ from: 0, to: 24 * HOUR }, 2, HOUR).at).toEqual([11 * HOUR, 23 * HOUR]);
  expect(ticks({ from: 0, to: 8.64e15 }, 5, 0).at.length).toBeLessThan(5_000);
});

test('a block stands where its time is, one that is short can still be seen and hit, and one outside is left out', () => {
  const packed = pack([span('old', -50, -49), span('a', 0, 50), span('tiny', 99.999, 100)]);
  const drawing = draw(packed, { from: 0, to: 100 * HOUR }, 1000);
  expect(drawing.boxes.map(({ span: one, x, width }) => [one.id, x, width])).toEqual([['a', 0, 500], ['tiny', 997, 3]]);
  expect(at(drawing, 250, 5)?.id).toBe('a');
  expect(at(drawing, 998, 5)?.id).toBe('tiny');
  expect(at(drawing, 700, 5)).toBeUndefined();
  expect(at(drawing, 250, 25)).toBeUndefined();
});
