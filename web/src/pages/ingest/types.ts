//! The answers of `storage/ingest`, `storage/writers` and `storage/rejects`.

import type { Time } from '../../api/storage';
import type { Labels } from '../../selector';

export type Counts = Readonly<Record<string, number>>;

export interface ProtocolCounts {
  readonly protocol: string;
  readonly requests: { readonly ok: number; readonly refused: number; readonly unavailable: number };
  readonly samples: { readonly added: number; readonly duplicate: number; readonly rejected: number };
  /** Samples by reason; those of none are absent. */
  readonly rejected: Counts;
  readonly histograms: number;
  readonly exemplars: { readonly stored: number; readonly rejected: number };
  readonly body_bytes: number;
  readonly decoded_bytes: number;
  readonly answer_seconds: { readonly p50: number | null; readonly p99: number | null };
}

export interface IngestAnswer {
  readonly since: Time;
  readonly time: Time;
  readonly uptime_seconds: number;
  readonly protocols: readonly ProtocolCounts[];
}

interface Who {
  readonly address: string | null;
  readonly agent: string;
  readonly user: string;
}

export interface WriterMetric {
  readonly metric: string;
  readonly series: number;
  readonly example: Labels | null;
}

export interface WriterRow extends Who {
  readonly protocols: readonly string[];
  readonly first_request: Time;
  readonly last_request: Time;
  readonly requests: { readonly ok: number; readonly refused: number; readonly unavailable: number };
  readonly samples: { readonly added: number; readonly duplicate: number; readonly rejected: number };
  readonly series_created: number;
  readonly active_series: number;
  readonly metrics: readonly WriterMetric[];
}

export interface WritersAnswer {
  readonly since: Time;
  readonly writers: readonly WriterRow[];
  readonly before_start: { readonly active_series: number };
}

export interface Reject extends Who {
  readonly time: Time;
  readonly of: string;
  readonly reason: string;
  readonly protocol: string;
  readonly samples: number;
  readonly labels: Labels | null;
  readonly sample_time: Time | null;
  readonly value: string | null;
  readonly detail: string;
}

/** Refusals of a writer for a reason; the count stands under what was refused. */
export interface RejectTotal extends Who {
  readonly reason: string;
  readonly samples?: number;
  readonly exemplars?: number;
  readonly requests?: number;
  readonly first: Time;
  readonly last: Time;
}

export interface RejectsAnswer {
  readonly since: Time;
  readonly rejects: readonly Reject[];
  readonly totals: readonly RejectTotal[];
}

/** A writer in a line. */
export function whoText(who: Who): string {
  return [who.address ?? 'unknown address', who.agent, who.user && `user ${who.user}`].filter((part) => part !== '').join(' · ');
}
