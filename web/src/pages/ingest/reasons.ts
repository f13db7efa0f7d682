//! Refusals by reason, and what to do about them.

import type { RejectTotal } from './types';

/** What to do about the usual reasons. */
export const ADVICE: Readonly<Record<string, string>> = {
  out_of_order: 'Two senders write the same series, or one repeats old samples. head.out_of_order_time_window takes later ones.',
  too_old: 'Older than head.out_of_order_time_window reaches.',
  duplicate_timestamp: 'The time is taken by another value: two senders write the same series; give them labels that tell them apart.',
  out_of_bounds: 'Too far in the past of what the head holds.',
  too_far_in_future: 'The sender’s clock is ahead, or the times are in another unit.',
  series_limit: 'head.max_series or head.max_memory is reached; Explore shows what takes the room.',
  label_limit: 'Past limits.max_labels_per_series, or a name or value is too long.',
  invalid_labels: 'Malformed, repeated or unnamed labels, or no metric name.',
  unsupported_temporality: 'The sender counts since the last export. Let it send cumulative sums, or set otlp.deltas.',
  malformed_line: 'Not Prometheus’ text format; the detail names line and column.',
  deleted: 'In a range that was deleted from the series.',
  malformed_request: 'The body is not what its headers say.',
  unauthorized: 'The credential is missing or wrong.',
  forbidden: 'The credential is not for writing.',
  request_too_large: 'Past limits.max_body_size: send smaller requests, or raise it.',
  unavailable: 'The sender was told to come again.',
  too_many_requests: 'The sender was told to come again.',
};

export interface ReasonRow {
  readonly reason: string;
  readonly of: string;
  readonly refused: number;
  readonly writers: number;
  readonly last: string;
}

/** The totals of all writers, by reason; the newest first. */
export function byReason(totals: readonly RejectTotal[]): readonly ReasonRow[] {
  const rows = new Map<string, ReasonRow>();
  for (const total of totals) {
    const of = total.samples !== undefined ? 'samples' : total.exemplars !== undefined ? 'exemplars' : 'requests';
    const refused = total.samples ?? total.exemplars ?? total.requests ?? 0;
    const row = rows.get(total.reason);
    rows.set(total.reason, {
      reason: total.reason,
      of,
      refused: (row?.refused ?? 0) + refused,
      writers: (row?.writers ?? 0) + 1,
      last: row && row.last > total.last ? row.last : total.last,
    });
  }
  return [...rows.values()].sort((a, b) => (a.last < b.last ? 1 : -1));
}
