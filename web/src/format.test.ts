import { expect, test } from 'vitest';
import { ago, bytes, count, duration, percent, short, time } from './format';

test('numbers are grouped and shortened', () => {
  expect(count(1204331)).toBe('1,204,331');
  expect([0, 999, 1000, 999_499, 999_500, 1_204_331].map(short)).toEqual(['0', '999', '1.00 k', '999 k', '1.00 M', '1.20 M']);
  expect([0, 1023, 1024, 432_013_312].map(bytes)).toEqual(['0 B', '1023 B', '1.00 KiB', '412 MiB']);
  expect([percent(1, 3), percent(1, 100), percent(1, 0)]).toEqual(['33 %', '1.0 %', '']);
});

test('durations have at most two units, and round up into the next one', () => {
  const cases: [number, string][] = [
    [0.000_002, '2 µs'], [0.0042, '4.20 ms'], [0.9999, '1 s'], [4.21, '4.2 s'], [59.99, '1 m'],
    [192, '3 m 12 s'], [3600, '1 h'], [8040, '2 h 14 m'], [86_400 * 9, '9 d'], [-5, '-5 s'],
  ];
  for (const [seconds, text] of cases) expect(duration(seconds)).toBe(text);
});

test('times are ISO with a clock of 24 hours', () => {
  expect(time(0, 'utc')).toBe('1970-01-01 00:00:00');
  expect(time(1_795_283_251_471, 'utc')).toBe('2026-11-21 17:47:31.471');
  expect(time(NaN, 'utc')).toBe('NaN ms');
  const local = new Date(2026, 0, 2, 13, 4, 5).getTime();
  expect(time(local, 'local')).toBe('2026-01-02 13:04:05');
});

test('distances in time name the direction', () => {
  expect([ago(0, 400), ago(0, 840_000), ago(7_200_000, 0)]).toEqual(['now', '14 min ago', 'in 2 h']);
});
