import { expect, test } from 'vitest';
import { faultOf } from './fault';
import { addMatcher, selectorsOf } from './matchers';
import { bitsOf, bucketText, commonLabels, histogramText, parseValue, valueText, without } from './series';

const HOSTILE = '<img src=x onerror=alert(1)>';

test('labels that all series have are found, and taken away', () => {
  const metrics = [{ a: '1', b: '2', c: '3' }, { a: '1', b: '4', c: '3' }];
  expect(commonLabels(metrics)).toEqual({ a: '1', c: '3' });
  expect(commonLabels([{ a: '1' }, {}])).toEqual({});
  // A single series would be left without anything.
  expect(commonLabels([{ a: '1' }])).toEqual({});
  expect(without({ a: '1', b: '2' }, { a: '1' })).toEqual({ b: '2' });
  // What every object has is no label of it.
  expect(without({ a: '1', constructor: '2' }, { a: '1' })).toEqual({ constructor: '2' });
});

test('values that are no common numbers are named', () => {
  expect([valueText('NaN'), valueText('+Inf'), valueText('-Inf'), valueText('1e-07')]).toEqual([
    'NaN (not a number)', '+Inf (infinity)', '-Inf (minus infinity)', '1e-07',
  ]);
  expect([parseValue('+Inf'), parseValue('-Inf'), parseValue('NaN'), parseValue('1e+21')]).toEqual([Infinity, -Infinity, NaN, 1e21]);
  expect([bitsOf('1'), bitsOf('-0'), bitsOf('+Inf'), bitsOf('NaN')]).toEqual(['3ff0000000000000', '8000000000000000', '7ff0000000000000', '']);
});

test('native histograms are told in words', () => {
  const buckets = [[0, '0.5', '1', '2'], [1, '-1', '-0.5', '1'], [2, '0', '1', '1'], [3, '-0.1', '0.1', '4']] as const;
  expect(histogramText({ count: '8', sum: '3.5', buckets })).toBe('histogram: count 8, sum 3.5, 4 buckets');
  expect(histogramText({ count: '0', sum: '0' })).toBe('histogram: count 0, sum 0, 0 buckets');
  expect(buckets.map(bucketText)).toEqual(['(0.5, 1]', '[-1, -0.5)', '(0, 1)', '[-0.1, 0.1]']);
});

test('a fault stands where the server says, in characters', () => {
  const at = (message: string, query: string): string | undefined => {
    const position = faultOf(message, query)?.position;
    return position && query.slice(position.from, position.to);
  };
  expect(at('invalid parameter "query": 1:10: parse error: expected type range vector', 'sum(rate(upp))')).toBe('upp');
  expect(at('1:14: parse error: unexpected right parenthesis', 'up + "ää" ) ')).toBe(')');
  expect(at('1:10: parse error: unexpected right parenthesis', '"ää" + ) + up')).toBe(')');
  expect(at('2:4: parse error: unexpected character', 'up\n + ä)')).toBe('ä');
  expect(at('1:7: parse error: unexpected end of input', 'up +  ')).toBe('+');
  expect(at('9:9: parse error: x', 'up')).toBe('p');
  expect(at('1:1: parse error: no expression', '')).toBe('');
  expect(at('query timed out', 'up')).toBeUndefined();
  expect(faultOf('invalid parameter "query": 1:1: parse error: a: b', 'x')?.message).toBe('a: b');
});

test('a matcher is added to each selector of a query', () => {
  const cases: [string, string][] = [
    ['up', 'up{job="a"}'],
    ['up{}', 'up{job="a"}'],
    ['up{x="y"}', 'up{x="y", job="a"}'],
    ['up{x="y",}', 'up{x="y", job="a",}'],
    ['up{job="b"}', 'up{job="a"}'],
    ['up{job="a"}', 'up{job="a"}'],
    ['up{job=~"b"}', 'up{job=~"b", job="a"}'],
    ['sum by (x) (rate(a[5m])) / on (x) {__name__="b"}', 'sum by (x) (rate(a{job="a"}[5m])) / on (x) {__name__="b", job="a"}'],
    ['{"http.size"}', '{"http.size", job="a"}'],
    ['{x="y", "http.size"}', '{x="y", "http.size", job="a"}'],
    ['1 + 1', '1 + 1'],
  ];
  for (const [before, after] of cases) expect(addMatcher(before, 'job', 'a', true), before).toBe(after);
  expect(addMatcher('up{job = "a b"}', 'job', 'ab', true)).toBe('up{job="ab"}');
  expect(addMatcher('up{job = "a b"}', 'job', 'a b', true)).toBe('up{job = "a b"}');
  expect(addMatcher('up{job="a"}', 'job', 'b', false)).toBe('up{job="a", job!="b"}');
  expect(addMatcher('up', 'a.b', HOSTILE, true)).toBe(`up{"a.b"="${HOSTILE}"}`);
});

test('the selectors of a query are found, each once', () => {
  expect(selectorsOf('sum(rate(a{b="c"}[5m])) / a{b="c"} + {__name__="d"} offset 5m')).toEqual(['a{b="c"}', '{__name__="d"}']);
  expect(selectorsOf('1 + time()')).toEqual([]);
});
