//! Whether a server waits for its first sample, or has just had it.

import type { Health } from '../../api/storage';
import type { Labels } from '../../selector';
import type { IngestAnswer, WritersAnswer } from './types';

/** How long after it came the first sample is still news. */
const NEWS_MS = 600_000;

export type First =
  | { readonly state: 'waiting' }
  | { readonly state: 'arrived'; readonly atMs: number; readonly example: Labels | undefined }
  | { readonly state: 'old' };

export function firstOf(
  ingest: IngestAnswer | undefined,
  writers: WritersAnswer | undefined,
  health: (Health & { readonly blocks?: { readonly served: number } | null }) | undefined,
): First {
  if (!ingest || !health?.head) return { state: 'old' };
  const stored = ingest.protocols.reduce((sum, { samples }) => sum + samples.added + samples.duplicate, 0);
  const blocks = health.blocks?.served ?? 0;
  if (stored === 0) return { state: health.head.series === 0 && blocks === 0 ? 'waiting' : 'old' };
  if (!writers || writers.before_start.active_series > 0) return { state: 'old' };
  const earliest = writers.writers
    .filter(({ samples }) => samples.added > 0)
    .sort((a, b) => Date.parse(a.first_request) - Date.parse(b.first_request))[0];
  if (!earliest) return { state: 'old' };
  const atMs = Date.parse(earliest.first_request);
  if (Date.parse(ingest.time) - atMs > NEWS_MS) return { state: 'old' };
  return { state: 'arrived', atMs, example: earliest.metrics[0]?.example ?? undefined };
}
