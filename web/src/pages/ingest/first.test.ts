import { expect, test } from 'vitest';
import type { Health } from '../../api/storage';
import { firstOf } from './arrival';
import type { IngestAnswer, WritersAnswer } from './types';

const ingest = (added: number, time = '2026-01-01T00:00:10.000Z'): IngestAnswer => ({
  since: '2026-01-01T00:00:00.000Z',
  time,
  uptime_seconds: 10,
  protocols: [
    {
      protocol: 'text', requests: { ok: 1, refused: 0, unavailable: 0 }, samples: { added, duplicate: 0, rejected: 0 }, rejected: {},
      histograms: 0, exemplars: { stored: 0, rejected: 0 }, body_bytes: 0, decoded_bytes: 0, answer_seconds: { p50: null, p99: null },
    },
  ],
});
const health = (series: number, served: number): Health & { blocks: { served: number } } => ({
  status: 'ok', version: '', uptime_seconds: 1, alarms: [], head: { series, min_time: null, max_time: null }, blocks: { served },
});
const writers = (beforeStart: number): WritersAnswer => ({
  since: '',
  before_start: { active_series: beforeStart },
  writers: [
    {
      address: null, agent: '', user: '', protocols: ['text'], first_request: '2026-01-01T00:00:07.000Z', last_request: '',
      requests: { ok: 1, refused: 0, unavailable: 0 }, samples: { added: 1, duplicate: 0, rejected: 0 }, series_created: 1,
      active_series: 1, metrics: [{ metric: 'up', series: 1, example: { __name__: 'up' } }],
    },
  ],
});

test('the first sample is awaited only by a server that has nothing at all', () => {
  expect(firstOf(ingest(0), undefined, health(0, 0)).state).toBe('waiting');
  expect(firstOf(ingest(0), undefined, health(3, 0)).state).toBe('old');
  expect(firstOf(ingest(0), undefined, health(0, 1)).state).toBe('old');
  expect(firstOf(undefined, undefined, health(0, 0)).state).toBe('old');
});

test('the first sample is news for a while, with the series that it was of', () => {
  const atMs = Date.parse('2026-01-01T00:00:07.000Z');
  expect(firstOf(ingest(1), writers(0), health(1, 0))).toEqual({ state: 'arrived', atMs, example: { __name__: 'up' } });
  expect(firstOf(ingest(1, '2026-01-01T01:00:00.000Z'), writers(0), health(1, 0)).state).toBe('old');
  expect(firstOf(ingest(1), writers(5), health(6, 0)).state).toBe('old');
});
