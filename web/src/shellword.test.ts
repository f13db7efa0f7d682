import { expect, test } from 'vitest';
import { shellWord } from './shellword';

test('words of a shell are quoted where they have to be', () => {
  expect(shellWord('http://a.b/c?d')).toBe("'http://a.b/c?d'");
  expect(shellWord("http://a.b/it's")).toBe("'http://a.b/it'\\''s'");
  expect(shellWord('http://a.b:1/c_d')).toBe('http://a.b:1/c_d');
});
