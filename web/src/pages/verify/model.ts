//! What the Verify page shows, worked out of what the server answers.

import type { Block, Blocks, BlockCheck, Finding, Log, LogProof, LostBlock, OpenFindings, Proofs, Proven, Segment } from '../../api/storage';
import { count } from '../../format';

export type Coverage = 'ok' | 'busy' | 'mismatch' | 'never';

/** A segment or block, and what is known of it. */
export interface Cell {
  readonly id: string;
  readonly name: string;
  readonly state: Coverage;
  /** In a sentence. */
  readonly text: string;
}

export function isVerifying(proofs: Proofs): boolean {
  return (
    proofs.log_under_way !== null ||
    proofs.blocks_under_way.some((run) => run.by === 'request') ||
    proofs.under_way.some((job) => job.what.startsWith('verification'))
  );
}

export function nameOf(segment: Pick<Segment, 'number'>): string {
  return String(segment.number).padStart(8, '0');
}

const kindOf = (isCheckpoint: boolean): Proven['kind'] => (isCheckpoint ? 'checkpoint' : 'segment');

/** The files of the log, each with what the last proof says of it. */
export function segmentCells(log: Log, proofs: Proofs): Cell[] {
  const damaged = new Set(proofs.open_findings.map(({ object }) => `${object.kind} ${object.name}`));
  const proven = new Map(
    (proofs.log_coverage?.segments ?? []).map((read) => [`${kindOf(read.checkpoint)} ${nameOf(read)}`, read]),
  );
  const progress = proofs.log_under_way;
  let position = 0;
  return (log.segments ?? []).map((segment) => {
    const name = nameOf(segment);
    const id = `${kindOf(segment.state === 'checkpoint')} ${name}`;
    const read = proven.get(id);
    const isRead = progress !== null && position <= progress.bytes_done && progress.bytes_done < position + segment.bytes;
    position += segment.bytes;
    const upTo = read?.groups ? `, groups ${read.groups[0]} to ${read.groups[1]}` : '';
    const open = segment.state === 'open' ? ', still written' : '';
    const [state, words]: [Coverage, string] = isRead
      ? ['busy', 'being read']
      : damaged.has(id)
        ? ['mismatch', 'mismatch']
        : read
          ? ['ok', `proven${upTo}`]
          : ['never', 'not proven since the start'];
    return { id, name, state, text: `${id}${open}: ${words}` };
  });
}

/** The blocks by level, each with what its last check says. */
export function blockCells(blocks: readonly Block[], proofs: Proofs): [number, Cell[]][] {
  const damaged = new Set(proofs.open_findings.filter(({ object }) => object.kind === 'block').map(({ object }) => object.name));
  const checks = new Map(proofs.blocks.map((check) => [check.ulid, check]));
  const busy = new Set(proofs.blocks_under_way.map((run) => run.ulid));
  const levels = new Map<number, Cell[]>();
  for (const block of blocks) {
    const check = checks.get(block.ulid);
    const [state, words]: [Coverage, string] = busy.has(block.ulid)
      ? ['busy', 'being read']
      : damaged.has(block.ulid)
        ? ['mismatch', 'mismatch']
        : check
          ? ['ok', `good, ${check.time}`]
          : ['never', 'not read since the start'];
    const cell = { id: block.ulid, name: block.ulid.slice(-6), state, text: `block ${block.ulid}: ${words}` };
    const level = levels.get(block.level);
    if (level) level.push(cell);
    else levels.set(block.level, [cell]);
  }
  return [...levels].sort(([a], [b]) => a - b);
}

export function tallyOf(cells: readonly Cell[]): Record<Coverage, number> {
  const tally = { ok: 0, busy: 0, mismatch: 0, never: 0 };
  for (const cell of cells) tally[cell.state] += 1;
  return tally;
}

/** An object with something wrong that no proof has closed. */
export interface Mismatch {
  readonly id: string;
  readonly object: Proven;
  readonly whats: readonly string[];
  /** How many things are wrong with it; `whats` may have only the first. */
  readonly count: number;
  readonly first: string | null;
  readonly last: string | null;
  /** Whether the object is out of use, so that no proof can close this before it is put back. */
  readonly isSetAside: boolean;
}

/**
 * What is open, the last seen first: findings, and blocks that are not served. A block that was found damaged and then set
 * aside stands there once.
 */
export function mismatches(open: readonly OpenFindings[], lost: readonly LostBlock[]): Mismatch[] {
  const aside = new Map(lost.filter((block) => !block.covered_by_others).map((block) => [block.ulid, block]));
  const found = open.map(({ object, findings, more }): Mismatch => {
    const block = object.kind === 'block' ? aside.get(object.name) : undefined;
    if (block) aside.delete(object.name);
    const whats = findings.map((finding) => finding.what);
    if (block && !whats.includes(block.reason)) whats.push(block.reason);
    const times = (of: (finding: Finding) => string): string[] => findings.map(of).sort();
    return {
      id: `${object.kind} ${object.name}`,
      object,
      whats,
      count: whats.length + more,
      first: times((finding) => finding.first_seen)[0] ?? null,
      last: times((finding) => finding.last_seen).at(-1) ?? null,
      isSetAside: block !== undefined,
    };
  });
  const missing = [...aside.values()].map((block): Mismatch => ({
    id: `block ${block.ulid}`,
    object: { kind: 'block', name: block.ulid },
    whats: [block.reason],
    count: 1,
    first: block.found,
    last: block.found,
    isSetAside: true,
  }));
  const newest = (one: Mismatch): number => (one.last === null ? 0 : Date.parse(one.last));
  return [...found, ...missing].sort((a, b) => newest(b) - newest(a));
}

