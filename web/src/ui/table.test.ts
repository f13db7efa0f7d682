import { expect, test } from 'vitest';
import { compare } from './table';

test('a column sorts both ways, and what is not known is last in both', () => {
  const sorted = (values: (string | number | null)[], isDescending: boolean) => [...values].sort((a, b) => compare(a, b, isDescending));
  expect(sorted([2, NaN, 10, null, -Infinity], false)).toEqual([-Infinity, 2, 10, NaN, null]);
  expect(sorted([2, NaN, 10, null, Infinity, Infinity], true)).toEqual([Infinity, Infinity, 10, 2, NaN, null]);
  expect(sorted(['b', 'a', 'a', null, 'B'], false)).toEqual(['B', 'a', 'a', 'b', null]);
});
