//! Rates from counters that were read several times.

import type { IngestAnswer, ProtocolCounts } from './types';

/** Reads that are kept: what the small charts show. */
const READS_MAX = 61;
/** What a rate is over. */
const WINDOW_SECONDS = 10;

export interface Read {
  readonly seconds: number;
  readonly protocols: readonly ProtocolCounts[];
}

/** The reads with a newer one; a server that was started again begins anew. */
export function withRead(reads: readonly Read[], answer: IngestAnswer): readonly Read[] {
  const read = { seconds: answer.uptime_seconds, protocols: answer.protocols };
  const last = reads.at(-1);
  if (last && last.seconds === read.seconds) return reads;
  return last && last.seconds > read.seconds ? [read] : [...reads, read].slice(-READS_MAX);
}

const samplesOf = ({ samples }: ProtocolCounts): number => samples.added + samples.duplicate;
const requestsOf = ({ requests }: ProtocolCounts): number => requests.ok + requests.refused + requests.unavailable;

export interface Rates {
  readonly protocol: string;
  readonly total: ProtocolCounts;
  /** Samples that came since the start, refused ones included. */
  readonly sent: number;
  readonly requests: number;
  /** Each second over the last reads; `undefined` before the second read. */
  readonly samplesPerSecond?: number;
  readonly requestsPerSecond?: number;
  readonly rejectedPerSecond?: number;
  readonly bytesPerSecond?: number;
  /** As sent, over the last reads where samples came in them, else since the start. */
  readonly bytesPerSample?: number;
  /** Samples each second between each two reads. */
  readonly history: readonly number[];
}

export function ratesOf(reads: readonly Read[]): readonly Rates[] {
  const newest = reads.at(-1);
  if (!newest) return [];
  const from = reads.find((read) => newest.seconds - read.seconds <= WINDOW_SECONDS);
  const at = (read: Read | undefined, protocol: string): ProtocolCounts | undefined =>
    read?.protocols.find((one) => one.protocol === protocol);
  return newest.protocols.map((total): Rates => {
    const sent = samplesOf(total) + total.samples.rejected;
    const base = { protocol: total.protocol, total, sent, requests: requestsOf(total) };
    const history = reads.slice(1).map((read, index) => {
      const [before, after] = [at(reads[index], total.protocol), at(read, total.protocol)];
      const seconds = read.seconds - (reads[index]?.seconds ?? 0);
      return before && after && seconds > 0 ? (samplesOf(after) - samplesOf(before)) / seconds : 0;
    });
    const sinceStart = samplesOf(total) > 0 ? { bytesPerSample: total.body_bytes / samplesOf(total) } : {};
    const first = at(from, total.protocol);
    const seconds = from ? newest.seconds - from.seconds : 0;
    if (!first || seconds <= 0) return { ...base, ...sinceStart, history };
    const bytes = total.body_bytes - first.body_bytes;
    const samples = samplesOf(total) - samplesOf(first);
    return {
      ...base,
      ...sinceStart,
      ...(samples > 0 ? { bytesPerSample: bytes / samples } : {}),
      samplesPerSecond: samples / seconds,
      requestsPerSecond: (requestsOf(total) - requestsOf(first)) / seconds,
      rejectedPerSecond: (total.samples.rejected - first.samples.rejected) / seconds,
      bytesPerSecond: bytes / seconds,
      history,
    };
  });
}