/** How much is wrong, in words. */
export function verdict(open: readonly Mismatch[]): string {
  const all = open.reduce((sum, one) => sum + one.count, 0);
  const things = open.every((one) => one.object.kind === 'block') ? 'block' : 'place';
  const plural = (many: number, word: string, ending: string): string => `${count(many)} ${word}${many === 1 ? '' : ending}`;
  return `${plural(all, 'open mismatch', 'es')} in ${plural(open.length, things, 's')}`;
}

/** What a proof covers, in words. */
export function objectName({ kind, name }: Proven): string {
  if (kind === 'ledger') return 'the ledger';
  if (kind === 'head') return 'the head against the log';
  return kind === 'log' ? 'the log' : `${kind} ${name}`;
}

/** A proof that ended. */
export interface Past {
  readonly id: string;
  readonly at: number;
  readonly of: 'log' | 'blocks' | 'one block';
  readonly good: boolean;
  readonly covered: { readonly things: number; readonly of: number; readonly bytes: number; readonly samples: number };
  readonly seconds: number;
  readonly note: string;
}

/** The first of some findings, and how many there are besides. */
function few(findings: readonly string[]): string {
  return findings.length > 1 ? `${findings[0]} and ${findings.length - 1} more` : (findings[0] ?? '');
}

/** The newest first. Checks of single blocks are left out that were part of a check of all. */
export function history(proofs: Proofs): Past[] {
  const logs = proofs.log.map((proof, index): Past => ({
    id: `log ${proof.time} ${index}`,
    at: Date.parse(proof.time),
    of: 'log',
    good: proof.good,
    covered: { things: proof.segments, of: proof.segments, bytes: proof.bytes, samples: proof.log.samples },
    seconds: proof.duration_seconds,
    note: few(proof.findings),
  }));
  const runs = proofs.block_runs.map((run, index): Past => ({
    id: `blocks ${run.time} ${index}`,
    at: Date.parse(run.time),
    of: 'blocks',
    good: run.good,
    covered: { things: run.blocks, of: run.blocks_total, bytes: run.bytes, samples: run.samples },
    seconds: run.duration_seconds,
    note: [run.stopped ? 'stopped early' : '', run.damaged > 0 ? `${run.damaged} damaged` : ''].filter(Boolean).join('; '),
  }));
  const inRun = (check: BlockCheck): boolean => {
    const at = Date.parse(check.time);
    return runs.some((run) => at <= run.at && at >= run.at - run.seconds * 1000 - 1);
  };
  const singles = proofs.blocks.filter((check) => !inRun(check)).map((check): Past => ({
    id: `block ${check.ulid}`,
    at: Date.parse(check.time),
    of: 'one block',
    good: check.good,
    covered: { things: 1, of: 1, bytes: 0, samples: check.stored.samples },
    seconds: check.duration_seconds,
    note: [check.ulid, few(check.findings)].filter(Boolean).join(': '),
  }));
  return [...logs, ...runs, ...singles].sort((a, b) => b.at - a.at);
}

/** What the checks of all blocks say together. */
export interface BlocksProof {
  readonly checked: number;
  readonly total: number;
  readonly damaged: number;
  readonly samples: number;
  /** When the block was read that was not read for the longest time. */
  readonly oldest: number | undefined;
  /** Seconds that reading all of them took. */
  readonly seconds: number;
}

export function blocksProof(proofs: Proofs): BlocksProof {
  const times = proofs.blocks.map((check) => Date.parse(check.time));
  return {
    checked: proofs.blocks.length,
    total: proofs.blocks.length + proofs.blocks_not_checked.length,
    damaged: proofs.blocks.filter((check) => !check.good).length,
    samples: proofs.blocks.reduce((sum, check) => sum + check.stored.samples, 0),
    oldest: times.length === 0 ? undefined : times.reduce((a, b) => Math.min(a, b)),
    seconds: proofs.blocks.reduce((sum, check) => sum + check.duration_seconds, 0),
  };
}

/** Bytes per second and the seconds that are left, once there is something to tell them by. */
export function pace(done: number, total: number, sinceMs: number, nowMs: number): { rate: number; left: number } | undefined {
  const seconds = (nowMs - sinceMs) / 1000;
  if (done <= 0 || seconds < 0.5) return undefined;
  const rate = done / seconds;
  return { rate, left: Math.max(0, total - done) / rate };
}

/** All that the page knows, as one document. */
export function report(version: string, nowMs: number, proofs: Proofs, log: Log | undefined, blocks: Blocks | undefined): string {
  return JSON.stringify(
    {
      made: new Date(nowMs).toISOString(),
      server_version: version,
      proofs,
      log_segments: log?.segments ?? null,
      blocks_not_served: blocks?.lost ?? null,
    },
    null,
    2,
  );
}

/** How long a proof of that many bytes took the last time, for a guess at the next. */
export function guess(last: Pick<LogProof, 'bytes' | 'duration_seconds'> | undefined, bytes: number): number | undefined {
  if (!last || last.bytes < 1 << 20 || last.duration_seconds <= 0) return undefined;
  return (bytes * last.duration_seconds) / last.bytes;
}
