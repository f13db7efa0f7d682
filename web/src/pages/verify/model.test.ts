import { expect, test } from 'vitest';
import type { Block, BlockCheck, Log, LogProof, LostBlock, Proofs } from '../../api/storage';
import { blockCells, blocksProof, guess, history, isVerifying, mismatches, pace, report, segmentCells, tallyOf, verdict } from './model';

const NONE = { samples: 0, digest: '0' };
const EMPTY: Proofs = {
  log: [], log_under_way: null, log_coverage: null, ledger_imbalance: NONE, blocks: [], blocks_not_checked: [],
  blocks_under_way: [], block_runs: [], open_findings: [], closed_findings: [], under_way: [],
};
const at = (second: number): string => new Date(1_700_000_000_000 + second * 1000).toISOString();
const finding = (what: string, first = 0, last = 1) => ({ what, first_seen: at(first), last_seen: at(last) });
const check = (ulid: string, second: number, findings: string[] = []): BlockCheck => ({
  ulid, time: at(second), duration_seconds: 1, good: findings.length === 0, stored: { samples: 10, digest: '' }, visible: NONE,
  recorded: null, series: 1, chunks: 1, findings,
});
const lost = (ulid: string, reason: string, covered = false): LostBlock => ({
  ulid, state: 'quarantined', min_time: null, max_time: null, reason, found: at(5), covered_by_others: covered,
});

test('open findings and blocks set aside are one list, the last seen first, and none stands there twice', () => {
  const merged = mismatches(
    [
      { object: { kind: 'block', name: 'A' }, findings: [finding('chunk 3', 0, 9), finding('index', 0, 9)], more: 7 },
      { object: { kind: 'segment', name: '00000002' }, findings: [finding('checksum', 1, 2)], more: 0 },
      { object: { kind: 'block', name: 'B' }, findings: [finding('index: bad', 0, 3)], more: 0 },
    ],
    [lost('B', 'index: bad'), lost('C', 'meta.json'), lost('D', 'covered', true)],
  );
  expect(merged.map((one) => `${one.object.name} ${one.whats.join(',')} ${one.count} ${one.isSetAside}`)).toEqual([
    'A chunk 3,index 9 false', 'C meta.json 1 true', 'B index: bad 1 true', '00000002 checksum 1 false',
  ]);
  expect(merged[0]).toMatchObject({ first: at(0), last: at(9) });
  expect(new Set(merged.map((one) => one.id)).size).toBe(merged.length);
  expect([verdict(merged), verdict(merged.slice(1, 2))]).toEqual(['12 open mismatches in 4 places', '1 open mismatch in 1 block']);
});

test('a file of the log is proven, being read, damaged or never read', () => {
  const log = {
    segments: [
      { number: 3, state: 'checkpoint', bytes: 100, groups: null },
      { number: 4, state: 'finished', bytes: 100, groups: null },
      { number: 5, state: 'finished', bytes: 100, groups: null },
      { number: 6, state: 'open', bytes: 50, groups: null },
    ],
  } as unknown as Log;
  const segments = [3, 4, 5].map((number) => ({ number, checkpoint: number === 3, bytes: 100, records: 1, groups: [1, number] as const }));
  const proofs: Proofs = {
    ...EMPTY,
    log_coverage: { time: at(0), group: 5, segments },
    open_findings: [{ object: { kind: 'segment', name: '00000004' }, findings: [finding('checksum')], more: 0 }],
  };
  const states = (one: Proofs): string[] => segmentCells(log, one).map((cell) => cell.state);
  expect(states(proofs)).toEqual(['ok', 'mismatch', 'ok', 'never']);
  expect(states({ ...proofs, log_under_way: { since: at(0), bytes_done: 250, bytes_total: 350 } })).toEqual(['ok', 'mismatch', 'busy', 'never']);
  expect(segmentCells(log, proofs)[2]?.text).toContain('groups 1 to 5');
  // A segment and a file of the checkpoint may have the same number.
  expect(states({ ...proofs, open_findings: [{ object: { kind: 'checkpoint', name: '00000003' }, findings: [finding('x')], more: 0 }] })[0]).toBe('mismatch');
});

