import { expect, test, vi } from 'vitest';

// The address that the router reads when it is loaded.
vi.stubGlobal('location', { href: 'http://db/verify' });
const { refusal } = await import('./admin');
const { ApiError } = await import('./client');

test('what is refused is told by its cause', () => {
  const told = (message: string, type = ''): string => refusal(new ApiError(403, type, message, ''));
  expect(told('admin APIs disabled', 'unavailable')).toContain('--web.enable-admin-api');
  expect(told('Forbidden: this credential lacks the right to do that')).toContain('right “admin”');
  expect(told('Forbidden: a page of another origin asked for this')).toBe('403 Forbidden: a page of another origin asked for this');
  expect(refusal(new Error('no'))).toBe('no');
});
