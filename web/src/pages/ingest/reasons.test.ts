import { expect, test } from 'vitest';
import { byReason } from './reasons';

const who = { address: '10.0.0.1', agent: 'a', user: '' };

test('refusals of several writers add up by reason, the newest first', () => {
  const rows = byReason([
    { ...who, reason: 'too_old', samples: 3, first: '2026-01-01T00:00:00.000Z', last: '2026-01-01T00:00:05.000Z' },
    { ...who, agent: 'b', reason: 'too_old', samples: 4, first: '2026-01-01T00:00:00.000Z', last: '2026-01-01T00:00:09.000Z' },
    { ...who, reason: 'unauthorized', requests: 1, first: '2026-01-02T00:00:00.000Z', last: '2026-01-02T00:00:00.000Z' },
  ]);
  expect(rows).toEqual([
    { reason: 'unauthorized', of: 'requests', refused: 1, writers: 1, last: '2026-01-02T00:00:00.000Z' },
    { reason: 'too_old', of: 'samples', refused: 7, writers: 2, last: '2026-01-01T00:00:09.000Z' },
  ]);
});
