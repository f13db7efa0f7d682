import { expect, test } from 'vitest';
import { type Read, ratesOf, withRead } from './rates';
import type { IngestAnswer, ProtocolCounts } from './types';

function counts(protocol: string, added: number, rejected = 0, bodyBytes = 0): ProtocolCounts {
  return {
    protocol,
    requests: { ok: added / 10, refused: 0, unavailable: 0 },
    samples: { added, duplicate: 0, rejected },
    rejected: {},
    histograms: 0,
    exemplars: { stored: 0, rejected: 0 },
    body_bytes: bodyBytes,
    decoded_bytes: 0,
    answer_seconds: { p50: null, p99: null },
  };
}
const answer = (uptime_seconds: number, ...protocols: ProtocolCounts[]): IngestAnswer => ({ since: '', time: '', uptime_seconds, protocols });
const read = (...answers: IngestAnswer[]): readonly Read[] => answers.reduce<readonly Read[]>(withRead, []);

test('rates are over the reads of the last ten seconds, and not known after one', () => {
  const [one] = ratesOf(read(answer(5, counts('text', 100, 0, 400))));
  expect(one).toMatchObject({ sent: 100, bytesPerSample: 4, history: [] });
  expect(one?.samplesPerSecond).toBeUndefined();
  const reads = read(
    answer(5, counts('text', 0)),
    answer(90, counts('text', 1000, 5, 100)),
    answer(92, counts('text', 1200, 5, 100)),
    answer(100, counts('text', 2000, 25, 2100)),
  );
  expect(ratesOf(reads)[0]).toMatchObject({
    samplesPerSecond: 100, rejectedPerSecond: 2, requestsPerSecond: 10, bytesPerSecond: 200, bytesPerSample: 2, sent: 2025,
  });
  expect(ratesOf(reads)[0]?.history.map(Math.round)).toEqual([12, 100, 100]);
});

test('a server that was started again begins anew, and one answer counts once', () => {
  const reads = read(answer(50, counts('text', 500)), answer(50, counts('text', 500)), answer(1, counts('text', 3)));
  expect(reads).toHaveLength(1);
  expect(ratesOf(reads)[0]?.samplesPerSecond).toBeUndefined();
  const many = Array.from({ length: 100 }, (_, at) => answer(at, counts('text', at)));
  expect(read(...many)).toHaveLength(61);
});

test('rates of nothing are zero and have no bytes of a sample', () => {
  const [row] = ratesOf(read(answer(1, counts('text', 0)), answer(3, counts('text', 0))));
  expect(row).toMatchObject({ samplesPerSecond: 0, requestsPerSecond: 0, sent: 0 });
  expect(row?.bytesPerSample).toBeUndefined();
});
