import { expect, test } from 'vitest';
import { selectorOf } from './selector';

test('selectors quote what is no name of the old kind, and escape values', () => {
  expect(selectorOf({ __name__: 'up' })).toBe('up');
  expect(selectorOf({ __name__: 'up', job: 'a"b\\', path: 'x\ny' })).toBe('up{job="a\\"b\\\\", path="x\\ny"}');
  expect(selectorOf({ __name__: 'http.size', 'a.b': '<&>' })).toBe('{"http.size", "a.b"="<&>"}');
  expect(selectorOf({ job: 'x' })).toBe('{job="x"}');
});
