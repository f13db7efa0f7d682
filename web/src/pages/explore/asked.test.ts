import { expect, test } from 'vitest';
import { askedOf, countQuery, cut, toAddress, toRequest } from './asked';

test('what is asked for survives the address, and defaults do not stand in it', () => {
  const asked = { match: '{job="a&b"}', focus: 'instance', limit: 100, unqueried: true };
  const address = new URLSearchParams(Object.entries(toAddress(asked)).filter((entry): entry is [string, string] => entry[1] !== undefined));
  expect(askedOf(address)).toEqual(asked);
  const nothing = askedOf(new URLSearchParams('limit=7&unqueried=x'));
  expect(Object.values(toAddress(nothing)).filter((value) => value !== undefined)).toEqual([]);
  expect(toRequest(nothing)).toEqual({ 'match[]': undefined, focus: undefined, limit: 20, unqueried: undefined });
});

test('counting queries quote hostile names', () => {
  expect(countQuery({ __name__: 'up' }, '')).toBe('count (up)');
  expect(countQuery({ __name__: 'up' }, '__name__')).toBe('count (up)');
  expect(countQuery({ __name__: '<img src=x onerror=alert(1)>' }, 'a.b')).toBe('count by ("a.b") ({"<img src=x onerror=alert(1)>"})');
});

test('a list that was cut says how much of it is there', () => {
  expect([cut(20, 529), cut(3, 3), cut(1000, 1_204_331)]).toEqual(['20 of 529', '3', '1,000 of 1,204,331']);
});