test('a mismatch of a block outlasts a start after which nobody has read it', () => {
  const block = (ulid: string, level: number): Block => ({ ulid, level }) as Block;
  const proofs: Proofs = {
    ...EMPTY,
    blocks: [check('GOOD', 1)],
    blocks_not_checked: ['NEVER', 'DAMAGED'],
    open_findings: [{ object: { kind: 'block', name: 'DAMAGED' }, findings: [finding('chunk')], more: 0 }],
  };
  const levels = blockCells([block('GOOD', 2), block('NEVER', 1), block('DAMAGED', 1)], proofs);
  expect(levels.map(([level, cells]) => [level, cells.map((cell) => cell.state)])).toEqual([[1, ['never', 'mismatch']], [2, ['ok']]]);
  expect(tallyOf(levels.flatMap(([, cells]) => cells))).toEqual({ ok: 1, busy: 0, mismatch: 1, never: 1 });
});

test('history has checks of all blocks once, and a single block only where it was read alone', () => {
  const log = { time: at(50), duration_seconds: 1, good: true, group: 1, segments: 1, bytes: 10, log: NONE, ledger_imbalance: NONE, findings: [] } as LogProof;
  const proofs: Proofs = {
    ...EMPTY,
    log: [log],
    blocks: [check('A', 95), check('B', 99), check('ALONE', 200, ['chunk 1', 'index'])],
    block_runs: [{ time: at(100), duration_seconds: 10, good: true, blocks: 2, blocks_total: 3, bytes: 20, samples: 20, damaged: 0, stopped: true }],
  };
  expect(history(proofs).map((past) => `${past.of} ${past.good} ${past.note}`)).toEqual(['one block false ALONE: chunk 1 and 1 more', 'blocks true stopped early', 'log true ']);
  expect(blocksProof({ ...proofs, blocks_not_checked: ['C'] })).toMatchObject({ checked: 3, total: 4, damaged: 1, samples: 30, oldest: Date.parse(at(95)) });
});

test('rate and rest are told only once there is something to tell them by', () => {
  expect(pace(0, 100, 0, 5_000)).toBeUndefined();
  expect(pace(10, 100, 0, 100)).toBeUndefined();
  expect(pace(50, 100, 0, 5_000)).toEqual({ rate: 10, left: 5 });
  expect(pace(120, 100, 0, 5_000)?.left).toBe(0);
  expect(guess({ bytes: 100, duration_seconds: 1 }, 1000)).toBeUndefined();
  expect(guess({ bytes: 2 ** 20, duration_seconds: 2 }, 2 ** 21)).toBe(4);
});

test('a proof is under way while any part of it is, and the scrub alone is none', () => {
  const run = { since: at(0), ulid: null, blocks_done: 0, blocks_total: 1, bytes_done: 0, bytes_total: 1, damaged: 0, stopping: false };
  expect(isVerifying(EMPTY)).toBe(false);
  expect(isVerifying({ ...EMPTY, blocks_under_way: [{ ...run, by: 'scrub' }] })).toBe(false);
  expect(isVerifying({ ...EMPTY, blocks_under_way: [{ ...run, by: 'request' }] })).toBe(true);
  expect(isVerifying({ ...EMPTY, under_way: [{ what: 'verification', since: at(0) }] })).toBe(true);
  expect(isVerifying({ ...EMPTY, under_way: [{ what: 'flush', since: at(0) }] })).toBe(false);
});

test('report holds what the server said', () => {
  const made = JSON.parse(report('1.2.3', 0, EMPTY, undefined, { blocks: [], lost: [lost('A', '<img src=x>')] })) as Record<string, unknown>;
  expect(made).toMatchObject({ made: '1970-01-01T00:00:00.000Z', server_version: '1.2.3', blocks_not_served: [{ reason: '<img src=x>' }] });
});
